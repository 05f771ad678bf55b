"""What becomes of the plan when a device refuses parts of it: a whole device on a line that takes no time."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.catalog.loader import load_product
from drivers.catalog.product import Product
from drivers.driver import Nameplate
from drivers.modbus.device import ModbusDevice
from drivers.modbus.event import EventCode
from drivers.modbus.polled import WHOLE_MAX_NS, WHOLE_NS
from drivers.modbus.spec import ModbusSpec
from models.errors import NoReply, Refused
from models.point import Quality

S = 1_000_000_000
MS = 1_000_000
PCS = load_product("yunchu/pcs100")
SLOW = replace(PCS, points=tuple(replace(p, period_s=2.0, max_age_s=10.0) for p in PCS.points))
"""The same with one block for all near each other, and few reads per hour that the tests let pass."""
VALUES = {112: 5000}
"""Registers for which 0 is nothing good."""


class Line:
    """Asks a device what is due, and answers as long as it does not touch what is missing."""

    shared = False

    def __init__(self, product: Product = PCS) -> None:
        self.now_ns = time.monotonic_ns()
        self.missing: set[int] = set()
        self.refuses: int = 0
        """Exception code that all is refused with; 0 for none."""
        self.asked: list[tuple[int, int]] = []
        """First register and number of each read."""
        self.codes: list[str] = []
        self.quality = np.zeros(len(product.points), np.uint8)
        self.ever_bad = 0
        sink: Any = SimpleNamespace(put=self.put, count=lambda counters: None)
        spec = ModbusSpec("d", "u", product.key, "tcp://h", 1, Nameplate(-1.0, 1.0), sink)
        poller: Any = self
        self.device = ModbusDevice(spec, product, poller, lambda code, name, what: self.codes.append(code))

    def put(self, index: Any, value: Any, quality: Any, t_ns: int) -> None:
        self.quality[index] = quality
        self.ever_bad += int((quality != Quality.GOOD).sum())

    def ambiguous(self, request: Any, now_ns: int) -> bool:
        return False

    def run(self, seconds: float, silent: bool = False) -> int:
        """Let time pass; return the number of reads."""
        before, end_ns = len(self.asked), self.now_ns + round(seconds * S)
        while True:
            due_ns, job = self.device.read(self.now_ns)
            if due_ns > end_ns or job is None:
                self.now_ns = end_ns
                return len(self.asked) - before
            if due_ns > self.now_ns:
                self.now_ns = due_ns
                continue
            self.now_ns += MS
            first, count = (int.from_bytes(job.request.pdu[i : i + 2], "big") for i in (1, 3))  # type: ignore[attr-defined]
            self.asked.append((first, count))
            if silent:
                job.failed(NoReply("nothing"), self.now_ns)
            elif self.refuses or self.missing.intersection(range(first, first + count)):
                job.failed(Refused("exception", self.refuses or 2), self.now_ns)
            else:
                words = (VALUES.get(address, 0) for address in range(first, first + count))
                job.answered(b"".join(word.to_bytes(2, "big") for word in words), self.now_ns)

    def plan(self) -> list[tuple[int, int]]:
        return [(block.read.address, block.read.count) for block in self.device._polled.blocks]

    def bad(self) -> set[str]:
        return {p.name for p, q in zip(PCS.points, self.quality, strict=True) if q == Quality.BAD}


def names(*addresses: int) -> set[str]:
    return {p.name for p in PCS.points if p.fn and p.address in addresses}


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.mark.parametrize("code", [2, 3, 4, 6])
def test_a_device_that_refuses_everything_for_a_while_is_asked_as_before_after_it(line, code: int) -> None:
    plan, rate = line.plan(), line.run(10)
    line.refuses = code
    assert line.run(30) <= 2 * 30 * len(plan) + 1, "nor is it asked more often meanwhile"
    assert line.plan() == plan
    line.refuses = 0
    line.run(3)
    assert not line.bad()
    assert abs(line.run(10) - rate) <= len(plan)
    assert line.codes.count(EventCode.READ_REFUSED) == line.codes.count(EventCode.READ_BACK) == len(plan)


def test_what_is_not_there_costs_nothing_but_itself(line) -> None:
    line.missing = {105}
    line.run(10)
    assert line.bad() == names(105)
    assert len(line.plan()) <= 2 + 6


def test_the_whole_block_is_tried_again_and_read_again(line) -> None:
    plan = line.plan()
    line.missing = {105}
    line.run(10)
    assert line.plan() != plan
    line.missing = set()
    line.run(WHOLE_NS / S)
    assert line.plan() == plan
    assert not line.bad()
    assert line.device._polled._divisions == [] and line.device._polled._doubts == {}


def test_trials_that_are_refused_again_become_rare_and_spoil_nothing() -> None:
    line = Line(SLOW)
    whole = line.plan()[0]
    line.missing = {105}
    line.run(10)
    parts, told, bad, start = line.plan(), list(line.codes), line.ever_bad, line.now_ns
    trials = []
    while line.now_ns < start + 4 * WHOLE_MAX_NS:
        line.asked.clear()
        line.run(10)
        trials += [line.now_ns - start] if whole in line.asked else []
    pauses = np.diff(trials) / S
    assert abs(trials[0] - WHOLE_NS) <= 11 * S
    assert pauses[:5] == pytest.approx([120, 240, 480, 960, 1920], abs=11)
    assert pauses[5:] == pytest.approx(WHOLE_MAX_NS / S, abs=11)
    assert line.plan() == parts and line.codes == told
    assert line.bad() == names(105)
    refusals = 4 * WHOLE_MAX_NS / S
    assert line.ever_bad - bad <= refusals + 10, "only what is missing was made bad, once a second"


def test_a_trial_without_an_answer_leaves_the_parts(line) -> None:
    line.missing = {105}
    line.run(WHOLE_NS / S - 1)
    parts = line.plan()
    line.run(8, silent=True)
    line.run(8)
    assert line.plan() == parts and line.bad() == names(105)


def test_while_a_device_is_away_its_parts_are_all_bad(line) -> None:
    line.missing = {105}
    line.run(10)
    line.run(10, silent=True)
    assert len(line.bad()) == len(PCS.points)


registers = sorted({p.address for p in PCS.points if p.fn})


@settings(max_examples=25, deadline=None)
@given(missing=st.sets(st.sampled_from(registers)), boots=st.booleans())
def test_whatever_is_missing_all_else_is_read_and_the_plan_comes_back(missing: set[int], boots: bool) -> None:
    line = Line(SLOW)
    plan = line.plan()
    if boots:
        line.refuses = 2
        line.run(5)
        line.refuses = 0
    line.missing = missing
    line.run(50)
    assert line.bad().intersection(names(*registers)) == names(*missing)
    assert len(line.plan()) <= len(PCS.points)
    if missing.issuperset(registers):
        assert line.plan() == plan, "nothing at all can be read: there is nothing to look for"
    line.missing = set()
    line.run(70)
    line.run(WHOLE_NS / S)
    assert line.plan() == plan and not line.bad()
