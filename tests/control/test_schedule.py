"""The schedule against an independent LP (HiGHS), its physics, and the cases at the edge."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from control import schedule as module
from control.bill import OUT_OF_BAND_TIMES, OVER_LIMIT_TIMES, Bill, ScheduleProblem, Storage, dearest, settle
from control.schedule import FAILED, IDLE, SOLVED, Schedule, schedule

STORE = Storage(100.0, 100.0, 215.0, 0.5, 0.05, 0.95, 0.95, 0.95, 0.13)


def problem(n: int = 96, **changes: object) -> ScheduleProblem:
    """Return a plain day: flat load of 150 kW, two valleys, one peak."""
    hour = np.arange(n) * 24 / n
    price = np.where(hour < 6, 0.38, np.where((hour >= 14) & (hour < 22), 0.96, 0.64))
    base = ScheduleProblem(
        step_h=np.full(n, 24 / n),
        load_kw=np.full(n, 150.0),
        pv_kw=np.zeros(n),
        price_cny_per_kwh=price,
        export_cny_per_kwh=np.zeros(n),
        batteries=(STORE,),
        import_limit_kw=360.0,
        export_limit_kw=0.0,
        end_value_cny_per_kwh=0.4,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def random_problem(seed: int, n: int = 96, units: int = 1) -> ScheduleProblem:
    """Return a day of a plant with shifts, noise, PV, every limit and charge at random."""
    rng = np.random.default_rng(seed)
    hour = np.arange(n) * 24 / n
    load = (
        rng.uniform(40, 120) + rng.uniform(0, 180) * ((hour > 6) & (hour < 20)) + 15 * rng.standard_normal(n)
    )
    pv = rng.uniform(0, 200) * np.maximum(0, np.cos((hour - 12.5) / 6 * np.pi / 2)) * (abs(hour - 12.5) < 6)
    levels = np.sort(rng.uniform(0.1, 1.2, 3))
    batteries = tuple(
        Storage(
            *(rng.uniform(30, 120, 2) / units), rng.uniform(60, 300) / units, rng.uniform(0.05, 0.95),
            0.05, 0.95, rng.uniform(0.9, 0.98), rng.uniform(0.9, 0.98), rng.uniform(0, 0.15),
        )
        for _ in range(units)
    )  # fmt: skip
    return ScheduleProblem(
        step_h=np.full(n, 24 / n),
        load_kw=np.maximum(load, 5.0),
        pv_kw=pv * rng.integers(0, 2),
        price_cny_per_kwh=levels[rng.integers(0, 3, 12).repeat(n // 12)],
        export_cny_per_kwh=np.full(n, rng.choice([0.0, 0.05])),
        batteries=batteries,
        import_limit_kw=rng.uniform(200, 400),
        export_limit_kw=rng.choice([0.0, 50.0]),
        demand_cny_per_kw=rng.choice([0.0, 51.2]),
        peak_kw=rng.uniform(0, 300),
        end_value_cny_per_kwh=float(levels[0] / 0.95),
    )


def lp_cost(p: ScheduleProblem) -> float:
    """Return the least model cost by linear programming, written densely and apart from the product's QP."""
    n, units, h = len(p.step_h), len(p.batteries), p.step_h
    g, e, v, s, x = (slice(k * n, (k + 1) * n) for k in range(5))
    first = 5 * n
    c = [slice(first + 4 * u * n, first + (4 * u + 1) * n) for u in range(units)]
    d = [slice(a.stop, a.stop + n) for a in c]
    stored = [slice(a.stop, a.stop + n) for a in d]
    z = [slice(a.stop, a.stop + n) for a in stored]
    size = first + 4 * units * n + 1
    cost, low, high = np.zeros(size), np.zeros(size), np.full(size, np.inf)
    unit = dearest(p)
    cost[g], cost[e] = h * p.price_cny_per_kwh, -h * np.minimum(p.export_cny_per_kwh, p.price_cny_per_kwh)
    cost[s] = cost[x] = h * OVER_LIMIT_TIMES * unit
    cost[-1], low[-1] = p.demand_cny_per_kw, p.peak_kw
    high[v] = p.pv_kw
    high[s] = np.maximum(p.load_kw - p.pv_kw - p.import_limit_kw, 0.0)
    high[x] = np.maximum(-p.load_kw - p.export_limit_kw, 0.0)
    eye = np.eye(n)
    balance = np.zeros((n, size))
    balance[:, g], balance[:, e], balance[:, v] = eye, -eye, -eye
    equal, right, above, limit = [balance], [p.load_kw - p.pv_kw], [], []

    def below(parts: list[tuple[slice, np.ndarray]], most: np.ndarray) -> None:
        row = np.zeros((n, size))
        for where, value in parts:
            row[:, where] = value
        above.append(row)
        limit.append(most)

    below([(g, eye), (s, -eye)], np.full(n, p.import_limit_kw))
    below([(e, eye), (x, -eye)], np.full(n, p.export_limit_kw))
    below([(g, eye), (slice(size - 1, size), -np.ones((n, 1)))], np.zeros(n))
    constant = -p.demand_cny_per_kw * p.peak_kw
    for u, b in enumerate(p.batteries):
        balance[:, c[u]], balance[:, d[u]] = -eye, eye
        cost[d[u]] = h * b.wear_cny_per_kwh
        cost[stored[u].stop - 1] = -p.end_value_cny_per_kwh
        cost[z[u]] = h * OUT_OF_BAND_TIMES * unit
        high[c[u]], high[d[u]] = b.p_charge_kw, b.p_discharge_kw
        high[z[u]] = np.inf if b.soc < b.soc_min or b.soc > b.soc_max else 0.0
        row = np.zeros((n, size))
        row[:, stored[u]] = eye - np.eye(n, k=-1)
        row[:, c[u]], row[:, d[u]] = -np.diag(h) * b.eff_charge, np.diag(h) / b.eff_discharge
        start = np.zeros(n)
        start[0] = b.soc * b.capacity_kwh
        equal.append(row)
        right.append(start)
        below([(stored[u], -eye), (z[u], -eye)], np.full(n, -b.soc_min * b.capacity_kwh))
        below([(stored[u], eye), (z[u], -eye)], np.full(n, b.soc_max * b.capacity_kwh))
        constant += p.end_value_cny_per_kwh * start[0]
    found = linprog(
        cost, np.vstack(above), np.concatenate(limit), np.vstack(equal), np.concatenate(right),
        list(zip(low, high, strict=True)), method="highs",
    )  # fmt: skip
    assert found.status == 0
    return float(found.fun + constant)


