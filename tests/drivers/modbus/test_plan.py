"""The read plan: every point exactly once, in blocks the device accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext.registers import KINDS
from drivers.catalog.loader import known_products, load_product
from drivers.catalog.product import PointSpec
from drivers.modbus.plan import Read, plan_reads, width
from models.point import Role


def point(address: int, kind: str = "u16", fn: int = 3, period_s: float = 1.0) -> PointSpec:
    return PointSpec(f"p{address}", Role.OTHER, "", period_s, 5.0, fn, address, kind)


def spans(reads: tuple[Read, ...]) -> list[tuple[int, int, int]]:
    return [(read.fn, read.address, read.count) for read in reads]


CASES = [
    ([point(0), point(1), point(2)], [(3, 0, 3)], "neighbours are one read"),
    ([point(2), point(0), point(1)], [(3, 0, 3)], "in any order"),
    ([point(0), point(9)], [(3, 0, 10)], "a gap of eight is read along"),
    ([point(0), point(10)], [(3, 0, 1), (3, 10, 1)], "a gap of nine is not"),
    ([point(0, "u32"), point(10)], [(3, 0, 11)], "the gap begins behind the second register"),
    ([point(0), point(1, fn=4)], [(3, 0, 1), (4, 1, 1)], "another function is another read"),
    ([point(0), point(1, period_s=0.1)], [(3, 1, 1), (3, 0, 1)], "another period too"),
    ([point(i) for i in range(130)], [(3, 0, 125), (3, 125, 5)], "no more registers than a read can carry"),
    ([point(123), point(124, "u32")], [(3, 123, 3)], "a pair is never cut"),
    (
        [point(i) for i in range(124)] + [point(124, "u32")],
        [(3, 0, 124), (3, 124, 2)],
        "rather a second read",
    ),
    ([point(5, "u32"), point(5)], [(3, 5, 2)], "two meanings of one register are one read"),
    ([point(5), point(5, "f64")], [(3, 5, 4)], "the longer one decides"),
    ([point(i, "bit", 1) for i in range(300)], [(1, 0, 300)], "bits have a limit of their own"),
]


@pytest.mark.parametrize(("points", "wanted", "why"), CASES)
def test_what_is_read_together(points, wanted, why) -> None:
    assert spans(plan_reads(points, 8, 125)) == wanted


@given(
    st.lists(
        st.builds(
            point,
            st.integers(0, 400),
            st.sampled_from([kind for kind in KINDS if kind != "bit"]),
            st.sampled_from([3, 4]),
            st.sampled_from([0.1, 1.0]),
        ),
        max_size=60,
    ),
    st.integers(0, 20),
    st.integers(4, 125),
)
def test_every_point_is_read_once_and_wholly(points, max_gap, max_registers) -> None:
    reads = plan_reads(points, max_gap, max_registers)
    assert sorted(i for read in reads for i in read.points) == list(range(len(points)))
    for read in reads:
        assert 1 <= read.count <= max_registers
        for i in read.points:
            assert (points[i].fn, points[i].period_s) == (read.fn, read.period_s)
            assert read.address <= points[i].address
            assert points[i].address + width(points[i]) <= read.address + read.count


WIRE_S = {"yunchu/bms215": 0.5, "eastron/sdm630": 0.5}


@pytest.mark.parametrize("key", [key for key in known_products() if load_product(key).protocol == "modbus"])
def test_the_products_of_the_catalog_fit_their_line(key: str) -> None:
    """At 19200 baud every serial product leaves at least half of the line free."""
    product = load_product(key)
    reads = plan_reads(product.points, product.link.max_gap, product.link.max_registers)
    byte_s = 10 / 19_200
    load = sum((8 + 5 + 2 * read.count + 7) * byte_s / read.period_s for read in reads)
    assert load < WIRE_S.get(key, 10.0)


def test_the_bms_is_one_block_and_the_meters_power_is_short() -> None:
    bms, meter = load_product("yunchu/bms215"), load_product("eastron/sdm630")
    assert spans(plan_reads(bms.points, 8, 125)) == [(4, 0, 20)]
    assert spans(plan_reads(meter.points, 8, 125)) == [(4, 52, 10), (4, 0, 2), (4, 70, 6)]
