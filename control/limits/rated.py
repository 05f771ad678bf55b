"""Nameplate: active power at the AC terminals, and the kVA circle around the measured reactive power."""

import math

from control.estimate import BatteryEstimate
from models.interval import Interval
from models.site import Battery

NAME = "rated"


def nameplate(battery: Battery) -> Interval:
    """Return what the battery is built for; every other limit is met inside of it."""
    return Interval(battery.p_min_kw, battery.p_max_kw, NAME, NAME)


def rated(battery: Battery, seen: BatteryEstimate, last_kw: float) -> Interval:
    """Return the nameplate window cut by what reactive power leaves: ``P² + Q² <= S²``.

    Reactive power that the PCS has but that is not known makes the PCS untrusted, so None here means that
    it has none.
    """
    q_kvar = seen.q_kvar or 0.0
    circle_kw = math.sqrt(max(0.0, battery.s_max_kva**2 - min(abs(q_kvar), battery.s_max_kva) ** 2))
    return nameplate(battery).narrow(Interval(-circle_kw, circle_kw, NAME, NAME))
