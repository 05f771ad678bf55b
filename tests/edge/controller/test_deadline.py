"""Deadlines are absolute; an overrun is counted and never caught up."""

import os
import socket
import time
from pathlib import Path

import pytest

from edge.controller.deadline import Cadence, notify, sleep_until

P = 100

CASES = [
    ([100, 200, 300], [200, 300, 400], 0, "every cycle in time"),
    ([150, 250], [200, 300], 0, "late within the period keeps the grid"),
    ([199], [200], 0, "done just before the next deadline"),
    ([200], [300], 1, "done exactly at the next deadline skips it"),
    ([730], [800], 6, "a long stall skips six cycles and stays on the grid"),
    ([730, 810], [800, 900], 6, "after a stall the cadence is regular again"),
]


@pytest.mark.parametrize(("done", "deadlines", "missed"), [c[:3] for c in CASES], ids=[c[3] for c in CASES])
def test_cadence(done: list[int], deadlines: list[int], missed: int) -> None:
    cadence = Cadence(P, 0)
    assert cadence.next_ns == P
    seen = []
    for now in done:
        cadence.advance(now)
        seen.append(cadence.next_ns)
    assert seen == deadlines
    assert cadence.missed == missed


def test_sleep_until_is_never_early_and_returns_at_once_for_the_past() -> None:
    deadline = time.monotonic_ns() + 20_000_000
    sleep_until(deadline)
    assert time.monotonic_ns() >= deadline
    sleep_until(0)


def test_notify_reaches_the_socket_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert systemd.recv(64) == b"READY=1"


def test_notify_without_systemd_is_silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
