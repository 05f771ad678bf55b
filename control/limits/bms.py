"""What the BMS allows: its current limits as AC power, its state and its alarm level.

The limits are DC amperes. When discharging, losses lie between the cells and the AC terminals, so less
arrives there: multiply by the efficiency. When charging, the AC power is at least the DC power: the
limit is taken as AC power without dividing, because the efficiency in the configuration includes the
cells and dividing by it would put more than the allowed current into them. Limits that the device says as
power may be meant at either side: they are treated alike, and the narrower of both kinds counts.
"""

from control.estimate import BatteryEstimate
from control.limits.alarm import factor
from control.limits.kinds import earned, nothing
from models.interval import Interval
from models.point import RunState
from models.site import Battery
from models.units import kw_from_dc

NAME = "bms"

READY = (None, RunState.STANDBY, RunState.RUNNING)
"""States in which the battery may carry current; None is a BMS that reports no state."""

ABSURD = 10.0
"""Times the nameplate: such a limit is an error (65535 A), and the rest of the message is doubtful too."""


DC_V_MAX = 1600.0
"""No storage battery on the market has more; such a voltage is an error."""


def bms(battery: Battery, seen: BatteryEstimate, last_kw: float) -> Interval:
    """Return what the BMS allows, only zero when it does not say, says nonsense, or forbids."""
    unproven = earned(seen.bms, last_kw, NAME)
    if unproven is not None and unproven.lo_kw == unproven.hi_kw:
        return unproven
    limits_kw = _limits(battery, seen)
    if limits_kw is None or seen.bms_state not in READY:
        return nothing(NAME)
    accepted = battery.without_alarms and seen.bms_alarm is None
    share = 1.0 if accepted else factor(seen.bms_alarm)
    allowed = Interval(-limits_kw[0] * share, limits_kw[1] * share, NAME, NAME)
    return allowed if unproven is None else allowed.narrow(unproven)


def _limits(battery: Battery, seen: BatteryEstimate) -> tuple[float, float] | None:
    """Return the largest charge and discharge power at the AC terminals, both positive, or None."""
    charge_kw, discharge_kw = [], []
    if seen.dc_v is not None and seen.charge_limit_a is not None and seen.discharge_limit_a is not None:
        if not 0.0 < seen.dc_v <= DC_V_MAX:
            return None
        charge_kw.append(kw_from_dc(seen.dc_v, seen.charge_limit_a))
        discharge_kw.append(kw_from_dc(seen.dc_v, seen.discharge_limit_a))
    if seen.charge_limit_kw is not None and seen.discharge_limit_kw is not None:
        charge_kw.append(seen.charge_limit_kw)
        discharge_kw.append(seen.discharge_limit_kw)
    absurd_kw = ABSURD * battery.s_max_kva
    arriving_kw = [kw * battery.eff_discharge for kw in discharge_kw]
    if not charge_kw or not all(0.0 <= kw <= absurd_kw for kw in (*charge_kw, *arriving_kw)):
        return None
    return min(charge_kw), min(arriving_kw)
