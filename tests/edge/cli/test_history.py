"""``edge history`` over what the recorder has stored of a played site."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge.cli import history as verb
from edge.cli import program
from edge.history import FILE
from edge.services.recorder import Recorder
from tests.edge.conftest import RunFolder


@pytest.fixture
def folder(run_folder: Callable[[], RunFolder], tmp_path: Path) -> RunFolder:
    """Thirty seconds of the demo site, recorded."""
    folder = run_folder()
    folder.play(300, {"meter-1/p_kw": 150.0})
    recorder = Recorder(folder.path, tmp_path)
    recorder._events.emit("STARTED", "controller", "version 1\nlast line")
    recorder.turn(0.0, flush=True)
    recorder.close()
    return folder


def run(folder: RunFolder, *words: str, lang: str = "en") -> Result:
    arguments = ["--lang", lang, "history", *words, "--run-dir", str(folder.path)]
    return CliRunner().invoke(program, arguments, prog_name="edge")


def data(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["data"]


def test_without_points_it_lists_what_is_recorded(folder: RunFolder) -> None:
    listed = run(folder)
    assert listed.exit_code == 0
    assert "meter-1/p_kw" in listed.stdout.splitlines()
    assert "site/net_load_kw" in listed.stdout.splitlines()
    assert "recorded:" in listed.stderr
    found = data(run(folder, "--json"))
    assert "pcs-1/p_kw" in found["points"]
    assert found["last_utc_ms"] - found["first_utc_ms"] > 25_000


def test_json_has_one_list_a_point(folder: RunFolder) -> None:
    found = data(run(folder, "meter-1/p_kw", "site/net_load_kw", "--since", "2m", "--step", "5s", "--json"))
    assert set(found["points"]) == {"meter-1/p_kw", "site/net_load_kw"}
    values = [value for value in found["points"]["meter-1/p_kw"] if value is not None]
    assert set(values) == {150.0}
    assert len(values) >= 5
    assert None in found["points"]["meter-1/p_kw"], "nothing was recorded two minutes ago"
    assert len(found["t_ms"]) == len(found["points"]["meter-1/p_kw"])


def test_csv_can_be_read_again(folder: RunFolder) -> None:
    text = run(folder, "pv-1/p_kw", "--since", "1m", "--step", "1s", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["pv-1/p_kw"] for row in rows} == {"", "20.0"}
    assert rows[0]["utc"].endswith("Z")


def test_a_pipe_gets_a_table_and_a_terminal_a_chart(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = run(folder, "pv-1/p_kw", "--since", "1m", "--step", "5s").stdout.splitlines()
    assert piped[0].split() == ["time", "pv-1/p_kw"]
    assert piped[-2].endswith("20")
    monkeypatch.setattr(verb, "is_terminal", lambda: True)
    shown = run(folder, "bms-1/soc", "pv-1/p_kw", "--since", "1m", lang="zh").stdout.splitlines()
    assert shown[0].split() == ["点", "最小", "平均", "最大", "最新"]
    assert shown[2].startswith("pv-1/p_kw")
    assert len(shown) == 3


def test_patterns(folder: RunFolder) -> None:
    found = data(run(folder, "bms-1/*", "--json"))
    assert len(found["points"]) > 5
    assert all(name.startswith("bms-1/") for name in found["points"])
    assert set(data(run(folder, "irradiance", "--json"))["points"]) == {"pv-1/irradiance_w_m2"}
    nothing = run(folder, "nonsense")
    assert nothing.exit_code == 1
    assert "HIS-001" in nothing.stderr


def test_events(folder: RunFolder) -> None:
    (event,) = data(run(folder, "--events", "--json"))
    assert (event["code"], event["source"]) == ("STARTED", "recorder")
    text = run(folder, "--events").stdout
    assert "STARTED" in text
    assert text.strip().endswith("last line")


def test_the_file_can_be_named_or_come_from_the_site_file(folder: RunFolder, tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[site]\nstate_dir = "."\n')
    for words in (["--file", str(tmp_path / FILE)], ["--config", str(config)]):
        result = CliRunner().invoke(program, ["history", "--json", *words], prog_name="edge")
        assert "meter-1/p_kw" in data(result)["points"]
    config.write_text("nonsense")
    result = CliRunner().invoke(program, ["history", "--config", str(config)], prog_name="edge")
    assert result.exit_code == 3
    result = CliRunner().invoke(program, ["history", "--file", str(tmp_path / "no.db")], prog_name="edge")
    assert result.exit_code == 1
    assert "no history" in result.stderr


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("no unit", ["--since", "5"]),
        ("no number", ["--since", "h"]),
        ("nothing", ["--step", "0s"]),
        ("too fine", ["--since", "52w", "--step", "1s"]),
        ("backwards", ["--since", "1h", "--until", "2h"]),
    ],
)
def test_wrong_times_are_refused(says: str, words: list[str], folder: RunFolder) -> None:
    assert run(folder, "pv-1/p_kw", *words).exit_code == 2, says


@pytest.mark.parametrize(
    ("text", "expected"), [("15s", 15), ("2m", 120), ("10min", 600), ("1.5h", 5400), ("7d", 604_800)]
)
def test_spans(text: str, expected: float) -> None:
    assert verb.seconds(text) == expected


def test_the_verb_is_light() -> None:
    heavy = {"pydantic", "osqp", "scipy", "asyncua", "pymodbus", "paho", "sqlite_utils", "rich", "numpy"}
    code = f"import sys, edge.cli.history, edge.cli.replay; assert not {heavy!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
