"""Spares registers that wear: small changes are not written, and it gets coarser as the budget is used up.

Every error is towards less power: what is written is never more than what was asked for.
"""

import math

from models.units import NS_PER_S

DAY_NS = 86_400 * NS_PER_S
COARSEST = 0.1
"""Part of the nameplate to which the steps grow when nothing is left of the budget."""
SMALLEST_KW = 1e-6
"""A smaller step is none."""
RESERVE_H = 1.0
"""So many hours' worth of writes may be spent at once."""


class Wear:
    """Steps of the setpoint of one device."""

    def __init__(self, per_day: int, dead_band_kw: float, span_kw: float) -> None:
        """Args: writes a day (0: no limit), smallest step, and the largest power of the nameplate."""
        self._rate = per_day / DAY_NS
        self._most = per_day * RESERVE_H / 24.0
        self._left = self._most
        self._since_ns = 0
        self._dead_band_kw = dead_band_kw
        self._span_kw = span_kw
        self._kw = 0.0

    def wrote(self, now_ns: int) -> None:
        """Count one write."""
        if self._rate:
            self._refill(now_ns)
            self._left = max(0.0, self._left - 1.0)

    def step_kw(self, now_ns: int) -> float:
        """Return the step of now."""
        if not self._rate:
            return self._dead_band_kw
        self._refill(now_ns)
        used = 1.0 - self._left / self._most
        return self._dead_band_kw + COARSEST * self._span_kw * used**2

    def stepped(self, p_kw: float, now_ns: int) -> float:
        """Return what to write for ``p_kw``: never more, and what was written before while that is near."""
        step_kw = self.step_kw(now_ns)
        size, kept = abs(p_kw), abs(self._kw)
        if step_kw < SMALLEST_KW:
            self._kw = p_kw
        elif not (self._kw * p_kw > 0.0 and kept <= size < kept + step_kw):
            self._kw = math.copysign(math.floor(size / step_kw + 1e-9) * step_kw, p_kw)
        if abs(self._kw) > size:  # the last bit of the multiplication
            self._kw = p_kw
        return self._kw

    def _refill(self, now_ns: int) -> None:
        since_ns, self._since_ns = self._since_ns, now_ns
        if since_ns:
            self._left = min(self._most, self._left + (now_ns - since_ns) * self._rate)
