"""The bytes' way to the devices: a TCP or TLS connection or a serial port, as a non-blocking descriptor."""

import os
import select
import socket
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, parse_qsl, urlsplit

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
STOPS = ("1", "2")
BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400)
PORTS = {"tcp": 502, "tls": 802, "rtu+tcp": 502}
SERIAL = {"rtu": (19_200, "N"), "dlt645": (2400, "E")}
"""Baud and parity where the url gives none (DL/T 645-2007, 5.2)."""
SERVER_BAUD = 9600
"""What a serial server's line is taken for; it only sets how long a reply may be on its way."""
EXAMPLES = {
    "tcp": "tcp://192.168.1.10:502",
    "tls": "tls://inverter.local:802?ca=/etc/yunchu/ca.pem",
    "rtu+tcp": "rtu+tcp://192.168.1.20:4001?baud=9600",
    "rtu": "rtu:///dev/ttyUSB0?baud=19200&parity=N&stop=1",
    "dlt645": "dlt645:///dev/ttyUSB0?baud=2400&parity=E",
}


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
    serial_server: bool = False
    """Serial frames travel over TCP as they are."""
    ca: str = ""
    """File with the certificates that vouch for the other side; given = TLS."""
    cert: str = ""
    """File with our own certificate, and ``key`` with its key, for servers that ask who we are."""
    key: str = ""

    @property
    def name(self) -> str:
        """What identifies the line, whatever its settings are."""
        return f"{self.host}:{self.port}" if self.host else self.path

    @property
    def serial_frames(self) -> bool:
        """Whether frames look as on a serial line: with a CRC, without a transaction id."""
        return self.serial_server or not self.host

    @property
    def byte_ns(self) -> int:
        """Time of one byte on the wire; 0 where there is none."""
        bits = 9 + self.stop + (self.parity != "N")
        return round(bits * 1e9 / self.baud) if self.serial_frames else 0

    @property
    def silence_ns(self) -> int:
        """The 3.5 characters between two frames; 0 where the frames come over a network."""
        if self.host:
            return 0
        return FAST_SILENCE_NS if self.baud > FAST_BAUD else round(3.5 * self.byte_ns)


def parse_url(url: str) -> Endpoint:
    """Read the url of a line, see EXAMPLES; raise ConfigError with what is wrong and what to write."""
    scheme = url.partition(":")[0]
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        if scheme not in EXAMPLES:
            raise ValueError(f"there is no kind of line {scheme!r}")
        build = _serial_endpoint if scheme in SERIAL else _network_endpoint
        endpoint = build(parts, options)
        if options:
            raise ValueError(f"unknown option {', '.join(options)}")
    except ValueError as error:
        wanted = EXAMPLES.get(scheme) or f"{EXAMPLES['tcp']} or {EXAMPLES['rtu']}"
        raise ConfigError([Problem("DRV-101", url, f"{url!r}: {error}", f"Write {wanted}")]) from None
    return endpoint


def _serial_endpoint(parts: SplitResult, options: dict[str, str]) -> Endpoint:
    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("a serial port begins with three slashes")
    baud, parity = SERIAL[parts.scheme]
    return Endpoint(
        path=parts.path,
        baud=_baud(options, baud),
        parity=_one_of(options, "parity", parity, PARITIES),
        stop=int(_one_of(options, "stop", "1", STOPS)),
    )


def _network_endpoint(parts: SplitResult, options: dict[str, str]) -> Endpoint:
    if not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("a host and a port are needed, nothing more")
    host, port = parts.hostname, PORTS[parts.scheme] if parts.port is None else parts.port
    if parts.scheme == "rtu+tcp":
        return Endpoint(host, port, baud=_baud(options, SERVER_BAUD), serial_server=True)
    if parts.scheme == "tcp":
        return Endpoint(host, port)
    ca, cert, key = (options.pop(name, "") for name in ("ca", "cert", "key"))
    if not ca:
        raise ValueError("TLS without a ca proves nothing")
    if bool(cert) != bool(key):
        raise ValueError("cert and key belong together")
    return Endpoint(host, port, ca=ca, cert=cert, key=key)


def _baud(options: dict[str, str], default: int) -> int:
    return int(_one_of(options, "baud", str(default), tuple(map(str, BAUDS))))


def _one_of(options: dict[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = options.pop(name, default)
    if value not in allowed:
        raise ValueError(f"{name} {value} is none of {', '.join(allowed)}")
    return value


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
        self.tap: Callable[[str, int, bytes], None] | None = None
        """Told of all bytes: "tx" or "rx", monotonic ns, the bytes as they were sent or came."""
        self._port: Port | None = None
        self._fd = -1
        self._poll = select.poll()
        self._read: Callable[[int, int], bytes] = os.read
        self._write: Callable[[int, bytes], int] = os.write

    @property
    def is_open(self) -> bool:
        """Whether it is open as far as is known."""
        return self._port is not None

    def open(self) -> None:
        """Open it; raise LineLost when that is not possible."""
        self.close()
        try:
            port = self._open()
        except (OSError, ValueError) as error:  # serial.SerialException and ssl.SSLError are OSErrors
            raise LineLost(f"{self.endpoint.name}: {error}") from error
        try:
            self._fd = port.fileno()
            os.set_blocking(self._fd, False)
            self._poll.register(self._fd, select.POLLIN)
        except OSError as error:  # unplugged in this very moment
            port.close()
            raise LineLost(f"{self.endpoint.name}: {error}") from error
        self._port = port

    def _open(self) -> Port:
        endpoint = self.endpoint
        if not endpoint.host:
            serial_port: Port = _open_serial(endpoint)
            return serial_port
        port = socket.create_connection((endpoint.host, endpoint.port), CONNECT_S)
        port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not endpoint.ca:
            return port
        from drivers.modbus.tls import TlsPort  # few sites use it; the others need not load it

        tls = TlsPort(port, endpoint)
        self._read, self._write = tls.read, tls.write
        return tls

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
        if self.tap is not None:
            self.tap("tx", time.monotonic_ns(), data)
        sent = self._write_some(data)
        if sent == len(data):
            return
        deadline = time.monotonic_ns() + WRITE_NS
        while sent < len(data):
            if time.monotonic_ns() > deadline:
                raise LineLost(f"{self.endpoint.name}: the line takes no more bytes")
            select.select([], [self._fd], [], 0.05)
            sent += self._write_some(data[sent:])

    def _write_some(self, data: bytes) -> int:
        try:
            return self._write(self._fd, data)
        except BlockingIOError:
            return 0
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
            data = self._read(self._fd, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LineLost(f"{self.endpoint.name}: {error}") from error
        if not data:
            raise LineLost(f"{self.endpoint.name}: the other side closed")
        if self.tap is not None:
            self.tap("rx", time.monotonic_ns(), data)
        return data


def _open_serial(endpoint: Endpoint) -> serial.Serial:
    """Open and configure with pyserial, with a lock against a second master on the same port.

    pyserial leaves the check of the parity off. With it a spoilt byte is dropped, so that its frame is too
    short: the 8-bit sum of DL/T 645 alone would let some of them pass.
    """
    port = serial.Serial(
        endpoint.path,
        endpoint.baud,
        parity=endpoint.parity,
        stopbits=endpoint.stop,
        timeout=0,
        exclusive=True,
    )
    if endpoint.parity != "N":
        settings = termios.tcgetattr(port.fd)
        settings[0] |= termios.INPCK | termios.IGNPAR
        termios.tcsetattr(port.fd, termios.TCSANOW, settings)
    return port
