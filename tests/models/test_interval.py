"""Intervals: who owns an end, and what an end that is no number means."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.interval import Interval, at_least, at_most, everything

NAN, INF = math.nan, math.inf

EMPTY = [
    ("a range", 1.0, 2.0, False),
    ("one point", 2.0, 2.0, False),
    ("the wrong way round", 2.0, 1.0, True),
    ("lower end not a number", NAN, 1.0, True),
    ("upper end not a number", 1.0, NAN, True),
    ("everything", -INF, INF, False),
]


@pytest.mark.parametrize(("lo", "hi", "expected"), [r[1:] for r in EMPTY], ids=[r[0] for r in EMPTY])
def test_empty(lo: float, hi: float, expected: bool) -> None:
    assert Interval(lo, hi, "a", "b").empty is expected


CLAMP = [("below", -9.0, -5.0), ("above", 9.0, 7.0), ("inside", 3.0, 3.0), ("at an end", 7.0, 7.0)]


@pytest.mark.parametrize(("p_kw", "expected"), [r[1:] for r in CLAMP], ids=[r[0] for r in CLAMP])
def test_clamp(p_kw: float, expected: float) -> None:
    assert Interval(-5.0, 7.0, "a", "b").clamp(p_kw) == expected


UP = Interval(-5.0, 7.0, "a", "b")
NARROW = [
    ("inside: both ends move", Interval(-4, 6, "c", "d"), Interval(-4, 6, "c", "d")),
    ("outside: none moves", Interval(-6, 8, "c", "d"), UP),
    ("equal: the owners stay", Interval(-5, 7, "c", "d"), UP),
    ("only the lower end is tighter", Interval(-4, 8, "c", "d"), Interval(-4, 7, "c", "b")),
    ("only the upper end is tighter", Interval(-6, 6, "c", "d"), Interval(-5, 6, "a", "d")),
]


@pytest.mark.parametrize(("other", "expected"), [r[1:] for r in NARROW], ids=[r[0] for r in NARROW])
def test_narrow(other: Interval, expected: Interval) -> None:
    assert UP.narrow(other) == expected


def test_one_sided_intervals() -> None:
    assert everything("x") == Interval(-INF, INF, "x", "x")
    assert at_least(3.0, "x") == Interval(3.0, INF, "x", "x")
    assert at_most(3.0, "x") == Interval(-INF, 3.0, "x", "x")


ENDS = st.floats(-1e6, 1e6)
INTERVALS = st.builds(Interval, ENDS, ENDS, st.just("a"), st.just("b"))


@given(INTERVALS, INTERVALS, ENDS)
def test_narrowing_is_the_intersection(one: Interval, other: Interval, p_kw: float) -> None:
    both = one.narrow(other)
    inside = [i.lo_kw <= p_kw <= i.hi_kw for i in (one, other, both)]
    assert inside[2] == (inside[0] and inside[1])
