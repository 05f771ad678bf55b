"""The bytes' way to the devices: one TCP connection or one serial port, as a non-blocking file descriptor."""

import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

import serial

from models.errors import ConfigError, DriverError, NoReply, Problem

CHUNK = 4096
CONNECT_S = 1.0
WRITE_NS = 1_000_000_000
"""Longest time in which the kernel must take a frame."""
FAST_BAUD = 19_200
FAST_SILENCE_NS = 1_750_000
"""Above 19200 baud the silence between frames is fixed (Modbus over serial line, V1.02, 2.5.1.1)."""
PARITIES = ("N", "E", "O")
BAUDS = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400)


class LineLost(DriverError):
    """The connection broke or the port went away; never leaves this folder."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a line ends; devices with the same endpoint share it."""

    host: str = ""
    """Empty for a serial port."""
    port: int = 0
    path: str = ""
    baud: int = 19_200
    parity: str = "N"
    stop: int = 1

    @property
    def name(self) -> str:
        """What identifies the line, whatever its settings are."""
        return f"{self.host}:{self.port}" if self.host else self.path

    @property
    def byte_ns(self) -> int:
        """Time of one byte on the wire; 0 on TCP."""
        bits = 9 + self.stop + (self.parity != "N")
        return 0 if self.host else round(bits * 1e9 / self.baud)

    @property
    def silence_ns(self) -> int:
        """The 3.5 characters between two frames; 0 on TCP."""
        if self.host:
            return 0
        return FAST_SILENCE_NS if self.baud > FAST_BAUD else round(3.5 * self.byte_ns)


def parse_url(url: str) -> Endpoint:
    """Read ``tcp://host:port`` or ``rtu:///dev/ttyUSB0?baud=19200&parity=N&stop=1``; raise ConfigError."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        if parts.scheme == "tcp" and parts.hostname and not options:
            return Endpoint(parts.hostname, 502 if parts.port is None else parts.port)
        if parts.scheme == "rtu" and parts.path.startswith("/") and not parts.netloc:
            return _serial_endpoint(parts.path, options)
        what = f"{url!r} is neither tcp://host:port nor rtu:///dev/…"
    except ValueError as error:
        what = f"{url!r}: {error}"
    do = "Write tcp://192.168.1.10:502 or rtu:///dev/ttyUSB0?baud=19200&parity=N&stop=1"
    raise ConfigError([Problem("DRV-101", url, what, do)])


def _serial_endpoint(path: str, options: dict[str, str]) -> Endpoint:
    baud, parity, stop = (
        int(options.pop("baud", "19200")),
        options.pop("parity", "N"),
        int(options.pop("stop", "1")),
    )
    if options:
        raise ValueError(f"unknown option {', '.join(options)}")
    if baud not in BAUDS or parity not in PARITIES or stop not in (1, 2):
        raise ValueError(f"{baud} baud, parity {parity}, {stop} stop bits cannot be")
    return Endpoint(path=path, baud=baud, parity=parity, stop=stop)


class Port(Protocol):
    """What is open: a socket or a serial port."""

    def fileno(self) -> int:
        """Return the file descriptor."""

    def close(self) -> None:
        """Close it."""


class Line:
    """An endpoint that can be opened, written, read with a deadline, and closed; one thread uses it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._port: Port | None = None
        self._fd = -1
        self._poll = select.poll()

    @property
    def is_open(self) -> bool:
        """Whether it is open as far as is known."""
        return self._port is not None

    def open(self) -> None:
        """Open it; raise LineLost when that is not possible."""
        self.close()
        try:
            port: Port = _connect(self.endpoint) if self.endpoint.host else _open_serial(self.endpoint)
        except (OSError, ValueError) as error:  # serial.SerialException is an OSError
            raise LineLost(f"{self.endpoint.name}: {error}") from error
        try:
            self._fd = port.fileno()
            os.set_blocking(self._fd, False)
            self._poll.register(self._fd, select.POLLIN)
        except OSError as error:  # unplugged in this very moment
            port.close()
            raise LineLost(f"{self.endpoint.name}: {error}") from error
        self._port = port

    def close(self) -> None:
        """Close it; harmless when it is closed."""
        if self._port is None:
            return
        self._poll.unregister(self._fd)
        try:
            self._port.close()
        except OSError:  # a port that was unplugged cannot be closed properly
            pass
        self._port, self._fd = None, -1

    def send(self, data: bytes) -> None:
        """Hand a whole frame to the kernel; raise LineLost when it does not take it."""
        try:
            sent = os.write(self._fd, data)
            deadline = time.monotonic_ns() + WRITE_NS
            while sent < len(data):
                if time.monotonic_ns() > deadline:
                    raise LineLost(f"{self.endpoint.name}: the line takes no more bytes")
                select.select([], [self._fd], [], 0.05)
                sent += os.write(self._fd, data[sent:])
        except OSError as error:
            raise LineLost(f"{self.endpoint.name}: {error}") from error

    def receive(self, deadline_ns: int) -> bytes:
        """Return what has come, waiting for it until ``deadline_ns``.

        Raises:
            NoReply: nothing came until then.
            LineLost: the other side closed, or the port is gone.
        """
        left_ns = deadline_ns - time.monotonic_ns()
        ready = self._poll.poll(max(0.0, left_ns / 1e6))
        if not ready:
            raise NoReply(f"{self.endpoint.name}: nothing came in time")
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LineLost(f"{self.endpoint.name}: {error}") from error
        if not data:
            raise LineLost(f"{self.endpoint.name}: the other side closed")
        return data


def _connect(endpoint: Endpoint) -> socket.socket:
    port = socket.create_connection((endpoint.host, endpoint.port), CONNECT_S)
    port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return port


def _open_serial(endpoint: Endpoint) -> serial.Serial:
    """Open and configure with pyserial, with a lock against a second master on the same port."""
    return serial.Serial(
        endpoint.path,
        endpoint.baud,
        parity=endpoint.parity,
        stopbits=endpoint.stop,
        timeout=0,
        exclusive=True,
    )
