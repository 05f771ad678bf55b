"""Spares registers that wear: small changes are not written, and it gets coarser as the budget is used up.

Every error is towards less power: what is written is never more than what was asked for. Less power is always
written, even when nothing is left, but then at least one coarsest step at a time; more power has to wait.
"""

import math

from models.units import NS_PER_S

HOUR_NS = 3600 * NS_PER_S
HOURS = 25.0
"""The day's writes are given out as if it had so many hours: one hour's worth may be spent at once, and any
24 h together stay within the day's writes."""
COARSEST = 0.1
"""Part of the nameplate to which the steps grow when nothing is left of the budget."""
SMALLEST_KW = 1e-6
"""A smaller step is none."""
NEAR = 1e-9
"""Of a step: so little less than a whole one is a whole one."""


class Wear:
    """Steps of the setpoint of one device."""

    def __init__(self, per_day: int, dead_band_kw: float, span_kw: float) -> None:
        """Args: writes a day (0: no limit), smallest step, and the largest power of the nameplate."""
        self._most = max(1.0, per_day / HOURS) if per_day else 0.0
        self._rate = per_day / HOURS / HOUR_NS
        self._left = self._most
        """Writes that may still be spent; less than nothing when safety wanted more."""
        self._since_ns = 0
        self._dead_band_kw = dead_band_kw
        self._coarsest_kw = COARSEST * span_kw
        self._kw = 0.0

    @property
    def spent(self) -> bool:
        """Whether nothing is left: only less power, and what was written before, may be written."""
        return self._rate > 0.0 and self._left < 1.0

    def wrote(self, now_ns: int) -> None:
        """Count one write, also one that repeats what stands there."""
        if self._rate:
            self._refill(now_ns)
            self._left = max(-self._most, self._left - 1.0)

    def step_kw(self, now_ns: int) -> float:
        """Return the step of now: the dead band, or more when much of the budget is used up."""
        if not self._rate:
            return self._dead_band_kw
        self._refill(now_ns)
        used = 1.0 if self.spent else 1.0 - self._left / self._most
        return max(self._dead_band_kw, self._coarsest_kw * used**2)

    def stepped(self, p_kw: float, now_ns: int) -> float:
        """Return what to write for ``p_kw``: never more, and what was written before while that is near.

        It lies less than one step below ``p_kw``, except that nothing is raised while the budget is spent.
        """
        step_kw = self.step_kw(now_ns)
        size = abs(p_kw)
        kept = abs(self._kw) if self._kw * p_kw > 0.0 else 0.0
        if size < kept or not self.spent:
            kept = size if step_kw < SMALLEST_KW else kept + _whole_steps(size - kept, step_kw)
        self._kw = math.copysign(min(size, max(0.0, kept)), p_kw)
        return self._kw

    def _refill(self, now_ns: int) -> None:
        since_ns, self._since_ns = self._since_ns, now_ns
        if since_ns:
            self._left = min(self._most, self._left + (now_ns - since_ns) * self._rate)


def _whole_steps(change_kw: float, step_kw: float) -> float:
    return math.floor(change_kw / step_kw + NEAR) * step_kw
