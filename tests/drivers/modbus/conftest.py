"""A byte-level Modbus peer over real sockets and pty pairs that can be told to misbehave.

Every register answers with ``truth(unit, fn, address)``, so that a value from any other request is seen.
"""

import heapq
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cython_ext.registers import crc16
from drivers.driver import Counters

Chunks = list[tuple[float, bytes]]


def truth(unit: int, fn: int, address: int) -> int:
    """Return what a register holds: different for every unit, function and address."""
    return (unit * 10_007 + fn * 1_009 + address * 3 + 1) & 0xFFFF


@dataclass
class Asked:
    """One request as it was seen on the wire."""

    t: float
    unit: int
    pdu: bytes


@dataclass
class Peer:
    """Answers truthfully, then lets ``mangle(asked, reply frame)`` decide which bytes go out when."""

    mangle: Callable[[Asked, bytes], Chunks | None] = lambda asked, frame: [(0.0, frame)]
    units: frozenset[int] = frozenset(range(1, 248))
    values: dict[tuple[int, int], int] = field(default_factory=dict)
    """What was set by hand or written, by unit and address; goes before ``truth``."""
    sticky: bool = False
    """Whether writes change ``values``."""
    asked: list[Asked] = field(default_factory=list)

    def writes(self, fn: int = 6) -> list[bytes]:
        """Return the write PDUs of that function seen so far."""
        return [asked.pdu for asked in list(self.asked) if asked.pdu[0] == fn]

    def reads(self, unit: int) -> list[Asked]:
        """Return the reads of a unit seen so far."""
        return [asked for asked in list(self.asked) if asked.unit == unit and asked.pdu[0] < 5]

    def register(self, unit: int, fn: int, address: int) -> int:
        """Return one register."""
        return self.values.get((unit, address), truth(unit, fn, address))

    def reply_pdu(self, unit: int, pdu: bytes) -> bytes:
        """Return the right answer."""
        fn, address, count = struct.unpack_from(">BHH", pdu)
        if fn in (1, 2):
            bits = sum((truth(unit, fn, address + i) & 1) << i for i in range(count))
            size = (count + 7) // 8
            return bytes((fn, size)) + bits.to_bytes(size, "little")
        if fn in (3, 4):
            words = (self.register(unit, fn, address + i) for i in range(count))
            return bytes((fn, 2 * count)) + b"".join(word.to_bytes(2, "big") for word in words)
        if fn == 6 and self.sticky:
            self.values[unit, address] = count
        return pdu[:5]

    def answer(self, unit: int, pdu: bytes, wrap: Callable[[bytes], bytes]) -> Chunks:
        """Return the chunks to send for one request."""
        asked = Asked(time.monotonic(), unit, pdu)
        self.asked.append(asked)
        if unit not in self.units:
            return []
        return self.mangle(asked, wrap(self.reply_pdu(unit, pdu))) or []


def rtu_wrap(unit: int, pdu: bytes) -> bytes:
    """Return the serial frame of a PDU."""
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


class Pump(threading.Thread):
    """Feeds what comes on file descriptors to a peer, and sends its chunks when they are due."""

    in_order = False
    """Whether what was said first goes out first: always so on TCP, not so with several units on one line."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(daemon=True)
        self.peer = peer
        self.out: list[tuple[float, int, int, bytes]] = []
        self.count = 0
        self.last: dict[int, float] = {}
        self.stop_read, self.stop_write = os.pipe()
        self.ended = False

    def schedule(self, fd: int, chunks: Chunks) -> None:
        for delay, data in chunks:
            self.count += 1
            due = time.monotonic() + delay
            if self.in_order:
                due = self.last[fd] = max(due, self.last.get(fd, 0.0))
            heapq.heappush(self.out, (due, self.count, fd, data))

    def flush(self) -> float:
        """Send what is due; return the seconds until the next chunk."""
        while self.out and self.out[0][0] <= time.monotonic():
            _, _, fd, data = heapq.heappop(self.out)
            try:
                os.write(fd, data)
            except OSError:
                pass
        return max(0.0, self.out[0][0] - time.monotonic()) if self.out else 0.5

    def fds(self) -> list[int]:
        raise NotImplementedError

    def readable(self, fd: int) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self.ended:
            wait = self.flush()
            ready, _, _ = select.select([self.stop_read, *self.fds()], [], [], wait)
            for fd in ready:
                if fd != self.stop_read:
                    self.readable(fd)

    def close(self) -> None:
        self.ended = True
        os.write(self.stop_write, b"x")
        self.join(5.0)
        os.close(self.stop_read)
        os.close(self.stop_write)


class RtuPump(Pump):
    """The peer at the master end of a pty; ``path`` is what a client opens."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.master, self.slave = os.openpty()
        self.path = os.ttyname(self.slave)
        self.buffer = b""

    def url(self, baud: int = 115_200) -> str:
        return f"rtu://{self.path}?baud={baud}"

    def fds(self) -> list[int]:
        return [self.master]

    def readable(self, fd: int) -> None:
        self.buffer += os.read(fd, 4096)
        while len(self.buffer) >= 8:
            size = 9 + self.buffer[6] if self.buffer[1] in (15, 16) else 8
            if len(self.buffer) < size:
                return
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            assert crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")
            unit = frame[0]
            self.schedule(fd, self.peer.answer(unit, frame[1:-2], lambda pdu, unit=unit: rtu_wrap(unit, pdu)))

    def close(self) -> None:
        super().close()
        os.close(self.master)
        os.close(self.slave)


