"""Scanning real sockets and serial lines."""

import fcntl
import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from drivers.modbus.line import LineLost
from drivers.scan import (
    ODD_UNITS,
    candidates,
    estimate_s,
    factory_units,
    open_hosts,
    parse_numbers,
    scan_hosts,
    scan_meters,
    scan_serial,
    serial_links,
)
from drivers.simulator import sunspec
from drivers.simulator.dlt645 import Bus, Meter
from drivers.simulator.product_server import ProductServer
from models.errors import BadReply
from tests.drivers.fake_line import serial_line, simulated


def quiet(_: str) -> None:
    """Nobody watches."""


def test_a_device_behind_tcp_is_named() -> None:
    steps: list[str] = []
    with ProductServer(simulated("huawei/sun2000")) as server:
        places = open_hosts([("127.0.0.1", server.port), ("127.0.0.1", 1)], quiet)
        assert places == [("127.0.0.1", server.port)]
        (found,) = scan_hosts(places, [1, 2], candidates(), steps.append)
    assert (found.link, found.identity.unit_id, found.any_unit) == (server.url, 1, False)
    assert found.identity.matches[0].product == "huawei/sun2000"
    assert len(steps) == 2


def test_every_unit_behind_a_gateway_is_named() -> None:
    devices = [simulated("carlo_gavazzi/em24"), simulated("huawei/sun2000")]
    for number, device in enumerate(devices, 4):
        device.spaces = {(number, fn): space for (_, fn), space in device.spaces.items()}
        device.unit_id = number
    with ProductServer(*devices) as server:
        found = scan_hosts([("127.0.0.1", server.port)], [3, 4, 5], candidates(), quiet)
    names = [(one.identity.unit_id, one.identity.matches[0].product) for one in found]
    assert names == [(4, "carlo_gavazzi/em24"), (5, "huawei/sun2000")]


def test_a_sunspec_device_is_named_by_its_common_model() -> None:
    texts = {"Mn": "Fronius", "Md": "Symo GEN24 10.0", "Vr": "1.2", "SN": "4711"}
    device = sunspec.Device(sunspec.Map([sunspec.Model(1, texts), sunspec.Model(103)]))
    with sunspec.serve(device) as port:
        (found,) = scan_hosts([("127.0.0.1", port)], [1], candidates(), quiet)
    assert found.identity.matches[0].product == "fronius/gen24"
    assert found.identity.texts["serial"] == "4711"
    assert found.identity.models == (1, 103)


def test_a_port_that_is_closed_meanwhile_is_nobody() -> None:
    assert scan_hosts([("127.0.0.1", 1)], [1], candidates(), quiet) == []


def test_the_setting_with_an_answer_ends_a_serial_scan() -> None:
    with serial_line(simulated("huawei/sun2000")) as path:
        links = serial_links(path, [9600, 19200], ["N", "E"])
        steps: list[str] = []
        (found,) = scan_serial(links, [1, 2], candidates(), steps.append)
    assert found.link == f"rtu://{path}?baud=9600&parity=N"
    assert found.identity.matches[0].product == "huawei/sun2000"
    assert len(steps) == 2


def test_nobody_on_a_serial_line() -> None:
    with serial_line(simulated("huawei/sun2000")) as path:
        assert scan_serial(serial_links(path, [115_200], ["N"]), [7], candidates(), quiet) == []


def test_a_port_that_somebody_else_has_locked_is_not_opened() -> None:
    with serial_line(simulated("huawei/sun2000")) as path:
        other = os.open(path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(LineLost, match="lock"):
            scan_serial(serial_links(path, [9600], ["N"]), [1], candidates(), quiet)
        os.close(other)


def test_a_device_that_answers_on_every_unit_is_one_device() -> None:
    device = simulated("huawei/sun2000")
    for unit in (2, *ODD_UNITS):
        device.spaces[unit, 3] = device.space(3)
    with ProductServer(device) as server:
        (found,) = scan_hosts([("127.0.0.1", server.port)], [1, 2], candidates(), quiet)
    assert (found.identity.unit_id, found.any_unit) == (1, True)


@contextmanager
def meters(*addresses: str) -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    bus = Bus(master, [Meter(address, {}) for address in addresses])
    bus.start()
    try:
        yield os.ttyname(slave)
    finally:
        bus.close()
        os.close(master)
        os.close(slave)


def test_the_only_meter_of_a_line_tells_its_address() -> None:
    with meters("000012345678") as path:
        (found,) = scan_meters(path, [2400], quiet)
    assert found == (f"dlt645://{path}?baud=2400", "000012345678")


def test_several_meters_speak_at_once() -> None:
    with meters("000012345678", "000087654321") as path, pytest.raises(BadReply):
        scan_meters(path, [2400], quiet)


def test_no_meter() -> None:
    with meters() as path:
        assert scan_meters(path, [9600], quiet) == []


def test_a_serial_server_has_one_setting() -> None:
    assert serial_links("rtu+tcp://10.0.0.1:4001", [9600, 19200], ["N", "E"]) == ["rtu+tcp://10.0.0.1:4001"]


def test_the_estimate_grows_with_settings_and_ids_and_shrinks_with_speed() -> None:
    slow, fast = serial_links("/dev/ttyX", [9600], ["N"]), serial_links("/dev/ttyX", [115_200], ["N"])
    assert estimate_s(slow * 2, range(1, 33)) == pytest.approx(2 * estimate_s(slow, range(1, 33)))
    assert estimate_s(fast, [1]) < estimate_s(slow, [1])
    assert 10 < estimate_s(slow, range(1, 33)) < 13, "each id is asked twice"


def test_unit_ids_from_the_factory_begin_with_1() -> None:
    units = factory_units(candidates())
    assert units[0] == 1
    assert {3, 247} <= set(units)
    assert len(units) == len(set(units))


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", [1]), ("1-3,7", [1, 2, 3, 7]), ("9, 1-2,1", [9, 1, 2])], ids=str
)
def test_numbers(text: str, numbers: list[int]) -> None:
    assert parse_numbers(text, 1, 247) == numbers


@pytest.mark.parametrize("text", ["", "x", "0", "1-300", "5-1", "1-", "1,,2"])
def test_what_are_no_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        parse_numbers(text, 1, 247)
