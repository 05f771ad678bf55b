"""The economic schedule of a site: one convex QP over all steps, solved by OSQP, then made exact.

Per step: charge, discharge, import, export, PV curtailment, and priced slack where reality may already be
outside a limit, so that there is always an answer. What a solver returns is only a proposal: ``bill``
makes it exact and compares it with doing nothing; a plan that costs more is never returned.

This is the only importer of osqp and scipy; both are imported on first use.
"""

from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from control.bill import (
    OUT_OF_BAND_TIMES,
    OVER_LIMIT_TIMES,
    Bill,
    Floats,
    ScheduleProblem,
    dearest,
    energies,
    roll,
    settle,
)

SMOOTH_TIMES = 0.004
"""Price slope: full power costs this share of the dearest price more; spreads power over equal prices."""
EPS = 1e-6
GAP = 1e-3
MAX_ITER = 4_000
ATTEMPTS = (
    {"adaptive_rho_interval": 100, "adaptive_rho_tolerance": 3.0},
    {"adaptive_rho_interval": 50, "alpha": 1.4},
)
"""Tried in this order until one is solved; what is left (about one day in thirty) goes to HiGHS. The interval
is fixed because the default one measures time, and answers would not repeat."""
PEAK_UNIT = 0.1
"""The peak is counted in this many per-unit powers: its price is about a hundred times that of energy, and
this brings OSQP's iterations down to a third (measured on a metal works' load with a demand charge)."""

SOLVED = "solved"
IDLE = "idle"
"""Doing nothing is the best that was found."""
FAILED = "failed"
"""No answer; the powers are zero and must not be taken for a plan."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """How far the solver came."""

    solver_status: str
    """Which solver, and how it ended."""
    iterations: int = 0
    primal_residual: float = float("nan")
    """Per unit."""
    dual_residual: float = float("nan")
    gap: float = float("nan")
    """(cost of the returned plan - lower bound of the solver) / larger of the two sizes and of idle."""


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A physically exact course of action; U batteries, N steps."""

    status: str
    battery_kw: Floats
    """(U, N) discharge +."""
    soc: Floats
    """(U, N+1) at the borders of the steps."""
    grid_kw: Floats
    """(N,) import +."""
    curtailed_kw: Floats
    """(N,)"""
    bill: Bill
    idle: Bill
    """The same without the batteries."""
    certificate: Certificate

    @property
    def usable(self) -> bool:
        """Whether the powers are a plan."""
        return self.status != FAILED


def schedule(problem: ScheduleProblem) -> Schedule:
    """Return the cheapest course of action for the batteries; never raises for what a plant may measure.

    OSQP first, for its smooth powers; HiGHS solves the same problem without smoothing when OSQP does not get
    there, or when its answer, made exact, turns out to be farther from the bound than ``GAP``.
    """
    if reason := _nonsense(problem):
        return _empty(problem, reason)
    model = _Model(problem)
    found = _exact(problem, model, _by_osqp(model))
    if found.certificate.gap <= GAP:  # a failure has no gap: nan
        return found
    other = _exact(problem, model, _by_highs(model))
    return min(found, other, key=lambda one: (not one.usable, one.bill.model_cny))


def _exact(problem: ScheduleProblem, model: "_Model", answer: "_Answer") -> Schedule:
    """Make an answer exact; doing nothing stands in for one that is worse."""
    idle_kw = np.zeros((model.at.units, model.at.steps))
    if answer.x is None:
        return _result(problem, FAILED, idle_kw, answer.certificate, answer.lower)
    lower_cny = answer.lower * model.scale_cny + _constant(problem)
    plan = _result(problem, SOLVED, roll(problem, model.powers_kw(answer.x)), answer.certificate, lower_cny)
    if plan.bill.model_cny <= plan.idle.model_cny:
        return plan
    return _result(problem, IDLE, idle_kw, answer.certificate, lower_cny)


