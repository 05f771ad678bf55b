"""Decides whether a value that the gateway took as good was really shown by the device.

Strict: a reading passes only if it equals, within half a count of its register, one single row of the trace
that was on show at some time in the window before it was received. A value between two rows does not pass.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drivers.simulator.register import BMS, METER, PCS, PCS_SETTINGS
from models.point import AlarmLevel, RunState
from models.units import NS_PER_S

WINDOW_S = 2.0
"""A reading may be this old when it is received, beside the device's own refresh."""
REFRESH_S = {"pcs-1": 0.02, "bms-1": 0.02, "meter-1": 0.02, "pv-1": 0.5}
"""How long after the trace a device shows a value; pv-1 with up to one slow publishing interval."""
SETTING_S = 0.15
"""What a controller writes can be read back before the plant has noted it in the trace."""
SETTINGS = (
    "pcs-1/p_set_kw",
    "pcs-1/q_set_kvar",
    "pcs-1/controller_heartbeat",
    "pcs-1/dead_man_s",
    "pcs-1/remote",
    "pv-1/p_limit_ratio",
)

_PCS_STATE = (
    RunState.OFF, RunState.STANDBY, RunState.STARTING, RunState.RUNNING, RunState.STOPPING, RunState.FAULT,
)  # fmt: skip
_CODES: Mapping[str, tuple[int, ...]] = {
    "pcs-1/state": _PCS_STATE,
    "pv-1/state": _PCS_STATE,
    "bms-1/state": (RunState.STARTING, RunState.STANDBY, RunState.RUNNING, RunState.FAULT),
    "bms-1/alarm_level": (AlarmLevel.NONE, AlarmLevel.INFO, AlarmLevel.DERATE, AlarmLevel.STOP),
}
"""What a vendor code means in the gateway's words, by code."""

_STEP = {r.point: r.step for table in (PCS, PCS_SETTINGS, BMS) for r in table}
_FLOAT = frozenset(r.point for r in METER)
_EPSILON = 1e-9
_FLOAT32 = 1e-6


def undetected_wrong(
    trace: NDArray[Any], point: str, t_ns: ArrayLike, value: ArrayLike, window_s: float = WINDOW_S
) -> NDArray[np.bool_]:
    """Return for each reading whether it is wrong, (N,).

    Args:
        trace: rows in the order of time, from ``SimulatedSite.trace()``.
        point: ``device/point``.
        t_ns: (N,) monotonic time of receipt; must lie within the trace.
        value: (N,) in the gateway's units and signs.
        window_s: how old a value may be at most.

    Raises:
        KeyError: the simulator shows no such point.
    """
    if point not in (trace.dtype.names or ()):
        raise KeyError(point)
    times = np.atleast_1d(np.asarray(t_ns, np.int64))
    values = np.atleast_1d(np.asarray(value, np.float64))
    shown = _in_our_words(point, trace[point])
    first, last = _rows(trace["t_ns"], times, point, window_s)
    tolerance = _tolerance(point, values)
    found = np.zeros(len(times), np.bool_)
    for step in range(int(np.max(last - first, initial=0))):
        row = first + step
        inside = row < last
        near = np.abs(shown[np.minimum(row, len(shown) - 1)] - values) <= tolerance
        found |= inside & near
    return np.logical_not(found)


def _rows(
    shown_ns: NDArray[np.int64], times: NDArray[np.int64], point: str, window_s: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the half-open range of rows that were on show in the window of each reading.

    A row is on show until the next one, also when the plant was late; so the row before the window counts.
    """
    span_ns = round((window_s + REFRESH_S[point.split("/")[0]]) * NS_PER_S)
    slack_ns = round(SETTING_S * NS_PER_S) if point in SETTINGS else 0
    first = np.searchsorted(shown_ns, times - span_ns, side="right") - 1
    return np.maximum(first, 0), np.searchsorted(shown_ns, times + slack_ns, side="right")


def _tolerance(point: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half a count for registers; for floats only their own rounding."""
    if point in _STEP:
        return np.full(values.shape, _STEP[point] / 2.0 + _EPSILON)
    relative = _FLOAT32 if point in _FLOAT else _EPSILON
    return np.abs(values) * relative + _EPSILON


def _in_our_words(point: str, column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Translate vendor codes; everything else is on the trace as the gateway knows it."""
    codes = _CODES.get(point)
    return column if codes is None else np.array(codes, np.float64)[column.astype(np.intp)]
