"""The pack gives what it stores, within its limits, and its BMS acts in time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import battery as module
from models.battery import CAPACITY_KWH, LIMIT_A, OCV_V, Battery, Curve


@pytest.mark.parametrize(
    ("x", "y"), [(-1.0, 1.0), (0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 0.0), (9.0, 0.0)], ids=str
)
def test_curve_is_linear_between_and_constant_outside(x: float, y: float) -> None:
    assert Curve((0.0, 2.0, 3.0), (1.0, 3.0, 0.0))(x) == pytest.approx(y)


def test_ocv_rises_with_charge() -> None:
    volts = [OCV_V(i / 200) for i in range(201)]
    assert volts == sorted(volts)
    assert 3.25 < OCV_V(0.5) < 3.35


def test_nominal_energy_is_215_kwh() -> None:
    assert pytest.approx(215.04) == CAPACITY_KWH
    assert Battery(soc=1.0).stored_kwh == pytest.approx(CAPACITY_KWH, rel=0.05)


@pytest.mark.parametrize(
    ("soc", "charge", "discharge", "why"),
    [
        (0.50, 1.0, 1.0, "in the middle nothing is limited"),
        (0.93, 1.0, 1.0, "up to 95 % charging is free"),
        (0.97, 0.6, 1.0, "near full charging tapers"),
        (0.99, 0.2, 1.0, "nearer still more so"),
        (1.00, 0.0, 1.0, "a full battery takes nothing"),
        (0.11, 1.0, 1.0, "above 10 % discharging is free"),
        (0.05, 1.0, 0.5, "near empty discharging tapers"),
        (0.02, 1.0, 0.0, "below 2 % it gives nothing"),
    ],
)
def test_limits_taper_at_both_ends(soc: float, charge: float, discharge: float, why: str) -> None:
    battery = Battery(soc=soc)
    assert battery.charge_limit_a <= LIMIT_A * charge + 1e-9, why
    assert battery.discharge_limit_a <= LIMIT_A * discharge + 1e-9, why
    if 0.06 < soc < 0.975:
        assert battery.charge_limit_a == pytest.approx(LIMIT_A * charge), why
        assert battery.discharge_limit_a == pytest.approx(LIMIT_A * discharge), why


@pytest.mark.parametrize(
    ("degc", "charge", "discharge"), [(-5.0, 0.0, 0.8), (25.0, 1.0, 1.0), (53.0, 0.06, 0.6), (60.0, 0.0, 0.0)]
)
def test_limits_fall_in_cold_and_heat(degc: float, charge: float, discharge: float) -> None:
    battery = Battery(degc=degc)
    assert battery.charge_limit_a <= LIMIT_A * charge + 1.0
    assert battery.discharge_limit_a <= LIMIT_A * discharge + 1.0
    assert (battery.charge_limit_a > 0.0) == (charge > 0.0)


def test_voltage_sags_under_load_and_rises_under_charge() -> None:
    rest, load, charge = Battery(), Battery(), Battery()
    rest.step(0.0, 1.0)
    load.step(100.0, 1.0)
    charge.step(-100.0, 1.0)
    assert load.voltage_v < rest.voltage_v < charge.voltage_v
    assert load.cell_v_min < rest.cell_v_min
    assert load.cell_v_min <= load.cell_v_max


@given(p_kw=st.floats(-140.0, 140.0), soc=st.floats(0.05, 0.95))
def test_current_gives_the_power_asked_for(p_kw: float, soc: float) -> None:
    battery = Battery(soc=soc)
    battery.step(p_kw, 0.02)
    power = battery.voltage_v * battery.current_a / 1000.0
    assert power == pytest.approx(p_kw, rel=2e-3, abs=1e-6)


def test_more_than_it_can_give_is_the_maximum_power_current() -> None:
    battery = Battery()
    assert battery.current_for(1e6) == pytest.approx(battery.emf_v / (2.0 * module.R0_OHM))


@settings(max_examples=40, deadline=None)
@given(powers=st.lists(st.floats(-150.0, 150.0), min_size=1, max_size=60), soc=st.floats(0.0, 1.0))
def test_soc_stays_in_bounds_and_energy_is_never_created(powers: list[float], soc: float) -> None:
    battery = Battery(soc=soc)
    before = battery.stored_kwh
    for p_kw in powers:
        battery.step(p_kw, 10.0)
        assert 0.0 <= battery.soc <= 1.0
        assert battery.charge_limit_a >= 0.0
        assert battery.discharge_limit_a >= 0.0
    # What went in must cover what came out and what is stored now; polarisation holds a little on the side.
    rc_kwh = 0.02
    gained = battery.stored_kwh - before
    assert battery.discharged_kwh + gained <= battery.charged_kwh + rc_kwh + 0.01 * battery.discharged_kwh


def test_round_trip_on_dc_is_between_92_and_99_per_cent() -> None:
    battery = Battery(soc=0.3)
    while battery.soc < 0.7:
        battery.step(-100.0, 1.0)
    while battery.soc > 0.3:
        battery.step(100.0, 1.0)
    assert 0.92 < battery.discharged_kwh / battery.charged_kwh < 0.99


def test_it_warms_under_load_and_cools_to_ambient() -> None:
    battery = Battery()
    for _ in range(600):
        battery.step(100.0, 1.0)
    warm = battery.degc
    assert 25.0 < warm < 35.0
    for _ in range(2000):
        battery.step(0.0, 10.0)
    assert battery.degc == pytest.approx(25.0, abs=0.2)


@pytest.mark.parametrize(
    ("soc", "degc", "p_kw", "level", "bit", "why"),
    [
        (0.5, 25.0, 0.0, 0, None, "all is well"),
        (1.0, 25.0, -20.0, 1, 0, "a full cell is a hint"),
        (0.0, 25.0, 0.0, 3, 1, "an empty cell stops"),
        (0.5, 47.0, 0.0, 1, 2, "warm is a hint"),
        (0.5, 55.0, 0.0, 2, 2, "hot derates"),
        (0.5, 70.0, 0.0, 3, 2, "too hot stops"),
        (0.5, -12.0, 0.0, 2, 3, "cold derates"),
    ],
)
def test_alarm_levels(soc: float, degc: float, p_kw: float, level: int, bit: int | None, why: str) -> None:
    battery = Battery(soc=soc, degc=degc)
    battery.step(p_kw, 0.02, ambient_degc=degc)
    assert battery.alarm_level == level, why
    assert battery.alarm_word == (0 if bit is None else 1 << bit), why


def test_level_2_halves_the_limits_at_once_and_they_come_back_slowly() -> None:
    battery = Battery()
    battery.step(0.0, 0.02, level=2)
    assert battery.discharge_limit_a == pytest.approx(LIMIT_A / 2)
    battery.step(0.0, 1.0)
    assert battery.discharge_limit_a == pytest.approx(LIMIT_A / 2 + module.LIMIT_RISE_A_PER_S)


def test_level_3_opens_the_contactor_after_its_delay_and_reset_closes_it() -> None:
    battery = Battery()
    battery.step(10.0, 0.5, level=3)
    assert (battery.contactor, battery.discharge_limit_a) == (True, 0.0)
    battery.step(10.0, 0.5, level=3)
    assert (battery.contactor, battery.latched) == (False, True)
    battery.step(10.0, 0.5, level=3)
    assert battery.current_a == 0.0
    battery.reset()
    assert not battery.contactor, "not while the alarm stands"
    battery.step(0.0, 0.5)
    battery.reset()
    assert battery.contactor
    assert not battery.latched


def test_over_current_is_level_2_after_2_s_and_opens_the_contactor_after_10_s() -> None:
    battery = Battery()
    seen = []
    for _ in range(120):
        battery.step(60.0, 0.1, limit_factor=0.2)
        seen.append((battery.alarm_level, battery.contactor))
    assert seen[15][0] == 0
    assert seen[25] == (2, True)
    assert seen[-1] == (3, False) or not seen[-1][1]
    assert battery.alarm_word in (0, 1 << 4)
