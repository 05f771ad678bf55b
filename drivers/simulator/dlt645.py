"""A simulated DL/T 645-2007 meter, written from the standard and independent of ``drivers/dlt645``.

It hears every byte of the line that it is on, also those of other protocols, and answers only frames with its
own address (or one with AA wildcards). Its faults are switched by attributes. ``Bus`` lets several stations,
for instance a Modbus RTU unit as well, share one file descriptor.
"""

import heapq
import os
import select
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

Chunks = list[tuple[float, bytes]]
"""Seconds from now, and what goes out then."""

FORMATS = {
    "00": "XXXXXX.XX",
    "01": "XX.XXXX",
    "0201": "XXX.X",
    "0202": "XXX.XXX",
    "0203": "XX.XXXX",
    "0204": "XX.XXXX",
    "0205": "XX.XXXX",
    "0206": "X.XXX",
    "02800001": "XXX.XXX",
    "02800002": "XX.XX",
    "02800003": "XX.XXXX",
    "02800004": "XX.XXXX",
    "02800005": "XX.XXXX",
    "02800006": "XX.XXXX",
    "02800007": "XXX.X",
    "04000306": "XXXXXX",
    "04000307": "XXXXXX",
    "04000409": "XXXXXX",
}
"""Formats of annex A by the beginning of the data identifier; the longest beginning counts."""
LARGEST = 200
"""Data bytes of one frame."""
GAP_S = 0.5
"""A frame that pauses for longer than this is given up (largest time between two bytes)."""
NO_DATA = 0x02
NEVER = "0000000000"


def coded(form: str, value: float) -> bytes:
    """Return a number in a format of the standard, say ``XX.XXXX``, low byte first, sign in the top bit."""
    whole, _, part = form.partition(".")
    digits = f"{round(abs(value) * 10 ** len(part)):0{len(whole) + len(part)}d}"
    data = bytearray(bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2)))
    if len(digits) > len(whole) + len(part):
        raise ValueError(f"{value} does not fit {form}")
    data[0] |= 0x80 if value < 0 else 0
    return bytes(reversed(data))


def framed(address: bytes, control: int, data: bytes) -> bytes:
    """Return a frame without wake-up bytes; ``address`` and ``data`` low byte first, 33h not yet added."""
    body = b"\x68" + address + b"\x68" + bytes([control, len(data)]) + bytes((b + 0x33) % 256 for b in data)
    return body + bytes([sum(body) % 256, 0x16])


