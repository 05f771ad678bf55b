"""Faults of the Modbus devices: silent, late, foreign ids; and broken lines."""

from collections.abc import Callable

import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException

from drivers.simulator.site import SimulatedSite

QUICK_S = 0.3


@pytest.fixture
def quick(site: SimulatedSite) -> Callable[..., bool]:
    """Tells whether a device answers one request quickly."""

    def ask(device: str, unit: int = 1) -> bool:
        try:
            if device == "pcs-1":
                port = int(site.endpoints[device].rsplit(":", 1)[1])
                with ModbusTcpClient("127.0.0.1", port=port, timeout=QUICK_S, retries=0) as client:
                    return not client.read_holding_registers(100, device_id=unit).isError()
            path = site.endpoints[device].removeprefix("rtu://").split("?")[0]
            with ModbusSerialClient(path, baudrate=19200, timeout=QUICK_S, retries=0) as client:
                return not client.read_input_registers(0, count=2, device_id=unit).isError()
        except ModbusException:
            return False

    return ask


@pytest.mark.parametrize(
    ("device", "fault", "value"),
    [
        ("pcs-1", "pcs-1/silent", 1.0),
        ("bms-1", "bms-1/silent", 1.0),
        ("pcs-1", "pcs-1/late_s", 1.0),
        ("meter-1", "meter-1/late_s", 1.0),
        ("bms-1", "wire-bms-1/cut", 1.0),
        ("meter-1", "wire-meter-1/drop", 1.0),
        ("meter-1", "wire-meter-1/corrupt", 1.0),
        ("bms-1", "wire-bms-1/delay_s", 0.5),
    ],
)
def test_no_good_answer_while_the_fault_is_on_and_one_again_afterwards(
    site: SimulatedSite,
    quick: Callable[..., bool],
    until: Callable[..., None],
    device: str,
    fault: str,
    value: float,
) -> None:
    until(lambda: quick(device))
    site.fault(fault, value)
    assert not quick(device)
    site.fault(fault, 0.0)
    until(lambda: quick(device))


@pytest.mark.parametrize("device", ["pcs-1", "bms-1"])
def test_a_foreign_unit_id_stays_unanswered(quick: Callable[..., bool], device: str) -> None:
    assert not quick(device, 7)
    assert quick(device)
