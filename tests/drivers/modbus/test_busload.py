"""Whether a list of devices fits on its line."""

import itertools
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog.loader import load_product
from drivers.catalog.product import PointSpec
from drivers.modbus import poller
from drivers.modbus.busload import LineDevice, line_device, load_of
from drivers.modbus.job import NEVER_NS
from drivers.modbus.line import Endpoint
from drivers.modbus.plan import cost_on, plan_reads, slack_s
from models.point import Role

SLOW_LINE, FAST_LINE = (Endpoint(path="/dev/ttyS0", baud=baud) for baud in (9600, 115_200))


def device(name: str, *rows: tuple[int, int, float, float], writes: tuple[float, ...] = ()) -> LineDevice:
    """Rows: first address, registers, period and largest age in seconds."""
    points = tuple(
        PointSpec(f"p{first + i}", Role.OTHER, "", period_s, max_age_s, 3, first + i)
        for first, count, period_s, max_age_s in rows
        for i in range(count)
    )
    return LineDevice(name, points, plan_reads(points, 0, 125), tuple((period, 1) for period in writes))


METER = ((0, 2, 0.2, 1.0), (50, 50, 1.0, 5.0), (200, 20, 10.0, 60.0))


def test_a_meter_alone_leaves_room() -> None:
    load = load_of([device("meter", *METER)], SLOW_LINE)
    assert 0.2 < load.utilisation < 0.5
    assert load.late == ()
    assert math.isclose(load.requests_per_s, 5 + 1 + 0.1)
    cost = cost_on(SLOW_LINE)
    longest = cost.of(3, 50) + cost.of(3, 2)  # one that cannot be broken off, and its own
    assert 0.2 < load.worst_age_s["meter", "p0"] <= 0.2 + longest + 1e-9


def test_too_many_meters_are_told_by_the_points_that_become_too_old() -> None:
    few = load_of([device(f"m{i}", *METER) for i in range(3)], SLOW_LINE)
    many = load_of([device(f"m{i}", *METER) for i in range(40)], SLOW_LINE)
    assert few.utilisation < 1.0 < many.utilisation
    assert few.late == () and ("m0", "p0") in many.late
    assert load_of([device(f"m{i}", *METER) for i in range(12)], FAST_LINE).late == ()


def test_writes_take_their_turn_and_never_starve_reads() -> None:
    load = load_of([device("pcs", (0, 2, 0.2, 1.0), writes=(0.001,))], FAST_LINE)
    assert load.utilisation > 5
    assert load.late == ()
    assert load.worst_age_s["pcs", "p0"] < 0.25


def test_a_slow_block_waits_for_the_fast_ones() -> None:
    """The slow read has a minute to spare; it takes one turn at most before a fast one."""
    slow = device("slow", (0, 125, 10.0, 60.0))
    alone, beside = (
        load_of([device("fast", (0, 2, 0.2, 0.6)), *more], SLOW_LINE).worst_age_s["fast", "p0"]
        for more in ([], [slow])
    )
    assert beside - alone <= cost_on(SLOW_LINE).of(3, 125) + 1e-9


def test_nothing_on_a_line_is_no_load() -> None:
    load = load_of([], SLOW_LINE)
    assert (load.utilisation, load.requests_per_s, dict(load.worst_age_s), load.late) == (0.0, 0.0, {}, ())


@given(
    st.lists(st.tuples(st.integers(1, 100), st.sampled_from([0.2, 0.5, 1.0, 10.0])), min_size=1, max_size=6),
    st.sampled_from([SLOW_LINE, FAST_LINE]),
)
def test_an_age_lies_between_its_period_and_what_the_theory_allows(rows, line) -> None:
    """Below full load no read waits longer than all others once and one more, if deadlines are its period."""
    devices = [device(f"d{i}", (0, count, period, 2 * period)) for i, (count, period) in enumerate(rows)]
    load = load_of(devices, line)
    costs = [cost_on(line).of(3, count) for count, _ in rows]
    assert math.isclose(load.utilisation, sum(c / p for c, (_, p) in zip(costs, rows, strict=True)))
    for i, (_, period) in enumerate(rows):
        age = load.worst_age_s[f"d{i}", "p0"]
        assert age >= period + costs[i] - 1e-9 or load.utilisation > 1
        # George, Rivierre, Spuri: Preemptive and non-preemptive real-time uniprocessor scheduling (1996)
        if (
            sum(cost / p for cost, (_, p) in zip(costs, rows, strict=True))
            + max(costs) / min(p for _, p in rows)
            <= 1.0
        ):
            assert age <= 2 * period + 1e-9
            assert load.late == ()


