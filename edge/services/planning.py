"""From what is seen to a problem, and from its solution to a plan. Pure; the planner does the rest."""

import math
from dataclasses import dataclass

import numpy as np

from control.bill import Bill, ScheduleProblem, Storage
from control.schedule import Schedule
from models.forecast.persistence import Forecast
from models.plan import Ladder, Money, Plan, Proof
from models.point import Image, Role, find
from models.series import Grid
from models.site import Battery, Site
from models.tariff import LEVELS, Tariff
from models.units import MS_PER_S, S_PER_H

MIN_FIRST_S = 60.0
"""The running step counts with at least this, so that its powers mean something."""
NO_SOC = "battery-soc-unknown"
NO_PEAK = "month-peak-unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a turn sees of the site; None is not known."""

    soc: tuple[float | None, ...]
    grid_kw: float | None
    net_kw: float | None


def look(site: Site, image: Image, now_ns: int) -> Seen:
    """Return what GOOD readings say."""
    aged = image.aged(site.max_age_ns, now_ns)

    def known(battery: Battery, role: Role) -> float | None:
        reading = find(aged, battery.points, role)
        return reading.value if reading.good else None

    meter = find(aged, site.meter.points, Role.P_KW)
    grid = meter.value if meter.good else None
    powers = [known(battery, Role.P_KW) for battery in site.batteries]
    battery_kw = None if None in powers else sum(power for power in powers if power is not None)
    net = None if grid is None or battery_kw is None else grid + battery_kw
    return Seen(tuple(known(battery, Role.SOC) for battery in site.batteries), grid, net)


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Everything that one plan rests on."""

    site: Site
    tariff: Tariff
    grid: Grid
    made_utc_ms: int
    seen: Seen
    forecast: Forecast
    peak_kw: float | None
    """Billed this month already; None when that is not known."""
    wear_cny_per_kwh: tuple[float, ...]
    """(U,) per kWh discharged."""

    @property
    def used(self) -> tuple[int, ...]:
        """Batteries whose state of charge is known; the others are left alone."""
        return tuple(i for i, soc in enumerate(self.seen.soc) if soc is not None)

    @property
    def flags(self) -> tuple[str, ...]:
        """What is missing."""
        found = [*self.forecast.flags, *self.tariff.warnings(self.grid.starts_ms)]
        if len(self.used) < len(self.seen.soc):
            found.append(NO_SOC)
        if self.tariff.demand_cny_per_kw_month > 0 and self.peak_kw is None:
            found.append(NO_PEAK)
        return tuple(found)


def problem_of(basis: Basis) -> ScheduleProblem:
    """Return what is to be solved.

    The end is valued at what it costs to put a kWh back at the cheapest price: neither emptied at the border
    of the horizon nor hoarded for it. Of a negative net load all may be curtailed where the site has PV.

    A peak is paid once and must be held for the rest of the month: the charge is spread over the days left.
    While it is not known what is billed already, the peak that the load alone will make counts as billed:
    then the plan neither sells arbitrage for a peak that may be lost already, nor makes a new one.
    """
    site, grid, limits = basis.site, basis.grid, basis.site.limits
    price = basis.tariff.prices(grid.starts_ms)
    hours = np.full(grid.n, grid.step_h)
    left_s = (grid.t0_utc_ms + grid.step_ms - basis.made_utc_ms) / MS_PER_S
    hours[0] = max(left_s, MIN_FIRST_S) / S_PER_H
    net = basis.forecast.p50_kw
    pv = np.maximum(-net, 0.0) if site.pvs else np.zeros(grid.n)
    batteries = tuple(_storage(basis, index) for index in basis.used)
    worst = min(battery.eff_charge for battery in batteries)
    return ScheduleProblem(
        step_h=hours,
        load_kw=net + pv,
        pv_kw=pv,
        price_cny_per_kwh=price,
        export_cny_per_kwh=basis.tariff.export_prices(grid.starts_ms),
        batteries=batteries,
        import_limit_kw=min(limits.import_kw, limits.transformer_kva) - limits.margin_kw,
        export_limit_kw=max(min(limits.export_kw, limits.transformer_kva) - limits.margin_kw, 0.0),
        demand_cny_per_kw=basis.tariff.demand_cny_per_kw_month / basis.tariff.days_left(basis.made_utc_ms),
        peak_kw=max(float(net.max()), 0.0) if basis.peak_kw is None else basis.peak_kw,
        end_value_cny_per_kwh=max(float(price.min()), 0.0) / worst,
    )


def _storage(basis: Basis, index: int) -> Storage:
    battery, soc = basis.site.batteries[index], basis.seen.soc[index]
    return Storage(
        p_charge_kw=max(-battery.p_min_kw, 0.0),
        p_discharge_kw=max(battery.p_max_kw, 0.0),
        capacity_kwh=battery.capacity_kwh,
        soc=min(max(soc or 0.0, 0.0), 1.0),
        soc_min=battery.soc_min,
        soc_max=battery.soc_max,
        eff_charge=battery.eff_charge,
        eff_discharge=battery.eff_discharge,
        wear_cny_per_kwh=basis.wear_cny_per_kwh[index],
    )


def plan_of(basis: Basis, problem: ScheduleProblem, found: Schedule, solve_ms: float) -> Plan:
    """Return the plan that a usable schedule makes."""
    unit_kw = np.zeros((len(basis.site.batteries), basis.grid.n))
    unit_kw[list(basis.used)] = found.battery_kw
    capacity = np.array([battery.capacity_kwh for battery in problem.batteries])
    proof = found.certificate
    return Plan(
        ref=basis.made_utc_ms,
        made_utc_ms=basis.made_utc_ms,
        grid=basis.grid,
        status=Ladder.FRESH,
        units=tuple(battery.name for battery in basis.site.batteries),
        unit_kw=unit_kw,
        soc=capacity @ found.soc / capacity.sum(),
        grid_kw=found.grid_kw,
        curtailed_kw=found.curtailed_kw,
        net_load_kw=basis.forecast.p50_kw,
        net_load_p10_kw=basis.forecast.p10_kw,
        net_load_p90_kw=basis.forecast.p90_kw,
        price_cny_per_kwh=problem.price_cny_per_kwh,
        export_cny_per_kwh=problem.export_cny_per_kwh,
        levels=tuple(LEVELS[level] for level in basis.tariff.levels(basis.grid.starts_ms).tolist()),
        money=_money(found.bill),
        idle=_money(found.idle),
        proof=Proof(
            found.status,
            proof.solver_status,
            proof.iterations,
            _finite(proof.primal_residual),
            _finite(proof.dual_residual),
            _finite(proof.gap),
            solve_ms,
        ),
        flags=basis.flags,
        notes=basis.tariff.notes,
        tariff=basis.tariff.name,
        time_zone=basis.tariff.zone.key,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _money(bill: Bill) -> Money:
    return Money(bill.energy_cny, bill.demand_cny, bill.wear_cny, bill.stored_cny)


def no_plan(site: Site, grid: Grid, made_utc_ms: int, flag: str) -> Plan:
    """Return the last step of the ladder: it says why there is no plan, and nothing else."""
    blank = np.full(grid.n, np.nan)
    units = tuple(battery.name for battery in site.batteries)
    return Plan(
        ref=made_utc_ms,
        made_utc_ms=made_utc_ms,
        grid=grid,
        status=Ladder.RULES,
        units=units,
        unit_kw=np.full((len(units), grid.n), np.nan),
        soc=np.full(grid.n + 1, np.nan),
        grid_kw=blank,
        curtailed_kw=blank,
        net_load_kw=blank,
        net_load_p10_kw=blank,
        net_load_p90_kw=blank,
        price_cny_per_kwh=blank,
        export_cny_per_kwh=blank,
        levels=("",) * grid.n,
        money=Money(),
        idle=Money(),
        proof=Proof(),
        flags=(flag,),
    )
