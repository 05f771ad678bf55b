"""Transformer: apparent power at the connection point, both directions, with the measured reactive power.

An import overload needs the battery to *discharge*; forbidding that (as a published specification does)
makes it worse.
"""

import math

from control.estimate import Estimate
from control.limits.kinds import nothing
from models.interval import Interval
from models.site import Site

NAME = "transformer"


def transformer(site: Site, seen: Estimate) -> Interval:
    """Return the battery power that keeps ``sqrt(P² + Q²)`` below the limit less the margin.

    Only zero when the meter's active or reactive power is not known.
    """
    if seen.net_kw is None or seen.grid_kvar is None:
        return nothing(NAME)
    s_kva = max(0.0, site.limits.transformer_kva - site.limits.margin_kw)
    p_kw = math.sqrt(s_kva**2 - min(abs(seen.grid_kvar), s_kva) ** 2)
    return Interval(seen.net_kw - p_kw, seen.net_kw + p_kw, NAME, NAME)
