"""Steps of the setpoint: never more than asked for, coarser as the budget is used up, and then only less."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.wear import Wear

S = 1_000_000_000
powers = st.floats(-100.0, 100.0)


def test_without_limits_every_change_is_written_as_it_is() -> None:
    wear = Wear(0, 0.0, 100.0)
    assert [wear.stepped(p, S) for p in (1.0, 1.01, -7.3, 0.0)] == [1.0, 1.01, -7.3, 0.0]


STEPS = [
    # power after power with a dead band of 1 kW, what is written
    ((10.0, 10.4, 10.9), (10.0, 10.0, 10.0), "small increases are not worth a write"),
    ((10.0, 11.0), (10.0, 11.0), "a whole step is"),
    ((10.0, 9.9), (10.0, 9.0), "less is written at once, rounded towards zero"),
    ((10.0, 9.9, 9.5, 9.1), (10.0, 9.0, 9.0, 9.0), "and then holds for what is a little less"),
    ((10.0, 0.0), (10.0, 0.0), "zero is zero"),
    ((10.0, -10.5), (10.0, -10.0), "the other direction is written at once"),
    ((0.4, -0.4), (0.0, 0.0), "less than a step is nothing"),
]


@pytest.mark.parametrize(("asked", "written", "why"), STEPS, ids=[row[2] for row in STEPS])
def test_the_dead_band(asked, written, why) -> None:
    wear = Wear(0, 1.0, 100.0)
    assert tuple(wear.stepped(p, S) for p in asked) == pytest.approx(written)


@given(st.lists(powers, max_size=60), st.floats(0.0, 5.0), st.sampled_from([0, 24, 1000, 100_000]))
def test_never_more_than_asked_for_and_never_the_other_direction(asked, dead_band_kw, per_day) -> None:
    wear, now_ns, written = Wear(per_day, dead_band_kw, 100.0), S, 0.0
    for p_kw in asked:
        now_ns += S // 10
        step_kw = wear.step_kw(now_ns)
        spent = wear.spent
        before, written = written, wear.stepped(p_kw, now_ns)
        assert abs(written) <= abs(p_kw)
        assert written * p_kw >= 0.0
        less = abs(written) < abs(before) and written * before > 0.0
        assert abs(p_kw) - abs(written) < step_kw + 1e-9 or step_kw < 1e-6 or (spent and not less)
        if written != before:
            wear.wrote(now_ns)


def test_a_restless_setpoint_is_written_less_and_less_often_and_the_budget_comes_back() -> None:
    wear, now_ns, count, last = Wear(2400, 0.0, 100.0), S, [0, 0], 0.0
    for half in (0, 1):
        for k in range(3000):
            now_ns += S // 10
            written = wear.stepped(50.0 + (k % 7), now_ns)
            if written != last:
                wear.wrote(now_ns)
                count[half] += 1
            last = written
    assert count[0] > 50, "free at first"
    assert count[1] < 0.2 * count[0], "then spared"
    assert wear.step_kw(now_ns) > 3.0
    assert wear.step_kw(now_ns + 2 * 3600 * S) == pytest.approx(0.0, abs=1e-6)


RESTLESS: dict[str, Callable[[int, float, random.Random], float]] = {
    "random walk": lambda k, p_kw, rng: max(-100.0, min(100.0, p_kw + rng.uniform(-2.0, 2.0))),
    "sine": lambda k, p_kw, rng: 60.0 * math.sin(k / 30.0) + rng.uniform(-5.0, 5.0),
    "sine on one side": lambda k, p_kw, rng: 50.0 + 50.0 * math.sin(k / 30.0),
    "swing": lambda k, p_kw, rng: 80.0 if k % 20 < 10 else -80.0,
    "anything": lambda k, p_kw, rng: rng.uniform(-100.0, 100.0),
}


@pytest.mark.parametrize("kind", RESTLESS)
@pytest.mark.parametrize("per_day", [1000, 20_000])
def test_the_budget_holds_whatever_is_asked_for(kind: str, per_day: int) -> None:
    """Every 100 ms something else: the first hour may spend what was saved, then the hour has its share."""
    wear, now_ns, rng = Wear(per_day, 0.0, 100.0), S, random.Random(1)
    asked = last = 0.0
    count = [0, 0]
    for k in range(72_000):
        now_ns += S // 10
        asked = RESTLESS[kind](k, asked, rng)
        written = wear.stepped(asked, now_ns)
        if written != last:
            wear.wrote(now_ns)
            count[k // 36_000] += 1
        last = written
    share = per_day / 24.0
    assert count[0] <= 2.1 * share
    assert count[1] <= 1.2 * share


def spent_at(p_kw: float) -> Wear:
    """Return one that has written ``p_kw`` and has nothing left; the nameplate is 100 kW."""
    wear = Wear(2400, 0.0, 100.0)
    wear.stepped(p_kw, S)
    while not wear.spent:
        wear.wrote(S)
    return wear


SPENT = [
    # what was written, what is asked for then one after another, what is written
    (50.0, (80.0, 50.0, 60.0), (50.0, 50.0, 50.0), "nothing is raised"),
    (50.0, (49.9, 45.0, 40.0), (40.0, 40.0, 40.0), "less goes down by a whole step"),
    (57.0, (56.0, 30.0), (47.0, 27.0), "from where it stands"),
    (50.0, (5.0, 50.0), (0.0, 0.0), "and stays there"),
    (5.0, (0.0, 5.0), (0.0, 0.0), "zero is zero"),
    (-50.0, (-80.0, -44.0), (-50.0, -40.0), "charging too"),
    (50.0, (-50.0, 50.0), (0.0, 0.0), "the other direction is zero, and so is the way back"),
]


@pytest.mark.parametrize(("before", "asked", "written", "why"), SPENT, ids=[row[3] for row in SPENT])
def test_when_nothing_is_left_there_is_only_less(before, asked, written, why) -> None:
    wear = spent_at(before)
    assert tuple(wear.stepped(p_kw, S) for p_kw in asked) == pytest.approx(written)
    assert wear.spent


def test_what_safety_has_taken_beyond_the_budget_is_paid_back_first() -> None:
    wear = spent_at(50.0)
    for _ in range(10):
        wear.wrote(S)
    assert wear.spent
    minute_ns = 60 * S  # 1.6 writes
    assert wear.stepped(60.0, S + 6 * minute_ns) == 50.0
    assert wear.stepped(60.0, S + 7 * minute_ns) > 50.0


def test_without_a_limit_nothing_is_ever_spent() -> None:
    wear = Wear(0, 0.0, 100.0)
    wear.wrote(S)
    assert not wear.spent


def test_refreshes_count() -> None:
    wear = Wear(2400, 0.0, 100.0)
    for k in range(200):
        assert wear.stepped(30.0, S + k) == 30.0
        wear.wrote(S + k)
    assert wear.spent
