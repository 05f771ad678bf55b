"""Batteries and estimates as the tests of the parts of control need them: healthy, unless said otherwise."""

from dataclasses import replace
from typing import Any

from control.estimate import BatteryEstimate, Estimate
from control.obey import untold
from control.watch import Trust
from models.point import RunState
from models.site import Battery, SiteLimits
from tests.control.world import battery, make_site

HEALTHY = BatteryEstimate(
    soc=0.5,
    dc_v=800.0,
    charge_limit_a=100.0,
    discharge_limit_a=100.0,
    charge_limit_kw=None,
    discharge_limit_kw=None,
    bms_state=float(RunState.RUNNING),
    bms_alarm=0.0,
    bms=Trust.TRUSTED,
    p_kw=0.0,
    q_kvar=0.0,
    pcs_state=float(RunState.RUNNING),
    pcs_alarm=None,
    pcs=Trust.TRUSTED,
    usable_kwh=96.75,
    room_kwh=96.75,
    follow=untold(0.0),
)

BATTERY: Battery = battery()
"""±100 kW, 110 kVA, 215 kWh, SOC 0.05 to 0.95, efficiency 0.95 each way."""


def seen(**changes: Any) -> BatteryEstimate:
    """A healthy battery, changed."""
    return replace(HEALTHY, **changes)


def site_with(**limits: float) -> Any:
    """The demo's limits, changed."""
    site, _ = make_site()
    limit: SiteLimits = replace(site.limits, **limits)
    return replace(site, limits=limit)


def at_grid(net_kw: float | None, grid_kvar: float | None = 0.0) -> Estimate:
    """A site of which only the grid connection matters."""
    return Estimate((), net_kw, grid_kvar)