class TcpPump(Pump):
    """The peer behind a listening socket."""

    in_order = True

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: dict[int, tuple[socket.socket, bytearray]] = {}
        self.connections = 0

    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def fds(self) -> list[int]:
        return [self.listener.fileno(), *self.open]

    def readable(self, fd: int) -> None:
        if fd == self.listener.fileno():
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open[connection.fileno()] = (connection, bytearray())
            self.connections += 1
            return
        connection, buffer = self.open[fd]
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.forget(fd)
            return
        buffer += data
        while len(buffer) >= 8:
            transaction, _, length, unit = struct.unpack_from(">HHHB", buffer)
            if len(buffer) < 6 + length:
                return
            pdu = bytes(buffer[7 : 6 + length])
            del buffer[: 6 + length]

            def wrap(reply: bytes, transaction: int = transaction, unit: int = unit) -> bytes:
                return struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply

            self.schedule(fd, self.peer.answer(unit, pdu, wrap))

    def forget(self, fd: int) -> None:
        """Close a connection, and what was to go out on it."""
        self.open.pop(fd)[0].close()
        self.last.pop(fd, None)
        self.out = [chunk for chunk in self.out if chunk[2] != fd]
        heapq.heapify(self.out)

    def close(self) -> None:
        super().close()
        for connection, _ in self.open.values():
            connection.close()
        self.listener.close()


@dataclass
class MemorySink:
    """Keeps every reading that was put, in order."""

    size: int
    puts: int = 0
    value: Any = None
    quality: Any = None
    t_ns: Any = None
    history: list[tuple[int, float, int]] = field(default_factory=list)
    counters: Counters | None = None

    def __post_init__(self) -> None:
        self.value = np.full(self.size, np.nan)
        self.quality = np.zeros(self.size, np.uint8)
        self.t_ns = np.zeros(self.size, np.int64)

    def put(self, index: Any, value: Any, quality: Any, t_ns: int) -> None:
        self.value[index] = value
        self.quality[index] = quality
        self.t_ns[index] = t_ns
        self.history += list(zip(index.tolist(), value.tolist(), quality.tolist(), strict=True))
        self.puts += 1

    def count(self, counters: Counters) -> None:
        self.counters = counters


def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


@dataclass
class Bench:
    """What tests build with; everything is closed at the end of the test."""

    stack: ExitStack
    Peer = Peer
    RtuPump = RtuPump
    MemorySink = MemorySink
    truth = staticmethod(truth)
    eventually = staticmethod(eventually)
    rtu_wrap = staticmethod(rtu_wrap)

    def rtu(self, peer: Peer) -> RtuPump:
        """Run a peer on a pty pair."""
        return self.run(RtuPump(peer))

    def tcp(self, peer: Peer) -> TcpPump:
        """Run a peer on an ephemeral port."""
        return self.run(TcpPump(peer))

    def run(self, pump: Any) -> Any:
        """Start a pump; it is closed at the end of the test."""
        pump.start()
        self.stack.callback(pump.close)
        return pump


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give the test its peers."""
    with ExitStack() as stack:
        yield Bench(stack)
