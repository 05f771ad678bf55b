"""The arithmetic behind a schedule: what batteries can really do, and what a course of action costs.

Exact and solver-free: powers are clipped to what batteries and grid point allow, energy is rolled forward,
the bill follows the tariff. Whatever proposes a schedule is judged by this file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OVER_LIMIT_TIMES = 20.0
"""A kWh beyond a grid limit costs this many times the dearest kWh: worse than any plan, better than none."""
OUT_OF_BAND_TIMES = 2.0
"""A kWh outside the SOC band costs this many times the dearest kWh per hour."""


@dataclass(frozen=True, slots=True)
class Storage:
    """One battery as the schedule sees it; powers are not negative, AC side."""

    p_charge_kw: float
    p_discharge_kw: float
    capacity_kwh: float
    soc: float
    """Measured at the start; may lie outside the band."""
    soc_min: float
    soc_max: float
    eff_charge: float
    eff_discharge: float
    wear_cny_per_kwh: float = 0.0
    """Per kWh discharged."""


@dataclass(frozen=True, slots=True, eq=False)
class ScheduleProblem:
    """What is to be planned; all arrays (N,)."""

    step_h: Floats
    """[h] the first one may be shorter than the others."""
    load_kw: Floats
    pv_kw: Floats
    """Available PV power; what is positive of it may be curtailed."""
    price_cny_per_kwh: Floats
    export_cny_per_kwh: Floats
    batteries: tuple[Storage, ...]
    import_limit_kw: float
    export_limit_kw: float
    demand_cny_per_kw: float = 0.0
    """For every kW by which the largest average import of a step exceeds ``peak_kw``."""
    peak_kw: float = 0.0
    """Already billed this month."""
    end_value_cny_per_kwh: float = 0.0
    """What a kWh in the cells is worth after the last step."""

    @property
    def net_kw(self) -> Floats:
        """(N,) load minus available PV."""
        return self.load_kw - self.pv_kw


@dataclass(frozen=True, slots=True)
class Bill:
    """What a course of action costs, in CNY."""

    energy_cny: float
    demand_cny: float
    wear_cny: float
    stored_cny: float
    """Value of the change of stored energy, positive when there is more at the end."""
    penalty_cny: float
    """Not money: what the model charges for leaving limits."""

    @property
    def cost_cny(self) -> float:
        """What the utility bills."""
        return self.energy_cny + self.demand_cny

    @property
    def total_cny(self) -> float:
        """Everything but penalties."""
        return self.cost_cny + self.wear_cny - self.stored_cny

    @property
    def model_cny(self) -> float:
        """What the schedule compares."""
        return self.total_cny + self.penalty_cny


def roll(problem: ScheduleProblem, wish_kw: Floats) -> Floats:
    """Return (U, N) the powers nearest to the wish that the batteries and the grid point really allow.

    Only what a battery adds is clipped: a load or PV power beyond a limit stays what it is.
    """
    out = np.zeros_like(wish_kw)
    energy = np.array([b.soc * b.capacity_kwh for b in problem.batteries])
    for k, hours in enumerate(problem.step_h):
        left_out = max(problem.net_kw[k] + problem.export_limit_kw, 0.0)
        left_in = max(problem.import_limit_kw - problem.net_kw[k], 0.0)
        lo, hi = _reach(problem, energy, float(hours))
        step = np.clip(wish_kw[:, k], lo, hi)
        total = float(step.sum())
        if total > left_out:
            step = _shrink(step, left_out)
        elif total < -left_in:
            step = -_shrink(-step, left_in)
        out[:, k] = step
        energy = energy + _gain(problem, step) * hours
    return out


def _reach(problem: ScheduleProblem, energy: Floats, hours: float) -> tuple[Floats, Floats]:
    """Return (U,) lowest and highest power that keep each battery in its band for one step."""
    lo, hi = np.zeros(len(energy)), np.zeros(len(energy))
    for u, b in enumerate(problem.batteries):
        room = max(b.soc_max * b.capacity_kwh - energy[u], 0.0)
        above = max(energy[u] - b.soc_min * b.capacity_kwh, 0.0)
        lo[u] = -min(b.p_charge_kw, room / (b.eff_charge * hours))
        hi[u] = min(b.p_discharge_kw, above * b.eff_discharge / hours)
    return lo, hi


def _shrink(step: Floats, most: float) -> Floats:
    """Scale the positive powers down so that the sum is ``most`` (not negative); the negative ones stay."""
    plus = np.maximum(step, 0.0)
    minus = np.minimum(step, 0.0)
    out: Floats = minus + plus * (most - minus.sum()) / plus.sum()
    return out


def _gain(problem: ScheduleProblem, step_kw: Floats) -> Floats:
    """Return (U,) or (U, N), as it was given, the power into the cells."""
    into = np.array([b.eff_charge for b in problem.batteries])
    out_of = np.array([b.eff_discharge for b in problem.batteries])
    by_unit = step_kw.T
    gain: Floats = np.where(by_unit < 0, -by_unit * into, -by_unit / out_of).T
    return gain


def energies(problem: ScheduleProblem, battery_kw: Floats) -> Floats:
    """Return (U, N+1) [kWh] the stored energy at the borders of the steps."""
    start = np.array([[b.soc * b.capacity_kwh] for b in problem.batteries])
    change = np.cumsum(_gain(problem, battery_kw) * problem.step_h, axis=1)
    return np.hstack([start, start + change])


def settle(problem: ScheduleProblem, battery_kw: Floats) -> tuple[Bill, Floats, Floats]:
    """Return the bill of given battery powers, with grid power and curtailment, both (N,)."""
    before = problem.net_kw - battery_kw.sum(axis=0)
    curtailed = _curtailed(problem, before)
    grid = before + curtailed
    price, export = problem.price_cny_per_kwh, problem.export_cny_per_kwh
    bought, sold = np.maximum(grid, 0.0), np.maximum(-grid, 0.0)
    hours = problem.step_h
    peak = max(float(bought.max()) - problem.peak_kw, 0.0)
    over = np.maximum(bought - problem.import_limit_kw, 0) + np.maximum(sold - problem.export_limit_kw, 0)
    stored = energies(problem, battery_kw)
    outside = _outside(problem, stored[:, 1:])
    unit = dearest(problem)
    wear = np.array([b.wear_cny_per_kwh for b in problem.batteries])
    bill = Bill(
        energy_cny=float(np.sum((price * bought - export * sold) * hours)),
        demand_cny=problem.demand_cny_per_kw * peak,
        wear_cny=float(np.sum(np.maximum(battery_kw, 0) * hours * wear[:, None])),
        stored_cny=float(problem.end_value_cny_per_kwh * np.sum(stored[:, -1] - stored[:, 0])),
        penalty_cny=float(
            np.sum(over * hours) * OVER_LIMIT_TIMES * unit
            + np.sum(outside * hours) * OUT_OF_BAND_TIMES * unit
        ),
    )
    return bill, grid, curtailed


def _curtailed(problem: ScheduleProblem, before_kw: Floats) -> Floats:
    """Return (N,) the PV power that is not used, of a grid power with all of it.

    Curtailed is what may not be exported or costs money there; where import pays, also as much as fits under
    the import limit and, where peaks cost money, makes no new one.
    """
    pv = np.maximum(problem.pv_kw, 0.0)
    surplus = np.maximum(-before_kw, 0.0)
    beyond = np.maximum(surplus - problem.export_limit_kw, 0.0)
    must = np.minimum(np.where(problem.export_cny_per_kwh < 0, surplus, beyond), pv)
    ceiling_kw = problem.import_limit_kw
    if problem.demand_cny_per_kw > 0:
        ceiling_kw = min(ceiling_kw, max(problem.peak_kw, float(before_kw.max())))
    out: Floats = np.where(problem.price_cny_per_kwh < 0, np.clip(ceiling_kw - before_kw, must, pv), must)
    return out


def _outside(problem: ScheduleProblem, energy: Floats) -> Floats:
    """Return (U, N) [kWh] how far outside its band each battery is."""
    lo = np.array([[b.soc_min * b.capacity_kwh] for b in problem.batteries])
    hi = np.array([[b.soc_max * b.capacity_kwh] for b in problem.batteries])
    out: Floats = np.maximum(lo - energy, 0.0) + np.maximum(energy - hi, 0.0)
    return out


def dearest(problem: ScheduleProblem) -> float:
    """Return the price that everything is compared with [CNY/kWh]."""
    values = (problem.price_cny_per_kwh, problem.export_cny_per_kwh)
    return max(0.1, *(float(np.max(np.abs(value))) for value in values))
