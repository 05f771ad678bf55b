"""The mutating peer of fuzz.py: a process that answers truthfully and then lets the reply come to harm.

Units answer one request after the other, in order, as devices do: while a reply is late, the unit's later
ones wait behind it. What no master can tell is left out: a whole, well-formed, timely reply with another
content, a second copy on a serial line that comes after the next request, and, on TCP, what its own checksum
and order guard: turned bits in the data, and a reply that breaks off and goes on as another.
"""

import heapq
import os
import random
import select
import socket
import ssl
import struct
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.certificate import write_certificates
from benchmarks.fuzz_content import WRITES, answer, request_size
from cython_ext.registers import crc16

FRAMINGS = ("tcp", "rtu", "rtu+tcp", "tls")
EPOCH, EXECUTED, SEEN, MUTATED, LAST = range(5)
"""Places in the memory that both processes share: the open request, the last write that was carried out,
requests that came, replies that were harmed, and what was done to the newest."""
LOST, SPLIT, CUT = 0, 3, 4
"""Places among the tricks."""
SHARE = 0.5
"""Of the replies are harmed."""
STORM = (5, 20)
BEHIND_S = 1e-5
SISTERS = {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 15: 16, 16: 15}
COUNTED = (1, 2, 3, 4, 23)
OPEN_ENDED = (17, 43)
"""Functions of which only the device knows how long the reply is."""

Chunks = list[tuple[float, bytes]]


def rtu(unit: int, pdu: bytes) -> bytes:
    """Return a serial frame."""
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


@dataclass
class Asked:
    """One request, its true reply and how to frame another one."""

    unit: int
    pdu: bytes
    reply: bytes
    epoch: int
    transaction: int | None

    def framed(self, pdu: bytes, unit: int = -1, transaction: int | None = None) -> bytes:
        """Return a frame with these changes."""
        unit = self.unit if unit < 0 else unit
        if self.transaction is None:
            return rtu(unit, pdu)
        number = self.transaction if transaction is None else transaction
        return struct.pack(">HHHB", number & 0xFFFF, 0, len(pdu) + 1, unit) + pdu


