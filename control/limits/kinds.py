"""What a limit is. One for a unit looks at one battery; one for the site looks at the grid connection."""

from collections.abc import Callable
from typing import NamedTuple

from control.estimate import BatteryEstimate, Estimate
from control.watch import Trust
from models.interval import Interval
from models.proposal import Layer
from models.site import Battery, Site

UnitRule = Callable[[Battery, BatteryEstimate, float], Interval]
"""(battery, what is known of it, its last setpoint) -> allowed power; zero is always inside."""
SiteRule = Callable[[Site, Estimate], Interval]
"""(site, what is known of it) -> allowed sum over the batteries; zero need not be inside."""


class UnitLimit(NamedTuple):
    """A limit of every battery."""

    name: str
    """The owner of the ends that it sets."""
    layer: Layer
    rule: UnitRule


class SiteLimit(NamedTuple):
    """A limit of the grid connection point."""

    name: str
    """The owner of the ends that it sets."""
    layer: Layer
    rule: SiteRule


def nothing(by: str) -> Interval:
    """Return the interval that allows only zero power."""
    return Interval(0.0, 0.0, by, by)


def earned(trust: Trust, last_kw: float, by: str) -> Interval | None:
    """Return what an untrusted device may do, None when it is trusted.

    Nothing while it is dead; while it is proving itself, anything between its last power and zero, which
    is how a restart takes over a running battery without a bump.
    """
    if trust == Trust.TRUSTED:
        return None
    if trust == Trust.PROVING:
        return Interval(min(0.0, last_kw), max(0.0, last_kw), by, by)
    return nothing(by)
