"""``edge replay``: no difference on what this version has recorded, and a clear one on changed behaviour."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge.cli import program
from edge.cli.init import demo_text
from edge.history import FILE, History
from edge.ring import Ring
from edge.services.recorder import Recorder
from models.proposal import Request, Source
from tests.edge.conftest import RunFolder

Maker = Callable[[], RunFolder]
FLEET = Request(Source.FLEET, 40.0, 2**62, 7)
CYCLES = 120


@pytest.fixture
def folder(run_folder: Maker) -> RunFolder:
    """Twelve seconds of the demo site with a fleet setpoint."""
    folder = run_folder()
    folder.play(CYCLES, requests=(FLEET,))
    return folder


def run(*words: object, lang: str = "en") -> Result:
    return CliRunner().invoke(program, ["--lang", lang, "replay", *map(str, words)], prog_name="edge")


def data(result: Result) -> Any:
    return json.loads(result.stdout)["data"]


def changed_ring(folder: RunFolder, path: Path, old: str, new: str) -> Path:
    """The same records, but said to come from another configuration: as if the code had changed."""
    text = demo_text()
    assert old in text
    ring = Ring.create(
        path, folder.ring.dtype, 400, {**folder.ring.meta, "site_toml": text.replace(old, new)}
    )
    for row in folder.ring.since(-1):
        ring.append(row.tobytes())
    return path


def limit_line() -> str:
    """The line of the demo site that says how much may be imported."""
    return next(line for line in demo_text().splitlines() if line.startswith("import_kw"))


def test_a_ring_replays_without_difference(folder: RunFolder) -> None:
    result = run(folder.path / "ring")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{CYCLES} cycles, 0 differences\n"
    assert run("--run-dir", folder.path, lang="zh").stdout == f"{CYCLES} 个周期,0 处差异\n"


def test_a_history_replays_without_difference(folder: RunFolder, tmp_path: Path) -> None:
    recorder = Recorder(folder.path, tmp_path)
    recorder.turn(0.0, flush=True)
    recorder.close()
    result = run(tmp_path / FILE, "--json")
    assert result.exit_code == 0, result.output
    assert data(result)["cycles"] >= 11
    assert data(result)["differing"] == 0


def test_changed_behaviour_is_shown_with_values_and_owners(folder: RunFolder, tmp_path: Path) -> None:
    path = changed_ring(folder, tmp_path / "changed", "ramp_kw_per_s = 50", "ramp_kw_per_s = 10")
    result = run(path, "--json")
    assert result.exit_code == 1
    found = data(result)
    assert found["cycles"] == CYCLES
    assert 0 < found["differing"] <= CYCLES
    assert found["largest_setpoint_kw"] > 1.0
    by_name = {row["name"]: row for row in found["differences"]}
    setpoint = by_name["p_set_kw[0]"]
    assert setpoint["first_cycle"] >= found["first_cycle"]
    assert setpoint["recorded"] > setpoint["replayed"]
    assert not any(name.startswith(("value", "t_ns", "quality")) for name in by_name), "inputs never differ"
    text = run(path).stdout
    assert f"{CYCLES} cycles, {found['differing']} differences" in text
    assert "p_set_kw[0]" in text


def test_a_changed_owner_is_named(folder: RunFolder, tmp_path: Path) -> None:
    path = changed_ring(folder, tmp_path / "changed", limit_line(), "import_kw = 90")
    by_name = {row["name"]: row for row in data(run(path, "--json"))["differences"]}
    owner = by_name["site_lo_by"]
    assert owner["replayed"] == "grid_import"
    assert owner["largest"] is None


def test_names_alone_make_no_difference(folder: RunFolder, tmp_path: Path) -> None:
    path = changed_ring(folder, tmp_path / "changed", '"pv-1"', '"pv-2"')
    assert data(run(path, "--json"))["differing"] == 0


def test_a_site_that_cannot_be_built_any_more(folder: RunFolder, tmp_path: Path) -> None:
    result = run(changed_ring(folder, tmp_path / "broken", "[site]", "[sight]"), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"]


def test_records_of_another_layout_are_counted_but_not_run(folder: RunFolder, tmp_path: Path) -> None:
    """A device with fewer points does not fit the records; what fits is still replayed."""
    recorder = Recorder(folder.path, tmp_path)
    recorder.turn(0.0, flush=True)
    recorder.close()
    history = History.open(tmp_path / FILE, writable=True)
    ((layout, rows),) = history.records(0, 2**53)
    text = demo_text().replace("yunchu/pv60_opcua", "eastron/sdm630")
    history.append(history.layout(rows.dtype, layout.points, text, "older"), rows)
    history.close()
    result = run(tmp_path / FILE)
    assert result.exit_code == 0, result.output
    assert f"{len(rows)} cycles, 0 differences" in result.stdout
    assert f"{len(rows)} cycles have another layout" in result.stdout


def test_files_that_cannot_be_replayed(tmp_path: Path, run_folder: Maker) -> None:
    (tmp_path / "text").write_text("hello")
    wrong = run(tmp_path / "text")
    assert wrong.exit_code == 1
    assert "neither a ring" in wrong.stderr
    assert "No such file" in run(tmp_path / "nothing").stderr
    empty = run(run_folder().path / "ring")
    assert empty.exit_code == 1
    assert "REP-001" in empty.stderr


def test_a_progress_bar_on_a_terminal(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.cli import replay as verb

    found = verb.run(folder.path / "ring", show_progress=True)
    assert found.result.cycles == CYCLES
