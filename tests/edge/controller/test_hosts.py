"""Driver hosts are started again when they die, also when the system has just no room for a process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.controller.hosts import HEALTHY_S, Hosts
from edge.events import Events, tail
from tests.drivers.opcua_server import until


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    monkeypatch.setattr("edge.controller.hosts.CHECK_S", 0.01)
    monkeypatch.setattr("edge.controller.hosts.BACKOFF_S", (0.01,))
    hosts = Hosts(tmp_path / "site.toml", tmp_path, ["pv-1"], Events(tmp_path / "events.jsonl", "test"))
    hosts._commands = {"pv-1": [sys.executable, "-c", "import time; time.sleep(60)"]}
    return hosts


def codes(folder: Path) -> list[str]:
    return [event["code"] for event in tail(folder / "events.jsonl", 99)]


def test_a_host_that_dies_is_started_again(hosts: Hosts, tmp_path: Path) -> None:
    hosts.start()
    try:
        first = hosts._children["pv-1"]
        first.kill()
        until(lambda: hosts._children["pv-1"] is not first)
        assert codes(tmp_path) == ["HOST_DIED"]
    finally:
        hosts.stop()
    assert hosts._children["pv-1"].returncode is not None


def test_a_start_that_fails_is_tried_again(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.start()
    try:
        first, popen, failures = hosts._children["pv-1"], subprocess.Popen, iter([True])

        def poor(*given: Any, **named: Any) -> subprocess.Popen[bytes]:
            if next(failures, False):
                raise OSError(12, "cannot allocate memory")
            return popen(*given, **named)

        monkeypatch.setattr(subprocess, "Popen", poor)
        first.kill()
        until(lambda: hosts._children["pv-1"] is not first)
        assert "HOST_NOT_STARTED" in codes(tmp_path)
    finally:
        hosts.stop()


class Child:
    """A process that ends when it is told to."""

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class Looked:
    """Two hosts that are looked at by a clock of the test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("edge.controller.hosts.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: Child())
        self.hosts = Hosts(folder / "site.toml", folder, ["a", "b"], Events(folder / "events.jsonl", "test"))
        for name in ("a", "b"):
            self.hosts._spawn(name)

    def kill(self, name: str) -> None:
        self.hosts._children[name].returncode = 1

    def look(self, later_s: float) -> list[str]:
        """Look at all after a while; return who was started again."""
        self.now_s += later_s
        before = dict(self.hosts._children)
        for name in before:
            self.hosts._look(name, self.now_s)
        return [name for name, child in before.items() if self.hosts._children[name] is not child]


def test_one_host_that_waits_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(tmp_path, monkeypatch)
    for pause_s in (0.5, 1.0, 2.0):
        looked.kill("a")
        assert looked.look(0.1) == []
        assert looked.look(pause_s) == ["a"]
    looked.kill("a")
    assert looked.look(0.1) == []
    looked.kill("b")
    assert looked.look(0.1) == []
    assert looked.look(0.5) == ["b"]
    assert looked.look(4.5) == ["a"]


@pytest.mark.parametrize(("lived_s", "pause_s"), [(HEALTHY_S - 1, 2.0), (HEALTHY_S, 0.5)])
def test_the_count_of_deaths_begins_anew_after_a_healthy_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lived_s: float, pause_s: float
) -> None:
    looked = Looked(tmp_path, monkeypatch)
    for died_before in (0.5, 1.0):
        looked.kill("a")
        looked.look(0.0)
        assert looked.look(died_before) == ["a"]
    looked.kill("a")
    assert looked.look(lived_s) == []
    assert looked.look(pause_s - 0.1) == []
    assert looked.look(0.1) == ["a"]
