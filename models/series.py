"""One time grid for everything that is planned, and exact averages of measured series on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.units import MS_PER_S, S_PER_H

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """``n`` equal steps; a value of step ``k`` is the average over ``[start, start + step)``."""

    t0_utc_ms: int
    step_s: int
    n: int

    def __post_init__(self) -> None:
        """Refuse a grid without extent: that is a bug of the caller."""
        if self.step_s <= 0 or self.n <= 0:
            raise ValueError(f"a grid needs steps, not {self.n} x {self.step_s} s")

    @property
    def step_ms(self) -> int:
        """Length of one step."""
        return self.step_s * MS_PER_S

    @property
    def step_h(self) -> float:
        """Length of one step in hours."""
        return self.step_s / S_PER_H

    @property
    def end_utc_ms(self) -> int:
        """End of the last step."""
        return self.t0_utc_ms + self.n * self.step_ms

    @property
    def starts_ms(self) -> Times:
        """(N,) UTC start of every step."""
        return self.edges_ms[:-1]

    @property
    def edges_ms(self) -> Times:
        """(N+1,) UTC borders of the steps."""
        return self.t0_utc_ms + self.step_ms * np.arange(self.n + 1, dtype=np.int64)

    def index(self, utc_ms: int) -> int | None:
        """Return the step that holds the time, None outside the grid."""
        step = (utc_ms - self.t0_utc_ms) // self.step_ms
        return step if 0 <= step < self.n else None

    def tail(self, first: int) -> "Grid":
        """Return the grid without its first steps; at least one must be left."""
        return Grid(self.t0_utc_ms + first * self.step_ms, self.step_s, self.n - first)


def grid_from(utc_ms: int, step_s: int, n: int) -> Grid:
    """Return the grid whose first step holds ``utc_ms``; borders are whole multiples of the step in UTC."""
    step_ms = step_s * MS_PER_S
    return Grid(utc_ms // step_ms * step_ms, step_s, n)


def average(grid: Grid, t_ms: Times, value: Floats, hold_ms: int, min_cover: float = 0.5) -> Floats:
    """Return exact time averages of a sampled series over the steps of a grid.

    Args:
        grid: where to.
        t_ms: (M,) UTC of the samples, any order; of equal times the last one counts.
        value: (M,) each holds until the next sample; NaN is a gap.
        hold_ms: but no longer than this: what comes later is unknown.
        min_cover: share of a step that must be known.

    Returns:
        (N,) NaN where less than ``min_cover`` of a step is known.
    """
    empty = np.full(grid.n, np.nan)
    if len(t_ms) == 0:
        return empty
    order = np.argsort(t_ms, kind="stable")
    start = np.asarray(t_ms, np.int64)[order]
    held = np.asarray(value, np.float64)[order]
    until = np.minimum(start + hold_ms, np.append(start[1:], start[-1] + hold_ms))
    known_ms = np.where(np.isfinite(held), until - start, 0).astype(np.float64)
    # the integral of a piecewise constant function is piecewise linear: exact between its break points
    knots = np.column_stack([start, until]).ravel()
    cover = np.cumsum(np.column_stack([np.zeros_like(known_ms), known_ms]).ravel())
    gain = np.where(known_ms > 0, held, 0.0) * known_ms
    integral = np.cumsum(np.column_stack([np.zeros_like(gain), gain]).ravel())
    known = np.diff(np.interp(grid.edges_ms, knots, cover))
    total = np.diff(np.interp(grid.edges_ms, knots, integral))
    enough = known >= max(min_cover * grid.step_ms, 1.0)
    np.divide(total, known, out=empty, where=enough)
    return empty
