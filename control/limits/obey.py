"""What a battery has earned by doing as it was told, see ``control.obey``."""

from control.estimate import BatteryEstimate
from control.limits.kinds import nothing
from control.obey import Verdict
from models.interval import Interval
from models.site import Battery

NAME = "obey"


def obey(battery: Battery, seen: BatteryEstimate, last_kw: float) -> Interval:
    """Return everything while it follows, only zero while it is stopped, else what it has shown to give."""
    if seen.follow.verdict >= Verdict.STOPPED:
        return nothing(NAME)
    return Interval(seen.follow.charge_kw, seen.follow.discharge_kw, NAME, NAME)
