"""Persistence: the same hour of the same weekday, the present at its start, honest about what is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.forecast.persistence import (
    LAST_VALUE,
    NO_PRESENT,
    NONE,
    SEED,
    history_grid,
    on_history,
    persistence,
)
from models.series import Grid

DAY = 96
GRID = Grid(1_780_000_200_000 // 900_000 * 900_000, 900, 96)
PAST = 14 * DAY


def week() -> np.ndarray:
    """Return 14 days in which each day of the week has a level of its own: 100, 110, … 160."""
    return np.repeat(100.0 + 10 * (np.arange(14) % 7), DAY)


def test_it_repeats_the_day_a_week_before() -> None:
    got = persistence(GRID, week(), 100.0)
    np.testing.assert_allclose(got.p50_kw, 100.0)
    assert got.flags == () and got.known


def test_without_last_week_it_takes_the_one_before_then_yesterday() -> None:
    past = week()
    past[7 * DAY : 8 * DAY] = np.nan
    np.testing.assert_allclose(persistence(GRID, past, 100.0).p50_kw, 100.0)
    past[:DAY] = np.nan
    np.testing.assert_allclose(persistence(GRID, past, None).p50_kw, 160.0)


def test_the_present_fades_out_over_an_hour() -> None:
    got = persistence(GRID, week(), 140.0)
    np.testing.assert_allclose(got.p50_kw[:5], [140.0, 130.0, 120.0, 110.0, 100.0])


def test_without_the_present_it_says_so() -> None:
    got = persistence(GRID, week(), None, (SEED,))
    assert got.flags == (SEED, NO_PRESENT)
    np.testing.assert_allclose(got.p50_kw, 100.0)


def test_without_history_the_present_is_held() -> None:
    got = persistence(GRID, np.full(PAST, np.nan), 80.0)
    np.testing.assert_allclose(got.p50_kw, 80.0)
    np.testing.assert_allclose(got.p10_kw, 64.0)
    assert got.flags == (LAST_VALUE,) and got.known


def test_without_anything_nothing_is_known() -> None:
    got = persistence(GRID, np.full(PAST, np.nan), None)
    assert got.flags == (NONE,) and not got.known


def test_holes_are_bridged() -> None:
    past = np.full(PAST, np.nan)
    past[-DAY:] = 50.0
    past[-DAY + 10 : -DAY + 20] = np.nan
    got = persistence(GRID, past, None)
    np.testing.assert_allclose(got.p50_kw, 50.0)


def test_the_quantiles_are_those_of_past_errors() -> None:
    rng = np.random.default_rng(1)
    past = 100 + 10 * rng.standard_normal(PAST)
    got = persistence(GRID, past, None)
    width = np.mean(got.p90_kw - got.p10_kw)
    assert width == pytest.approx(2 * 1.2816 * 10 * np.sqrt(2), rel=0.15), "difference of two such noises"


def test_history_is_put_on_whole_days_before_the_grid() -> None:
    grid = history_grid(GRID)
    assert grid.n == PAST and grid.end_utc_ms == GRID.t0_utc_ms
    past = on_history(GRID, np.array([GRID.t0_utc_ms - 900_000], np.int64), np.array([42.0]))
    assert past[-1] == 42.0 and np.all(np.isnan(past[:-1]))


@given(
    st.lists(st.one_of(st.none(), st.floats(-500, 500)), min_size=14, max_size=14),
    st.one_of(st.none(), st.floats(-500, 500)),
)
def test_the_quantiles_never_cross(days: list[float | None], now_kw: float | None) -> None:
    past = np.repeat([np.nan if day is None else day for day in days], DAY)
    got = persistence(GRID, past, now_kw)
    if got.known:
        assert np.all(got.p10_kw <= got.p50_kw) and np.all(got.p50_kw <= got.p90_kw)
    else:
        assert now_kw is None and all(day is None for day in days)
