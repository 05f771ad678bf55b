"""Whose turn it is on a line."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.modbus import frames, poller
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.poller import LinkPoller, Seat, most_urgent
from models.errors import BadReply, NoReply, Refused

WRITE = Job(frames.write_register(1, 200, b"\0\0"), lambda *_: None, lambda *_: None)
READ = Job(frames.read(1, 3, 100, 1), lambda *_: None, lambda *_: None)
MS = 1_000_000


class Busy:
    """A device with what is due given."""

    def __init__(self, writes: int, read_due_ns: int, name: str = "w") -> None:
        self.name, self.writes, self.read_due_ns = name, writes, read_due_ns

    def write(self, now_ns: int) -> Job | None:
        self.writes -= 1
        return WRITE if self.writes >= 0 else None

    def write_ns(self) -> int:
        return NEVER_NS

    def read(self, now_ns: int) -> tuple[int, Job]:
        return self.read_due_ns, READ


def line_of(link: Any, devices: list[Any]) -> LinkPoller:
    link.line = SimpleNamespace(endpoint=SimpleNamespace(name="line", host=""), is_open=True)
    found = LinkPoller(link)
    found._seats = tuple(map(Seat, devices))
    found.shared = len(devices) > 1
    return found


def turns(*devices: Busy) -> Iterator[str]:
    served = line_of(SimpleNamespace(), list(devices))
    while True:
        due, _ = served._next(1_000)
        yield "-" if due is None else "r" if due[1] is READ else due[2].device.name


@pytest.mark.parametrize(
    ("why", "devices", "order"),
    [
        ("both are due for ever: they take turns", [Busy(99, 0)], "wrwrwr"),
        ("no read is due: a write need not wait", [Busy(3, 2_000)], "www---"),
        ("after the last write", [Busy(1, 0)], "wrrrrr"),
        ("one device writes, another is read", [Busy(99, 2_000), Busy(0, 0)], "wrwrwr"),
        ("two write and are read", [Busy(2, 0), Busy(2, 0, "v")], "wrvrwrvrrr"),
        ("two write for ever", [Busy(99, 2_000), Busy(99, 2_000, "v")], "wvwvwv"),
    ],
)
def test_a_due_read_goes_between_two_writes(why: str, devices: list[Busy], order: str) -> None:
    told = turns(*devices)
    assert "".join(next(told) for _ in order) == order, why


@pytest.mark.parametrize(
    ("reads", "wanted", "why"),
    [
        (
            [(0, 900, "slow"), (100, 50, "fast")],
            "fast",
            "what would first be too old, not what waits longest",
        ),
        ([(0, 900, "slow"), (100, 50, "fast"), (200, -150, "first")], "first", "whatever its period is"),
        ([(0, 900, "slow"), (1001, 0, "fast")], "slow", "what is not due waits"),
        ([(0, 100, "a"), (0, 100, "b")], "a", "alike: in order"),
        ([(1001, 0, "fast")], None, "nothing is due"),
    ],
)
def test_the_most_urgent_read_is_first(reads, wanted, why) -> None:
    found = most_urgent([(due, SimpleNamespace(slack_ns=slack), name) for due, slack, name in reads], 1000)
    assert (found and found[2]) == wanted


@dataclass
class Meter:
    """A device with one block, which it holds back for half a second after a failure as real ones do."""

    name: str
    unit: int
    dead: bool = False
    due_ns: int = 0
    hold_ns: int = 0
    at_ns: list[int] = field(default_factory=list)
    asked_ns: list[int] = field(default_factory=list)
    PERIOD_NS = 300 * MS

    def __post_init__(self) -> None:
        self.job = Job(frames.read(self.unit, 3, 0, 20), self.answered, self.failed)

    def answered(self, data: bytes, now_ns: int) -> None:
        self.at_ns.append(now_ns)
        self.due_ns = max(self.due_ns + self.PERIOD_NS, now_ns)

    def failed(self, error: Exception, now_ns: int) -> None:
        self.due_ns = max(self.due_ns + self.PERIOD_NS, now_ns)
        self.hold_ns = now_ns + 500 * MS

    def read(self, now_ns: int) -> tuple[int, Job]:
        return max(self.due_ns, self.hold_ns), self.job

    def write(self, now_ns: int) -> None:
        return None

    def write_ns(self) -> int:
        return NEVER_NS


class Wire:
    """A line on which an answer takes 40 ms, and silence what the test says; time passes only here."""

    def __init__(self, devices: list[Meter], silence_ns: int, error: type[Exception] = NoReply) -> None:
        self.now_ns, self.silence_ns, self.error = 10**12, silence_ns, error
        self.devices = {device.unit: device for device in devices}

    def monotonic_ns(self) -> int:
        return self.now_ns

    def ask(self, request: Any) -> bytes:
        device = self.devices[request.unit]
        device.asked_ns.append(self.now_ns)
        self.now_ns += self.silence_ns if device.dead else 40 * MS
        if device.dead:
            raise self.error("silent")
        return b""


def run(monkeypatch: pytest.MonkeyPatch, devices: list[Meter], wire: Wire, seconds: int) -> LinkPoller:
    monkeypatch.setattr(poller, "time", wire)
    served = line_of(wire, devices)
    monkeypatch.setattr(served, "_sleep_until", lambda at: setattr(wire, "now_ns", max(at, wire.now_ns + MS)))
    end_ns = wire.now_ns + seconds * 1000 * MS
    while wire.now_ns < end_ns:
        served._turn()
    return served


def refreshes(devices: list[Meter]) -> list[int]:
    return [b - a for device in devices for a, b in itertools.pairwise(device.at_ns)]


@pytest.mark.parametrize("silence_ms", [120, 500, 1000])
def test_one_dead_unit_of_eight_costs_the_others_little(monkeypatch, silence_ms: int) -> None:
    """The line is full without it: 7 x 40 ms of 300 ms."""
    found = []
    for dead in (False, True):
        devices = [Meter(f"m{i}", i) for i in range(1, 8)] + ([Meter("dead", 8, True)] if dead else [])
        wire = Wire(devices, silence_ms * MS)
        served = run(monkeypatch, devices, wire, 120)
        intervals = refreshes(devices[:7])
        found.append(sum(intervals) / len(intervals))
        if dead:
            assert max(intervals) <= 300 * MS + silence_ms * MS + 80 * MS, "one slot at a time"
            assert 5 <= len(devices[7].asked_ns) <= 120 / 1.7, "it is still looked for"
            assert served.stats.wait_s(wire.now_ns) < 2.0, "what is held back does not wait"
            assert served.stats.units[8].timeouts == served.stats.units[8].requests
            assert served.stats.units[1].timeouts == 0
    assert found[1] <= 1.1 * found[0]


@pytest.mark.parametrize(("error", "asked"), [(Refused, 200), (NoReply, 20), (BadReply, 20)])
def test_who_refuses_is_not_silent(monkeypatch, error, asked: int) -> None:
    devices = [Meter("good", 1), Meter("bad", 2, True)]
    run(monkeypatch, devices, Wire(devices, 100 * MS, error), 120)
    assert len(devices[1].asked_ns) >= asked if error is Refused else len(devices[1].asked_ns) <= asked


def test_one_glitch_costs_the_unit_nothing(monkeypatch) -> None:
    devices = [Meter("good", 1), Meter("glitch", 2, True)]
    devices[1].dead = False
    wire = Wire(devices, 100 * MS)
    served = run(monkeypatch, devices, wire, 1)
    devices[1].dead = True
    while not served._seats[1].silent:
        served._turn()
    assert served._seats[1].until_ns == 0
    devices[1].dead = False
    for _ in range(6):
        served._turn()
    assert served._seats[1].silent == 0


def test_when_nobody_answers_nobody_is_held_back(monkeypatch) -> None:
    devices = [Meter("a", 1, True), Meter("b", 2, True)]
    run(monkeypatch, devices, Wire(devices, 100 * MS), 30)
    assert min(len(device.asked_ns) for device in devices) >= 15


def test_a_line_that_is_back_is_asked_at_once(monkeypatch) -> None:
    devices = [Meter("good", 1), Meter("dead", 2, True)]
    wire = Wire(devices, 100 * MS)
    served = run(monkeypatch, devices, wire, 20)
    assert served._seats[1].until_ns > wire.now_ns
    served._opened = True
    wire.open = lambda: None  # type: ignore[attr-defined]
    for device in devices:
        device.line_back = lambda: None  # type: ignore[attr-defined]
    served._open()
    assert served._seats[1].until_ns == 0


def test_who_is_asked_by_the_way_and_is_silent_costs_the_device_nothing(monkeypatch) -> None:
    devices = [Meter("good", 1), Meter("asks for another unit", 2)]
    wire = Wire([*devices, Meter("dead", 9, True)], 100 * MS)
    monkeypatch.setattr(poller, "time", wire)
    served = line_of(wire, devices)
    failed: list[int] = []
    job = Job(frames.read(9, 3, 0, 2), lambda *_: None, lambda error, at_ns: failed.append(at_ns), aside=True)
    for _ in range(2 * poller.MUTE):
        served._ask(wire.now_ns, job, served._seats[1])
    assert len(failed) == 2 * poller.MUTE and served._mute == 0
    assert (served._seats[1].silent, served._seats[1].until_ns) == (0, 0)
    assert served.stats.units[9].timeouts == len(failed)
