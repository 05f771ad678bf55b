"""Meters and Modbus units on pty lines, and the link's thread on the other side."""

import os
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cython_ext.registers import crc16
from drivers.dlt645.frames import Request
from drivers.driver import Counters
from drivers.modbus.line import Line, parse_url
from drivers.modbus.link import RtuLink
from drivers.modbus.poller import LinkPoller
from drivers.simulator.dlt645 import Bus, Chunks, Meter
from models.point import Quality

ADDRESS = "000012345678"
VALUES: dict[str, float | bytes] = {
    "00010000": 123456.78,
    "00010100": 100.01,
    "00010200": 200.02,
    "00020000": 0.05,
    "01010000": 43.2109,
    "02010100": 231.4,
    "02010200": 230.9,
    "02010300": 229.8,
    "02020100": 12.345,
    "02020200": -0.001,
    "02020300": 799.999,
    "02030000": -12.3456,
    "02030100": 1.0,
    "02030200": -2.0,
    "02030300": -11.3456,
    "02040000": 7.6543,
    "02060000": -0.987,
    "02800002": 49.98,
    "02800004": 33.4455,
}
TIMES = {"01010000": "2605041315"}


def truth(unit: int, address: int) -> int:
    """Return what an input register of a Modbus unit holds."""
    return (unit * 10_007 + address * 3 + 1) & 0xFFFF


@dataclass
class ModbusUnit:
    """A Modbus RTU unit that answers function 4 truthfully, on a line with others."""

    unit: int
    late_s: float = 0.0
    silent: bool = False
    asked: int = 0
    heard: bytes = b""
    heard_s: float = 0.0

    def hear(self, data: bytes, now_s: float) -> Chunks:
        """Take the last 8 bytes for a request when the CRC says so."""
        self.heard = (self.heard + data)[-8:]
        frame = self.heard
        if len(frame) < 8 or frame[:2] != bytes((self.unit, 4)) or crc16(frame[:-2]) != _word(frame[-2:]):
            return []
        self.heard = b""
        self.asked += 1
        first, count = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
        words = b"".join(truth(self.unit, first + i).to_bytes(2) for i in range(count))
        body = bytes((self.unit, 4, 2 * count)) + words
        return [] if self.silent else [(0.003 + self.late_s, body + crc16(body).to_bytes(2, "little"))]


def _word(data: bytes) -> int:
    return int.from_bytes(data, "little")


@dataclass
class MemorySink:
    """Keeps what was put."""

    size: int
    history: list[tuple[int, float, int]] = field(default_factory=list)
    counters: Counters | None = None

    def __post_init__(self) -> None:
        self.value = np.full(self.size, np.nan)
        self.quality = np.zeros(self.size, np.uint8)
        self.t_ns = np.zeros(self.size, np.int64)

    def put(self, index: Any, value: Any, quality: Any, t_ns: int) -> None:
        self.value[index], self.quality[index], self.t_ns[index] = value, quality, t_ns
        self.history += list(zip(index.tolist(), value.tolist(), quality.tolist(), strict=True))

    def count(self, counters: Counters) -> None:
        self.counters = counters

    def good(self, points: Any) -> dict[str, float]:
        """Return the good values by point name."""
        return {
            point.name.split("/")[1]: float(self.value[i])
            for i, point in enumerate(points)
            if self.quality[i] == Quality.GOOD
        }


def eventually(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


@dataclass
class Bench:
    """What tests build with; everything is closed at the end of the test."""

    stack: ExitStack
    events: list[tuple[str, str, str]] = field(default_factory=list)
    eventually = staticmethod(eventually)
    MemorySink = MemorySink
    ModbusUnit = ModbusUnit
    truth = staticmethod(truth)

    def tell(self, code: str, device: str, what: str) -> None:
        """Keep an event."""
        self.events.append((code, device, what))

    def pty(self) -> tuple[int, str]:
        """Return the master side of a new pty and the path of its other side."""
        master, slave = os.openpty()
        tty.setraw(slave)
        self.stack.callback(os.close, master)
        self.stack.callback(os.close, slave)
        return master, os.ttyname(slave)

    def bus(self, *stations: Any) -> str:
        """Put stations on a pty and return the path of the other side."""
        master, path = self.pty()
        self.serve(master, *stations)
        return path

    def serve(self, fd: int, *stations: Any) -> None:
        """Let stations hear what comes on ``fd``."""
        bus = Bus(fd, stations)
        bus.start()
        self.stack.callback(bus.close)

    def link(self, path: str, baud: int = 115_200) -> tuple[RtuLink, LinkPoller]:
        """Return a link on a path with its thread; devices join and leave it."""
        link = RtuLink(Line(parse_url(f"rtu://{path}?baud={baud}")))
        return link, LinkPoller(link)

    def started(self, device: Any) -> Any:
        """Start a device, and stop it at the end of the test."""
        device.start()
        self.stack.callback(device.stop)
        return device


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give the test its lines."""
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture
def meter() -> Meter:
    """A healthy meter that answers at once."""
    return Meter(ADDRESS, dict(VALUES), dict(TIMES), delay_s=0.001)


@pytest.fixture
def say() -> Callable[[Meter, Request], bytes]:
    """Return what a meter says to a request."""

    def said(meter: Meter, request: Request) -> bytes:
        return b"".join(chunk for _, chunk in meter.hear(request.serial_frame(), 0.0))

    return said
