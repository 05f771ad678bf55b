"""One simulated site for all tests of this folder; every test leaves it healthy and at rest."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

from drivers.simulator.board import FAULTS, Board, Trace, create
from drivers.simulator.site import SimulatedSite

SUMMER_NOON_UTC_S = 1781841600.0
"""2026-06-19T04:00Z, a Friday: noon at the site, sun and machines at work."""


def wait_until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Poll until ``condition`` holds; fail after the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedSite]:
    with SimulatedSite(tmp_path_factory.mktemp("site"), utc_s=SUMMER_NOON_UTC_S) as site:
        yield site
        pids = list(site.pids.values())
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "stop leaves no process behind"


@pytest.fixture
def site(running: SimulatedSite) -> Iterator[SimulatedSite]:
    """The running site; faults and orders are taken back afterwards."""
    yield running
    for name, value in FAULTS.items():
        running.fault(name, value)
    board = running.board
    board["command/remote"], board["command/dead_man_s"], board["command/q_set_kvar"] = 1.0, 5.0, 0.0
    board["command/alive_s"] = 0.0


@pytest.fixture
def pcs(site: SimulatedSite) -> Iterator[ModbusTcpClient]:
    port = int(site.endpoints["pcs-1"].rsplit(":", 1)[1])
    with ModbusTcpClient("127.0.0.1", port=port, timeout=2.0, retries=0) as client:
        yield client


@pytest.fixture
def serial(site: SimulatedSite) -> Iterator[Callable[..., ModbusSerialClient]]:
    """Opens clients on the gateway's side of a line."""
    with ExitStack() as opened:

        def build(device: str, timeout_s: float = 2.0) -> ModbusSerialClient:
            path = site.endpoints[device].removeprefix("rtu://").split("?")[0]
            return opened.enter_context(
                ModbusSerialClient(path, baudrate=19200, timeout=timeout_s, retries=0)
            )

        yield build


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board of its own without processes."""
    return create(tmp_path)


@pytest.fixture
def trace(tmp_path: Path, board: Board) -> Trace:
    return Trace(tmp_path, board)