def how_far_above_the_lp(p: ScheduleProblem, got: Schedule) -> float:
    """Return what the schedule costs more than the best there is, as a share of the money that is moved."""
    best = lp_cost(p)
    return (got.bill.model_cny - best) / max(abs(best), abs(got.idle.model_cny), 1.0)


def check_physics(p: ScheduleProblem, got: Schedule) -> None:
    """Everything that must hold exactly, whatever the solver has said."""
    assert got.battery_kw.shape == (len(p.batteries), len(p.step_h))
    assert np.all(np.isfinite(got.battery_kw))
    tiny = 1e-9
    for u, b in enumerate(p.batteries):
        power, energy = got.battery_kw[u], got.soc[u] * b.capacity_kwh
        assert power.min() >= -b.p_charge_kw - tiny and power.max() <= b.p_discharge_kw + tiny
        into = np.where(power < 0, -power * b.eff_charge, -power / b.eff_discharge) * p.step_h
        np.testing.assert_allclose(np.diff(energy), into, atol=1e-9)
        assert energy[0] == pytest.approx(b.soc * b.capacity_kwh)
        assert got.soc[u].min() >= min(b.soc, b.soc_min) - tiny
        assert got.soc[u].max() <= max(b.soc, b.soc_max) + tiny
    battery = got.battery_kw.sum(axis=0)
    np.testing.assert_allclose(got.grid_kw, p.load_kw - p.pv_kw - battery + got.curtailed_kw, atol=1e-9)
    assert got.curtailed_kw.min() >= 0 and np.all(got.curtailed_kw <= np.maximum(p.pv_kw, 0.0) + tiny)
    alone = settle(p, np.zeros_like(got.battery_kw))[1]
    assert np.all(got.grid_kw <= np.maximum(p.import_limit_kw, alone) + tiny), (
        "charging made an overload worse"
    )
    assert np.all(got.grid_kw >= np.minimum(-p.export_limit_kw, alone) - tiny), "discharging was exported"
    assert got.bill.model_cny <= got.idle.model_cny + tiny


