"""The last clamp before the drivers: finite, inside the unit's envelope, no faster than the ramp.

The only way past the ramp is the direction in which the envelope of the site (or of the unit) demands to go.
"""

import math
from collections.abc import Sequence

from models.interval import Interval


def hold(unit: Interval, last_kw: float) -> float:
    """Return the last setpoint as far as the envelope still allows it, else the nearest allowed power."""
    return clamp(last_kw, unit.lo_kw, unit.hi_kw)


def window(unit: Interval, held_kw: float, step_kw: float, forced: int) -> tuple[float, float]:
    """Return the ends of what one unit may be sent in this cycle; empty when its envelope is.

    Args:
        unit: envelope of the unit.
        held_kw: see :func:`hold`.
        step_kw: largest change in one cycle.
        forced: +1 or -1 frees this direction of the ramp, 0 none.
    """
    lo_kw = unit.lo_kw if forced < 0 else max(unit.lo_kw, held_kw - step_kw)
    hi_kw = unit.hi_kw if forced > 0 else min(unit.hi_kw, held_kw + step_kw)
    return lo_kw, hi_kw


def clamp(p_kw: float, lo_kw: float, hi_kw: float) -> float:
    """Return the finite power in ``[lo_kw, hi_kw]`` nearest to ``p_kw``.

    A power that is not finite counts as 0; the answer is 0 when nothing finite is allowed.
    """
    if not (lo_kw <= hi_kw and lo_kw < math.inf and hi_kw > -math.inf):
        return 0.0
    if not math.isfinite(p_kw):
        p_kw = 0.0
    return min(max(p_kw, lo_kw), hi_kw)


def guard(wanted_kw: Sequence[float], windows: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Return what is sent: every unit's power inside its window.

    Args:
        wanted_kw: (U,) from the allocation.
        windows: (U,) from :func:`window`.
    """
    return tuple(clamp(p_kw, lo_kw, hi_kw) for p_kw, (lo_kw, hi_kw) in zip(wanted_kw, windows, strict=True))
