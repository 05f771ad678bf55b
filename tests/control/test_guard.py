"""The last clamp: a table for every function, then the promises over everything that floats can be."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from control.guard import clamp, guard, hold, window
from models.interval import Interval

NAN, INF = math.nan, math.inf

CLAMP = [
    ("inside: unchanged", 5.0, -10.0, 10.0, 5.0),
    ("on the upper end: unchanged", 10.0, -10.0, 10.0, 10.0),
    ("on the lower end: unchanged", -10.0, -10.0, 10.0, -10.0),
    ("above: the upper end", 10.5, -10.0, 10.0, 10.0),
    ("below: the lower end", -10.5, -10.0, 10.0, -10.0),
    ("one point allowed: that point", 3.0, 7.0, 7.0, 7.0),
    ("not a number: zero, if zero is allowed", NAN, -10.0, 10.0, 0.0),
    ("not a number: nearest to zero, if it must discharge", NAN, 4.0, 10.0, 4.0),
    ("not a number: nearest to zero, if it must charge", NAN, -10.0, -4.0, -4.0),
    ("infinite: nearest to zero, not the end", INF, 4.0, 10.0, 4.0),
    ("minus infinite: nearest to zero, not the end", -INF, -10.0, -4.0, -4.0),
    ("nothing allowed: zero", 5.0, 3.0, 2.0, 0.0),
    ("an end is not a number: zero", 5.0, NAN, 10.0, 0.0),
    ("the other end is not a number: zero", 5.0, -10.0, NAN, 0.0),
    ("only plus infinity allowed: zero", 5.0, INF, INF, 0.0),
    ("only minus infinity allowed: zero", 5.0, -INF, -INF, 0.0),
    ("open above: unchanged", 5.0, 1.0, INF, 5.0),
    ("open below: unchanged", -5.0, -INF, 1.0, -5.0),
]


@pytest.mark.parametrize(("p_kw", "lo", "hi", "expected"), [r[1:] for r in CLAMP], ids=[r[0] for r in CLAMP])
def test_clamp(p_kw: float, lo: float, hi: float, expected: float) -> None:
    assert clamp(p_kw, lo, hi) == expected


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(ANY, ANY, ANY)
@example(1.0, INF, INF)
def test_clamp_is_always_finite_and_inside_when_there_is_an_inside(p_kw: float, lo: float, hi: float) -> None:
    out = clamp(p_kw, lo, hi)
    assert math.isfinite(out)
    if lo <= hi and lo < INF and hi > -INF:
        assert lo <= out <= hi
    else:
        assert out == 0.0


WINDOW = [
    ("in the middle: one step both ways", -100.0, 100.0, 20.0, 0, (15.0, 25.0)),
    ("near the upper end: the end", -100.0, 22.0, 20.0, 0, (15.0, 22.0)),
    ("near the lower end: the end", 18.0, 100.0, 20.0, 0, (18.0, 25.0)),
    ("forced up: free up to the end, one step down", -100.0, 100.0, 20.0, 1, (15.0, 100.0)),
    ("forced down: free down to the end, one step up", -100.0, 100.0, 20.0, -1, (-100.0, 25.0)),
]


@pytest.mark.parametrize(
    ("lo", "hi", "held", "forced", "expected"), [r[1:] for r in WINDOW], ids=[r[0] for r in WINDOW]
)
def test_window(lo: float, hi: float, held: float, forced: int, expected: tuple[float, float]) -> None:
    assert window(Interval(lo, hi, "bms", "bms"), held, 5.0, forced) == expected


HOLD = [
    ("still allowed: the last setpoint", 20.0, 20.0),
    ("above the envelope: its upper end at once", 80.0, 50.0),
    ("below the envelope: its lower end at once", -80.0, -40.0),
]


@pytest.mark.parametrize(("last", "expected"), [r[1:] for r in HOLD], ids=[r[0] for r in HOLD])
def test_hold(last: float, expected: float) -> None:
    assert hold(Interval(-40.0, 50.0, "bms", "bms"), last) == expected


def test_guard_clamps_every_unit_into_its_own_window() -> None:
    windows = [(-5.0, 5.0), (10.0, 20.0), (0.0, 0.0), (3.0, 2.0)]
    assert guard((9.0, NAN, 9.0, 9.0), windows) == (5.0, 10.0, 0.0, 0.0)


def test_guard_refuses_another_number_of_units() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        guard((1.0,), [(0.0, 1.0), (0.0, 1.0)])


FINITE = st.floats(-1e3, 1e3)


@given(FINITE, FINITE, FINITE, st.floats(0.0, 100.0), st.sampled_from((-1, 0, 1)), ANY)
def test_what_is_sent_is_in_the_envelope_and_follows_the_ramp(
    a: float, b: float, last: float, step: float, forced: int, wanted: float
) -> None:
    unit = Interval(min(a, b), max(a, b), "bms", "bms")
    held = hold(unit, last)
    (sent,) = guard((wanted,), [window(unit, held, step, forced)])
    assert unit.lo_kw <= sent <= unit.hi_kw
    assert forced > 0 or sent <= held + step
    assert forced < 0 or sent >= held - step
