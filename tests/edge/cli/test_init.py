"""``edge init`` writes a folder that ``edge check`` accepts, and never overwrites by itself."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloud_link.protocol.signing import Keyring, SigningKey
from edge.cli import program
from edge.cli.init import demo_text, template_text
from edge.config import load, loads
from models.errors import ConfigError

LINKS = {
    "pcs-1": "tcp://127.0.0.1:4711",
    "bms-1": "rtu:///tmp/x/tty-bms?baud=19200",
    "meter-1": r"rtu:///tmp/\1/tty?baud=9600",
    "pv-1": "opc.tcp://127.0.0.1:4712/pv/",
}


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, ["--lang", "en", *args])
    return result.exit_code, result.output


def test_the_demo_passes_the_check(tmp_path: Path) -> None:
    assert run("init", str(tmp_path / "new/demo"), "--demo")[0] == 0
    assert run("check", str(tmp_path / "new/demo/site.toml"))[0] == 0


def test_the_demo_with_a_broker_finds_its_keys(tmp_path: Path) -> None:
    run("init", str(tmp_path), "--demo")
    (tmp_path / "site.toml").write_text(demo_text(LINKS, "mqtt://127.0.0.1:11883"))
    config = load(tmp_path / "site.toml")
    assert config.fleet is not None
    assert config.fleet.broker == "mqtt://127.0.0.1:11883"
    fleet = SigningKey.load(tmp_path / "keys/fleet.key")
    site = SigningKey.load(config.fleet.site_key)
    assert Keyring.load(config.fleet.fleet_keys).verify(fleet.key_id, b"x", fleet.sign(b"x"))
    assert Keyring.load(tmp_path / "keys/sites.toml").verify(site.key_id, b"x", site.sign(b"x"))


def test_links_are_put_in_and_without_a_broker_there_is_no_fleet() -> None:
    config = loads(demo_text(LINKS, name="other"), check_files=False)
    assert {device.name: device.link for device in config.devices} == LINKS
    assert config.fleet is None
    assert config.name == "other"


def test_a_link_for_a_device_that_is_not_there_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError, match="nope"):
        demo_text({"nope": "tcp://h:1"})


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    run("init", str(tmp_path), "--demo")
    for name in ("site.key", "fleet.key"):
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["site.toml", "keys/site.key", "tariffs/jiangsu-2025.toml"])
def test_nothing_is_overwritten_without_force(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine")
    code, output = run("init", str(tmp_path), "--demo")
    assert code == 6
    assert "CFG-004" in output
    assert (tmp_path / there).read_text() == "mine"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / there]
    assert run("init", str(tmp_path), "--demo", "--force")[0] == 0
    assert (tmp_path / there).read_text() != "mine"


def test_the_template_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    assert run("init", str(tmp_path), "--name", "plant-7")[0] == 0
    text = (tmp_path / "site.toml").read_text()
    assert text == template_text("plant-7")
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "site.toml")
    told = {int(problem.where.split(":")[-2]) for problem in raised.value.problems}
    to_fill = {n for n, line in enumerate(text.splitlines(), 1) if '"FILL IN"' in line}
    assert told == to_fill
    assert len(to_fill) == 16


def test_a_name_that_cannot_be_is_wrong_use(tmp_path: Path) -> None:
    code, output = run("init", str(tmp_path), "--name", "Plant 7; rm -rf /")
    assert code == 2
    assert "CFG-015" in output
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("init", str(tmp_path / "file/below"), "--demo")[0] == 6


def test_json_lists_what_was_written(tmp_path: Path) -> None:
    code, output = run("init", str(tmp_path), "--demo", "--json")
    answer = json.loads(output)
    assert (code, answer["ok"], answer["schema"]) == (0, True, "edge.init/1")
    assert all(Path(name).is_file() for name in answer["data"]["written"])
