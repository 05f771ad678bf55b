"""The PCS must run, be alive, and say what power it carries."""

from control.estimate import BatteryEstimate
from control.limits.alarm import factor
from control.limits.kinds import earned, nothing
from models.interval import Interval
from models.point import AlarmLevel, RunState
from models.site import Battery

NAME = "pcs"


def pcs(battery: Battery, seen: BatteryEstimate, last_kw: float) -> Interval:
    """Return the nameplate while the PCS runs and can be trusted, else what it has earned.

    An alarm level that the PCS has but that is not known makes it untrusted, so None here means that it
    has none.
    """
    if seen.pcs_state != RunState.RUNNING or seen.p_kw is None:
        return nothing(NAME)
    share = factor(AlarmLevel.NONE if seen.pcs_alarm is None else seen.pcs_alarm)
    allowed = Interval(battery.p_min_kw * share, battery.p_max_kw * share, NAME, NAME)
    unproven = earned(seen.pcs, last_kw, NAME)
    return allowed if unproven is None else allowed.narrow(unproven)