def _nonsense(problem: ScheduleProblem) -> str:
    """Return why there is nothing to solve, empty when there is."""
    stores, hours = problem.batteries, problem.step_h
    arrays = (problem.load_kw, problem.pv_kw, problem.price_cny_per_kwh, problem.export_cny_per_kwh)
    limits = (problem.import_limit_kw, problem.export_limit_kw, problem.demand_cny_per_kw, problem.peak_kw)
    numbers: tuple[Any, ...] = (*limits, problem.end_value_cny_per_kwh, *(astuple(b) for b in stores))
    needs = (
        (stores and len(hours), "nothing to schedule"),
        (all(np.all(np.isfinite(given)) for given in (hours, *arrays, *numbers)), "an input is not a number"),
        (all(array.shape == hours.shape for array in arrays), "the arrays do not fit the grid"),
        (np.all(hours > 0), "a step has no length"),
        (min(limits) >= 0, "a limit, the peak or its price is negative"),
        (all(0 <= b.soc <= 1 for b in stores), "a state of charge is impossible"),
        (all(b.capacity_kwh > 0 and b.soc_min <= b.soc_max for b in stores), "a battery holds nothing"),
        (all(min(b.p_charge_kw, b.p_discharge_kw) >= 0 for b in stores), "a battery's power is negative"),
        (
            all(0 < e <= 1 for b in stores for e in (b.eff_charge, b.eff_discharge)),
            "an efficiency is impossible",
        ),
    )
    return next((reason for met, reason in needs if not met), "")


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What a solver gave."""

    certificate: Certificate
    x: Floats | None = None
    """Only of a solver that vouches for it."""
    lower: float = float("nan")
    """Lower bound of the objective, per unit."""


class _Layout:
    """Where each kind of variable stands: N columns a kind, the one peak last.

    A kind that cannot differ from zero is left out: OSQP converges much faster without dead columns and
    steep slack prices, and without slack doing nothing is still feasible.
    """

    def __init__(self, problem: ScheduleProblem) -> None:
        self.steps = len(problem.step_h)
        self.units = len(problem.batteries)
        names = ["import"]
        needed = {
            "export": problem.export_limit_kw > 0 or np.any(problem.load_kw < 0),
            "curtail": np.any(problem.pv_kw > 0),
            "over_import": np.any(problem.net_kw > problem.import_limit_kw),
            "over_export": np.any(problem.load_kw < -problem.export_limit_kw),
        }
        names += [name for name, need in needed.items() if need]
        for u, b in enumerate(problem.batteries):
            names += [f"charge{u}", f"discharge{u}", f"energy{u}"]
            if not b.soc_min <= b.soc <= b.soc_max:
                names.append(f"outside{u}")
        self._first = {name: index * self.steps for index, name in enumerate(names)}
        self.peak = len(names) * self.steps
        self.size = self.peak + (problem.demand_cny_per_kw > 0)

    def __contains__(self, name: str) -> bool:
        return name in self._first or (name == "peak" and self.size > self.peak)

    def __getitem__(self, name: str) -> slice:
        return slice(self._first[name], self._first[name] + self.steps)


class _Model:
    """min 1/2 x'Px + q'x, l <= Ax <= u, per unit; money is counted in ``scale_cny``."""

    def __init__(self, problem: ScheduleProblem) -> None:
        import scipy.sparse as sparse

        self.at = _Layout(problem)
        self.base_kw = max(1.0, sum(max(b.p_charge_kw, b.p_discharge_kw) for b in problem.batteries))
        self.price = dearest(problem)
        self.scale_cny = self.base_kw * self.price
        self._sparse = sparse
        self._rows: list[Any] = []
        self._lo: list[Floats] = []
        self._hi: list[Floats] = []
        self.q = np.zeros(self.at.size)
        self.diagonal = np.zeros(self.at.size)
        self._bounds(problem)
        self._costs(problem)
        self._grid(problem)
        for u in range(self.at.units):
            self._battery(problem, u)

    @property
    def matrices(self) -> tuple[Any, Floats, Any, Floats, Floats]:
        """Return P, q, A, l, u as OSQP takes them."""
        sparse = self._sparse
        a = sparse.vstack([*self._rows, sparse.eye(self.at.size)], format="csc")
        p = sparse.diags(self.diagonal, format="csc")
        lo, hi = np.concatenate([*self._lo, self.lower]), np.concatenate([*self._hi, self.upper])
        return p, self.q, a, lo, hi

    def powers_kw(self, x: Floats) -> Floats:
        """Return (U, N) the battery powers in a solution; charging and discharging at once cancels out.

        Where prices are negative the model would burn energy that way: no battery of ours does, and the gap
        of such a day tells by how much the bound is out of reach.
        """
        units = range(self.at.units)
        pairs = [(x[self.at[f"discharge{u}"]], x[self.at[f"charge{u}"]]) for u in units]
        return self.base_kw * np.array([out - into for out, into in pairs])

    def _row(self, parts: dict[str, Any], lo: Floats | float, hi: Floats | float) -> None:
        """Add N rows; a part is a matrix (N, N) or the diagonal of one, for the peak a column."""
        sparse, steps = self._sparse, self.at.steps
        block = sparse.lil_matrix((steps, self.at.size))
        for name, value in parts.items():
            if name not in self.at:
                continue
            if name == "peak":
                block[:, self.at.peak] = np.full((steps, 1), value)
            elif sparse.issparse(value):
                block[:, self.at[name]] = value
            else:
                block[:, self.at[name]] = sparse.diags(np.broadcast_to(value, steps))
        self._rows.append(block)
        self._lo.append(np.broadcast_to(np.asarray(lo, np.float64), steps))
        self._hi.append(np.broadcast_to(np.asarray(hi, np.float64), steps))

    def _bounds(self, problem: ScheduleProblem) -> None:
        self.lower, self.upper = np.zeros(self.at.size), np.full(self.at.size, np.inf)
        for name, limit in (
            ("import", problem.import_limit_kw),
            ("export", problem.export_limit_kw),
            ("curtail", np.maximum(problem.pv_kw, 0.0)),
        ):
            if name in self.at and f"over_{name}" not in self.at:
                self.upper[self.at[name]] = limit / self.base_kw
        # only what is over the limit without the battery may be: it must not charge into an overload
        for name, over in (
            ("over_import", problem.net_kw - problem.import_limit_kw),
            ("over_export", -problem.load_kw - problem.export_limit_kw),
        ):
            if name in self.at:
                self.upper[self.at[name]] = np.maximum(over, 0.0) / self.base_kw
        if "peak" in self.at:
            self.lower[self.at.peak] = problem.peak_kw / self.base_kw / PEAK_UNIT
        for u, b in enumerate(problem.batteries):
            self.upper[self.at[f"charge{u}"]] = b.p_charge_kw / self.base_kw
            self.upper[self.at[f"discharge{u}"]] = b.p_discharge_kw / self.base_kw
            # a battery that starts outside its band may come back; it may not go further out
            self.lower[self.at[f"energy{u}"]] = min(b.soc_min, b.soc) * b.capacity_kwh / self.base_kw
            self.upper[self.at[f"energy{u}"]] = max(b.soc_max, b.soc) * b.capacity_kwh / self.base_kw

    def _costs(self, problem: ScheduleProblem) -> None:
        at, hours = self.at, problem.step_h
        # an export price above the import price would make a money pump of the two
        sold = np.minimum(problem.export_cny_per_kwh, problem.price_cny_per_kwh)
        for name, price in (
            ("import", problem.price_cny_per_kwh / self.price),
            ("export", -sold / self.price),
            ("over_import", OVER_LIMIT_TIMES),
            ("over_export", OVER_LIMIT_TIMES),
        ):
            if name in at:
                self.q[at[name]] = hours * price
        if "peak" in at:
            self.q[at.peak] = problem.demand_cny_per_kw / self.price * PEAK_UNIT
        for u, b in enumerate(problem.batteries):
            self.q[at[f"discharge{u}"]] = hours * b.wear_cny_per_kwh / self.price
            self.q[at[f"energy{u}"].stop - 1] -= problem.end_value_cny_per_kwh / self.price
            power = max(b.p_charge_kw, b.p_discharge_kw, 1.0) / self.base_kw
            for name in (f"charge{u}", f"discharge{u}"):
                self.diagonal[at[name]] = hours * SMOOTH_TIMES / power
            if f"outside{u}" in at:
                self.q[at[f"outside{u}"]] = hours * OUT_OF_BAND_TIMES

    def _grid(self, problem: ScheduleProblem) -> None:
        net = problem.net_kw / self.base_kw
        balance = {"import": 1.0, "export": -1.0, "curtail": -1.0}
        for u in range(self.at.units):
            balance |= {f"charge{u}": -1.0, f"discharge{u}": 1.0}
        self._row(balance, net, net)
        limits = {"import": problem.import_limit_kw, "export": problem.export_limit_kw}
        for name, limit in limits.items():
            if f"over_{name}" in self.at:
                self._row({name: 1.0, f"over_{name}": -1.0}, -np.inf, limit / self.base_kw)
        if "peak" in self.at:
            self._row({"import": 1.0, "peak": -PEAK_UNIT}, -np.inf, 0.0)

    def _battery(self, problem: ScheduleProblem, u: int) -> None:
        b, hours = problem.batteries[u], problem.step_h
        before = self._sparse.diags([np.ones(self.at.steps), -np.ones(self.at.steps - 1)], [0, -1])
        start = np.zeros(self.at.steps)
        start[0] = b.soc * b.capacity_kwh / self.base_kw
        energy, charge, discharge = f"energy{u}", f"charge{u}", f"discharge{u}"
        self._row(
            {energy: before, charge: -hours * b.eff_charge, discharge: hours / b.eff_discharge}, start, start
        )
        if f"outside{u}" in self.at:
            band = np.array([b.soc_min, b.soc_max]) * b.capacity_kwh / self.base_kw
            self._row({energy: 1.0, f"outside{u}": 1.0}, band[0], np.inf)
            self._row({energy: 1.0, f"outside{u}": -1.0}, -np.inf, band[1])


def _by_osqp(model: _Model) -> _Answer:
    """Solve the QP; what OSQP has not finished is not used: its x can be anything."""
    import osqp

    p, q, a, lo, hi = model.matrices
    common = {"verbose": False, "eps_abs": EPS, "eps_rel": EPS, "max_iter": MAX_ITER, "polishing": True}
    certificate = Certificate("osqp: not run")
    for settings in ATTEMPTS:
        solver = osqp.OSQP()
        try:
            solver.setup(p, q, a, lo, hi, **common, **settings)
            found = solver.solve(raise_error=False)
        except (osqp.OSQPException, ValueError) as error:
            return _Answer(Certificate(f"osqp: refused the problem, {error}"))
        info = found.info
        residuals = float(info.prim_res), float(info.dual_res)
        certificate = Certificate(f"osqp: {info.status}", int(info.iter), *residuals)
        if info.status_val == osqp.SolverStatus.OSQP_SOLVED and np.all(np.isfinite(found.x)):
            return _Answer(certificate, np.asarray(found.x, np.float64), float(info.dual_obj_val))
    return _Answer(certificate)


def _by_highs(model: _Model) -> _Answer:
    """Solve the LP: exact where the first-order method cycles, but with all power in single steps."""
    from scipy.optimize import LinearConstraint, milp

    _, q, a, lo, hi = model.matrices
    found = milp(q, constraints=LinearConstraint(a, lo, hi), bounds=(-np.inf, np.inf))
    certificate = Certificate(f"highs: {found.message}")
    if found.status != 0:
        return _Answer(certificate)
    worst = max(float(np.max(lo - a @ found.x)), float(np.max(a @ found.x - hi)), 0.0)
    certificate = Certificate("highs: optimal", 0, worst)
    return _Answer(certificate, np.asarray(found.x, np.float64), float(found.fun))


def _smoothing_cny(problem: ScheduleProblem, battery_kw: Floats) -> float:
    """Return what the QP adds to the model's cost to spread power."""
    full = np.array([[max(b.p_charge_kw, b.p_discharge_kw, 1.0)] for b in problem.batteries])
    return float(np.sum(battery_kw**2 / full * problem.step_h) / 2 * SMOOTH_TIMES * dearest(problem))


