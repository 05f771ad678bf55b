"""Forecast without a model: this hour looks like the same hour of the same weekday, and like right now.

Persistence is the reference that every better forecast must beat, and the step of the ladder below it. Day
types follow weekdays; across a change to or from daylight saving time it is off by an hour for a week.
"""

from dataclasses import dataclass

import numpy as np

from models.series import Floats, Grid, Times, average
from models.units import MS_PER_S

DAY_S = 86_400
WEEK_DAYS = 7
LOOK_BACK_DAYS = (7, 14, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13)
"""The first of these days before that is known is what a moment will look like."""
HOLD_MS = 900_000
"""A sample of the history stands for at most a quarter of an hour."""
BLEND_S = 3_600
"""The measured present fades out over this time."""
FEW = 8
"""Fewer past errors than this say nothing about the next one."""
SPREAD = 0.2
"""Half width of p10…p90 relative to the median while too little is known."""
NEIGHBOURS_S = 3_600
"""Errors of this much earlier and later in the day count as errors of a step."""

SEED = "forecast-seed"
"""Rests on interval data of another year."""
LAST_VALUE = "forecast-last-value"
"""Nothing but the present is known: it is held."""
NONE = "forecast-none"
NO_PRESENT = "forecast-no-present"
"""The present is not measured, so the forecast does not start from it."""


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Expected power per step, (N,) each [kW]; all NaN when nothing is known."""

    p10_kw: Floats
    p50_kw: Floats
    p90_kw: Floats
    flags: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether every step has a value."""
        return bool(np.all(np.isfinite(self.p50_kw)))


def history_grid(grid: Grid, days: int = 2 * WEEK_DAYS) -> Grid:
    """Return the grid of the ``days`` before a forecast, aligned so that days and weeks are whole steps."""
    steps = days * DAY_S // grid.step_s
    return Grid(grid.t0_utc_ms - days * DAY_S * MS_PER_S, grid.step_s, steps)


def on_history(grid: Grid, t_ms: Times, value_kw: Floats, hold_ms: int = HOLD_MS) -> Floats:
    """Return the history as averages on ``history_grid(grid)``, NaN where it is not known."""
    return average(history_grid(grid), t_ms, value_kw, hold_ms)


def persistence(grid: Grid, past_kw: Floats, now_kw: float | None, flags: tuple[str, ...] = ()) -> Forecast:
    """Forecast a power.

    Args:
        grid: the steps to forecast; the first one holds the present. A step must divide a day.
        past_kw: (14 days of steps,) averages that end where the grid starts, NaN where not known.
        now_kw: measured present, None when it is not known.
        flags: what is to be said about the history.
    """
    day = DAY_S // grid.step_s
    series = np.concatenate([past_kw, np.full(grid.n, np.nan)])
    p50 = np.array([_like(series, len(past_kw) + k, day) for k in range(grid.n)])
    notes = list(flags)
    if not np.any(np.isfinite(p50)):
        return _held(grid, now_kw)
    p50 = _fill(p50)
    low, high = _errors(past_kw, day, grid)
    if now_kw is None:
        notes.append(NO_PRESENT)
    else:
        fade = np.clip(1.0 - np.arange(grid.n) * grid.step_s / BLEND_S, 0.0, 1.0)
        p50 = p50 + fade * (now_kw - p50[0])
    spread = np.abs(p50) * SPREAD
    low, high = np.where(np.isnan(low), -spread, low), np.where(np.isnan(high), spread, high)
    return Forecast(p50 + np.minimum(low, 0.0), p50, p50 + np.maximum(high, 0.0), tuple(notes))


def _like(series: Floats, at: int, day: int) -> float:
    """Return the value at ``at`` by the same hour of the day that LOOK_BACK_DAYS names first.

    Only what lies before ``at`` is used, so the same rule can be scored on the past.
    """
    for days in LOOK_BACK_DAYS:
        index = at - days * day
        if 0 <= index < len(series) and np.isfinite(series[index]):
            return float(series[index])
    return float("nan")


def _fill(p50: Floats) -> Floats:
    """Fill steps without any past by their neighbours."""
    known = np.flatnonzero(np.isfinite(p50))
    filled: Floats = np.interp(np.arange(len(p50)), known, p50[known])
    return filled


def _errors(past_kw: Floats, day: int, grid: Grid) -> tuple[Floats, Floats]:
    """Return (N,) 10 % and 90 % of the errors that the rule made in the last week at about the same hour."""
    last = min(WEEK_DAYS * day, len(past_kw))
    first = len(past_kw) - last
    error = np.array([past_kw[i] - _like(past_kw, i, day) for i in range(first, len(past_kw))])
    low, high = np.full(grid.n, np.nan), np.full(grid.n, np.nan)
    reach = NEIGHBOURS_S // grid.step_s
    for k in range(min(grid.n, day)):
        # the history ends where the grid starts: step k has the same hour as k steps after each day border
        near = [(k + shift) % day + d * day for d in range(last // day) for shift in range(-reach, reach + 1)]
        known = error[near][np.isfinite(error[near])]
        if len(known) >= FEW:
            low[k::day], high[k::day] = np.quantile(known, [0.1, 0.9])
    return low, high


def _held(grid: Grid, now_kw: float | None) -> Forecast:
    """Return the present held, or nothing."""
    if now_kw is None:
        nothing = np.full(grid.n, np.nan)
        return Forecast(nothing, nothing, nothing, (NONE,))
    p50 = np.full(grid.n, now_kw)
    spread = np.abs(p50) * SPREAD
    return Forecast(p50 - spread, p50, p50 + spread, (LAST_VALUE,))