class Mutator:
    """Does harm to replies; seeded."""

    def __init__(self, framing: str, seed: int, slow_s: float) -> None:
        self._random = random.Random(seed)
        self._slow_s = slow_s
        self._serial = framing.startswith("rtu")
        self._before = b""
        self._storm = 0
        tricks = [
            self.lose, self.drop, self.late, self.split, self.cut, self.double, self.with_older, self.noise,
            self.flip, self.exception, self.storm, self.late_exception, self.other_unit,
            self.other_function, self.short, self.long, self.wrong_count,
        ]  # fmt: skip
        tricks += [] if self._serial else [self.other_transaction, self.late_double]
        tricks += [self.broken_record] if framing == "tls" else []
        self.tricks = tuple(tricks)

    def harm(self, asked: Asked) -> tuple[int, Chunks]:
        """Return the number of the trick (-1: none) and what goes out when."""
        frame = asked.framed(asked.reply)
        number = -1
        if self._storm:
            self._storm -= 1
            number = self.tricks.index(self.storm)
            chunks = self.exception(asked, frame)
        elif self._random.random() < SHARE:
            number = self._random.randrange(len(self.tricks))
            chunks = self.tricks[number](asked, frame)
        else:
            chunks = [(0.0, frame)]
        self._before = frame
        return number, chunks

    def lose(self, asked: Asked, frame: bytes) -> Chunks:
        """The request is lost: nothing is done."""
        return []

    def drop(self, asked: Asked, frame: bytes) -> Chunks:
        """Nothing comes."""
        return []

    def late(self, asked: Asked, frame: bytes) -> Chunks:
        """It comes around the time at which it is given up, or long after."""
        return [(self._slow_s * self._random.choice((0.8, 1.0, 1.2, 2.0, 3.0, 6.0)), frame)]

    def split(self, asked: Asked, frame: bytes) -> Chunks:
        """It comes in pieces."""
        cuts = sorted(self._random.sample(range(1, len(frame)), min(len(frame) - 1, 3)))
        ends = [*cuts, len(frame)]
        pause_s = self._random.uniform(0.0, 0.5 * self._slow_s)
        return [(i * pause_s, frame[a:b]) for i, (a, b) in enumerate(zip([0, *cuts], ends, strict=True))]

    def cut(self, asked: Asked, frame: bytes) -> Chunks:
        """It breaks off."""
        return [(0.0, frame[: self._random.randrange(1, len(frame))])]

    def double(self, asked: Asked, frame: bytes) -> Chunks:
        """It comes twice, or one time and a half."""
        return [(0.0, frame + frame[: self._random.choice((len(frame), len(frame) // 2, 1))])]

    def late_double(self, asked: Asked, frame: bytes) -> Chunks:
        """It comes again when others are due."""
        return [(0.0, frame), (self._slow_s * self._random.random(), frame)]

    def with_older(self, asked: Asked, frame: bytes) -> Chunks:
        """The reply before is glued to it."""
        return [(0.0, self._random.choice((self._before + frame, frame + self._before)))]

    def noise(self, asked: Asked, frame: bytes) -> Chunks:
        """Noise before it, behind it, or alone."""
        noise = self._random.randbytes(self._random.randrange(1, 12))
        return [(0.0, self._random.choice((noise + frame, frame + noise, noise)))]

    def flip(self, asked: Asked, frame: bytes) -> Chunks:
        """Up to three bits turn, or a burst of 16; on TCP in what no checksum guards but ours: the heads."""
        size = len(frame) if self._serial else 8 if asked.pdu[0] in OPEN_ENDED else 9
        whole = int.from_bytes(frame, "big")
        if self._serial and self._random.random() < 0.5:
            whole ^= self._random.randrange(1, 1 << 16) << self._random.randrange(8 * size - 16)
        else:
            for bit in self._random.sample(range(8 * size), self._random.randrange(1, 4)):
                whole ^= 1 << (8 * len(frame) - 1 - bit)
        return [(0.0, whole.to_bytes(len(frame), "big"))]

    def exception(self, asked: Asked, frame: bytes) -> Chunks:
        """The unit refuses."""
        code = self._random.choice((1, 2, 3, 4, 5, 6, 10, 11))
        return [(0.0, asked.framed(bytes((asked.pdu[0] | 0x80, code))))]

    def late_exception(self, asked: Asked, frame: bytes) -> Chunks:
        """It refuses when it was given up."""
        return [(at + 2 * self._slow_s, refusal) for at, refusal in self.exception(asked, frame)]

    def storm(self, asked: Asked, frame: bytes) -> Chunks:
        """It refuses, and many times in a row."""
        self._storm = self._random.randint(*STORM)
        return self.exception(asked, frame)

    def other_unit(self, asked: Asked, frame: bytes) -> Chunks:
        """Another unit answers."""
        unit = asked.unit + 1
        return [(0.0, asked.framed(answer(unit, asked.pdu, asked.epoch), unit))]

    def other_function(self, asked: Asked, frame: bytes) -> Chunks:
        """The sister function is answered."""
        fn = SISTERS.get(asked.pdu[0], 3)
        if fn < 5 and asked.pdu[0] < 5:
            return [(0.0, asked.framed(answer(asked.unit, bytes((fn,)) + asked.pdu[1:], asked.epoch)))]
        return [(0.0, asked.framed(bytes((fn,)) + asked.reply[1:]))]

    def short(self, asked: Asked, frame: bytes) -> Chunks:
        """Fewer registers than were asked for, well-formed."""
        return [(0.0, asked.framed(_resized(asked.reply, -2)))]

    def long(self, asked: Asked, frame: bytes) -> Chunks:
        """More registers than were asked for, well-formed."""
        return [(0.0, asked.framed(_resized(asked.reply, 2)))]

    def wrong_count(self, asked: Asked, frame: bytes) -> Chunks:
        """The count of bytes is not that of the bytes."""
        pdu = bytearray(asked.reply)
        pdu[1] = (pdu[1] + self._random.choice((-2, -1, 1, 2, 100))) & 0xFF
        return [(0.0, asked.framed(bytes(pdu)))]

    def other_transaction(self, asked: Asked, frame: bytes) -> Chunks:
        """Somebody else's reply comes, before ours, behind it, or instead."""
        other = answer(asked.unit, asked.pdu, asked.epoch + 1)
        number = (asked.transaction or 0) + self._random.choice((-2, -1, 0x1000, 0x8000))
        foreign = asked.framed(other, transaction=number)
        return [(0.0, self._random.choice((foreign, foreign + frame, frame + foreign)))]

    def broken_record(self, asked: Asked, frame: bytes) -> Chunks:
        """Bytes that are no TLS come on the socket; see Stream.write."""
        return [(0.0, b"")] if self._random.random() < 0.05 else [(0.0, frame)]


def _resized(pdu: bytes, by: int) -> bytes:
    """Return a reply with registers less or more, its count of bytes right where it has one."""
    fn, count = pdu[0], pdu[1]
    body = pdu[2:by] if by < 0 else pdu[2:] + b"\x12\x34"[:by]
    return bytes((fn, (count + by) & 0xFF if fn in COUNTED else count)) + body


class Pty:
    """The device's end of a serial line."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.where = os.ttyname(self.slave)

    def fds(self) -> list[int]:
        return [self.master]

    def read(self, fd: int) -> bytes:
        return os.read(fd, 4096)

    def write(self, fd: int, data: bytes) -> None:
        os.write(fd, data)


class Stream:
    """A listening socket and its newest connection, with or without TLS."""

    def __init__(self, folder: Path | None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connection: Any = None
        self._context: ssl.SSLContext | None = None
        self.where = str(self._listener.getsockname()[1])
        if folder:
            _, cert, key = write_certificates(folder)
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(cert, key)

    def fds(self) -> list[int]:
        here = [self._listener.fileno()]
        return [*here, self._connection.fileno()] if self._connection else here

    def read(self, fd: int) -> bytes | None:
        """Return what came, None when the connection is another or none."""
        if fd == self._listener.fileno():
            self._accept()
            return None
        data = b""
        try:
            while more := self._connection.recv(4096):
                data += more
                if not self._context:
                    return data
        except ssl.SSLWantReadError:
            return data
        except OSError:
            pass
        self._forget()
        return None

    def write(self, fd: int, data: bytes) -> None:
        try:
            if data:
                self._connection.sendall(data)
            else:
                os.write(fd, b"\x17\x03\x03\x00\x08garbage!")
        except OSError:
            pass

    def _accept(self) -> None:
        self._forget()
        plain, _ = self._listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._context:
            self._connection = plain
            return
        plain.settimeout(1.0)
        try:
            self._connection = self._context.wrap_socket(plain, server_side=True)
            self._connection.setblocking(False)
        except OSError:
            plain.close()

    def _forget(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


class Peer:
    """Serves one line until the process ends."""

    def __init__(self, framing: str, seed: int, slow_s: float, shared: Any, folder: Path) -> None:
        self.port = Pty() if framing == "rtu" else Stream(folder if framing == "tls" else None)
        self._serial = framing.startswith("rtu")
        self._mutator = Mutator(framing, seed, slow_s)
        self._shared = shared
        self._out: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._free: dict[int, float] = {}
        self._buffer = b""
        self._hold = 0.0

    def run(self) -> None:
        """Serve for ever."""
        while True:
            ready, _, _ = select.select(self.port.fds(), [], [], self._flush())
            for fd in ready:
                data = self.port.read(fd)
                if data is None:
                    self._buffer, self._out = b"", []
                    break
                self._buffer += data
                self._serve(fd)

    def _flush(self) -> float:
        """Send what is due; return the time until the next."""
        while self._out:
            wait_s = self._out[0][0] - time.monotonic()
            if wait_s > 0.0:
                return wait_s
            _, _, fd, data = heapq.heappop(self._out)
            self.port.write(fd, data)
        return 1.0

    def _serve(self, fd: int) -> None:
        take: Callable[[], Asked | None] = self._serial_request if self._serial else self._tcp_request
        while asked := take():
            shared = self._shared
            number, chunks = self._mutator.harm(asked)
            if asked.pdu[0] in WRITES and number != LOST:
                shared[EXECUTED] = asked.epoch
            shared[LAST] = number + 1
            shared[MUTATED] += number >= 0
            shared[SEEN] += 1
            start = max(time.monotonic(), self._free.get(asked.unit, 0.0), self._hold)
            if not self._serial:
                self._keep_whole(number, start, chunks)
            for delay, data in chunks:
                self._count += 1
                heapq.heappush(self._out, (start + delay, self._count, fd, data))
                self._free[asked.unit] = start + delay

    def _keep_whole(self, number: int, start: float, chunks: Chunks) -> None:
        """Let nothing come between the pieces of a frame on a stream, nor behind one that broke off."""
        if number == CUT:
            self._out.clear()
        if number == SPLIT:
            self._hold = start + chunks[-1][0] + BEHIND_S
            self._out = [(self._hold if at > start else at, *rest) for at, *rest in self._out]
            heapq.heapify(self._out)

    def _serial_request(self) -> Asked | None:
        size = request_size(self._buffer)
        if not size or len(self._buffer) < size:
            return None
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        return self._asked(frame[0], frame[1:-2], None)

    def _tcp_request(self) -> Asked | None:
        if len(self._buffer) < 8:
            return None
        transaction, _, length, unit = struct.unpack_from(">HHHB", self._buffer)
        if len(self._buffer) < 6 + length:
            return None
        pdu, self._buffer = self._buffer[7 : 6 + length], self._buffer[6 + length :]
        return self._asked(unit, pdu, transaction)

    def _asked(self, unit: int, pdu: bytes, transaction: int | None) -> Asked:
        epoch = self._shared[EPOCH]
        return Asked(unit, pdu, answer(unit, pdu, epoch), epoch, transaction)


def serve(ready: Connection, framing: str, seed: int, slow_s: float, shared: Any, folder: str) -> None:
    """Tell where the line is and serve it; runs in a process of its own until that is ended."""
    peer = Peer(framing, seed, slow_s, shared, Path(folder))
    ready.send((peer.port.where, [trick.__name__ for trick in peer._mutator.tricks]))
    peer.run()
