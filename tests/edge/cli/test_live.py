"""status, points, why and watch over a run folder that a controller has left."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge.cli import program
from edge.cli.watch import PAGES
from edge.events import Events
from edge.glance import Glance
from models.proposal import Request, Source
from tests.edge.conftest import RunFolder

Maker = Callable[[], RunFolder]
FAR_NS = 2**62
FLEET = Request(Source.FLEET, 40.0, FAR_NS, 7)


def run(folder: RunFolder, *words: str, lang: str = "en") -> Result:
    verb, *rest = words
    arguments = ["--lang", lang, verb, "--run-dir", str(folder.path), *rest]
    return CliRunner().invoke(program, arguments, prog_name="edge")


def data(result: Result) -> Any:
    answer = json.loads(result.stdout)
    assert answer.keys() == {"schema", "ok", "time_ms", "data", "problems"}
    return answer["data"]


def test_a_healthy_site(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(60, requests=(FLEET,))
    result = run(folder, "status", "--json")
    facts = data(result)
    assert result.exit_code == 0, result.stdout
    assert facts["state"] == "running"
    assert facts["decision"]["winner"] == "fleet"
    assert facts["power"] == {
        "grid_kw": 120.0,
        "battery_kw": 0.0,
        "pv_kw": 20.0,
        "load_kw": 140.0,
        "soc": 0.5,
    }
    text = run(folder, "status").stdout
    assert "fleet setpoint → discharge 40.0 kW" in text
    assert "import 120.0 kW" in text


def test_a_site_with_a_bad_point_is_degraded_and_says_which(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(60, {"pv-1/p_kw": float("nan")})
    result = run(folder, "status", "--json")
    assert result.exit_code == 7
    problems = json.loads(result.stdout)["problems"]
    assert [p["where"] for p in problems if p["code"].startswith("DEV")] == ["pv-1/p_kw"]


@pytest.mark.parametrize(
    ("said_s_ago", "missing"), [(None, True), (60.0, True), (1.0, False)], ids=["never", "long ago", "now"]
)
def test_services_that_do_not_run_are_said(
    run_folder: Maker, said_s_ago: float | None, missing: bool
) -> None:
    folder = run_folder()
    folder.play(60)
    if said_s_ago is not None:
        said = {"degraded": None, "t_ms": (time.time() - said_s_ago) * 1000}
        (folder.path / "recorder.json").write_text(json.dumps(said))
    result = run(folder, "status", "--json")
    assert result.exit_code == 0, "the controller does not need them"
    assert [p["code"] for p in json.loads(result.stdout)["problems"]] == ["SRV-001"] * missing


def test_a_plan_that_has_expired_is_not_shown_as_fresh(
    run_folder: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder()
    folder.play(60)
    monkeypatch.chdir(folder.path)  # the image of the tests names no folder for the state
    state_dir = Glance(folder.path).state_dir
    for expires_ms, text in [(0, "plan: expired"), (2**52, "plan: fresh")]:
        plan = {"status": "fresh", "saving_cny": 5.0, "expires_utc_ms": expires_ms}
        (state_dir / "plan.json").write_text(json.dumps(plan))
        assert text in run(folder, "status").stdout


def test_an_event_without_a_text_is_shown(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(60)
    Events(folder.path / "events.jsonl", "test").emit("SILENT", "somewhere", "")
    assert "SILENT  somewhere" in run(folder, "status").stdout


def test_a_stopped_site(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(5, end_ns=time.monotonic_ns() - 5_000_000_000)
    result = run(folder, "status", "--json")
    assert result.exit_code == 4
    assert data(result)["state"] == "stopped"


def test_no_site_at_all(run_folder: Maker) -> None:
    folder = run_folder()
    (folder.path / "image").unlink()
    assert run(folder, "status").exit_code == 4


def test_status_in_chinese(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(60)
    assert "后备规则" in run(folder, "status", lang="zh").stdout


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("bms-1/soc", ["bms-1/soc"]),
        ("soc", ["bms-1/soc"]),
        ("*/p_kw", ["pcs-1/p_kw", "meter-1/p_kw", "pv-1/p_kw"]),
    ],
)
def test_points_by_pattern(run_folder: Maker, pattern: str, names: list[str]) -> None:
    folder = run_folder()
    folder.play(2)
    assert [p["name"] for p in data(run(folder, "points", pattern, "--json"))] == names


def test_points_that_do_not_exist(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(2)
    assert run(folder, "points", "moon").exit_code == 1


def test_bad_points_have_no_number_in_json(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(2, {"pv-1/p_kw": float("nan")})
    (row,) = data(run(folder, "points", "--bad", "--json"))
    assert (row["name"], row["value"], row["quality"]) == ("pv-1/p_kw", None, "BAD")


def test_why_names_the_wish_and_the_limit(run_folder: Maker) -> None:
    folder = run_folder()
    low = {"meter-1/p_kw": 10.0, "pv-1/p_kw": 0.0}
    folder.play(80, low, (FLEET,))
    facts = data(run(folder, "why", "--json"))
    assert (facts["winner"], facts["wish_kw"]) == ("fleet", 40.0)
    assert facts["bound_by"] == "grid_export", "load is 10 kW, so 40 kW of discharge would be exported"
    assert facts["target_kw"] == pytest.approx(7.0)
    text = run(folder, "why").stdout
    assert "export limit (anti-backflow)" in text and "33.0 kW" in text
    assert "防逆流" in run(folder, "why", lang="zh").stdout


def test_why_of_a_moment_ago_and_of_one_that_is_gone(run_folder: Maker) -> None:
    folder = run_folder()
    folder.play(50)
    newest = data(run(folder, "why", "--json"))["cycle"]
    assert newest - data(run(folder, "why", "2s", "--json"))["cycle"] == pytest.approx(20, abs=1)
    assert run(folder, "why", "1h").exit_code == 1
    assert run(folder, "why", "soon").exit_code == 2
    assert data(run(folder, "why", "--cycle", "10", "--json"))["cycle"] == 10


@pytest.mark.parametrize("key", list(PAGES))
def test_every_page_of_watch(run_folder: Maker, key: str) -> None:
    folder = run_folder()
    folder.play(20)
    (folder.path / "events.jsonl").write_text('{"t_ms":1,"code":"STARTED","where":"controller","what":"x"}\n')
    lines = PAGES[key][2](folder.path)
    assert lines and all(isinstance(line, str) for line in lines)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_points_with_what_the_catalog_says(run_folder: Maker, lang: str) -> None:
    folder = run_folder()
    folder.play(1)
    text = run(folder, "points", "pcs-1/p_kw", "--long", lang=lang).stdout
    assert "3/102 i16 ×0.1" in text
    assert "p_kw" in text.splitlines()[1]
    (row,) = data(run(folder, "points", "pv-1/p_kw", "--long", "--json"))
    assert (row["at"].split(" ")[0], row["role"]) == ("Inverter/ActivePower", "p_kw")
