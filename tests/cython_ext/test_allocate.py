"""The split kernel against a twin in plain Python, which is its specification."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext.allocate import BAD_INPUT, OK, split

Unit = tuple[float, float, float, float]
"""lo, hi, at, share."""


def clip(x: float, lo: float, hi: float) -> float:
    return min(max(x, lo), hi)


def twin(target: float, units: list[Unit]) -> list[float]:
    """Sort all multipliers at which a unit reaches an end; walk them until the sum is the target."""
    target = clip(target, sum(u[0] for u in units), sum(u[1] for u in units))

    def at_multiplier(m: float) -> list[float]:
        return [clip(at + m * share if share > 0 else at, lo, hi) for lo, hi, at, share in units]

    breaks = sorted({(end - at) / share for lo, hi, at, share in units if share > 0 for end in (lo, hi)})
    sums = [sum(at_multiplier(m)) for m in breaks]
    if breaks and sums[0] <= target <= sums[-1]:
        k = next(k for k, total in enumerate(sums) if total >= target)
        if k == 0 or sums[k] == sums[k - 1]:
            return at_multiplier(breaks[k])
        part = (target - sums[k - 1]) / (sums[k] - sums[k - 1])
        return at_multiplier(breaks[k - 1] + part * (breaks[k] - breaks[k - 1]))
    out = at_multiplier(breaks[-1] if breaks and target > sums[-1] else breaks[0] if breaks else 0.0)
    rest = target - sum(out)
    room = [hi - p if rest > 0 else p - lo for p, (lo, hi, _, _) in zip(out, units, strict=True)]
    return [p + rest * r / sum(room) for p, r in zip(out, room, strict=True)] if sum(room) > 0 else out


def run(target: float, units: list[Unit]) -> tuple[int, list[float]]:
    lo, hi, at, share = (np.array([float(u[k]) for u in units]) for k in range(4))
    out = np.full(len(units), math.nan)
    return split(target, lo, hi, at, share, out), out.tolist()


TABLE = [
    ("equal shares share equally", 10, [(-9, 9, 0, 1), (-9, 9, 0, 1)], [5, 5]),
    ("by share", 12, [(-9, 9, 0, 1), (-9, 9, 0, 2)], [4, 8]),
    ("a full unit passes the rest on", 12, [(-9, 3, 0, 1), (-9, 9, 0, 1)], [3, 9]),
    ("charging works the same way", -12, [(-3, 9, 0, 1), (-9, 9, 0, 1)], [-3, -9]),
    ("too much: every unit at its end", 99, [(-9, 3, 0, 1), (-9, 9, 0, 1)], [3, 9]),
    ("too little: every unit at its other end", -99, [(-9, 3, 0, 1), (-8, 9, 0, 1)], [-9, -8]),
    ("no share waits", 5, [(-9, 9, 0, 0), (-9, 9, 0, 1)], [0, 5]),
    ("no share takes the rest when all others are full", 11, [(-9, 9, 0, 0), (-9, 9, 0, 1)], [2, 9]),
    ("no share at all: by room", 6, [(-9, 4, 0, 0), (-9, 8, 0, 0)], [2, 4]),
    ("no share at all, charging: by room", -6, [(-4, 9, 0, 0), (-8, 9, 0, 0)], [-2, -4]),
    ("a unit with one allowed power has that", 7, [(5, 5, 0, 1), (-9, 9, 0, 1)], [5, 2]),
    ("forced units first, against the target's sign", 4, [(6, 9, 0, 1), (-9, 9, 0, 1)], [6, -2]),
    ("anchors are where units are by themselves", 8, [(-9, 9, 4, 1), (-9, 9, 0, 1)], [6, 2]),
    ("an anchor outside counts from the end", 3, [(-9, 2, 5, 0), (-9, 9, 0, 1)], [2, 1]),
    ("one unit takes it all", 0.3, [(-9, 9, 0, 12.34)], [0.3]),
    ("one above and one below at first", 0, [(3, 9, 0, 1), (-9, -1, 0, 1), (-9, 9, 0, 1)], [3, -1.5, -1.5]),
    ("nothing to do", 0, [(-9, 9, 0, 1), (-9, 9, 0, 1)], [0, 0]),
]


@pytest.mark.parametrize(("target", "units", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(target: float, units: list[Unit], expected: list[float]) -> None:
    status, out = run(target, units)
    assert status == OK
    assert out == pytest.approx(expected, abs=1e-12)
    assert twin(target, units) == pytest.approx(expected, abs=1e-12)


POWER = st.floats(-500, 500).map(lambda x: round(x, 3))
WIDTH = st.just(0.0) | st.floats(0, 500).map(lambda x: round(x, 3))
SHARE = st.just(0.0) | st.floats(0.01, 1e4)
UNIT = st.tuples(POWER, WIDTH, POWER, SHARE).map(lambda u: (u[0], u[0] + u[1], u[2], u[3]))


@settings(max_examples=300, deadline=None)
@given(st.floats(-40_000, 40_000), st.lists(UNIT, min_size=1, max_size=64))
def test_the_sum_the_bounds_and_the_twin(target: float, units: list[Unit]) -> None:
    status, out = run(target, units)
    assert status == OK
    for p, (lo, hi, _, _) in zip(out, units, strict=True):
        assert lo <= p <= hi
    wanted = clip(target, sum(u[0] for u in units), sum(u[1] for u in units))
    assert sum(out) == pytest.approx(wanted, abs=1e-9)
    assert out == pytest.approx(twin(target, units), abs=1e-7)


@settings(max_examples=100, deadline=None)
@given(st.floats(-100, 100), st.lists(UNIT, min_size=2, max_size=6))
def test_no_pair_of_units_can_trade_for_a_lower_cost(target: float, units: list[Unit]) -> None:
    _, out = run(target, units)
    slope = [(p - u[2]) / u[3] if u[3] else None for p, u in zip(out, units, strict=True)]
    for i, (p, (_, hi, _, _)) in enumerate(zip(out, units, strict=True)):
        for k, (q, (lo, _, _, _)) in enumerate(zip(out, units, strict=True)):
            a, b = slope[i], slope[k]
            if a is not None and b is not None and p < hi - 1e-9 and q > lo + 1e-9:
                assert a >= b - 1e-6 * (1 + abs(a) + abs(b)), "moving power from k to i would cost less"


BAD = [
    ("target not a number", math.nan, [(-9, 9, 0, 1)], [0]),
    ("target infinite", math.inf, [(2, 9, 0, 1)], [2]),
    ("lower end not a number", 5, [(math.nan, 9, 0, 1), (-9, -3, 0, 1)], [0, -3]),
    ("upper end infinite", 5, [(-9, math.inf, 0, 1)], [0]),
    ("anchor not a number", 5, [(-9, 9, math.nan, 1)], [0]),
    ("share infinite", 5, [(-9, 9, 0, math.inf)], [0]),
    ("share negative", 5, [(-9, 9, 0, -1)], [0]),
    ("empty interval", 5, [(9, -9, 0, 1), (3, 4, 0, 1)], [0, 3]),
    ("only plus infinity allowed", 5, [(math.inf, math.inf, 0, 1)], [0]),
    ("only minus infinity allowed", 5, [(-math.inf, -math.inf, 0, 1)], [0]),
]


@pytest.mark.parametrize(("target", "units", "expected"), [r[1:] for r in BAD], ids=[r[0] for r in BAD])
def test_bad_input_leaves_every_unit_nearest_to_zero(
    target: float, units: list[Unit], expected: list[float]
) -> None:
    assert run(target, units) == (BAD_INPUT, expected)


@given(
    st.lists(
        st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=64)] * 4), min_size=1, max_size=8
    ),
    st.floats(),
)
@settings(deadline=None)
def test_anything_that_floats_can_be_ends_and_is_no_power_out_of_bounds(
    units: list[Unit], target: float
) -> None:
    _, out = run(target, units)
    for p, (lo, hi, _, _) in zip(out, units, strict=True):
        allowed = lo <= hi and lo < math.inf and hi > -math.inf
        assert math.isnan(p) or not allowed or lo <= p <= hi  # the guard takes what overflows to nan


def test_shapes_are_checked() -> None:
    one, two = np.zeros(1), np.zeros(2)
    with pytest.raises(ValueError, match="one length"):
        split(0.0, one, two, two, two, two)
    with pytest.raises(ValueError, match="at most 64"):
        split(0.0, *[np.zeros(65)] * 5)


def test_no_unit_is_no_work() -> None:
    assert split(5.0, *[np.zeros(0)] * 5) == OK
