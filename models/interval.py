"""Allowed power now, with the name of the limit that set each end.

``[lo_kw, hi_kw]`` in the sign of a battery: discharge is positive, so ``lo_kw`` is how hard it may charge.
Zero need not be inside: an overloaded transformer *must* discharge.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed interval of power; each end carries its owner."""

    lo_kw: float
    hi_kw: float
    lo_by: str
    hi_by: str

    @property
    def empty(self) -> bool:
        """Whether no power is allowed, which is also the answer when an end is not a number."""
        return not self.lo_kw <= self.hi_kw

    def clamp(self, p_kw: float) -> float:
        """Return the allowed power nearest to ``p_kw``; the interval must not be empty."""
        return min(max(p_kw, self.lo_kw), self.hi_kw)

    def narrow(self, other: "Interval") -> "Interval":
        """Return the intersection; an end keeps its owner unless ``other`` is strictly tighter."""
        lo, lo_by = (other.lo_kw, other.lo_by) if other.lo_kw > self.lo_kw else (self.lo_kw, self.lo_by)
        hi, hi_by = (other.hi_kw, other.hi_by) if other.hi_kw < self.hi_kw else (self.hi_kw, self.hi_by)
        return Interval(lo, hi, lo_by, hi_by)


def everything(by: str) -> Interval:
    """Return the interval that forbids nothing."""
    return Interval(-math.inf, math.inf, by, by)


def at_least(lo_kw: float, by: str) -> Interval:
    """Return the interval that only sets the lower end."""
    return Interval(lo_kw, math.inf, by, by)


def at_most(hi_kw: float, by: str) -> Interval:
    """Return the interval that only sets the upper end."""
    return Interval(-math.inf, hi_kw, by, by)