@pytest.mark.parametrize("seed", range(24))
def test_one_battery_costs_what_the_lp_says(seed: int) -> None:
    p = random_problem(seed)
    got = schedule(p)
    check_physics(p, got)
    assert -1e-6 <= how_far_above_the_lp(p, got) <= 1e-3
    assert got.status in (SOLVED, IDLE)


@pytest.mark.parametrize("units", [2, 3, 4])
def test_several_batteries_cost_what_the_lp_says(units: int) -> None:
    p = random_problem(100 + units, 48, units)
    got = schedule(p)
    check_physics(p, got)
    assert -1e-6 <= how_far_above_the_lp(p, got) <= 1e-3


def test_the_certificate_bounds_the_gap() -> None:
    got = schedule(problem())
    assert got.status == SOLVED
    assert got.certificate.solver_status == "osqp: solved"
    assert got.certificate.iterations > 0
    assert abs(got.certificate.gap) < 1e-4
    assert got.certificate.primal_residual < 1e-4


def test_the_same_problem_has_the_same_answer() -> None:
    np.testing.assert_array_equal(schedule(problem()).battery_kw, schedule(problem()).battery_kw)


def test_it_charges_in_the_valley_and_discharges_in_the_peak() -> None:
    p = problem()
    got = schedule(p)
    power, price = got.battery_kw[0], p.price_cny_per_kwh
    assert power[price == 0.38].sum() < -1 and power[price == 0.96].sum() > 1
    assert np.all(np.abs(power[price == 0.64]) < 0.5)
    assert got.bill.total_cny < got.idle.total_cny - 50


def test_the_demand_charge_caps_the_valley_charging() -> None:
    free, priced = schedule(problem()), schedule(problem(demand_cny_per_kw=51.2, peak_kw=150.0))
    assert free.grid_kw.max() > 160
    assert priced.grid_kw.max() <= 150.0 + 0.1
    assert priced.bill.demand_cny < 5


def test_a_peak_of_the_load_is_shaved() -> None:
    load = np.full(96, 150.0)
    load[60:64] = 240.0
    got = schedule(problem(load_kw=load, demand_cny_per_kw=51.2, peak_kw=150.0))
    assert got.grid_kw.max() <= 151.0


EDGE = [
    ("free energy", {"price_cny_per_kwh": np.zeros(96), "end_value_cny_per_kwh": 0.0}),
    ("one price all day leaves the battery alone", {"price_cny_per_kwh": np.full(96, 0.6)}),
    ("an empty battery", {"batteries": (replace(STORE, soc=0.05),)}),
    ("a full battery", {"batteries": (replace(STORE, soc=0.95),)}),
    ("a battery below its band", {"batteries": (replace(STORE, soc=0.01),)}),
    ("a battery above its band", {"batteries": (replace(STORE, soc=1.0),)}),
    ("a battery without power", {"batteries": (replace(STORE, p_charge_kw=0.0, p_discharge_kw=0.0),)}),
    ("one that only charges", {"batteries": (replace(STORE, p_discharge_kw=0.0),)}),
    ("a negative load that may not be exported", {"load_kw": np.full(96, -80.0)}),
    ("PV surplus that may not be exported", {"pv_kw": np.full(96, 260.0)}),
    ("PV surplus that may be sold", {"pv_kw": np.full(96, 260.0), "export_limit_kw": 300.0,
                                     "export_cny_per_kwh": np.full(96, 0.3)}),
    ("a load above the import limit", {"load_kw": np.full(96, 380.0)}),
    ("negative prices", {"price_cny_per_kwh": np.full(96, -0.2), "pv_kw": np.full(96, 60.0)}),
    ("negative export prices", {"pv_kw": np.full(96, 260.0), "export_limit_kw": 300.0,
                                "export_cny_per_kwh": np.full(96, -0.1)}),
    ("selling dearer than buying", {"export_cny_per_kwh": np.full(96, 2.0), "export_limit_kw": 300.0}),
    ("no load at all", {"load_kw": np.zeros(96)}),
    ("prices of thousands", {"price_cny_per_kwh": 5000 * problem().price_cny_per_kwh}),
    ("a tiny site", {"load_kw": np.full(96, 0.15), "batteries": (replace(STORE, p_charge_kw=0.1,
                     p_discharge_kw=0.1, capacity_kwh=0.2),)}),
    ("PV that draws a little at night", {"pv_kw": np.full(96, -3.0)}),
    ("a short first step", {"step_h": np.concatenate([[1 / 60], np.full(95, 0.25)])}),
]  # fmt: skip


