"""The plant does what it is told, within its limits, and keeps its energy."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.battery import Battery
from models.plant import (
    AUXILIARY_KW,
    FAULT_BMS_LIMIT,
    FAULT_DC_LOST,
    FAULT_EXTERNAL,
    RAMP_KW_PER_S,
    S_MAX_KVA,
    TRANSFORMER_LOSS_KW,
    Command,
    Inputs,
    Order,
    PcsState,
    Plant,
    pcs_loss_kw,
)

DT_S = 0.02


def run(plant: Plant, inputs: Inputs, seconds: float) -> list[float]:
    """Step for so long and return the battery power of every step."""
    powers = []
    for _ in range(round(seconds / plant.dt_s)):
        plant.step(inputs)
        powers.append(plant.pcs.p_kw)
    return powers


def ordered(p_kw: float, **rest: float) -> Inputs:
    """Return inputs with a fresh setpoint."""
    return Inputs(load_kw=100.0, order=Order(p_set_kw=p_kw, seq=1), **rest)


@pytest.mark.parametrize("p_kw", [-100.0, -37.5, 0.0, 20.0, 100.0])
def test_power_arrives_after_dead_time_and_lag_without_overshoot(p_kw: float) -> None:
    plant = Plant()
    powers = run(plant, ordered(p_kw), 3.0)
    assert powers[2] == 0.0, "nothing before the dead time"
    assert powers[-1] == pytest.approx(p_kw, abs=0.05)
    assert max(map(abs, powers)) <= abs(p_kw) + 1e-9
    steps = [abs(b - a) for a, b in pairwise(powers)]
    assert max(steps) <= RAMP_KW_PER_S * DT_S + 1e-9


@pytest.mark.parametrize(("asked", "given_kw"), [(150.0, 110.0), (-150.0, -110.0)])
def test_setpoint_is_clipped_to_the_hardware(asked: float, given_kw: float) -> None:
    plant = Plant()
    run(plant, ordered(asked), 0.5)
    assert plant.pcs.p_set_kw == given_kw


def test_dead_man_takes_power_to_zero_within_timeout_and_ramp_and_stays_running() -> None:
    plant, inputs = Plant(), ordered(100.0)
    run(plant, inputs, 2.0)
    inputs.silence_s = 4.9
    run(plant, inputs, 1.0)
    assert plant.pcs.p_kw == pytest.approx(100.0, abs=0.1)
    inputs.silence_s = 5.1
    run(plant, inputs, 100.0 / RAMP_KW_PER_S + 1.0)
    assert plant.pcs.p_kw == pytest.approx(0.0, abs=0.1)
    assert plant.pcs.state is PcsState.RUNNING
    inputs.silence_s = 0.0
    run(plant, inputs, 1.0)
    assert plant.pcs.p_set_kw == 0.0, "a heartbeat alone does not bring the old setpoint back"
    inputs.order.seq += 1
    run(plant, inputs, 2.0)
    assert plant.pcs.p_kw == pytest.approx(100.0, abs=0.1)


def test_local_means_no_power() -> None:
    plant, inputs = Plant(), ordered(50.0)
    inputs.order.remote = False
    assert max(run(plant, inputs, 1.0)) == 0.0


@settings(max_examples=25, deadline=None)
@given(p_kw=st.floats(-120.0, 120.0), q_kvar=st.floats(-200.0, 200.0))
def test_apparent_power_stays_in_the_circle(p_kw: float, q_kvar: float) -> None:
    plant, inputs = Plant(), ordered(p_kw)
    inputs.order.q_set_kvar = q_kvar
    for _ in range(75):
        plant.step(inputs)
        assert math.hypot(plant.pcs.p_kw, plant.pcs.q_kvar) <= S_MAX_KVA + 1e-6


def test_stop_ramps_down_to_standby_and_start_takes_time() -> None:
    plant, inputs = Plant(), ordered(80.0)
    run(plant, inputs, 2.0)
    inputs.order.command, inputs.order.command_seq = Command.STOP, 1
    run(plant, inputs, DT_S)
    assert plant.pcs.state is PcsState.STOPPING
    run(plant, inputs, 2.0)
    assert (plant.pcs.state, plant.pcs.p_kw) == (PcsState.STANDBY, 0.0)
    inputs.order.command, inputs.order.command_seq = Command.START, 2
    run(plant, inputs, 1.0)
    assert plant.pcs.state is PcsState.STARTING
    run(plant, inputs, 3.0)
    assert plant.pcs.state is PcsState.RUNNING
    assert plant.pcs.p_kw == pytest.approx(80.0, abs=0.5)


@pytest.mark.parametrize(
    ("state", "command", "after"),
    [
        (PcsState.FAULT, Command.START, PcsState.FAULT),
        (PcsState.FAULT, Command.STOP, PcsState.FAULT),
        (PcsState.STANDBY, Command.STOP, PcsState.STANDBY),
        (PcsState.RUNNING, Command.START, PcsState.RUNNING),
        (PcsState.RUNNING, Command.RESET, PcsState.RUNNING),
        (PcsState.OFF, Command.START, PcsState.STARTING),
    ],
)
def test_commands_act_only_where_the_state_allows(state: PcsState, command: Command, after: PcsState) -> None:
    plant = Plant()
    plant.pcs.state = state
    plant.step(Inputs(order=Order(command=command, command_seq=1)))
    assert plant.pcs.state is after


def test_external_trip_is_immediate_latched_and_reset() -> None:
    plant, inputs = Plant(), ordered(80.0)
    run(plant, inputs, 2.0)
    inputs.pcs_trip = True
    plant.step(inputs)
    assert (plant.pcs.state, plant.pcs.p_kw, plant.pcs.fault_word) == (PcsState.FAULT, 0.0, FAULT_EXTERNAL)
    inputs.pcs_trip = False
    run(plant, inputs, 1.0)
    assert plant.pcs.state is PcsState.FAULT
    inputs.order.command, inputs.order.command_seq = Command.RESET, 1
    plant.step(inputs)
    assert (plant.pcs.state, plant.pcs.fault_word) == (PcsState.STANDBY, 0)


def test_far_above_the_bms_limit_the_pcs_trips() -> None:
    plant, inputs = Plant(), ordered(100.0, bms_limit_factor=0.2)
    run(plant, inputs, 2.5)
    assert plant.pcs.state is PcsState.FAULT
    assert plant.pcs.fault_word & FAULT_BMS_LIMIT


def test_contactor_opens_on_level_3_and_the_pcs_sees_it() -> None:
    plant, inputs = Plant(), ordered(0.0, bms_alarm_level=3)
    run(plant, inputs, 1.5)
    assert not plant.battery.contactor
    assert plant.pcs.fault_word & FAULT_DC_LOST
    inputs.bms_alarm_level = 0
    inputs.order.command, inputs.order.command_seq = Command.RESET, 1
    run(plant, inputs, 0.1)
    inputs.order.command_seq = 2
    run(plant, inputs, 0.1)
    assert plant.battery.contactor


def test_the_grid_carries_what_is_left() -> None:
    plant = Plant()
    run(plant, Inputs(load_kw=120.0, load_kvar=40.0, pv_available_kw=30.0, order=Order(20.0, -5.0, 1)), 10.0)
    losses = AUXILIARY_KW + TRANSFORMER_LOSS_KW
    assert plant.grid_kw == pytest.approx(120.0 + losses - 30.0 - 20.0, abs=0.1)
    assert plant.grid_kvar == pytest.approx(45.0, abs=0.1)
    assert plant.grid_kva == pytest.approx(math.hypot(plant.grid_kw, plant.grid_kvar))
    assert plant.meter.p_kw == pytest.approx(plant.grid_kw, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(powers=st.lists(st.floats(-100.0, 100.0), min_size=1, max_size=8), soc=st.floats(0.3, 0.7))
def test_energy_balance_of_ac_dc_and_charge(powers: list[float], soc: float) -> None:
    plant = Plant(battery=Battery(soc=soc))
    stored = plant.battery.stored_kwh
    for number, p_kw in enumerate(powers):
        run(plant, Inputs(order=Order(p_set_kw=p_kw, seq=number + 1)), 5.0)
    ac_out = plant.pcs.discharged_kwh - plant.pcs.charged_kwh
    dc_out = plant.battery.discharged_kwh - plant.battery.charged_kwh
    assert dc_out >= ac_out - 1e-6, "the converter only loses"
    lost = stored - plant.battery.stored_kwh - dc_out
    assert lost >= -0.02, "the pack only loses; polarisation holds a little"


def test_round_trip_of_the_whole_battery_is_at_least_88_per_cent() -> None:
    plant = Plant(dt_s=1.0, battery=Battery(soc=0.3))
    charge, discharge = ordered(-100.0), ordered(100.0)
    while plant.battery.soc < 0.7:
        plant.step(charge)
    while plant.battery.soc > 0.3:
        plant.step(discharge)
    assert 0.88 < plant.pcs.discharged_kwh / plant.pcs.charged_kwh < 0.96


@pytest.mark.parametrize("p_kw", [0.0, 25.0, 50.0, 100.0, -100.0])
def test_converter_loss_is_between_one_third_and_two_per_cent_of_rating(p_kw: float) -> None:
    assert 0.3 < pcs_loss_kw(p_kw) < 2.0


def test_meter_holds_the_mean_between_refreshes() -> None:
    plant = Plant()
    inputs = Inputs(load_kw=100.0)
    run(plant, inputs, 0.2)
    shown = plant.meter.p_kw
    inputs.load_kw = 200.0
    run(plant, inputs, 0.1)
    assert plant.meter.p_kw == shown
    run(plant, inputs, 0.1)
    assert plant.meter.p_kw == pytest.approx(shown + 100.0, abs=1.0)
    assert math.isclose(plant.meter.p_kw * 100, round(plant.meter.p_kw * 100), abs_tol=1e-6)


def test_meter_counts_import_and_export_apart() -> None:
    plant = Plant()
    run(plant, Inputs(load_kw=98.5), 36.0)
    run(plant, Inputs(load_kw=98.5, order=Order(100.0, 0.0, 1), pv_available_kw=50.0), 36.0)
    assert plant.meter.import_kwh == pytest.approx(1.0, abs=0.03)
    assert plant.meter.export_kwh == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("available", "limit", "settled", "why"),
    [
        (40.0, 1.0, 40.0, "the sun decides"),
        (40.0, 0.5, 30.0, "the limit decides"),
        (0.1, 1.0, 0.0, "too dark to run"),
        (40.0, 0.0, 0.0, "limited to nothing"),
    ],
)
def test_pv_follows_sun_and_limit(available: float, limit: float, settled: float, why: str) -> None:
    plant = Plant()
    run(plant, Inputs(pv_available_kw=available, pv_limit=limit), 5.0)
    assert plant.pv_kw == pytest.approx(settled, abs=0.01), why
    assert plant.pv_running == (settled > 0.0)


def test_the_same_inputs_give_the_same_plant() -> None:
    one, two = Plant(), Plant()
    inputs = ordered(33.3)
    assert run(one, inputs, 2.0) == run(two, inputs, 2.0)
    assert one == two
