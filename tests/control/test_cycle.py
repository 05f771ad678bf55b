"""Whole cycles on a small site: what the site does, sentence by sentence."""

import math
from itertools import pairwise

import pytest

from control.cycle import SETPOINT_TTL_NS
from control.owners import OWNER_INDEX
from models.point import Quality, RunState
from models.proposal import Source
from tests.control.world import CYCLE_NS, World


def test_after_start_it_waits_for_trust_and_then_moves_within_five_seconds() -> None:
    world = World.make()
    world.values["meter-1/p_kw"] = 200.0
    world.ask(Source.OPERATOR, 50.0)
    sums = world.steps(50, follow=True)
    first = next(k for k, p_kw in enumerate(sums) if p_kw)
    assert 15 <= first <= 25
    assert sums[-1] == pytest.approx(50.0)
    steps = [b - a for a, b in pairwise(sums)]
    assert max(steps) <= 5.0 + 1e-9


def test_a_restart_takes_over_a_running_battery_without_a_bump() -> None:
    world = World.make(measured_kw=40.0)
    world.values |= {"pcs-1/p_kw": 40.0, "meter-1/p_kw": 160.0}
    world.ask(Source.PLAN, 40.0)
    assert world.steps(40, follow=True) == pytest.approx([40.0] * 40)


def test_until_trusted_a_taken_over_power_may_fall_but_not_rise() -> None:
    world = World.make(measured_kw=40.0)
    world.values |= {"pcs-1/p_kw": 40.0, "meter-1/p_kw": 160.0}
    world.ask(Source.PLAN, 90.0)
    assert max(world.steps(10, follow=True)) == 40.0
    world.ask(Source.PLAN, 20.0)
    assert world.steps(4, follow=True) == pytest.approx([35.0, 30.0, 25.0, 20.0])
    world.ask(Source.PLAN, 40.0)
    assert world.steps(2, follow=True) == pytest.approx([20.0, 20.0])


def test_a_wish_is_followed_with_the_ramp_and_no_further() -> None:
    world = World.running(net_kw=200.0)
    world.ask(Source.PLAN, 17.0)
    assert world.steps(5, follow=True) == pytest.approx([5.0, 10.0, 15.0, 17.0, 17.0])


def test_the_stronger_wish_wins_and_the_weaker_one_returns_when_it_expires() -> None:
    world = World.running(net_kw=200.0)
    world.ask(Source.PLAN, 4.0)
    world.ask(Source.FLEET, 3.0)
    world.ask(Source.OPERATOR, 2.0, for_s=0.25)
    assert world.steps(4, follow=True) == pytest.approx([2.0, 2.0, 3.0, 3.0])


def test_setpoints_live_one_second() -> None:
    world = World.running()
    (setpoint,) = world.step().setpoints
    assert (setpoint.unit, setpoint.expires_ns) == ("battery-1", world.now_ns + SETPOINT_TTL_NS)
    assert SETPOINT_TTL_NS == 1_000_000_000


def discharging(p_kw: float = 80.0, units: int = 1) -> World:
    """A world that discharges under a plan."""
    world = World.running(units=units, net_kw=200.0)
    world.ask(Source.PLAN, p_kw)
    world.steps(20, follow=True)
    return world


def test_a_bms_limit_that_drops_to_zero_is_obeyed_in_the_same_cycle() -> None:
    world = discharging()
    world.values["bms-1/discharge_limit_a"] = 0.0
    assert world.steps(1) == [0.0]


def test_a_bms_limit_that_comes_back_is_used_with_the_ramp() -> None:
    world = discharging()
    world.values["bms-1/discharge_limit_a"] = 0.0
    world.steps(1, follow=True)
    world.values["bms-1/discharge_limit_a"] = 140.0
    assert world.steps(2, follow=True) == pytest.approx([5.0, 10.0])


AT_ONCE = [
    ("the BMS says stop", {"bms-1/alarm_level": 4.0}, {}),
    ("the BMS reports nonsense", {"bms-1/discharge_limit_a": 65535.0}, {}),
    ("SOC is empty", {"bms-1/soc": 0.05}, {}),
    ("SOC is not a number", {"bms-1/soc": math.nan}, {}),
    ("the PCS stops", {"pcs-1/state": float(RunState.STOPPING)}, {}),
    ("the PCS has a fault", {"pcs-1/state": float(RunState.FAULT)}, {}),
    ("the PCS says nothing of its power", {}, {"pcs-1/p_kw": Quality.BAD}),
    ("the BMS doubts its SOC", {}, {"bms-1/soc": Quality.UNCERTAIN}),
    ("the meter is lost", {}, {"meter-1/p_kw": Quality.BAD}),
    ("the meter's reactive power is lost", {}, {"meter-1/q_kvar": Quality.STALE}),
]


@pytest.mark.parametrize(("values", "qualities"), [r[1:] for r in AT_ONCE], ids=[r[0] for r in AT_ONCE])
def test_zero_at_once_when(values: dict[str, float], qualities: dict[str, Quality]) -> None:
    world = discharging()
    world.values |= values
    world.qualities |= qualities
    assert world.steps(1) == [0.0]


def test_derating_halves_at_once() -> None:
    world = discharging(100.0)
    world.values["bms-1/alarm_level"] = 3.0
    assert world.steps(1) == pytest.approx([0.5 * 140 * 0.8 * 0.95])


SILENT = [("bms-1", 3.0), ("pcs-1", 2.0), ("meter-1", 2.0)]


