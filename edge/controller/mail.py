"""The setpoint on its way into a driver host: one small file per device, one writer, one reader.

The controller puts the newest setpoint there and never waits; the host looks for it. It carries its expiry
as monotonic time, which is the same for all processes of a machine, so neither a late host nor one that
was started anew sends what is too old. The host holds a lock on the file: a device has one writer.
"""

import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cython_ext import seqlock
from drivers.driver import Counters
from edge import mapped
from models.errors import BusyError
from models.point import Point
from models.proposal import Setpoint

MAGIC = b"YUNCHU-MAIL-1\n\0\0"
LAYOUT = struct.Struct("<qdq")
"""Number of the setpoint, from 1; power [kW]; expiry [monotonic ns]."""


def path_of(run_dir: Path, device: str) -> Path:
    """Return where the setpoints of a device lie."""
    return run_dir / f"setpoint-{device}"


def create(path: Path, unit: str) -> None:
    """Make an empty box; a host of a controller before this one keeps the old one, in which all expires.

    Raises:
        StoreError: there is no room for it.
    """
    fresh = path.with_suffix(".new")
    mapped.create(fresh, MAGIC, {"unit": unit}, 8 + LAYOUT.size)
    fresh.replace(path)


class _Block:
    """The shared memory of one box."""

    def __init__(self, path: Path, writable: bool) -> None:
        memory, meta, body = mapped.attach(path, MAGIC, writable)
        self.unit: str = meta["unit"]
        self.bytes = np.frombuffer(memory, np.uint8)[body : body + 8 + LAYOUT.size]


class HostedDriver:
    """A device in a driver host, as the controller sees it; implements ``drivers.driver.Driver``."""

    def __init__(self, name: str, points: Sequence[Point], run_dir: Path, unit: str) -> None:
        """Make the box of the device; StoreError when there is no room for it."""
        self.name = name
        self.points = points
        self.counters = Counters()
        create(path_of(run_dir, name), unit)
        self._block = _Block(path_of(run_dir, name), writable=True)
        self._number = 0

    def start(self) -> None:
        """Do nothing: the host is started by ``Hosts``."""

    def offer(self, setpoint: Setpoint) -> None:
        """Hand over the newest setpoint."""
        self._number += 1
        data = LAYOUT.pack(self._number, setpoint.p_kw, setpoint.expires_ns)
        seqlock.write(self._block.bytes, data)

    def stop(self) -> None:
        """Do nothing more than to offer nothing more."""


class SharedMail:
    """The box as the host sees it; ``newest`` is the setpoint that the controller has offered last."""

    def __init__(self, path: Path) -> None:
        """Open the box for reading, as the only one.

        Raises:
            StoreError: there is none.
            BusyError: another host holds it.
        """
        self._block = _Block(path, writable=False)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise BusyError(f"another driver host serves {path.name}") from error
        self._out = np.zeros(LAYOUT.size, np.uint8)
        self._number = 0
        self._last: Setpoint | None = None

    @property
    def newest(self) -> Setpoint | None:
        """The newest setpoint, the same object until there is a newer one; None before the first."""
        if seqlock.read(self._block.bytes, self._out):
            number, p_kw, expires_ns = LAYOUT.unpack(self._out.data)
            if number != self._number:
                self._number = number
                self._last = Setpoint(self._block.unit, p_kw, expires_ns)
        return self._last

    def close(self) -> None:
        """Let another host have it."""
        os.close(self._fd)
