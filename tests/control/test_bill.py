"""What batteries can really do, and what it costs: by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.bill import ScheduleProblem, Storage, energies, roll, settle

STORE = Storage(100.0, 100.0, 200.0, 0.5, 0.1, 0.9, 0.9, 0.8, 0.1)
ONE = ScheduleProblem(
    step_h=np.array([1.0, 1.0]),
    load_kw=np.array([100.0, 50.0]),
    pv_kw=np.array([0.0, 80.0]),
    price_cny_per_kwh=np.array([0.5, 1.0]),
    export_cny_per_kwh=np.array([0.2, 0.2]),
    batteries=(STORE,),
    import_limit_kw=150.0,
    export_limit_kw=10.0,
    demand_cny_per_kw=2.0,
    peak_kw=90.0,
    end_value_cny_per_kwh=0.4,
)


def test_the_bill_of_doing_nothing() -> None:
    bill, grid, curtailed = settle(ONE, np.zeros((1, 2)))
    np.testing.assert_allclose(grid, [100.0, -10.0])
    np.testing.assert_allclose(curtailed, [0.0, 20.0])
    assert bill.energy_cny == pytest.approx(100 * 0.5 - 10 * 0.2)
    assert bill.demand_cny == pytest.approx(2 * (100 - 90))
    assert (bill.wear_cny, bill.stored_cny, bill.penalty_cny) == (0.0, 0.0, 0.0)


def test_the_bill_of_a_battery() -> None:
    bill, grid, curtailed = settle(ONE, np.array([[20.0, -30.0]]))
    np.testing.assert_allclose(grid, [80.0, 0.0])
    np.testing.assert_allclose(curtailed, 0.0)
    np.testing.assert_allclose(energies(ONE, np.array([[20.0, -30.0]])), [[100.0, 75.0, 102.0]])
    assert bill.energy_cny == pytest.approx(80 * 0.5)
    assert bill.demand_cny == 0.0
    assert bill.wear_cny == pytest.approx(20 * 0.1)
    assert bill.stored_cny == pytest.approx(2 * 0.4)
    assert bill.total_cny == pytest.approx(40 + 2 - 0.8)


def test_beyond_limits_there_is_a_penalty_that_is_not_money() -> None:
    over = replace(ONE, load_kw=np.array([170.0, 50.0]))
    bill, _, _ = settle(over, np.zeros((1, 2)))
    assert bill.penalty_cny == pytest.approx(20 * 20.0 * 1.0), "20 kWh at twenty times the dearest price"
    assert bill.cost_cny == pytest.approx(170 * 0.5 - 10 * 0.2 + 2 * 80)


HOURS = replace(ONE, step_h=np.array([0.5, 0.25]))
"""The same with steps that are no hour: a power is not an energy."""


def test_the_bill_of_short_steps() -> None:
    powers = np.array([[20.0, -30.0]])
    bill, grid, _ = settle(HOURS, powers)
    np.testing.assert_allclose(grid, [80.0, 0.0])
    np.testing.assert_allclose(energies(HOURS, powers), [[100.0, 100 - 12.5, 100 - 12.5 + 6.75]])
    assert bill.energy_cny == pytest.approx(80 * 0.5 * 0.5)
    assert bill.wear_cny == pytest.approx(20 * 0.5 * 0.1)
    assert bill.stored_cny == pytest.approx(-5.75 * 0.4)
    assert bill.model_cny == bill.total_cny == pytest.approx(20 + 1 + 2.3)
    sold, _, _ = settle(HOURS, np.zeros((1, 2)))
    assert sold.energy_cny == pytest.approx(100 * 0.5 * 0.5 - 10 * 0.2 * 0.25)
    assert sold.demand_cny == pytest.approx(2 * (100 - 90)), "a peak is a power, however short"


def test_the_bill_of_two_batteries_is_each_ones_own() -> None:
    p = replace(HOURS, batteries=(STORE, replace(STORE, eff_discharge=0.5, wear_cny_per_kwh=0.3)))
    powers = np.array([[0.5, -10.0], [8.0, 0.0]])
    bill, _, _ = settle(p, powers)
    np.testing.assert_allclose(energies(p, powers), [[100, 99.6875, 101.9375], [100, 92, 92]])
    assert bill.wear_cny == pytest.approx(0.5 * 0.5 * 0.1 + 8 * 0.5 * 0.3)


def test_what_is_not_given_costs_nothing() -> None:
    plain = Storage(100.0, 100.0, 200.0, 0.5, 0.1, 0.9, 0.9, 0.8)
    p = ScheduleProblem(
        np.ones(2), np.full(2, 100.0), np.zeros(2), np.full(2, 0.5), np.zeros(2), (plain,), 150.0, 0.0
    )
    bill, _, _ = settle(p, np.array([[20.0, -30.0]]))
    assert (bill.demand_cny, bill.wear_cny, bill.stored_cny) == (0.0, 0.0, 0.0)
    counted, _, _ = settle(replace(p, demand_cny_per_kw=2.0), np.array([[20.0, -30.0]]))
    assert counted.demand_cny == pytest.approx(2 * 130), "nothing is billed yet"


def low(soc: float) -> dict[str, object]:
    """Return the change to a battery with this state of charge."""
    return {"batteries": (replace(STORE, soc=soc),)}


PENALTIES = [
    ("inside all limits", {}, [0, 0], 0.0),
    ("20 kW too much import for half an hour", {"load_kw": np.array([170, 50])}, [0, 0], 10 * 20),
    ("20 kW too much export for a quarter", {"load_kw": np.array([100, -30])}, [0, 0], 5 * 20),
    ("both", {"load_kw": np.array([170, -30])}, [0, 0], 15 * 20),
    ("a kWh is as bad as the dearest one", {"load_kw": np.array([170, 50]),
                                           "export_cny_per_kwh": np.array([0.2, -3.0])}, [0, 0], 10 * 20 * 3),
    ("so is one outside the band", low(0.05) | {"price_cny_per_kwh": np.array([0.5, -3.0])}, [0, 0],
     10 * 0.75 * 2 * 3),
    ("10 kWh below the band all the time", low(0.05), [0, 0], 10 * 0.75 * 2),
    ("10 kWh above the band all the time", low(0.95), [0, 0], 10 * 0.75 * 2),
    ("10 kWh below, and back at the end of the second step", low(0.05), [0, -60], 10 * 0.5 * 2),
    ("10 kWh below, and back at the end of the first step", low(0.05), [-40, 0], 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "powers", "penalty"), [row[1:] for row in PENALTIES],
                         ids=[row[0] for row in PENALTIES])  # fmt: skip
def test_penalties(changes: dict[str, object], powers: list[float], penalty: float) -> None:
    bill, _, _ = settle(replace(HOURS, **changes), np.array([powers], np.float64))  # type: ignore[arg-type]
    assert bill.penalty_cny == pytest.approx(penalty)
    assert bill.model_cny - bill.total_cny == pytest.approx(penalty)


CURTAILED = [
    # one step, import limit 120 kW: load, pv, price, export price, export limit, demand charge, peak billed
    # -> curtailed, grid
    ("what is used is not curtailed", 100, 60, 0.5, 0.2, 10, 0, 0, 0, 40),
    ("what may be sold neither", 100, 105, 0.5, 0.2, 10, 0, 0, 0, -5),
    ("what may not be exported is", 100, 130, 0.5, 0.2, 10, 0, 0, 20, -10),
    ("an export for nothing is allowed", 100, 105, 0.5, 0.0, 10, 0, 0, 0, -5),
    ("an export that costs is not made", 100, 105, 0.5, -0.1, 10, 0, 0, 5, 0),
    ("a costly export changes nothing for what is used", 100, 60, 0.5, -0.1, 10, 0, 0, 0, 40),
    ("a load that feeds back cannot be curtailed", -30, 0, 0.5, 0.2, 10, 0, 0, 0, -30),
    ("nor more than there is", -30, 5, 0.5, 0.2, 10, 0, 0, 5, -30),
    ("an inverter that draws at night is no power to curtail", 100, -3, 0.5, 0.2, 10, 0, 0, 0, 103),
    ("nor is it when import pays", 100, -3, -0.5, 0.2, 10, 0, 0, 0, 103),
    ("a free import is no reason", 100, 60, 0.0, 0.2, 10, 0, 0, 0, 40),
    ("import that pays takes the place of all PV", 100, 40, -0.5, 0.2, 10, 0, 0, 40, 100),
    ("but stays under the import limit", 130, 40, -0.5, 0.2, 10, 0, 0, 30, 120),
    ("a peak that nobody bills is none", 100, 60, -0.5, 0.2, 10, 0, 70, 60, 100),
    ("a billed peak is not exceeded", 100, 60, -0.5, 0.2, 10, 0.5, 70, 30, 70),
    ("a peak that is there anyway may be used", 100, 60, -0.5, 0.2, 10, 0.5, 30, 0, 40),
    ("the import limit counts where the billed peak is above", 140, 60, -0.5, 0.2, 10, 0.5, 500, 40, 120),
    ("an overload is not made worse", 190, 20, -0.5, 0.2, 10, 0, 0, 0, 170),
]  # fmt: skip


@pytest.mark.parametrize(
    ("load", "pv", "price", "export", "limit", "charge", "peak", "curtailed", "grid"),
    [row[1:] for row in CURTAILED],
    ids=[row[0] for row in CURTAILED],
)
def test_what_is_curtailed(
    load: float, pv: float, price: float, export: float, limit: float, charge: float, peak: float,
    curtailed: float, grid: float,
) -> None:  # fmt: skip
    arrays = {
        "step_h": 1.0,
        "load_kw": load,
        "pv_kw": pv,
        "price_cny_per_kwh": price,
        "export_cny_per_kwh": export,
    }
    p = replace(
        ONE,
        **{name: np.array([value], np.float64) for name, value in arrays.items()},  # type: ignore[arg-type]
        import_limit_kw=120.0,
        export_limit_kw=float(limit),
        demand_cny_per_kw=charge,
        peak_kw=peak,
    )
    _, got_grid, got_curtailed = settle(p, np.zeros((1, 1)))
    assert (got_curtailed[0], got_grid[0]) == (curtailed, grid)


def test_paid_import_may_be_as_high_as_the_peak_that_another_step_makes_anyway() -> None:
    p = replace(
        ONE,
        load_kw=np.array([100.0, 80.0]),
        pv_kw=np.array([60.0, 0.0]),
        price_cny_per_kwh=np.array([-0.5, 0.5]),
        peak_kw=30.0,
    )
    _, grid, curtailed = settle(p, np.zeros((1, 2)))
    np.testing.assert_allclose(curtailed, [40.0, 0.0])
    np.testing.assert_allclose(grid, [80.0, 80.0])


def test_rolling_by_hand() -> None:
    # 80 kWh above the lower end times 0.8; 80 kWh of room, limited by the 50 kW that may still be drawn
    np.testing.assert_allclose(roll(ONE, np.array([[150.0, 0.0]])), [[64.0, 0.0]])
    np.testing.assert_allclose(roll(ONE, np.array([[-500.0, 0.0]])), [[-50.0, 0.0]])
    np.testing.assert_allclose(roll(ONE, np.array([[0.0, 50.0]])), [[0.0, 0.0]])
    np.testing.assert_allclose(roll(ONE, np.array([[-50.0, -100.0]])), [[-50.0, -(80 - 45) / 0.9]])


def test_an_overload_forbids_charging_and_allows_discharging() -> None:
    over = replace(ONE, load_kw=np.array([170.0, 50.0]))
    np.testing.assert_allclose(roll(over, np.array([[-40.0, 0.0]])), [[0.0, 0.0]])
    np.testing.assert_allclose(roll(over, np.array([[40.0, 0.0]])), [[40.0, 0.0]])


ROLLED = [
    # state of charge, load, wish -> power, in a step of half an hour
    ("an almost empty battery gives what it has", 0.12, 100, 100, 4 * 0.8 / 0.5),
    ("an almost full one takes what fits", 0.88, 0, -100, -4 / (0.9 * 0.5)),
    ("the load and what may be exported", 0.5, 20, 100, 30),
    ("below its band it gives nothing", 0.05, 100, 100, 0),
    ("and takes up to the other end", 0.05, 0, -500, -100),
    ("above its band it takes nothing", 0.95, 0, -100, 0),
]


@pytest.mark.parametrize(
    ("soc", "load", "wish", "power"), [row[1:] for row in ROLLED], ids=[row[0] for row in ROLLED]
)
def test_rolling_half_an_hour(soc: float, load: float, wish: float, power: float) -> None:
    one = replace(
        ONE, step_h=np.array([0.5]), load_kw=np.array([load], np.float64), pv_kw=np.zeros(1),
        batteries=(replace(STORE, soc=soc),),
    )  # fmt: skip
    np.testing.assert_allclose(roll(one, np.array([[wish]], np.float64)), [[power]])


SHARED = [
    ("room for both", [20, 15], 50, [20, 15]),
    ("too little room: in proportion", [40, 80], 50, [20, 40]),
    ("what the other takes is room", [50, -20], 0, [30, -20]),
    ("too little import: in proportion", [-60, -90], 50, [-40, -60]),
    ("what the other gives is room for charging", [-90, 20], 100, [-70, 20]),
    ("exactly what there is", [20, 40], 50, [20, 40]),
]


@pytest.mark.parametrize(
    ("wish", "load", "power"), [row[1:] for row in SHARED], ids=[row[0] for row in SHARED]
)
def test_two_batteries_share_what_the_grid_point_allows(
    wish: list[float], load: float, power: list[float]
) -> None:
    p = replace(
        ONE, step_h=np.array([0.1]), load_kw=np.array([load], np.float64), pv_kw=np.zeros(1),
        batteries=(STORE, STORE),
    )  # fmt: skip
    got = roll(p, np.array([wish], np.float64).T)
    np.testing.assert_allclose(got, np.array([power], np.float64).T)


@given(
    st.lists(st.floats(-300, 300), min_size=6, max_size=6),
    st.floats(0, 1),
    st.floats(-200, 300),
    st.floats(0, 200),
)
def test_rolling_keeps_every_bound_and_is_settled_once(
    wishes: list[float], soc: float, load: float, limit: float
) -> None:
    stores = (replace(STORE, soc=soc), replace(STORE, soc=1 - soc, eff_charge=0.95))
    p = replace(
        ONE,
        step_h=np.full(3, 0.25),
        load_kw=np.full(3, load),
        pv_kw=np.zeros(3),
        price_cny_per_kwh=np.ones(3),
        export_cny_per_kwh=np.zeros(3),
        batteries=stores,
        import_limit_kw=limit,
        export_limit_kw=limit / 4,
    )
    got = roll(p, np.array(wishes).reshape(2, 3))
    np.testing.assert_allclose(roll(p, got), got, atol=1e-9)
    stored = energies(p, got)
    for u, b in enumerate(stores):
        assert stored[u].min() >= min(b.soc, b.soc_min) * 200 - 1e-9
        assert stored[u].max() <= max(b.soc, b.soc_max) * 200 + 1e-9
    grid = load - got.sum(axis=0)
    assert np.all(grid <= max(limit, load) + 1e-9) and np.all(grid >= min(-limit / 4, load) - 1e-9)
