"""Processes are started, started again when they die, and taken down with their launcher."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import launch
from edge.launch import Launcher, Process


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


SLEEP = (
    sys.executable,
    "-c",
    "import sys, time; sys.stdout.write('up\\n'); sys.stdout.flush(); time.sleep(60)",
)


def test_a_process_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "RESTART_S", 0.05)
    launcher = Launcher([Process("one", SLEEP), Process("two", SLEEP)], tmp_path)
    launcher.start()
    one, two = launcher.pid("one"), launcher.pid("two")
    os.kill(one, signal.SIGKILL)
    assert wait(lambda: launcher.restarts["one"] == 1 and launcher.pid("one") != one)
    assert launcher.pid("two") == two
    pids = [launcher.pid("one"), two]
    launcher.stop()
    assert not any(map(alive, pids))
    assert "up" in (tmp_path / "two.log").read_text()


def test_a_process_that_ignores_the_request_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "STOP_S", 0.3)
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); sys.stdout.write('deaf\\n'); "
    deaf += "sys.stdout.flush(); time.sleep(60)"
    launcher = Launcher([Process("deaf", (sys.executable, "-c", deaf))], tmp_path)
    launcher.start()
    assert wait(lambda: "deaf" in (tmp_path / "deaf.log").read_text())
    pid = launcher.pid("deaf")
    launcher.stop()
    assert not alive(pid)


def test_children_do_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from edge.launch import Launcher, Process\n"
        "sleep = (sys.executable, '-c', 'import time; time.sleep(60)')\n"
        "l = Launcher([Process('child', sleep)], Path(sys.argv[1]))\n"
        "l.start(); sys.stdout.write(f'{l.pid(\"child\")}\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    assert wait(lambda: not alive(child))
