"""The PCS over Modbus TCP, as its vendor's manual says."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from drivers.simulator.check import undetected_wrong
from drivers.simulator.site import SimulatedSite
from models.plant import PcsState

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 1, 2, 3, 4


def i16(word: int) -> int:
    return word - 0x10000 if word > 0x7FFF else word


@pytest.fixture
def ready(site: SimulatedSite, pcs: ModbusTcpClient, until: Callable[..., None]) -> Iterator[ModbusTcpClient]:
    """A running PCS at rest; brought back to it afterwards."""
    yield pcs
    site.fault("pcs-1/local", 0.0)
    pcs.write_registers(200, [0, 0])
    for command, state in ((3, PcsState.STANDBY), (1, PcsState.RUNNING)):
        if site.board["pcs-1/state"] != PcsState.RUNNING:
            pcs.write_register(202, command)
            until(lambda state=state: site.board["pcs-1/state"] == state)
    until(lambda: abs(site.board["pcs-1/p_kw"]) < 0.1)


def test_what_it_says_was_on_show(site: SimulatedSite, ready: ModbusTcpClient) -> None:
    ready.write_register(200, 300)
    readings: list[tuple[str, int, float]] = []
    for _ in range(20):
        words = ready.read_holding_registers(100, count=13).registers
        at = time.monotonic_ns()
        readings += [("pcs-1/p_kw", at, i16(words[2]) / 10), ("pcs-1/dc_v", at, words[4] / 10)]
        readings += [("pcs-1/dc_a", at, i16(words[5]) / 10), ("pcs-1/heartbeat", at, words[7])]
        readings.append(("pcs-1/frequency_hz", at, words[12] / 100))
    trace = site.trace()
    for point, at, value in readings:
        assert not undetected_wrong(trace, point, at, value)[0], (point, value)
        assert undetected_wrong(trace, point, at, value + 7.0)[0], "a shifted value is found out"


@pytest.mark.parametrize("p_kw", [-80.0, 45.5])
def test_power_follows_the_setpoint(
    site: SimulatedSite, ready: ModbusTcpClient, until: Callable[..., None], p_kw: float
) -> None:
    assert not ready.write_register(200, round(p_kw * 10) & 0xFFFF).isError()
    assert i16(ready.read_holding_registers(200).registers[0]) == round(p_kw * 10), "reads back at once"
    until(lambda: abs(i16(ready.read_holding_registers(102).registers[0]) / 10 - p_kw) < 0.2)
    assert site.truth()["battery_kw"] == pytest.approx(p_kw, abs=0.2)


@pytest.mark.parametrize(
    ("ask", "code", "why"),
    [
        (lambda c: c.write_register(200, 1101), ILLEGAL_VALUE, "above 110 kW"),
        (lambda c: c.write_register(200, -1101 & 0xFFFF), ILLEGAL_VALUE, "below -110 kW"),
        (lambda c: c.write_registers(200, [2000, 0]), ILLEGAL_VALUE, "also when many are written"),
        (lambda c: c.write_register(202, 9), ILLEGAL_VALUE, "no such command"),
        (lambda c: c.write_register(205, 2), ILLEGAL_VALUE, "remote is 0 or 1"),
        (lambda c: c.write_register(102, 5), ILLEGAL_ADDRESS, "a measurement cannot be written"),
        (lambda c: c.read_holding_registers(113), ILLEGAL_ADDRESS, "a gap in the map"),
        (lambda c: c.read_holding_registers(99, count=2), ILLEGAL_ADDRESS, "before the map"),
        (lambda c: c.read_holding_registers(204, count=3), ILLEGAL_ADDRESS, "beyond the map"),
        (lambda c: c.read_input_registers(100), ILLEGAL_FUNCTION, "holding registers only"),
    ],
)
def test_refusals(ready: ModbusTcpClient, ask: Callable[[ModbusTcpClient], Any], code: int, why: str) -> None:
    reply = ask(ready)
    assert reply.isError(), why
    assert reply.exception_code == code, why


def test_the_largest_setpoint_is_accepted_and_settings_read_back(ready: ModbusTcpClient) -> None:
    assert not ready.write_registers(200, [1100, 50]).isError()
    ready.write_registers(203, [77, 4])
    assert ready.read_holding_registers(200, count=6).registers == [1100, 50, *ready_command(ready), 77, 4, 1]


def ready_command(client: ModbusTcpClient) -> list[int]:
    """Return the last command, which stays in its register."""
    return list(client.read_holding_registers(202).registers)


def test_dead_man_timer(site: SimulatedSite, ready: ModbusTcpClient, until: Callable[..., None]) -> None:
    ready.write_register(204, 1)
    ready.write_register(200, 400)
    until(lambda: site.board["pcs-1/p_kw"] > 39.0)
    beats = iter(range(1, 1000))
    start = site.board["truth/utc_s"]

    def kept_alive_beyond_the_timeout() -> bool:
        ready.write_register(203, next(beats))
        return site.board["truth/utc_s"] > start + 1.6

    until(kept_alive_beyond_the_timeout)
    assert site.board["pcs-1/p_kw"] == pytest.approx(40.0, abs=0.2), "the heartbeat keeps it going"
    until(lambda: abs(site.board["pcs-1/p_kw"]) < 0.1)
    assert ready.read_holding_registers(200).registers == [0]
    assert ready.read_holding_registers(100).registers == [PcsState.RUNNING]


@pytest.mark.parametrize(("fault", "power_kw"), [("ignore", 20.0), ("invert", -30.0)])
def test_a_setpoint_can_be_taken_and_shown_but_not_followed(
    site: SimulatedSite, ready: ModbusTcpClient, until: Callable[..., None], fault: str, power_kw: float
) -> None:
    ready.write_register(200, 200)
    until(lambda: abs(site.board["pcs-1/p_kw"] - 20.0) < 0.2)
    site.fault(f"pcs-1/{fault}", 1.0)
    assert not ready.write_register(200, 300).isError()
    assert ready.read_holding_registers(200).registers == [300], "as if nothing were wrong"
    until(lambda: site.board["pcs-1/p_set_kw"] == power_kw)
    until(lambda: abs(site.board["pcs-1/p_kw"] - power_kw) < 0.2)
    site.fault(f"pcs-1/{fault}", 0.0)


def test_local_mode_refuses(site: SimulatedSite, ready: ModbusTcpClient) -> None:
    site.fault("pcs-1/local", 1.0)
    assert ready.read_holding_registers(205).registers == [0]
    assert ready.write_register(200, 10).exception_code == DEVICE_FAILURE
    assert ready.write_register(202, 2).exception_code == DEVICE_FAILURE
    assert not ready.write_register(203, 1).isError(), "the heartbeat is still heard"


def test_remote_must_be_set(ready: ModbusTcpClient) -> None:
    ready.write_register(205, 0)
    assert ready.write_register(200, 10).exception_code == DEVICE_FAILURE
    ready.write_register(205, 1)
    assert not ready.write_register(200, 10).isError()


def test_stop_trip_reset_start(
    site: SimulatedSite, ready: ModbusTcpClient, until: Callable[..., None]
) -> None:
    ready.write_register(202, 2)
    until(lambda: site.board["pcs-1/state"] == PcsState.STANDBY)
    site.fault("pcs-1/trip", 1.0)
    until(lambda: site.board["pcs-1/state"] == PcsState.FAULT)
    assert ready.read_holding_registers(100, count=2).registers == [PcsState.FAULT, 4]
    site.fault("pcs-1/trip", 0.0)
    ready.write_register(202, 3)
    until(lambda: site.board["pcs-1/state"] == PcsState.STANDBY)
    ready.write_register(202, 1)
    until(lambda: site.board["pcs-1/state"] == PcsState.RUNNING)


def test_a_killed_device_is_gone_and_comes_back_on_the_same_port(
    site: SimulatedSite, ready: ModbusTcpClient, until: Callable[..., None]
) -> None:
    ready.write_registers(203, [1, 1])
    ready.write_register(200, 300)
    until(lambda: site.board["pcs-1/p_kw"] > 29.0)
    site.kill("pcs-1")
    with pytest.raises(ModbusException):
        ready.read_holding_registers(100)
    until(lambda: abs(site.board["pcs-1/p_kw"]) < 0.1)
    site.restart("pcs-1")
    assert ready.connect()
    assert ready.read_holding_registers(200).registers == [0]
    assert not ready.write_register(200, 10).isError()
