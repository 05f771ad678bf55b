"""Ramp: how far the site's battery power may move in one cycle, when nothing is being violated.

It is applied last and it is weakest: whatever a limit demands happens at once, without a ramp.
"""

from models.interval import Interval
from models.site import Site

NAME = "ramp"


def step_kw(site: Site) -> float:
    """Return the largest change in one cycle."""
    return site.limits.ramp_kw_per_s * site.cycle_s


def ramp(site: Site, held_kw: float) -> Interval:
    """Return the window around ``held_kw``, the last setpoints after the units' limits of this cycle."""
    step = step_kw(site)
    return Interval(held_kw - step, held_kw + step, NAME, NAME)
