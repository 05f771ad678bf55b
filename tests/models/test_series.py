"""The time grid, and averages that are exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.series import Grid, average, grid_from

HOUR_MS = 3_600_000


def test_a_grid_knows_its_borders() -> None:
    grid = Grid(1_000, 900, 4)
    assert grid.edges_ms.tolist() == [1_000, 901_000, 1_801_000, 2_701_000, 3_601_000]
    assert grid.starts_ms.tolist() == grid.edges_ms.tolist()[:-1]
    assert (grid.end_utc_ms, grid.step_h) == (3_601_000, 0.25)
    assert grid.tail(2) == Grid(1_801_000, 900, 2)


@pytest.mark.parametrize(
    ("utc_ms", "step"), [(999, None), (1_000, 0), (900_999, 0), (901_000, 1), (3_601_000, None)]
)
def test_a_time_belongs_to_the_step_that_has_begun(utc_ms: int, step: int | None) -> None:
    assert Grid(1_000, 900, 4).index(utc_ms) == step


def test_a_grid_without_extent_is_a_bug() -> None:
    with pytest.raises(ValueError, match="needs steps"):
        Grid(0, 900, 0)


def test_a_grid_starts_at_a_whole_multiple_of_its_step() -> None:
    assert grid_from(1_700_000, 900, 2).t0_utc_ms == 900_000


TABLE = [
    ("a constant stays what it is", [0, 450_000], [5.0, 5.0], [5.0, 5.0]),
    ("a step in the middle of a step counts by time", [0, 450_000], [0.0, 4.0], [2.0, 4.0]),
    ("an early sample holds into the grid", [-600_000], [3.0], [np.nan, np.nan]),
    ("unsorted samples are sorted", [450_000, 0], [4.0, 0.0], [2.0, 4.0]),
    ("of equal times the last one counts", [0, 0, 450_000], [9.0, 1.0, 1.0], [1.0, 1.0]),
    ("a NaN is a gap, not a zero", [0, 300_000], [6.0, np.nan], [np.nan, np.nan]),
    ("nothing gives nothing", [], [], [np.nan, np.nan]),
]


@pytest.mark.parametrize(
    ("t_ms", "values", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_averages(t_ms: list[int], values: list[float], expected: list[float]) -> None:
    got = average(Grid(0, 900, 2), np.array(t_ms, np.int64), np.array(values), hold_ms=900_000)
    np.testing.assert_allclose(got, expected)


def test_a_sample_holds_no_longer_than_it_may() -> None:
    got = average(Grid(0, 900, 2), np.array([0], np.int64), np.array([7.0]), hold_ms=600_000)
    np.testing.assert_allclose(got, [7.0, np.nan])


@given(st.lists(st.tuples(st.integers(-5_000_000, 9_000_000), st.floats(-500, 500)), min_size=1, max_size=30))
def test_averages_agree_with_a_second_by_second_count(samples: list[tuple[int, float]]) -> None:
    seconds = sorted({t // 1000: v for t, v in samples}.items())
    grid, hold = Grid(0, 60, 40), 200
    held = np.full(grid.n * 60, np.nan)
    for (t, v), nxt in zip(seconds, [*(s[0] for s in seconds[1:]), 10**9], strict=True):
        lo, hi = max(t, 0), min(t + hold, nxt, len(held))
        held[lo : max(hi, lo)] = v
    table = held.reshape(grid.n, 60)
    known = np.isfinite(table).sum(axis=1)
    mean = np.array(
        [row[np.isfinite(row)].mean() if c >= 30 else np.nan for row, c in zip(table, known, strict=True)]
    )
    t_ms = np.array([t * 1000 for t, _ in seconds], np.int64)
    got = average(grid, t_ms, np.array([v for _, v in seconds]), hold * 1000)
    np.testing.assert_allclose(got, mean, atol=1e-6)
