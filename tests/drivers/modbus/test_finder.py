"""A search for silent parts must not harm the polling of those that answer."""

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.catalog.loader import load_product
from drivers.catalog.product import Product
from drivers.driver import Nameplate
from drivers.modbus import frames
from drivers.modbus.device import ModbusDevice
from drivers.modbus.event import EventCode
from drivers.modbus.finder import AGAIN_NS, SPACE_NS, Finder
from drivers.modbus.line import LineLost
from drivers.modbus.spec import ModbusSpec
from models.errors import DriverError, NoReply
from models.proposal import Setpoint

S = 1_000_000_000
MS = 1_000_000
TIMEOUT_NS = 2 * S
OWN, BEHIND, THIRD = 1, 240, 241
PCS = load_product("yunchu/pcs100")
VALUES = {100: 3, 112: 5000, 204: 3, 205: 1}


@dataclass
class Result:
    """What a search found."""

    product: Product
    lost: tuple[int, ...] = ()
    hidden: tuple[Any, ...] = ()
    trouble: tuple[str, ...] = ()


def product_without(*units: int) -> Product:
    """Return a PCS whose last points are on other units; those of missing units have no register."""
    home = dict(zip([p.name for p in PCS.points if p.fn][-2:], (BEHIND, THIRD), strict=True))
    points = tuple(
        replace(p, unit_id=home.get(p.name), fn=0 if home.get(p.name) in units else p.fn) for p in PCS.points
    )
    write = replace(PCS.write, refresh_s=1000.0, heartbeat=None, readback="") if PCS.write else None
    return replace(PCS, points=points, prepare=(), write=write)


class Line:
    """Units that answer at once or after a timeout; time passes only here."""

    shared = False

    def __init__(self, dead: set[int]) -> None:
        self.now_ns = time.monotonic_ns()
        self.dead, self.lost_line = dead, False
        self.codes: list[str] = []
        self.offline = 0
        self.polled_ns: list[int] = []
        self.questions: list[tuple[int, int]] = []
        """Unit and time of each question of a search."""
        self.writes: list[bytes] = []
        sink: Any = SimpleNamespace(put=lambda *_: None, count=lambda *_: None)
        spec = ModbusSpec("d", "u", PCS.key, "tcp://h", OWN, Nameplate(-100.0, 100.0), sink)
        poller: Any = self
        start = replace(product_without(BEHIND, THIRD), write=None)
        self.device = ModbusDevice(spec, start, poller, self.tell, search=self.search)

    def tell(self, code: str, name: str, what: str) -> None:
        self.codes.append(code)

    def wake(self) -> None:
        """Nothing sleeps."""

    def ambiguous(self, request: Any, now_ns: int) -> bool:
        return False

    def search(self) -> Any:
        lost: list[int] = []
        for unit in (OWN, BEHIND, THIRD):
            for _ in range(3):
                answer = yield frames.read(unit, 3, 40_000, 2)
                if isinstance(answer, DriverError):
                    if unit == OWN:
                        raise answer
                    lost = [*lost, unit] if unit not in lost else lost
        return Result(product_without(*lost), tuple(lost))

    def run(self, seconds: float) -> None:
        end_ns = self.now_ns + round(seconds * S)
        while self.now_ns < end_ns:
            if write := self.device.write(self.now_ns):
                self.writes.append(write.request.pdu)  # type: ignore[attr-defined]
                self.now_ns += MS
                write.answered(b"", self.now_ns)
            due_ns, job = self.device.read(self.now_ns)
            if due_ns > self.now_ns or job is None:
                self.now_ns = min(due_ns, end_ns)
                continue
            self.ask(job)

    def ask(self, job: Any) -> None:
        first, count = (int.from_bytes(job.request.pdu[i : i + 2], "big") for i in (1, 3))
        if question := first == 40_000:
            self.questions.append((job.request.unit, self.now_ns))
        if self.lost_line or job.request.unit in self.dead:
            self.now_ns += 0 if self.lost_line else TIMEOUT_NS
            job.failed(LineLost("gone") if self.lost_line else NoReply("silent"), self.now_ns)
        else:
            self.now_ns += MS
            words = (VALUES.get(address, 0) for address in range(first, first + count))
            job.answered(b"".join(word.to_bytes(2, "big") for word in words), self.now_ns)
            self.polled_ns += [] if question or job.request.unit != OWN else [self.now_ns]
        self.offline += not self.device.counters.online and bool(self.polled_ns)