def _empty(problem: ScheduleProblem, reason: str) -> Schedule:
    """Return the outcome of a problem that cannot be computed at all."""
    units, steps = len(problem.batteries), len(problem.step_h)
    nothing = Bill(*[float("nan")] * 5)
    blank = np.full(steps, np.nan)
    powers, soc = np.zeros((units, steps)), np.full((units, steps + 1), np.nan)
    return Schedule(FAILED, powers, soc, blank, blank, nothing, nothing, Certificate(reason))


def _constant(problem: ScheduleProblem) -> float:
    """Return what the QP leaves out: the peak counts from what is billed, stored energy from the start."""
    stored = sum(b.soc * b.capacity_kwh for b in problem.batteries)
    return problem.end_value_cny_per_kwh * stored - problem.demand_cny_per_kw * problem.peak_kw


def _result(
    problem: ScheduleProblem, status: str, battery_kw: Floats, certificate: Certificate, lower_cny: float
) -> Schedule:
    """Make the exact outcome of given powers."""
    bill, grid, curtailed = settle(problem, battery_kw)
    idle, _, _ = settle(problem, np.zeros_like(battery_kw))
    size = max(abs(bill.model_cny), abs(lower_cny), abs(idle.model_cny), 1.0)
    gap = bill.model_cny + _smoothing_cny(problem, battery_kw) - lower_cny
    capacity = np.array([[b.capacity_kwh] for b in problem.batteries])
    return Schedule(
        status=status,
        battery_kw=battery_kw,
        soc=energies(problem, battery_kw) / capacity,
        grid_kw=grid,
        curtailed_kw=curtailed,
        bill=bill,
        idle=idle,
        certificate=replace(certificate, gap=gap / size),
    )
