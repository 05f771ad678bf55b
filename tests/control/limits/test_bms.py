"""What the BMS allows. 100 A at 800 V are 80 kW of DC, so 76 kW arrive at the AC side when discharging."""

from dataclasses import replace
from typing import Any

import pytest

from control.limits.bms import bms
from control.watch import Trust
from models.point import AlarmLevel, RunState
from tests.control.make import BATTERY, seen

NAN = float("nan")
FULL = (-80.0, 76.0)
ZERO = (0.0, 0.0)
IN_KW = {"charge_limit_kw": 30.0, "discharge_limit_kw": 40.0}

TABLE: list[tuple[str, dict[str, Any], tuple[float, float]]] = [
    ("healthy: charge without, discharge with losses", {}, FULL),
    ("each direction has its own limit", {"charge_limit_a": 50.0}, (-40.0, 76.0)),
    ("and the other one", {"discharge_limit_a": 50.0}, (-80.0, 38.0)),
    ("a limit of zero forbids its direction alone", {"charge_limit_a": 0.0}, (0.0, 76.0)),
    ("and the other way round", {"discharge_limit_a": 0.0}, (-80.0, 0.0)),
    ("half a volt is a voltage, and little power is power", {"dc_v": 0.5}, (-0.05, 0.0475)),
    ("both limits zero", {"charge_limit_a": 0.0, "discharge_limit_a": 0.0}, ZERO),
    ("voltage counts", {"dc_v": 400.0}, (-40.0, 38.0)),
    ("voltage not known", {"dc_v": None}, ZERO),
    ("charge limit not known", {"charge_limit_a": None}, ZERO),
    ("discharge limit not known", {"discharge_limit_a": None}, ZERO),
    ("charge limit negative: the map is wrong", {"charge_limit_a": -0.1}, ZERO),
    ("discharge limit negative", {"discharge_limit_a": -0.1}, ZERO),
    ("voltage zero", {"dc_v": 0.0}, ZERO),
    (
        "voltage and limits negative, whose product looks well",
        {"dc_v": -800.0, "charge_limit_a": -100.0},
        ZERO,
    ),
    ("highest voltage there is", {"dc_v": 1600.0}, (-160.0, 152.0)),
    ("a voltage that no battery has", {"dc_v": 1600.1}, ZERO),
    ("65535 A is an error", {"charge_limit_a": 65535.0}, ZERO),
    ("65535 A is an error for discharge too", {"discharge_limit_a": 65535.0}, ZERO),
    ("ten times the kVA is still believed", {"charge_limit_a": 1375.0}, (-1100.0, 76.0)),
    (
        "also for discharge",
        {"dc_v": 1000.0, "charge_limit_a": 0.0, "discharge_limit_a": 1157.8947368421052},
        (0.0, 1100.0),
    ),
    ("more is not", {"charge_limit_a": 1375.1}, ZERO),
    ("infinite is not", {"discharge_limit_a": float("inf")}, ZERO),
    ("not a number is not", {"discharge_limit_a": NAN}, ZERO),
    ("limits in kW alone", {**IN_KW, "dc_v": None, "charge_limit_a": None}, (-30.0, 38.0)),
    ("without any amperes", {**IN_KW, "charge_limit_a": None, "discharge_limit_a": None}, (-30.0, 38.0)),
    ("the narrower of both kinds", {**IN_KW, "charge_limit_a": 10.0}, (-8.0, 38.0)),
    ("in each direction", {**IN_KW, "discharge_limit_a": 10.0}, (-30.0, 7.6)),
    ("one limit in kW is not enough", {"charge_limit_kw": 30.0, "dc_v": None}, ZERO),
    ("nor the other one", {"discharge_limit_kw": 30.0, "dc_v": None}, ZERO),
    ("half a pair does not narrow", {"charge_limit_kw": 1.0}, FULL),
    ("negative kW: the map is wrong", {**IN_KW, "charge_limit_kw": -0.1}, ZERO),
    ("negative kW of discharge", {**IN_KW, "discharge_limit_kw": -0.1}, ZERO),
    ("absurd kW", {**IN_KW, "charge_limit_kw": 1100.1}, ZERO),
    ("absurd amperes beside good kW: the message is doubtful", {**IN_KW, "charge_limit_a": 65535.0}, ZERO),
    ("an absurd voltage beside good kW", {**IN_KW, "dc_v": 1600.1}, ZERO),
    ("no alarm", {"bms_alarm": 0.0}, FULL),
    ("warning: full power", {"bms_alarm": float(AlarmLevel.WARN)}, FULL),
    ("derate: half of both", {"bms_alarm": float(AlarmLevel.DERATE)}, (-40.0, 38.0)),
    ("stop: nothing", {"bms_alarm": float(AlarmLevel.STOP)}, ZERO),
    ("trip: nothing", {"bms_alarm": float(AlarmLevel.TRIP)}, ZERO),
    ("alarm level not known: nothing", {"bms_alarm": None}, ZERO),
    ("alarm level outside the vocabulary: nothing", {"bms_alarm": 6.0}, ZERO),
    ("alarm level between two: nothing", {"bms_alarm": 2.5}, ZERO),
    ("alarm level negative: nothing", {"bms_alarm": -1.0}, ZERO),
    ("a BMS without a state", {"bms_state": None}, FULL),
    ("standby may carry current", {"bms_state": float(RunState.STANDBY)}, FULL),
    ("starting may not", {"bms_state": float(RunState.STARTING)}, ZERO),
    ("fault may not", {"bms_state": float(RunState.FAULT)}, ZERO),
    ("state unknown may not", {"bms_state": float(RunState.UNKNOWN)}, ZERO),
    ("dead: nothing", {"bms": Trust.DEAD}, ZERO),
]


@pytest.mark.parametrize(("changes", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(changes: dict[str, Any], expected: tuple[float, float]) -> None:
    limit = bms(BATTERY, seen(**changes), 20.0)
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx(expected)
    assert (limit.lo_by, limit.hi_by) == ("bms", "bms")


WITHOUT = [
    (None, FULL, "nobody reports alarms, and the site has accepted it"),
    (float(AlarmLevel.DERATE), (-40.0, 38.0), "what is reported counts all the same"),
    (float(AlarmLevel.STOP), ZERO, "also when it stops"),
]


@pytest.mark.parametrize(("level", "expected"), [r[:2] for r in WITHOUT], ids=[r[2] for r in WITHOUT])
def test_a_battery_without_alarms(level: float | None, expected: tuple[float, float]) -> None:
    limit = bms(replace(BATTERY, without_alarms=True), seen(bms_alarm=level), 20.0)
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx(expected)


PROVING = [
    ("discharging: may go on or less", 20.0, {}, (0.0, 20.0)),
    ("charging: may go on or less", -20.0, {}, (-20.0, 0.0)),
    ("standing still: nothing", 0.0, {}, ZERO),
    ("its limits count all the same", 20.0, {"discharge_limit_a": 10.0}, (0.0, 7.6)),
    ("nonsense forbids all the same", 20.0, {"dc_v": None}, ZERO),
]


@pytest.mark.parametrize(
    ("last", "changes", "expected"), [r[1:] for r in PROVING], ids=[r[0] for r in PROVING]
)
def test_while_it_proves_itself(last: float, changes: dict[str, Any], expected: tuple[float, float]) -> None:
    limit = bms(BATTERY, seen(bms=Trust.PROVING, **changes), last)
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx(expected)
