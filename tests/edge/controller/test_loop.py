"""The loop around the cycle: it hands over, records, counts, and gives up when the cycle is broken."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.driver import Counters
from edge.controller import loop as loop_module
from edge.controller.loop import MAX_FAULTS, Loop
from edge.controller.takeover import take_over
from edge.events import Events
from edge.mailbox import Held
from models.point import Point
from models.proposal import Setpoint
from tests.edge.conftest import RunFolder

Maker = Callable[[], RunFolder]


class FakeDriver:
    """Keeps what it is offered and stops the loop after a number of setpoints."""

    name = "pcs-1"
    points: tuple[Point, ...] = ()
    counters = Counters()

    def __init__(self, stop: threading.Event, after: int) -> None:
        self.offered: list[Setpoint] = []
        self._stop, self._after = stop, after

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def offer(self, setpoint: Setpoint) -> None:
        self.offered.append(setpoint)
        if len(self.offered) >= self._after:
            self._stop.set()


def make(folder: RunFolder, after: int) -> tuple[Loop, FakeDriver, threading.Event]:
    stop = threading.Event()
    driver = FakeDriver(stop, after)
    events = Events(folder.path / "events.jsonl", "test")
    parts = (folder.plant.site, folder.image, folder.ring, {"battery-1": driver}, Held(-100.0, 100.0), events)
    return Loop(*parts), driver, stop


def test_every_cycle_hands_over_a_living_setpoint_and_leaves_a_record(run_folder: Maker) -> None:
    folder = run_folder()
    loop, driver, stop = make(folder, 5)
    assert loop.run(folder.state, stop) is True
    rows = folder.ring.since(0)
    assert rows["cycle"].tolist() == [1, 2, 3, 4, 5]
    assert [s.p_kw for s in driver.offered] == rows["p_set_kw"][:, 0].tolist()
    assert all(s.expires_ns > mono for s, mono in zip(driver.offered, rows["mono_ns"], strict=True))
    assert (rows["lateness_ns"] >= 0).all() and (rows["busy_ns"] > 0).all()


def test_cycles_keep_their_distance(run_folder: Maker) -> None:
    folder = run_folder()
    loop, _, stop = make(folder, 4)
    loop.run(folder.state, stop)
    rows = folder.ring.since(0)
    deadlines = rows["mono_ns"] - rows["lateness_ns"]
    assert {int(gap) % 100_000_000 for gap in deadlines[1:] - deadlines[:-1]} == {0}


def test_a_broken_cycle_sends_nothing_tells_why_and_ends_the_process(
    run_folder: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(loop_module, "run_cycle", broken)
    folder = run_folder()
    loop, driver, stop = make(folder, 1)
    assert loop.run(folder.state, stop) is False
    assert driver.offered == []
    assert folder.ring.total == 0
    events = [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()]
    assert [event["code"] for event in events] == ["CYCLE_FAULT"] * MAX_FAULTS
    assert "a bug" in events[0]["what"]


def test_a_battery_that_does_not_follow_is_told_once_and_so_is_that_it_follows_again(
    run_folder: Maker,
) -> None:
    folder = run_folder()
    loop, _, _ = make(folder, 1_000)
    first, power = folder.state, 30.0
    for k in range(420):
        folder.read({"pcs-1/p_kw": power}, now_ns := 10**12 + k * 100_000_000, float(k // 10))
        outcome = loop._turn(folder.state, now_ns)
        assert outcome is not None
        folder.state = outcome.state
        power = 30.0 if k < 100 else 0.0
    assert first.follows[0].verdict == folder.state.follows[0].verdict == 0
    events = [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()]
    assert [(event["code"], event["where"]) for event in events] == [
        ("NOT_FOLLOWING", "battery-1"),
        ("FOLLOWING", "battery-1"),
    ]
    assert "told 0.0 kW, measured 30.0 kW" in events[0]["what"]
    assert "it follows again" in events[1]["what"]


TAKEOVER = [
    ({"pcs-1/p_set_kw": 37.5}, 37.5, "goes on from the setpoint that the PCS reports"),
    ({"pcs-1/p_set_kw": -12.0}, -12.0, "also when it charges"),
    ({"pcs-1/p_set_kw": 150.0}, 100.0, "but never beyond the nameplate"),
    ({"pcs-1/p_set_kw": float("nan")}, 0.0, "a PCS that does not answer begins with zero"),
]


@pytest.mark.parametrize(("shown", "start_kw"), [t[:2] for t in TAKEOVER], ids=[t[2] for t in TAKEOVER])
def test_takeover(
    run_folder: Maker, shown: dict[str, float], start_kw: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.controller.takeover.WAIT_S", 0.2)
    folder = run_folder()
    folder.play(7, shown)
    state = take_over(folder.plant.site, folder.image, folder.ring, threading.Event())
    assert state.last_kw == (start_kw,)
    assert state.cycle == 8, "cycles are numbered on from the record"


def test_the_first_cycle_ever_is_number_zero_or_more(run_folder: Maker, tmp_path: Path) -> None:
    folder = run_folder()
    stop = threading.Event()
    stop.set()
    assert take_over(folder.plant.site, folder.image, folder.ring, stop).cycle == 0
