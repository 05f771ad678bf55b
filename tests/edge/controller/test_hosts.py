"""Driver hosts are started again when they die, also when the system has just no room for a process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.controller.hosts import Hosts
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
