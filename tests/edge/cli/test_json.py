"""``--json`` of every verb, and of those that run until they are told to end."""

import importlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge.cli import VERBS, program
from edge.cli.init import demo_text
from models.errors import BusyError, StoreError
from tests.edge.conftest import RunFolder


def run(*words: str) -> Result:
    return CliRunner().invoke(program, ["--lang", "en", *words])


def envelopes(result: Result) -> list[dict[str, Any]]:
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(a.keys() == {"schema", "ok", "time_ms", "data", "problems"} for a in answers)
    return answers


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_offers_json(verb: str) -> None:
    """The demo's takes the file that its report is written to."""
    command = importlib.import_module(VERBS[verb][0]).command
    (option,) = [param for param in command.params if "--json" in param.opts]
    assert option.is_flag == (verb != "demo")
    assert "--json" in run(verb, "--help").stdout


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(demo_text())
    return path


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(("verb", "module"), [("run", "controller"), ("services", "services")])
def test_a_process_says_how_it_ended(
    site: Path, monkeypatch: pytest.MonkeyPatch, verb: str, module: str, code: int
) -> None:
    monkeypatch.setattr(f"edge.{module}.main.run", lambda *_: code)
    result = run(verb, "--config", str(site), "--json")
    (answer,) = envelopes(result)
    assert (answer["schema"], answer["ok"], answer["data"]) == (f"edge.{verb}/1", code == 0, {"exit": code})
    assert result.exit_code == code
    assert run(verb, "--config", str(site)).stdout == ""


@pytest.mark.parametrize(("verb", "module"), [("run", "controller"), ("services", "services")])
@pytest.mark.parametrize(
    ("error", "exit_code", "code"), [(BusyError("other"), 75, "RUN-002"), (StoreError("full"), 1, "RUN-003")]
)
def test_a_process_that_cannot_run_says_why(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    module: str,
    error: Exception,
    exit_code: int,
    code: str,
) -> None:
    def broken(*_: object) -> int:
        raise error

    monkeypatch.setattr(f"edge.{module}.main.run", broken)
    result = run(verb, "--config", str(site), "--json")
    (answer,) = envelopes(result)
    assert (result.exit_code, answer["ok"], answer["problems"][0]["code"]) == (exit_code, False, code)


@pytest.fixture
def signals() -> Iterator[None]:
    """Put the handlers of the test run back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_up_says_how_it_ended_and_keeps_its_hint_off_stdout(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Idle:
        def __init__(self, *_: object) -> None:
            pass

        def start(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def stop(self) -> None:
            pass

    monkeypatch.setattr("edge.cli.up.Launcher", Idle)
    result = run("up", "--config", str(site), "--run-dir", str(tmp_path / "run"), "--json")
    (answer,) = envelopes(result)
    assert (answer["schema"], answer["ok"], answer["data"]) == ("edge.up/1", True, {"exit": 0})
    assert "logs are in" in result.stderr


def test_up_without_a_site_file_says_so(tmp_path: Path) -> None:
    (answer,) = envelopes(run("up", "--config", str(tmp_path / "none.toml"), "--json"))
    assert answer["problems"][0]["code"] == "CFG-001"


def test_watch_is_a_stream_of_the_status(run_folder: Callable[[], RunFolder]) -> None:
    folder = run_folder()
    folder.play(60)
    result = run("watch", "--run-dir", str(folder.path), "--json", "--count", "3", "--every", "0.2")
    answers = envelopes(result)
    assert [a["schema"] for a in answers] == ["edge.watch/1"] * 3
    assert answers[0]["data"]["power"]["grid_kw"] == 120.0
    assert result.exit_code == 0


def test_watch_goes_on_when_the_site_goes(
    run_folder: Callable[[], RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder()
    folder.play(60)
    monkeypatch.setattr(
        "edge.cli.watch.time.sleep", lambda _: (folder.path / "image").unlink(missing_ok=True)
    )
    answers = envelopes(run("watch", "--run-dir", str(folder.path), "--json", "--count", "2"))
    assert [a["ok"] for a in answers] == [True, False]
    assert answers[1]["problems"][0]["code"] == "RUN-001"


def test_watch_ends_with_ctrl_c(run_folder: Callable[[], RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    folder = run_folder()
    folder.play(60)
    monkeypatch.setattr("edge.cli.watch.time.sleep", interrupt)
    result = run("watch", "--run-dir", str(folder.path), "--json")
    assert (len(envelopes(result)), result.exit_code) == (1, 0)


def test_a_count_is_for_the_stream(run_folder: Callable[[], RunFolder]) -> None:
    folder = run_folder()
    assert run("watch", "--run-dir", str(folder.path), "--count", "3").exit_code == 2
