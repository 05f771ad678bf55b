"""The turn of the plant process, without the process."""

import math

import numpy as np
import pytest

from drivers.simulator.board import COLUMNS, STEP_S, Board, Trace
from drivers.simulator.physics import Setup, Simulation, Weather
from models.plant import PcsState

NOON_UTC_S = 1781841600.0


def turn(simulation: Simulation, seconds: float, start_s: float = 100.0) -> None:
    """Step for so long, with a controller that is alive."""
    for step in range(round(seconds / STEP_S)):
        simulation.step(start_s + step * STEP_S, NOON_UTC_S + step * STEP_S)
    simulation.show()


@pytest.fixture
def simulation(board: Board, trace: Trace) -> Simulation:
    board["command/alive_s"] = 1e9
    return Simulation(board, trace, Setup())


def test_it_shows_every_device(simulation: Simulation, board: Board, trace: Trace) -> None:
    turn(simulation, 1.0)
    assert board["pcs-1/state"] == PcsState.RUNNING
    assert 700.0 < board["bms-1/dc_v"] < 850.0
    assert board["bms-1/soc"] == pytest.approx(0.5, abs=0.001)
    assert board["meter-1/p_kw"] == pytest.approx(board["truth/grid_kw"], abs=10.0)
    assert 10.0 < board["pv-1/p_kw"] < 60.0
    row = trace.read()[-1]
    assert [row[name] for name in COLUMNS] == [board[name] for name in COLUMNS], "trace and board agree"


def test_it_follows_the_orders(simulation: Simulation, board: Board) -> None:
    board["command/p_set_kw"], board["command/p_seq"] = -40.0, 1.0
    turn(simulation, 2.0)
    assert board["pcs-1/p_kw"] == pytest.approx(-40.0, abs=0.1)
    assert board["bms-1/dc_a"] < 0.0
    board["command/pv_limit"] = 0.25
    turn(simulation, 5.0)
    assert board["pv-1/p_kw"] <= 15.1


def test_a_silent_controller_means_zero(simulation: Simulation, board: Board) -> None:
    board["command/p_set_kw"], board["command/p_seq"], board["command/alive_s"] = 50.0, 1.0, 100.0
    turn(simulation, 4.9)
    assert board["pcs-1/p_kw"] == pytest.approx(50.0, abs=0.1)
    turn(simulation, 2.0, start_s=104.9)
    assert board["pcs-1/p_set_kw"] == 0.0
    assert board["pcs-1/p_kw"] == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(
    ("fault", "value", "point", "shown", "why"),
    [
        ("site/load_kw", 77.0, "truth/load_kw", 77.0, "the recorded load is replaced"),
        ("site/pv_kw", 33.0, "pv-1/p_kw", 33.0, "the sun is replaced"),
        ("pcs-1/local", 1.0, "pcs-1/remote", 0.0, "somebody turned the switch on site"),
        ("pcs-1/trip", 1.0, "pcs-1/state", 5.0, "the PCS trips"),
        ("bms-1/alarm_level", 2.0, "bms-1/alarm_level", 2.0, "the BMS alarms"),
        ("bms-1/limit_factor", 0.5, "bms-1/charge_limit_a", 70.0, "the BMS halves its limits"),
        ("bms-1/insulation_kohm", 40.0, "bms-1/insulation_kohm", 40.0, "insulation falls"),
    ],
)
def test_faults(
    simulation: Simulation, board: Board, fault: str, value: float, point: str, shown: float, why: str
) -> None:
    board[f"fault/{fault}"] = value
    turn(simulation, 6.0)
    assert board[point] == pytest.approx(shown, abs=0.01), why


def test_frequency_offset_and_load_step(simulation: Simulation, board: Board) -> None:
    board["fault/site/frequency_offset_hz"], board["fault/site/load_kw"] = -0.5, 50.0
    board["fault/site/load_extra_kw"] = 25.0
    turn(simulation, 1.0)
    assert board["meter-1/frequency_hz"] == pytest.approx(49.5, abs=0.15)
    assert board["truth/load_kw"] == 75.0


@pytest.mark.parametrize("device", ["pcs-1", "bms-1", "pv-1"])
def test_freeze_1_stops_the_heartbeat_and_2_everything(
    simulation: Simulation, board: Board, device: str
) -> None:
    turn(simulation, 2.0)
    board[f"fault/{device}/freeze"] = 1.0
    beat, value = board[f"{device}/heartbeat"], board["truth/pv_kw"]
    turn(simulation, 3.0)
    assert board[f"{device}/heartbeat"] == beat
    assert board["truth/pv_kw"] != value, "the plant itself goes on"
    board[f"fault/{device}/freeze"] = 2.0
    mine = [name for name in COLUMNS if name.startswith(device)]
    before = [board[name] for name in mine]
    turn(simulation, 3.0)
    assert [board[name] for name in mine] == before
    board[f"fault/{device}/freeze"] = 0.0
    turn(simulation, 2.0)
    assert board[f"{device}/heartbeat"] > beat


def test_violations_reach_the_board(simulation: Simulation, board: Board) -> None:
    board["fault/site/load_kw"], board["fault/site/pv_kw"] = 0.0, 40.0
    turn(simulation, 6.0)
    assert board["violation/export/count"] == 1.0
    assert board["violation/export/worst"] == pytest.approx(38.5, abs=0.5)
    assert board["violation/import/count"] == 0.0


def test_an_open_contactor_is_shown(simulation: Simulation, board: Board) -> None:
    board["fault/bms-1/alarm_level"] = 3.0
    turn(simulation, 2.0)
    assert (board["bms-1/state"], board["bms-1/contactor"], board["pcs-1/dc_v"]) == (3.0, 0.0, 0.0)


def test_weather_repeats_with_its_seed() -> None:
    one, two, other = Weather(1), Weather(1), Weather(2)
    seen = []
    for step in range(200):
        for weather in (one, two, other):
            weather.step(NOON_UTC_S + step * 0.1, 0.1)
        seen.append((one.load_kw, two.load_kw, other.load_kw))
    assert all(a == b for a, b, _ in seen)
    assert any(a != c for a, _, c in seen)
    assert one.frequency_hz == two.frequency_hz
    assert math.isfinite(one.irradiance_w_per_m2)
    assert np.std([a for a, _, _ in seen]) > 0.0
