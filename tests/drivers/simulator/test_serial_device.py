"""BMS and meter over Modbus RTU on paced lines."""

import os
import struct
import time
from collections.abc import Callable

import pytest
from pymodbus.client import ModbusSerialClient

from drivers.simulator.check import undetected_wrong
from drivers.simulator.site import SimulatedSite

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS = 1, 2


def f32(words: list[int]) -> float:
    return float(struct.unpack(">f", struct.pack(">HH", *words))[0])


def test_bms_shows_what_the_plant_has(site: SimulatedSite, serial: Callable[..., ModbusSerialClient]) -> None:
    client, readings = serial("bms-1"), []
    for _ in range(5):
        words, at = client.read_input_registers(0, count=20).registers, time.monotonic_ns()
        amperes = -(words[4] - 0x10000 if words[4] > 0x7FFF else words[4]) / 10
        readings += [("bms-1/dc_a", at, amperes), ("bms-1/dc_v", at, words[3] / 10)]
        readings += [("bms-1/soc", at, words[5] / 1000), ("bms-1/charge_limit_a", at, words[7] / 10)]
        readings += [("bms-1/cell_v_max", at, words[9] / 1000), ("bms-1/heartbeat", at, words[14])]
        readings.append(("bms-1/e_charged_kwh", at, (words[16] | words[17] << 16) / 10))
    trace = site.trace()
    for point, at, value in readings:
        assert not undetected_wrong(trace, point, at, value)[0], (point, value)


def test_meter_shows_the_grid(site: SimulatedSite, serial: Callable[..., ModbusSerialClient]) -> None:
    words = serial("meter-1").read_input_registers(52, count=24).registers
    at, trace = time.monotonic_ns(), site.trace()
    for point, offset, scale in (("p_kw", 0, 1000.0), ("q_kvar", 8, 1000.0), ("frequency_hz", 18, 1.0)):
        assert not undetected_wrong(trace, f"meter-1/{point}", at, f32(words[offset : offset + 2]) / scale)[0]
    assert words[2:8] == [0] * 6, "what is not in the map reads 0.0"


@pytest.mark.parametrize(
    ("device", "address", "count"),
    [("bms-1", 20, 1), ("bms-1", 19, 2), ("meter-1", 382, 1), ("meter-1", 340, 60)],
)
def test_beyond_the_map_is_refused(
    serial: Callable[..., ModbusSerialClient], device: str, address: int, count: int
) -> None:
    assert serial(device).read_input_registers(address, count=count).exception_code == ILLEGAL_ADDRESS


@pytest.mark.parametrize("device", ["bms-1", "meter-1"])
def test_only_input_registers(serial: Callable[..., ModbusSerialClient], device: str) -> None:
    client = serial(device)
    assert client.read_holding_registers(0).exception_code == ILLEGAL_FUNCTION
    assert client.write_register(0, 1).isError()


def test_half_a_request_does_not_spoil_the_next_one(
    site: SimulatedSite, serial: Callable[..., ModbusSerialClient], until: Callable[..., None]
) -> None:
    client = serial("bms-1")
    path = site.endpoints["bms-1"].removeprefix("rtu://").split("?")[0]
    line = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.write(line, b"\x01\x04\x00")
    os.close(line)
    rows = len(site.trace())
    until(lambda: len(site.trace()) > rows + 10)
    assert len(client.read_input_registers(0, count=2).registers) == 2