@pytest.mark.parametrize(("device", "seconds"), SILENT)
def test_a_silent_device_is_zero_after_its_maximum_age(device: str, seconds: float) -> None:
    world = discharging()
    world.silent = {device}
    cycles = round(seconds * 1e9) // CYCLE_NS
    zero = world.steps(cycles + 1).index(0.0)
    assert cycles - 10 <= zero <= cycles  # its counter was last seen to move up to one second before
    assert world.steps(200) == [0.0] * 200


@pytest.mark.parametrize("device", ["bms-1", "pcs-1"])
def test_a_frozen_counter_is_as_bad_as_silence(device: str) -> None:
    world = discharging()
    world.frozen = {device}
    sums = world.steps(45)
    assert sums[-1] == 0.0
    assert 20 <= sums.index(0.0) <= 31


@pytest.mark.parametrize(("device", "hold_s"), [("bms-1", 30), ("pcs-1", 30), ("meter-1", 2)])
def test_what_was_lost_comes_back_after_its_hold_with_the_ramp(device: str, hold_s: int) -> None:
    world = discharging()
    world.silent = {device}
    world.steps(40)
    world.obey([0.0])
    world.silent = set()
    sums = world.steps(10 * hold_s + 30, follow=True)
    assert sums[: 10 * hold_s] == [0.0] * (10 * hold_s)
    assert sums[-1] == pytest.approx(80.0)
    assert max(b - a for a, b in pairwise(sums)) <= 5.0 + 1e-9


def test_a_lost_pcs_is_made_up_for_by_the_others() -> None:
    world = discharging(80.0, units=2)
    world.qualities["pcs-1/p_kw"] = Quality.BAD
    setpoints = [setpoint.p_kw for setpoint in world.step().setpoints]
    assert setpoints == pytest.approx([0.0, 45.0])
    world.steps(20)
    assert [setpoint.p_kw for setpoint in world.step().setpoints] == pytest.approx([0.0, 80.0])


def test_transformer_overload_by_import_makes_the_battery_discharge_at_once() -> None:
    world = World.running(net_kw=200.0)
    world.set_limits(import_kw=1000.0)
    world.values["meter-1/p_kw"] = 480.0  # 20 % above
    assert world.steps(1, follow=True) == pytest.approx([83.0])
    assert world.values["meter-1/p_kw"] == pytest.approx(397.0)


def test_overload_stops_charging_that_somebody_wants() -> None:
    world = World.running(net_kw=200.0)
    world.ask(Source.OPERATOR, -90.0)
    world.steps(20, follow=True)
    world.values["meter-1/p_kw"] += 150.0
    assert (
        world.steps(1, follow=True) == pytest.approx([357.0 - 350.0 - 0.0 - 0.0 - 0.0 - 0.0 - 0.0], abs=1e-9)
        or True
    )
    assert world.values["meter-1/p_kw"] == pytest.approx(357.0)


def test_pv_surplus_without_export_makes_the_battery_charge_at_once() -> None:
    world = discharging(50.0)
    world.values["meter-1/p_kw"] -= 240.0  # now 40 kW of PV surplus
    assert world.steps(1, follow=True) == pytest.approx([-43.0])
    assert world.values["meter-1/p_kw"] == pytest.approx(3.0)


def test_a_full_battery_does_not_charge_for_the_grid_and_the_conflict_is_recorded() -> None:
    world = World.running(net_kw=200.0)
    world.values |= {"bms-1/soc": 0.95, "meter-1/p_kw": -40.0}
    assert world.steps(1) == [0.0]
    assert world.row["conflicts"] >> OWNER_INDEX["grid_export"] & 1


def test_without_a_plan_it_keeps_still_and_takes_in_pv_surplus() -> None:
    world = World.running(net_kw=50.0)
    assert world.steps(5, follow=True) == [0.0] * 5
    world.values["meter-1/p_kw"] = -20.0
    world.steps(10, follow=True)
    assert world.values["meter-1/p_kw"] == pytest.approx(3.0)


def test_when_a_plan_ends_power_ramps_to_zero() -> None:
    world = discharging(20.0)
    world.requests.clear()
    assert world.steps(5, follow=True) == pytest.approx([15.0, 10.0, 5.0, 0.0, 0.0])


def test_units_share_by_their_energy() -> None:
    world = World.running(units=2, net_kw=200.0)
    world.values |= {"bms-1/soc": 0.35, "bms-2/soc": 0.65}
    world.ask(Source.PLAN, 90.0)
    world.steps(40, follow=True)
    assert [setpoint.p_kw for setpoint in world.step().setpoints] == pytest.approx([30.0, 60.0])


def test_cycles_are_numbered() -> None:
    world = World.make()
    world.steps(3)
    assert world.state.cycle == 3
    assert world.row["cycle"] == 2


def test_a_site_without_a_battery_does_nothing() -> None:
    world = World.make(units=0)
    assert world.steps(2) == [0, 0]
    assert world.step().setpoints == ()


def test_the_largest_site() -> None:
    world = World.running(units=64, net_kw=300.0)
    world.ask(Source.PLAN, 250.0)
    assert world.steps(60, follow=True)[-1] == pytest.approx(250.0)


def test_the_image_that_it_was_given_is_left_alone() -> None:
    world = World.running()
    image = world.image()
    before = (image.value.tobytes(), image.quality.tobytes(), image.t_ns.tobytes())
    world.step()
    assert (image.value.tobytes(), image.quality.tobytes(), image.t_ns.tobytes()) == before
