"""When a device counts as there, how long it is left alone, and what is told."""

from typing import Any

import pytest

from drivers.driver import Counters
from drivers.modbus.event import EventCode
from drivers.modbus.presence import (
    BACKOFF_MAX_NS,
    BACKOFF_NS,
    COUNT_NS,
    FAULT_MAX_NS,
    FAULT_NS,
    WELL_NS,
    Presence,
    Writes,
)
from models.errors import BadReply, DriverError, NoReply, Refused


class Told:
    """A line, a sink and an operator in one."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self.codes: list[str] = []
        self.spoiled: list[int] = []
        self.counted = 0
        self.presence = Presence("meter-1", self, self, self.tell, self.spoiled.append)

    def tell(self, code: str, device: str, what: str) -> None:
        assert device == "meter-1" and what
        self.codes.append(code)

    def put(self, *_: Any) -> None:
        raise AssertionError("values are the device's own affair")

    def count(self, counters: Counters) -> None:
        self.counted += 1


def test_three_failures_in_a_row_make_it_offline_and_one_answer_online() -> None:
    told = Told(shared=True)
    there = told.presence
    there.alive(1)
    for now_ns in (2, 3):
        there.failed("read", NoReply("nothing"), now_ns)
        assert there.counters.online and not there.well
    there.alive(4)
    assert there.well and there.counters.online and told.codes == [EventCode.ONLINE] and not told.spoiled
    for now_ns in (5, 6, 7, 8):
        there.failed("read", BadReply("wrong"), now_ns)
    assert told.codes == [EventCode.ONLINE, EventCode.OFFLINE] and told.spoiled == [7]
    there.alive(9)
    assert told.codes[2:] == [EventCode.ONLINE] and there.hold_ns == 0
    counters = there.counters
    assert (counters.polls, counters.timeouts, counters.bad_replies, counters.errors) == (3, 2, 4, 6)


@pytest.mark.parametrize(("shared", "first"), [(True, [1, 2, 4, 8]), (False, [0, 1, 2, 4])])
def test_it_is_left_alone_for_longer_and_longer(shared: bool, first: list[int]) -> None:
    there = Told(shared).presence
    held = []
    for _ in range(12):
        there.failed("read", NoReply("nothing"), 0)
        held.append(there.hold_ns)
    assert held[:4] == [times * BACKOFF_NS for times in first]
    assert held[-1] == BACKOFF_MAX_NS
    there.line_back()
    assert there.hold_ns == 0 and there.counters.reconnects == 1


def test_a_refusal_shows_that_it_is_there() -> None:
    told = Told(shared=True)
    told.presence.failed("read", NoReply("nothing"), 1)
    told.presence.failed("read", Refused("no such data"), 2)
    assert told.presence.counters.online and told.presence.hold_ns == 0
    assert told.presence.counters.refused == 1


def test_any_other_error_counts_as_a_failure_alone() -> None:
    told = Told(shared=True)
    told.presence.failed("read", DriverError("the line was lost"), 1)
    assert told.presence.counters.errors == 0 and told.presence.hold_ns > 0


def test_a_fault_is_offline_at_once_and_told_once() -> None:
    told = Told(shared=True)
    told.presence.alive(1)
    for now_ns in (2, 3):
        told.presence.fault("fault of our own", now_ns)
        assert not told.presence.counters.online
    assert told.codes == [EventCode.ONLINE, EventCode.FAULT, EventCode.OFFLINE] and told.spoiled == [2, 3]


def test_after_a_fault_it_is_left_alone_for_longer_and_longer() -> None:
    there = Told(shared=False).presence
    now_ns, pauses = 0, []
    for _ in range(6):
        there.fault("fault of our own", now_ns)
        held_ns = there.hold_ns
        there.missed("the line was lost", now_ns)
        there.line_back()
        assert there.hold_ns == held_ns, "a line that is opened anew mends nothing"
        pauses.append(held_ns - now_ns)
        now_ns = held_ns
        there.alive(now_ns)
    assert pauses == [FAULT_NS, 2 * FAULT_NS, 4 * FAULT_NS, 8 * FAULT_NS, FAULT_MAX_NS, FAULT_MAX_NS]


def test_faults_that_come_again_are_told_once_until_it_was_well_for_long() -> None:
    told = Told(shared=True)
    there, now_ns = told.presence, 1
    there.alive(now_ns)
    for _ in range(20):
        there.fault("fault of our own", now_ns)
        now_ns = there.hold_ns
        there.alive(now_ns)
        assert there.counters.online, "what it says counts all the same"
    assert told.codes == [EventCode.ONLINE, EventCode.FAULT, EventCode.OFFLINE]
    there.alive(now_ns + WELL_NS - 1)
    assert len(told.codes) == 3
    there.alive(now_ns + WELL_NS)
    assert told.codes[3:] == [EventCode.ONLINE]
    there.fault("fault of our own", now_ns + WELL_NS + 1)
    assert told.codes[4:] == [EventCode.FAULT, EventCode.OFFLINE]
    assert there.hold_ns == now_ns + WELL_NS + 1 + FAULT_NS


S = 1_000_000_000
WRITES = [
    ("+ " * 9, [], "nothing ever failed"),
    ("- - - -", [(0, "-")], "told once"),
    ("+- +- +- +- +- +- +- +- +- +- +- +-", [(0, "-")], "one of two fails at every pass"),
    ("- + + + + + + +", [(0, "-"), (6, "+")], "well for 5 s"),
    ("- + + + - + + + + + + +", [(0, "-"), (10, "+")], "a failure begins the 5 s anew"),
    ("- + + + + + + - - + + + + + + +", [(0, "-"), (6, "+")], "not told again within 10 s"),
    ("- + + + + + + - - - - +", [(0, "-"), (6, "+"), (10, "-")], "but then, when it still fails"),
]


@pytest.mark.parametrize(("seconds", "wanted", "why"), WRITES)
def test_failing_writes_are_told_without_going_to_and_fro(seconds: str, wanted, why) -> None:
    """Each word is a second: + is a write that was confirmed, - one that was not."""
    told: list[tuple[int, str]] = []
    sign = {EventCode.WRITE_FAILED: "-", EventCode.WRITE_BACK: "+"}
    second = 0
    writes = Writes(lambda code, what: told.append((second, sign[code])))
    for second, word in enumerate(seconds.split()):
        for one in word:
            writes.confirmed(second * S) if one == "+" else writes.failed("refused", second * S)
    assert told == wanted


def test_counters_are_published_now_and_then() -> None:
    told = Told(shared=True)
    for now_ns in range(0, 10 * COUNT_NS, COUNT_NS // 10):
        told.presence.alive(now_ns)
    assert 10 <= told.counted <= 12