def test_a_dead_unit_neither_delays_the_start_nor_makes_the_living_one_miss() -> None:
    line = Line({BEHIND})
    line.run(10)
    assert line.codes == [EventCode.RESOLVED, EventCode.ONLINE]
    assert line.polled_ns[0] < line.questions[0][1] + 3 * TIMEOUT_NS + S


def test_while_a_dead_unit_is_looked_for_the_living_one_is_polled_between_any_two_questions() -> None:
    line = Line({BEHIND})
    line.run(10)
    line.questions.clear()
    line.polled_ns.clear()
    line.run(600)
    assert line.codes == [EventCode.RESOLVED, EventCode.ONLINE] and not line.offline
    assert line.device.counters.timeouts == 0
    silent = [at_ns for unit, at_ns in line.questions if unit == BEHIND]
    assert 3 * 5 <= len(silent) <= 3 * 10
    gaps = [b - a for a, b in pairwise(line.polled_ns)]
    assert max(gaps) <= TIMEOUT_NS + S // 4, "one question at a time"
    assert min(b - a for a, b in pairwise(silent)) >= TIMEOUT_NS + SPACE_NS


def test_what_answers_again_is_found_and_the_setpoint_is_not_told_again() -> None:
    line = Line({BEHIND})
    line.run(8)
    line.device.offer(Setpoint("u", 10.0, line.now_ns + 10_000 * S))
    line.run(2)
    told, writer = list(line.writes), line.device._writer
    assert told
    line.dead.clear()
    line.run(2 * AGAIN_NS / S)
    assert line.codes == [EventCode.RESOLVED, EventCode.ONLINE, EventCode.RESOLVED]
    assert all(spec.fn for spec in line.device._polled.specs if spec.unit_id == BEHIND)
    assert line.device._writer is writer and not writer.idle
    assert line.writes == told


def test_what_is_known_stays_known_when_more_is_found() -> None:
    line = Line({BEHIND})
    line.run(8)
    line.dead.clear()
    line.device._finder.again_ns = 0
    while line.codes.count(EventCode.RESOLVED) < 2:
        due_ns, job = line.device.read(line.now_ns)
        line.now_ns = max(due_ns, line.now_ns)
        assert job is not None
        line.ask(job)
    known = line.device._polled.known
    assert known("frequency_hz", line.now_ns) == 50.0, "before it is read again"


@pytest.mark.parametrize(
    ("dead", "why"),
    [
        ({BEHIND, THIRD}, "another unit that was there does not answer just now: it is polled all the same"),
        ({THIRD}, "one came back, another was silent: next time"),
    ],
)
def test_a_search_that_finds_less_than_before_changes_nothing(dead: set[int], why: str) -> None:
    line = Line({BEHIND})
    line.run(10)
    specs = line.device._polled.specs
    finder, found = line.device._finder, None
    finder.begin(aside=True)
    while finder.asked is not None:
        failed = finder.asked.unit in dead
        found = finder.answer(NoReply("silent") if failed else b"SunS", line.now_ns)
    assert found is None, why
    assert line.device._polled.specs == specs
    assert finder.again_ns == line.now_ns + AGAIN_NS


@pytest.mark.parametrize("error", [LineLost("gone"), NoReply("its own unit is silent")])
def test_a_search_beside_the_polling_that_fails_is_forgotten(error: DriverError) -> None:
    def search() -> Any:
        answer = yield frames.read(OWN, 3, 40_000, 2)
        if isinstance(answer, DriverError):
            raise answer

    finder = Finder(search)
    finder.begin(aside=True)
    assert finder.answer(error, 5) is None
    assert finder.asked is None and finder.again_ns == 5 + AGAIN_NS


def test_a_device_that_dies_during_the_search_is_looked_at_anew_as_a_whole() -> None:
    line = Line({BEHIND})
    line.run(10)
    line.device._finder.again_ns = 0
    line.dead |= {OWN, THIRD}
    line.run(30)
    assert line.codes[-1] == EventCode.OFFLINE and not line.device._finder.aside
    line.dead.clear()
    line.run(30)
    assert line.codes[-1] == EventCode.ONLINE
    assert all(spec.fn for spec in line.device._polled.specs if spec.unit_id == BEHIND)


def test_a_line_that_is_lost_during_the_search_ends_it() -> None:
    line = Line({BEHIND})
    line.run(10)
    line.device._finder.again_ns = 0
    line.lost_line = True
    line.run(1)
    line.lost_line = False
    line.run(20)
    assert line.codes[-1] == EventCode.ONLINE
