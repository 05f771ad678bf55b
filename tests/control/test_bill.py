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