@pytest.mark.parametrize("changes", [row[1] for row in EDGE], ids=[row[0] for row in EDGE])
def test_edge_cases_have_an_exact_and_harmless_answer(changes: dict[str, object]) -> None:
    p = problem(**changes)
    got = schedule(p)
    check_physics(p, got)
    assert got.usable


PAID_TO_IMPORT = [
    # for so many steps the import is paid for, then dear
    ("PV gives way to import, but not above the import limit",
     4, {"load_kw": np.full(96, 300.0), "pv_kw": np.full(96, 200.0)}, 360.0),
    ("nor above the peak that is billed already, for that is dearer",
     48, {"load_kw": np.full(96, 320.0), "pv_kw": np.full(96, 100.0), "demand_cny_per_kw": 50.0,
          "peak_kw": 230.0}, 230.0),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "changes", "most_kw"), [row[1:] for row in PAID_TO_IMPORT],
                         ids=[row[0] for row in PAID_TO_IMPORT])  # fmt: skip
def test_paid_import_fills_up_to_the_dearer_limit_and_a_plan_survives(
    steps: int, changes: dict[str, object], most_kw: float
) -> None:
    p = problem(price_cny_per_kwh=np.where(np.arange(96) < steps, -0.05, 0.9), **changes)
    got = schedule(p)
    check_physics(p, got)
    assert got.status == SOLVED and got.bill.total_cny < got.idle.total_cny - 50
    assert got.bill.penalty_cny == pytest.approx(0.0, abs=1e-6)
    assert got.grid_kw.max() == pytest.approx(most_kw, abs=1e-3)
    assert -1e-6 <= how_far_above_the_lp(p, got) <= 1e-3


def test_one_step_is_a_schedule_too() -> None:
    p = problem(n=1, end_value_cny_per_kwh=2.0)
    got = schedule(p)
    check_physics(p, got)
    assert got.battery_kw[0, 0] < -1, "energy is worth more than it costs: charge"


def test_one_price_leaves_the_battery_alone() -> None:
    got = schedule(problem(price_cny_per_kwh=np.full(96, 0.6), end_value_cny_per_kwh=0.6))
    assert np.abs(got.battery_kw).max() < 0.1


def test_below_its_band_it_charges_at_once_and_above_it_discharges() -> None:
    low = schedule(problem(batteries=(replace(STORE, soc=0.02),)))
    high = schedule(problem(batteries=(replace(STORE, soc=0.99),)))
    assert low.battery_kw[0, 0] < -10 and low.soc[0, -1] >= 0.05 - 1e-6
    assert high.battery_kw[0, 0] > 10 and high.soc[0, -1] <= 0.95 + 1e-6


def test_a_load_above_the_import_limit_is_supported() -> None:
    load = np.full(96, 100.0)
    load[40:44] = 400.0
    got = schedule(problem(load_kw=load))
    assert got.grid_kw[40:44].max() <= 360.0 + 1e-6


