"""Steps of the setpoint: never more than asked for, coarser as the budget is used up."""

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
    wear, now_ns = Wear(per_day, dead_band_kw, 100.0), S
    for p_kw in asked:
        now_ns += S // 10
        step_kw = wear.step_kw(now_ns)
        written = wear.stepped(p_kw, now_ns)
        assert abs(written) <= abs(p_kw)
        assert written * p_kw >= 0.0
        assert abs(p_kw) - abs(written) < step_kw + 1e-9 or step_kw < 1e-6
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
    assert wear.step_kw(now_ns + 3600 * S) == pytest.approx(0.0, abs=1e-6)