def test_the_slack_is_that_of_the_first_value_to_become_too_old() -> None:
    found = device("d", (0, 1, 1.0, 5.0), (1, 1, 1.0, 3.0))
    assert slack_s(found.reads[0], found.points) == 2.0
    strict = device("d", (0, 1, 1.0, 0.5))
    assert slack_s(strict.reads[0], strict.points) == 0.0


@pytest.mark.parametrize(("count", "fits"), [(1, True), (30, False)])
def test_products_of_the_catalog_on_a_line(count: int, fits: bool) -> None:
    product = load_product("eastron/sdm630")
    devices = [line_device(f"m{i}", product, SLOW_LINE) for i in range(count)]
    assert (load_of(devices, SLOW_LINE).late == ()) == fits


def test_a_product_that_is_written_counts_its_writes() -> None:
    product = load_product("yunchu/pcs100")
    quiet, lively = (line_device("pcs", product, FAST_LINE, changes) for changes in (0.0, 10.0))
    assert len(quiet.writes) == len(lively.writes) >= 1
    loads = [load_of([found], FAST_LINE).utilisation for found in (quiet, lively)]
    assert loads[0] < loads[1]
    assert all(a[0] >= b[0] for a, b in itertools.pairwise([quiet.writes[0], lively.writes[0]]))


@dataclass
class Asked:
    """A device of one read, for the poller itself."""

    unit: int
    period_ns: int
    slack_ns: int
    name: str = ""
    due_ns: int = 0
    last_ns: int = 0
    worst_ns: int = 0
    on_time: bool = True

    def read(self, now_ns: int) -> tuple[int, Any]:
        request = SimpleNamespace(unit=self.unit)
        return self.due_ns, SimpleNamespace(request=request, slack_ns=self.slack_ns, answered=self.answered)

    def answered(self, data: bytes, now_ns: int) -> None:
        if self.on_time:  # whenever it was read before, it was not before its period began
            age_ns = self.period_ns + now_ns - self.due_ns
        else:
            age_ns = now_ns - self.last_ns
        self.worst_ns, self.last_ns = max(self.worst_ns, age_ns), now_ns
        self.on_time = self.due_ns + self.period_ns >= now_ns
        self.due_ns = max(self.due_ns + self.period_ns, now_ns)

    def write(self, now_ns: int) -> None:
        return None

    def write_ns(self) -> int:
        return NEVER_NS


@pytest.mark.parametrize("count", [3, 20, 40])
def test_what_is_foretold_is_what_the_poller_does(monkeypatch, count: int) -> None:
    """The poller on a line whose time only passes while it asks; ages agree to one request."""
    rows = [(0.2, 1.0), (1.0, 5.0), (10.0, 60.0)] * count
    devices = [device(f"d{i}", (0, 20, *row)) for i, row in enumerate(rows)]
    load, cost_ns = load_of(devices, FAST_LINE), round(1e9 * cost_on(FAST_LINE).of(3, 20))
    served = [
        Asked(i, round(1e9 * period), round(1e9 * (age - period))) for i, (period, age) in enumerate(rows)
    ]
    clock = SimpleNamespace(now_ns=0)

    def ask(request: Any) -> bytes:
        clock.now_ns += cost_ns
        return b""

    monkeypatch.setattr(poller, "time", SimpleNamespace(monotonic_ns=lambda: clock.now_ns))
    line = SimpleNamespace(endpoint=SimpleNamespace(name="line", host=""), is_open=True)
    found = poller.LinkPoller(SimpleNamespace(line=line, ask=ask))
    found._seats = tuple(map(poller.Seat, served))
    monkeypatch.setattr(found, "_sleep_until", lambda at: setattr(clock, "now_ns", at))
    while clock.now_ns < 30e9:
        found._turn()
    assert (load.utilisation > 1) == (count > 10)
    for i, asked in enumerate(served):
        if not asked.last_ns:
            assert load.worst_age_s[f"d{i}", "p0"] == math.inf
            continue
        assert load.worst_age_s[f"d{i}", "p0"] == pytest.approx(asked.worst_ns / 1e9, abs=2.5 * cost_ns / 1e9)
