"""The read plan: every point exactly once, in blocks the device accepts, at the least cost there is."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext.registers import KINDS
from drivers.catalog.loader import known_products, load_product
from drivers.catalog.product import By, PointSpec
from drivers.modbus.line import Endpoint
from drivers.modbus.plan import TCP, Cost, Hole, Read, cost_on, plan_reads, split, width
from models.point import Role

SERIAL = cost_on(Endpoint(path="/dev/ttyS0", baud=9600))


def point(
    address: int, kind: str = "u16", fn: int = 3, period_s: float = 1.0, unit_id: int | None = None
) -> PointSpec:
    return PointSpec(f"p{address}", Role.OTHER, "", period_s, 5.0, fn, address, kind, unit_id=unit_id)


fast, slow = partial(point, period_s=0.1), partial(point, period_s=10.0)


def spans(reads: tuple[Read, ...]) -> list[tuple[int, int, int]]:
    return [(read.fn, read.address, read.count) for read in reads]


CASES = [
    ([point(0), point(1), point(2)], [(3, 0, 3)], "neighbours are one read"),
    ([point(2), point(0), point(1)], [(3, 0, 3)], "in any order"),
    ([point(0), point(9)], [(3, 0, 10)], "a gap of eight is read along"),
    ([point(0), point(10)], [(3, 0, 1), (3, 10, 1)], "a gap of nine is not"),
    ([point(0, "u32"), point(10)], [(3, 0, 11)], "the gap begins behind the second register"),
    ([point(0), point(1, fn=4)], [(3, 0, 1), (4, 1, 1)], "another function is another read"),
    ([point(0), point(1, unit_id=2)], [(3, 0, 1), (3, 1, 1)], "another unit too"),
    ([fast(0), slow(1)], [(3, 0, 2)], "one slow register rides in the fast block"),
    ([fast(0), *(slow(i) for i in range(1, 99))], [(3, 0, 1), (3, 1, 98)], "ninety-eight do not"),
    ([slow(0), fast(5), slow(6)], [(3, 5, 1), (3, 0, 7)], "with one slow read there may as well be all"),
    ([fast(0), slow(4), fast(8)], [(3, 0, 9)], "what is crossed anyway rides along"),
    ([point(i) for i in range(130)], [(3, 0, 125), (3, 125, 5)], "no more registers than a read can carry"),
    ([point(123), point(124, "u32")], [(3, 123, 3)], "a pair is never cut"),
    (
        [point(i) for i in range(124)] + [point(124, "u32")],
        [(3, 0, 124), (3, 124, 2)],
        "rather a second read",
    ),
    ([point(0), *map(point, range(8, 128))], [(3, 0, 1), (3, 8, 120)], "no gap is read where two are needed"),
    ([point(5, "u32"), point(5)], [(3, 5, 2)], "two meanings of one register are one read"),
    ([point(5), point(5, "f64")], [(3, 5, 4)], "the longer one decides"),
    ([point(i, "bit", 1) for i in range(300)], [(1, 0, 300)], "bits have a limit of their own"),
    ([point(0), point(0, fn=0)], [(3, 0, 1)], "a derived point is not read"),
    ([point(0, "f64")], [(3, 0, 4)], "what is longer than the limit is read alone"),
    ([], [], "nothing"),
]


@pytest.mark.parametrize(("points", "wanted", "why"), CASES)
def test_what_is_read_together(points, wanted, why) -> None:
    assert spans(plan_reads(points, 8, 3 if "longer than the limit" in why else 125)) == wanted


def test_on_a_serial_line_registers_are_dear() -> None:
    """At 9600 baud a register costs 2 ms and a request some 26 ms."""
    points = [point(0), point(40), fast(100), slow(101), slow(104)]
    assert spans(plan_reads(points, 100, 125)) == [(3, 100, 5), (3, 0, 41)]
    assert spans(plan_reads(points, 100, 125, cost=SERIAL)) == [
        (3, 100, 1),
        (3, 0, 1),
        (3, 40, 1),
        (3, 101, 4),
    ]
    assert len(plan_reads([point(0), point(9)], 100, 125, cost=SERIAL)) == 1


def test_a_hole_is_never_read() -> None:
    points = [point(i) for i in (0, 3, 5)]
    assert spans(plan_reads(points, 8, 125, [(3, 1, 2), (4, 4, 4)])) == [(3, 0, 1), (3, 3, 3)]
    with pytest.raises(ValueError, match="hole at address 3"):
        plan_reads(points, 8, 125, [(3, 3, 3)])


def crossable(points: Sequence[PointSpec], first: int, end: int, max_gap: int, holes: Sequence[Hole]) -> bool:
    wanted = {register for p in points for register in range(p.address, p.address + width(p))}
    gap = 0
    for register in range(first, end):
        gap = 0 if register in wanted else gap + 1
        if gap > max_gap or any(a <= register <= b for _, a, b in holes):
            return False
    return True


def least_cost(
    points: Sequence[PointSpec], max_gap: int, most: int, holes: Sequence[Hole], cost: Cost
) -> float:
    """The cheapest cover by blocks from any point's beginning to any point's end, tried one by one."""
    blocks = []
    for first in {p.address for p in points}:
        for end in {p.address + width(p) for p in points}:
            if first < end <= first + most and crossable(points, first, end, max_gap, holes):
                for period_s in {p.period_s for p in points}:
                    inside = sum(
                        1 << i
                        for i, p in enumerate(points)
                        if first <= p.address and p.address + width(p) <= end and period_s <= p.period_s
                    )
                    blocks.append((inside, cost.of(3, end - first) / period_s))
    best = [math.inf] * (1 << len(points))
    best[0] = 0.0
    for have, so_far in enumerate(best):  # a block adds points, so every cost is final when it is reached
        for inside, more in blocks:
            best[have | inside] = min(best[have | inside], so_far + more)
    return best[-1]


small = st.lists(
    st.builds(
        point,
        st.integers(0, 24),
        st.sampled_from(["u16", "u16", "u32", "f64"]),
        period_s=st.sampled_from([0.2, 1.0, 10.0]),
    ),
    min_size=1,
    max_size=7,
)
costs = st.builds(Cost, st.floats(0.1, 30.0), st.floats(0.01, 3.0))
TIMES = st.integers(0, 25).map(lambda at: [(3, at, at)])


@given(small, st.integers(0, 12), st.integers(4, 16), TIMES | st.just([]), costs)
def test_no_set_of_blocks_is_cheaper(points, max_gap, most, holes, cost) -> None:
    points = [p for p in points if not any(a < p.address + width(p) and p.address <= b for _, a, b in holes)]
    reads = plan_reads(points, max_gap, most, holes, cost)
    paid = sum(cost.of(read.fn, read.count) / read.period_s for read in reads)
    assert math.isclose(paid, least_cost(points, max_gap, most, holes, cost), abs_tol=1e-12)
    assert all(crossable(points, r.address, r.address + r.count, max_gap, holes) for r in reads)


@given(
    st.lists(
        st.builds(
            point,
            st.integers(0, 400),
            st.sampled_from([kind for kind in KINDS if kind != "bit"]),
            st.sampled_from([3, 4]),
            st.sampled_from([0.1, 1.0]),
            st.sampled_from([None, 0, 7]),
        ),
        max_size=60,
    ),
    st.integers(0, 20),
    st.integers(4, 125),
    st.sampled_from([TCP, SERIAL]),
)
def test_every_point_is_read_once_and_wholly(points, max_gap, max_registers, cost) -> None:
    reads = plan_reads(points, max_gap, max_registers, cost=cost)
    assert sorted(i for read in reads for i in read.points) == list(range(len(points)))
    for read in reads:
        assert 1 <= read.count <= max_registers
        assert list(read.points) == sorted(read.points, key=lambda i: points[i].address)
        for i in read.points:
            assert (points[i].unit_id, points[i].fn) == (read.unit_id, read.fn)
            assert read.period_s <= points[i].period_s
            assert read.address <= points[i].address
            assert points[i].address + width(points[i]) <= read.address + read.count


SPLITS = [
    ([point(0), point(3), point(9)], [(3, 0, 4), (3, 9, 1)], "in the largest gap"),
    ([point(i) for i in range(4)], [(3, 0, 2), (3, 2, 2)], "without a gap in the middle"),
    ([point(0, "u32"), point(1)], [(3, 0, 2), (3, 1, 1)], "points that overlap are parted too"),
    ([point(0)], [], "one point cannot be split"),
]


@pytest.mark.parametrize(("points", "wanted", "why"), SPLITS)
def test_how_a_refused_block_is_split(points, wanted, why) -> None:
    (read,) = plan_reads(points, 8, 125)
    assert spans(split(read, points)) == wanted


@given(st.lists(st.integers(0, 60), min_size=2, max_size=40, unique=True), st.data())
def test_splitting_loses_only_what_is_not_there(addresses, data) -> None:
    """One register is not there, wanted or not: all other points are found after few refused requests."""
    points = [point(address) for address in addresses]
    missing = data.draw(st.integers(0, 60))
    reads, refused, found = list(plan_reads(points, 60, 125)), 0, set()
    while reads:
        read = reads.pop()
        if read.address <= missing < read.address + read.count:
            refused += 1
            reads += split(read, points)
        else:
            found |= set(read.points)
    assert {addresses[i] for i in found} == set(addresses) - {missing}
    assert refused <= len(addresses)


# A serial device should leave half of its line to others at 19200 baud.
WIRE_S = {"yunchu/bms215": 0.5, "eastron/sdm630": 0.5}


@pytest.mark.parametrize("key", WIRE_S)
def test_the_products_of_the_catalog_fit_their_line(key: str) -> None:
    """At 19200 baud every serial product leaves at least half of the line free."""
    assert key in known_products()
    product, cost = load_product(key), cost_on(Endpoint(path="/dev/ttyS0", baud=19_200))
    reads = plan_reads(product.points, product.link.max_gap, product.link.max_registers, cost=cost)
    assert sum(cost.of(read.fn, read.count) / read.period_s for read in reads) < WIRE_S[key]


def changed(address: int, by: str, period_s: float = 1.0, kind: str = "u16") -> PointSpec:
    return replace(point(address, kind, period_s=period_s), by=(By(by, "sign", (0,)),))


BUNDLES = [
    ([point(0), changed(8, "p0")], 8, [(3, 0, 9)], "a value and its direction come in one read"),
    ([point(0), changed(20, "p0")], 8, [(3, 0, 1), (3, 20, 1)], "but no gap is read that must not be"),
    ([point(0), point(10), changed(20, "p0")], 9, [(3, 0, 21)], "over what is read anyway"),
    ([slow(0), changed(1, "p0", 0.1)], 8, [(3, 0, 2)], "the faster of both decides"),
    (
        [point(i) for i in range(124)] + [changed(124, "p0", 1.0, "u32")],
        8,
        [(3, 0, 124), (3, 124, 2)],
        "a read that cannot hold both holds one",
    ),
]


@pytest.mark.parametrize(("points", "max_gap", "expected", "why"), BUNDLES, ids=[row[3] for row in BUNDLES])
def test_what_changes_a_value_is_read_with_it(points, max_gap, expected, why) -> None:
    assert spans(plan_reads(points, max_gap, 125)) == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([0.1, 1.0, 10.0])),
        min_size=2,
        max_size=8,
        unique_by=lambda row: row[0],
    ),
    st.data(),
)
def test_a_bundle_that_one_read_can_hold_is_never_parted(rows, data) -> None:
    points = [point(address, period_s=period_s) for address, period_s in rows]
    key = data.draw(st.integers(0, len(points) - 1))
    users = data.draw(st.sets(st.integers(0, len(points) - 1)))
    points = [
        replace(p, by=(By(points[key].name, "factor"),)) if i in users - {key} else p
        for i, p in enumerate(points)
    ]
    reads = plan_reads(points, 125, 125, cost=SERIAL)
    home = next(read for read in reads if key in read.points)
    assert all(i in home.points for i in users)
    assert sorted(i for read in reads for i in read.points) == list(range(len(points)))
    assert all(read.period_s <= points[i].period_s for read in reads for i in read.points)
