"""The plan: what is left of it later, and that nothing is lost on its way through a file."""

import json

import numpy as np
import pytest

from models.errors import StoreError
from models.plan import MAX_AGE_MS, Ladder, Money, Plan, Proof, plan_from
from models.series import Grid

T0 = 1_780_000_200_000
STEP_MS = 900_000


def a_plan(n: int = 96, status: Ladder = Ladder.FRESH) -> Plan:
    ramp = np.arange(n, dtype=float)
    return Plan(
        ref=7,
        made_utc_ms=T0 + 60_000,
        grid=Grid(T0, 900, n),
        status=status,
        units=("battery-1", "battery-2"),
        unit_kw=np.vstack([ramp, -2 * ramp]),
        soc=np.linspace(0.5, 0.6, n + 1),
        grid_kw=ramp + 100,
        curtailed_kw=np.zeros(n),
        net_load_kw=np.full(n, 100.0),
        net_load_p10_kw=np.full(n, 80.0),
        net_load_p90_kw=np.full(n, 120.0),
        price_cny_per_kwh=np.full(n, 0.64),
        export_cny_per_kwh=np.zeros(n),
        levels=("flat",) * n,
        money=Money(1000.0, 50.0, 10.0, 20.0),
        idle=Money(1200.0, 80.0),
        proof=Proof("solved", "osqp: solved", 100, 1e-7, None, 1e-6, 12.5),
        flags=("forecast-seed",),
        notes=("demand: unchecked",),
        tariff="t",
        time_zone="Asia/Shanghai",
        posted=True,
    )


def test_the_sums_are_made_of_the_parts() -> None:
    plan = a_plan()
    np.testing.assert_allclose(plan.battery_kw, -np.arange(96.0))
    assert plan.money.cost_cny == 1050 and plan.money.total_cny == 1040
    assert plan.saving_cny == 1280 - 1040


LATER = [
    ("in the first step all is left", 0, 0),
    ("one step later one is gone", STEP_MS, 1),
    ("shortly before six hours are over", MAX_AGE_MS, 24),
    ("after six hours it is too old", MAX_AGE_MS + 60_000, None),
    ("before its start it does not hold", -1, None),
]


@pytest.mark.parametrize(("after_ms", "gone"), [row[1:] for row in LATER], ids=[row[0] for row in LATER])
def test_what_is_left_of_a_plan(after_ms: int, gone: int | None) -> None:
    left = a_plan().shifted(T0 + after_ms, ("no-solution",))
    if gone is None:
        assert left is None
        return
    assert left is not None
    assert left.status is Ladder.SHIFTED and not left.posted
    assert left.grid == Grid(T0 + gone * STEP_MS, 900, 96 - gone)
    assert left.flags == ("forecast-seed", "no-solution")
    np.testing.assert_array_equal(left.unit_kw, a_plan().unit_kw[:, gone:])
    assert len(left.soc) == 97 - gone and len(left.levels) == 96 - gone


def test_shifting_again_keeps_the_age_and_names_a_flag_once() -> None:
    first = a_plan().shifted(T0 + STEP_MS, ("no-solution",))
    assert first is not None
    second = first.shifted(T0 + 2 * STEP_MS, ("no-solution",))
    assert second is not None
    assert second.grid == Grid(T0 + 2 * STEP_MS, 900, 94)
    assert second.flags.count("no-solution") == 1
    assert second.expires_utc_ms == a_plan().expires_utc_ms


def test_a_plan_of_rules_cannot_be_continued() -> None:
    assert a_plan(status=Ladder.RULES).shifted(T0) is None


def test_a_short_plan_expires_with_its_horizon() -> None:
    assert a_plan(4).expires_utc_ms == T0 + 4 * STEP_MS
    assert a_plan().expires_utc_ms == T0 + 60_000 + MAX_AGE_MS


def test_it_survives_a_file() -> None:
    plan = a_plan()
    text = json.dumps(plan.to_dict(), allow_nan=False)
    again = plan_from(json.loads(text))
    assert again.to_dict() == plan.to_dict()
    np.testing.assert_array_equal(again.unit_kw, plan.unit_kw)
    assert again.grid == plan.grid and again.proof == plan.proof and again.status is Ladder.FRESH


def test_what_is_not_known_is_null_in_the_file() -> None:
    plan = a_plan(4)
    plan.soc[:] = np.nan
    data = plan.to_dict()
    assert data["soc"] == [None] * 5
    assert np.all(np.isnan(plan_from(json.loads(json.dumps(data))).soc))


DAMAGE = [
    ("another version", {"schema": "plan/9"}),
    ("an unknown ladder step", {"status": "great"}),
    ("a missing unit row", {"unit_kw": [[0.0] * 96]}),
    ("text for numbers", {"soc": "full"}),
    ("a grid without steps", {"grid": {"t0_utc_ms": 0, "step_s": 900, "n": 0}}),
    ("too few levels", {"levels": []}),
    ("money of another form", {"money": {"gold": 1}}),
]


@pytest.mark.parametrize("change", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_a_damaged_file_is_a_store_error(change: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        plan_from({**a_plan().to_dict(), **change})


def test_an_empty_object_is_a_store_error() -> None:
    with pytest.raises(StoreError):
        plan_from({})
