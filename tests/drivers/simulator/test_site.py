"""The whole simulated site: start, stop, kill, truth and violations."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pymodbus.client import ModbusSerialClient

from drivers.simulator.board import COLUMNS, KINDS
from drivers.simulator.site import SimulatedSite
from models.plant import AUXILIARY_KW, TRANSFORMER_LOSS_KW


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_endpoints_and_processes(site: SimulatedSite) -> None:
    assert set(site.endpoints) == {"pcs-1", "bms-1", "meter-1", "pv-1"}
    assert site.endpoints["pcs-1"].startswith("tcp://127.0.0.1:")
    assert site.endpoints["bms-1"].startswith("rtu:///")
    assert site.endpoints["bms-1"].endswith("?baud=19200")
    assert site.endpoints["pv-1"].endswith("/pv/")
    pids = list(site.pids.values())
    assert len(set(pids)) == 6
    assert all(map(alive, pids))


def test_truth_balances(site: SimulatedSite) -> None:
    trace = site.trace()
    left = trace["truth/load_kw"] - trace["truth/pv_kw"] - trace["truth/battery_kw"]
    losses = trace["truth/grid_kw"] - left
    assert losses == pytest.approx(AUXILIARY_KW + TRANSFORMER_LOSS_KW, abs=1e-6)
    assert set(COLUMNS) < set(trace.dtype.names)


def test_export_is_counted_as_the_plant_sees_it(site: SimulatedSite, until: Callable[..., None]) -> None:
    before = site.violations()
    assert set(before) == set(KINDS)
    site.fault("site/load_kw", 10.0)
    site.fault("site/pv_kw", 40.0)
    until(lambda: site.violations()["export"]["count"] > before["export"]["count"])
    until(lambda: site.violations()["export"]["worst"] > 25.0)
    assert site.violations()["import"] == before["import"]


def test_a_new_wire_brings_its_devices_back(
    site: SimulatedSite, serial: Callable[..., ModbusSerialClient]
) -> None:
    site.kill("wire")
    site.restart("wire")
    assert not serial("bms-1").read_input_registers(0, count=20).isError()
    assert not serial("meter-1").read_input_registers(52, count=2).isError()


def test_unknown_fault_and_use_before_start_are_errors(site: SimulatedSite, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        site.fault("pcs-1/nonsense", 1.0)
    with pytest.raises(RuntimeError):
        SimulatedSite(tmp_path).violations()


def test_a_device_that_cannot_start_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    site = SimulatedSite(tmp_path / "site")
    port = int(site.endpoints["pcs-1"].rsplit(":", 1)[1])
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", port))
        thief.listen()
        with pytest.raises(TimeoutError, match="pcs-1"):
            site.start()
    assert site.pids == {}
    assert not [name for name in os.listdir(site.directory) if name.startswith("tty")]
