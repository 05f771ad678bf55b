"""The plan of a site: what its batteries are to do, on which expectations, and what that is worth.

Immutable. ``status`` says which step of the ladder it stands on: a fresh answer of the solver, the rest of an
earlier plan, or nothing, in which case the controller follows its own rules.
"""

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np

from models.errors import StoreError
from models.series import Floats, Grid
from models.units import S_PER_H

SCHEMA = "plan/1"
MAX_AGE_MS = round(6 * S_PER_H) * 1000
"""No plan is followed for longer than this after it was made."""
DECIMALS = 4


class Ladder(StrEnum):
    """Where the powers of a plan come from; each step down removes certainty, never a limit."""

    FRESH = "fresh"
    SHIFTED = "shifted"
    """The still valid part of an earlier plan: the last attempt gave no answer."""
    RULES = "rules"
    """There is no plan; the controller follows its rules."""


@dataclass(frozen=True, slots=True)
class Money:
    """What the horizon costs, in CNY; the utility's bill is ``energy_cny + demand_cny``."""

    energy_cny: float = 0.0
    demand_cny: float = 0.0
    """For a peak above what is billed this month already: this day's share of it."""
    wear_cny: float = 0.0
    stored_cny: float = 0.0
    """Value of the energy that is stored at the end beyond that of the start."""

    @property
    def cost_cny(self) -> float:
        """What the utility bills."""
        return self.energy_cny + self.demand_cny

    @property
    def total_cny(self) -> float:
        """The bill with wear and without what is still stored."""
        return self.cost_cny + self.wear_cny - self.stored_cny


@dataclass(frozen=True, slots=True)
class Proof:
    """How the solver ended, to judge how far the plan can be from the best one."""

    status: str = "none"
    """solved, idle (doing nothing is best) or failed."""
    solver_status: str = ""
    iterations: int = 0
    primal_residual: float | None = None
    dual_residual: float | None = None
    gap: float | None = None
    """Relative distance to the solver's lower bound."""
    solve_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Powers and expectations per step; all arrays (N,) unless said otherwise."""

    ref: int
    """Identifies the plan to the controller."""
    made_utc_ms: int
    grid: Grid
    status: Ladder
    units: tuple[str, ...]
    """(U,) names of the batteries."""
    unit_kw: Floats
    """(U, N) discharge +."""
    soc: Floats
    """(N+1,) of all batteries together at the borders of the steps."""
    grid_kw: Floats
    """Import +."""
    curtailed_kw: Floats
    net_load_kw: Floats
    """Expected load minus PV."""
    net_load_p10_kw: Floats
    net_load_p90_kw: Floats
    price_cny_per_kwh: Floats
    export_cny_per_kwh: Floats
    levels: tuple[str, ...]
    """(N,) names of the tariff levels."""
    money: Money
    idle: Money
    """The same horizon without the batteries."""
    proof: Proof
    flags: tuple[str, ...] = ()
    """What the plan had to do without, for instance ``forecast-seed``."""
    notes: tuple[str, ...] = ()
    """What in the tariff is not verified."""
    tariff: str = ""
    time_zone: str = "UTC"
    """The tariff's, in which the plan is shown."""
    posted: bool = False
    """Whether the controller has accepted it."""

    @property
    def battery_kw(self) -> Floats:
        """(N,) sum over the batteries, discharge +."""
        total: Floats = self.unit_kw.sum(axis=0)
        return total

    @property
    def saving_cny(self) -> float:
        """How much less the horizon costs than without the batteries, wear and stored energy counted."""
        return self.idle.total_cny - self.money.total_cny

    @property
    def expires_utc_ms(self) -> int:
        """When the controller must stop following it."""
        return min(self.grid.end_utc_ms, self.made_utc_ms + MAX_AGE_MS)

    def shifted(self, now_utc_ms: int, flags: tuple[str, ...] = ()) -> "Plan | None":
        """Return the part from the running step on, None when nothing valid is left.

        The money is that of the whole old horizon: it says what the plan was made for.
        """
        first = self.grid.index(now_utc_ms)
        if first is None or now_utc_ms >= self.expires_utc_ms or self.status is Ladder.RULES:
            return None
        cut = {name: getattr(self, name)[..., first:] for name in _SERIES}
        return replace(
            self,
            grid=self.grid.tail(first),
            status=Ladder.SHIFTED,
            levels=self.levels[first:],
            flags=tuple(dict.fromkeys((*self.flags, *flags))),
            posted=False,
            **cut,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what ``plan.json`` holds: plain types, NaN as null, sums beside what they come from."""
        data: dict[str, Any] = {"schema": SCHEMA}
        for item in fields(self):
            value = getattr(self, item.name)
            data[item.name] = _plain(value) if isinstance(value, np.ndarray) else value
        for name in ("grid", "money", "idle", "proof"):
            data[name] = asdict(data[name])
        data["battery_kw"] = _plain(self.battery_kw)
        data["cost_cny"], data["idle_cost_cny"] = self.money.cost_cny, self.idle.cost_cny
        data["saving_cny"], data["expires_utc_ms"] = self.saving_cny, self.expires_utc_ms
        return data


_SERIES = (
    *("unit_kw", "soc", "grid_kw", "curtailed_kw", "net_load_kw", "net_load_p10_kw", "net_load_p90_kw"),
    *("price_cny_per_kwh", "export_cny_per_kwh"),
)
"""The arrays of a plan; in all of them time is the last axis."""


def _plain(array: Floats) -> list[Any]:
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [None if value != value else round(value, DECIMALS) for value in array.tolist()]


def plan_from(data: dict[str, Any]) -> Plan:
    """Return the plan that ``to_dict`` has written.

    Raises:
        StoreError: it is none, or of another version.
    """
    try:
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema is {data['schema']!r}")
        values = {item.name: data[item.name] for item in fields(Plan)}
        values |= {name: np.array(data[name], np.float64) for name in _SERIES}
        for name in ("units", "levels", "flags", "notes"):
            values[name] = tuple(data[name])
        for name, kind in (("grid", Grid), ("money", Money), ("idle", Money), ("proof", Proof)):
            values[name] = kind(**data[name])
        plan = Plan(**{**values, "status": Ladder(data["status"])})
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"this is not a plan of this version: {error!r}") from error
    n = plan.grid.n
    if plan.unit_kw.shape != (len(plan.units), n) or len(plan.soc) != n + 1 or len(plan.levels) != n:
        raise StoreError("the lengths in the plan do not agree")
    return plan