NAN, INF = float("nan"), float("inf")
NOT_A_NUMBER = "an input is not a number"
NEGATIVE = "a limit, the peak or its price is negative"
NONSENSE = [
    ("no battery", {"batteries": ()}, "nothing to schedule"),
    ("no step", {"step_h": np.zeros(0)}, "nothing to schedule"),
    ("a load that is no number", {"load_kw": np.full(96, NAN)}, NOT_A_NUMBER),
    ("PV that is no number in one step", {"pv_kw": np.where(np.arange(96) == 95, NAN, 0)}, NOT_A_NUMBER),
    ("an infinite price", {"price_cny_per_kwh": np.full(96, INF)}, NOT_A_NUMBER),
    ("an export price that is no number", {"export_cny_per_kwh": np.full(96, NAN)}, NOT_A_NUMBER),
    ("a step without end", {"step_h": np.full(96, INF)}, NOT_A_NUMBER),
    ("an import limit that is no number", {"import_limit_kw": NAN}, NOT_A_NUMBER),
    ("an export limit that is no number", {"export_limit_kw": NAN}, NOT_A_NUMBER),
    ("a demand charge that is no number", {"demand_cny_per_kw": NAN}, NOT_A_NUMBER),
    ("a peak that is no number", {"peak_kw": NAN}, NOT_A_NUMBER),
    ("an end value that is no number", {"end_value_cny_per_kwh": NAN}, NOT_A_NUMBER),
    ("an unknown state of charge", {"batteries": (replace(STORE, soc=NAN),)}, NOT_A_NUMBER),
    ("an unknown state of charge of the second", {"batteries": (STORE, replace(STORE, soc=NAN))},
     NOT_A_NUMBER),
    ("an unknown wear", {"batteries": (replace(STORE, wear_cny_per_kwh=NAN),)}, NOT_A_NUMBER),
    ("an infinite battery", {"batteries": (replace(STORE, capacity_kwh=INF),)}, NOT_A_NUMBER),
    ("arrays of different length", {"price_cny_per_kwh": np.ones(95)}, "the arrays do not fit the grid"),
    ("a step without length", {"step_h": np.zeros(96)}, "a step has no length"),
    ("a negative import limit", {"import_limit_kw": -1.0}, NEGATIVE),
    ("a negative export limit", {"export_limit_kw": -1.0}, NEGATIVE),
    ("a demand charge that pays for peaks", {"demand_cny_per_kw": -1.0}, NEGATIVE),
    ("a negative peak", {"peak_kw": -1.0}, NEGATIVE),
    ("a battery that is more than full", {"batteries": (replace(STORE, soc=1.01),)},
     "a state of charge is impossible"),
    ("a battery that is less than empty", {"batteries": (replace(STORE, soc=-0.01),)},
     "a state of charge is impossible"),
    ("a battery without capacity", {"batteries": (replace(STORE, capacity_kwh=0.0),)},
     "a battery holds nothing"),
    ("a band upside down", {"batteries": (replace(STORE, soc_min=0.9, soc_max=0.8),)},
     "a battery holds nothing"),
    ("a negative charge power", {"batteries": (replace(STORE, p_charge_kw=-1.0),)},
     "a battery's power is negative"),
    ("a negative discharge power", {"batteries": (replace(STORE, p_discharge_kw=-1.0),)},
     "a battery's power is negative"),
    ("a battery that takes nothing", {"batteries": (replace(STORE, eff_charge=0.0),)},
     "an efficiency is impossible"),
    ("a battery that makes energy", {"batteries": (replace(STORE, eff_discharge=1.01),)},
     "an efficiency is impossible"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"), [row[1:] for row in NONSENSE], ids=[row[0] for row in NONSENSE]
)
def test_nonsense_is_a_value_that_says_why_and_not_an_exception(
    changes: dict[str, object], reason: str
) -> None:
    got = schedule(problem(**changes))
    assert got.status == FAILED and not got.usable
    assert got.certificate.solver_status == reason
    assert not np.any(got.battery_kw)


ONLY_JUST = [
    ("nothing may be imported or exported", {"import_limit_kw": 0.0, "export_limit_kw": 0.0}),
    ("a battery without losses", {"batteries": (replace(STORE, eff_charge=1.0, eff_discharge=1.0),)}),
    ("a band that is one point", {"batteries": (replace(STORE, soc_min=0.5, soc_max=0.5),)}),
    ("a battery that is empty to the last", {"batteries": (replace(STORE, soc=0.0),)}),
]


@pytest.mark.parametrize("changes", [row[1] for row in ONLY_JUST], ids=[row[0] for row in ONLY_JUST])
def test_what_only_just_makes_sense_is_scheduled(changes: dict[str, object]) -> None:
    p = problem(**changes)
    got = schedule(p)
    check_physics(p, got)
    assert got.usable and -1e-6 <= how_far_above_the_lp(p, got) <= 1e-3


BEYOND_SOLVERS = [
    ("OSQP does not converge", 1e25, "osqp: maximum iterations reached"),
    ("OSQP raises", 1e33, "osqp: refused the problem"),
]


@pytest.mark.parametrize(("load_kw", "says"), [row[1:] for row in BEYOND_SOLVERS],
                         ids=[row[0] for row in BEYOND_SOLVERS])  # fmt: skip
def test_a_load_that_no_solver_can_take_is_a_failure_and_no_exception(load_kw: float, says: str) -> None:
    got = schedule(problem(load_kw=np.full(96, load_kw)))
    assert got.status == FAILED and not got.usable and not np.any(got.battery_kw)
    assert got.certificate.solver_status.startswith(says)
    assert np.isnan(got.certificate.gap)


CHOICE = [
    ("OSQP is near its bound: HiGHS is not asked", SOLVED, 10.0, 1e-4, SOLVED, 5.0, "osqp"),
    ("OSQP is far off and HiGHS is cheaper", SOLVED, 10.0, 0.1, SOLVED, 9.0, "highs"),
    ("OSQP is far off, but HiGHS is dearer", SOLVED, 10.0, 0.1, SOLVED, 11.0, "osqp"),
    ("both cost the same: the smoother one", SOLVED, 10.0, 0.1, SOLVED, 10.0, "osqp"),
    ("OSQP is far off, HiGHS fails with a lower bill", SOLVED, 10.0, 0.1, FAILED, 9.0, "osqp"),
    ("OSQP fails with a lower bill", FAILED, 9.0, NAN, SOLVED, 10.0, "highs"),
    ("OSQP has no gap that can be told", SOLVED, 10.0, NAN, SOLVED, 9.0, "highs"),
    ("HiGHS finds that nothing is best", FAILED, 9.0, NAN, IDLE, 9.0, "highs"),
]


@pytest.mark.parametrize(("first", "cost", "gap", "second", "other", "wins"), [row[1:] for row in CHOICE],
                         ids=[row[0] for row in CHOICE])  # fmt: skip
def test_which_answer_is_taken(
    first: str, cost: float, gap: float, second: str, other: float, wins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = schedule(problem(n=4))

    def made(status: str, cny: float, gap: float, solver: str) -> Schedule:
        proof = module.Certificate(solver, gap=gap)
        return replace(one, status=status, bill=Bill(cny, 0.0, 0.0, 0.0, 0.0), certificate=proof)

    answers = iter([made(first, cost, gap, "osqp"), made(second, other, NAN, "highs")])
    monkeypatch.setattr(module, "_exact", lambda *_: next(answers))
    assert schedule(problem(n=4)).certificate.solver_status == wins


def test_what_osqp_does_not_finish_goes_to_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ITER", 5)
    p = random_problem(3)
    got = schedule(p)
    check_physics(p, got)
    assert got.certificate.solver_status == "highs: optimal"
    assert (got.bill.model_cny - lp_cost(p)) / abs(got.idle.model_cny) <= 1e-6
    assert 0 <= got.certificate.gap < 1e-2, "the gap includes the smoothing that the LP knows nothing of"


@pytest.mark.parametrize("seed", [1072, 1083, 1119, 2092])
def test_days_on_which_osqp_cycles_or_is_far_off_are_solved_all_the_same(seed: int) -> None:
    p = random_problem(seed)
    got = schedule(p)
    check_physics(p, got)
    assert abs(how_far_above_the_lp(p, got)) <= 1e-3


def test_an_exception_of_osqp_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPS", -1.0)
    got = schedule(problem())
    assert got.status == SOLVED and got.certificate.solver_status == "highs: optimal"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    units=st.integers(1, 4),
    soc=st.floats(0, 1),
    load_kw=st.floats(-400, 400),
    pv_kw=st.floats(-5, 200),
    price=st.floats(-1.5, 1),
    export=st.floats(-0.5, 0.5),
)
def test_whatever_is_measured_the_answer_is_exact_and_never_worse_than_idle(
    seed: int, units: int, soc: float, load_kw: float, pv_kw: float, price: float, export: float
) -> None:
    p = random_problem(seed, 24, units)
    p = replace(
        p,
        batteries=tuple(replace(b, soc=soc) for b in p.batteries),
        load_kw=p.load_kw + load_kw,
        pv_kw=p.pv_kw + pv_kw,
        price_cny_per_kwh=p.price_cny_per_kwh + price,
        export_cny_per_kwh=p.export_cny_per_kwh + export,
    )
    got = schedule(p)
    check_physics(p, got)
    assert got.usable