@dataclass
class Meter:
    """One meter and what is wrong with it."""

    address: str
    """12 digits."""
    values: dict[str, float | bytes] = field(default_factory=dict)
    """By data identifier: a number, or bytes as they are, low byte first (clocks, texts)."""
    times: dict[str, str] = field(default_factory=dict)
    """YYMMDDhhmm of demands."""
    blocks: bool = True
    """Whether it answers identifiers with FF, which ask for a whole block."""
    largest: int = LARGEST
    wake: int = 4
    """FE bytes before its replies."""
    delay_s: float = 0.02
    """The least that the standard allows."""
    late_s: float = 0.0
    silent: bool = False
    corrupt: bool = False
    """A digit of the reply is changed without changing the checksum."""
    wrong_address: bool = False
    """It answers in another meter's name."""
    wrong_di: bool = False
    """It answers with another item than was asked for."""
    refuse: int = 0
    """Error byte with which it refuses every read."""
    asked: list[str] = field(default_factory=list)
    """Data identifiers that were asked for, in order."""
    _heard: bytearray = field(default_factory=bytearray)
    _heard_s: float = 0.0

    def hear(self, data: bytes, now_s: float) -> Chunks:
        """Take bytes from the line and return what the meter says to them."""
        if now_s - self._heard_s > GAP_S:
            self._heard.clear()
        self._heard_s = now_s
        self._heard += data
        said: Chunks = []
        while (frame := self._frame()) is not None:
            reply = self._reply(frame)
            if reply and not self.silent:
                said.append((self.delay_s + self.late_s, b"\xfe" * self.wake + reply))
        return said

    def _frame(self) -> bytes | None:
        """Cut the next whole frame out of what was heard; whatever is none is thrown away byte by byte."""
        heard = self._heard
        while heard:
            if heard[0] != 0x68 or (len(heard) > 7 and heard[7] != 0x68):
                del heard[0]
                continue
            if len(heard) < 10 or len(heard) < heard[9] + 12:
                return None
            frame = bytes(heard[: heard[9] + 12])
            if frame[-1] == 0x16 and sum(frame[:-2]) % 256 == frame[-2]:
                del heard[: len(frame)]
                return frame
            del heard[0]
        return None

    def _reply(self, frame: bytes) -> bytes:
        own = bytes.fromhex(self.address)[::-1]
        if any(asked not in (mine, 0xAA) for asked, mine in zip(frame[1:7], own, strict=True)):
            return b""
        control, data = frame[8], bytes((b - 0x33) % 256 for b in frame[10:-2])
        if control == 0x13 and not data:
            return framed(own, 0x93, own)
        if control not in (0x11, 0x12) or len(data) != (4 if control == 0x11 else 5):
            return b""  # also a reply of another meter
        di = data[3::-1].hex().upper()
        self.asked.append(di)
        value = None if self.refuse else self.value(di)
        if value is None:
            return framed(own, control + 0xC0, bytes([self.refuse or NO_DATA]))
        return self._spoilt(own, *self._part(control, data, value))

    def _part(self, control: int, asked: bytes, value: bytes) -> tuple[int, bytes]:
        """Return control code and data of the one frame that was asked for; a long value takes several."""
        number = asked[4] if control == 0x12 else 0
        size = self.largest - 5
        part = value[number * size : (number + 1) * size]
        more = 0x20 if len(value) > (number + 1) * size else 0
        return control + 0x80 + more, asked[:4] + part + asked[4:]

    def _spoilt(self, own: bytes, control: int, data: bytes) -> bytes:
        if self.wrong_address:
            own = bytes([own[0] ^ 0x01]) + own[1:]
        if self.wrong_di:
            data = data[:1] + bytes([(data[1] + 1) % 256]) + data[2:]
        reply = framed(own, control, data)
        return reply[:14] + bytes([reply[14] ^ 0x01]) + reply[15:] if self.corrupt else reply

    def value(self, di: str) -> bytes | None:
        """Return the bytes of an item or block, low byte first; None when the meter does not have it."""
        if di[4:6] == "FF":
            items = (self.value(f"{di[:4]}{number:02X}{di[6:]}") for number in range(64))
            return b"".join(item for item in items if item is not None) or None if self.blocks else None
        known = self.values.get(di)
        if known is None or isinstance(known, bytes):
            return known
        form = max((start for start in FORMATS if di.startswith(start)), key=len)
        number = coded(FORMATS[form], known)
        return number + bytes.fromhex(self.times.get(di, NEVER))[::-1] if di.startswith("01") else number


class Station(Protocol):
    """What is on a line."""

    def hear(self, data: bytes, now_s: float) -> Chunks:
        """Take bytes from the line and return what the station says to them."""


class Bus(threading.Thread):
    """Lets stations hear what comes on a file descriptor, and sends what they say when its time has come."""

    def __init__(self, fd: int, stations: Sequence[Station]) -> None:
        """``fd``: for instance the master side of a pty; it stays the caller's to close."""
        super().__init__(name="dlt645 bus", daemon=True)
        self._fd = fd
        self._stations = tuple(stations)
        self._due: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._stop_read, self._stop_write = os.pipe()

    def run(self) -> None:
        """Serve until ``close``."""
        while True:
            wait_s = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([self._stop_read, self._fd], [], [], wait_s)
            if self._stop_read in ready:
                return
            if ready:
                self._hear(os.read(self._fd, 4096))
            while self._due and self._due[0][0] <= time.monotonic():
                os.write(self._fd, heapq.heappop(self._due)[2])

    def _hear(self, data: bytes) -> None:
        now_s = time.monotonic()
        for station in self._stations:
            for delay_s, chunk in station.hear(data, now_s):
                self._count += 1
                heapq.heappush(self._due, (now_s + delay_s, self._count, chunk))

    def close(self) -> None:
        """End the thread."""
        os.write(self._stop_write, b"x")
        self.join(5.0)
        os.close(self._stop_read)
        os.close(self._stop_write)
