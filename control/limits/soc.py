"""State of charge: inside its window; outside only back towards it; slower near the ends."""

from control.estimate import BatteryEstimate
from control.limits.kinds import nothing
from models.interval import Interval
from models.site import Battery

NAME = "soc"

TAPER = 0.02
"""Width of the band at either end in which power falls linearly to zero, so that the end is reached gently
and a meter of SOC that counts in steps of 0.1 % does not make the power jump."""


def soc(battery: Battery, seen: BatteryEstimate, last_kw: float) -> Interval:
    """Return what the SOC window leaves, only zero when SOC is not known."""
    if seen.soc is None:
        return nothing(NAME)
    down = min(max((seen.soc - battery.soc_min) / TAPER, 0.0), 1.0)
    up = min(max((battery.soc_max - seen.soc) / TAPER, 0.0), 1.0)
    return Interval(battery.p_min_kw * up, battery.p_max_kw * down, NAME, NAME)
