"""Serial lines that take time: two ptys joined by a process that passes bytes on as a UART would.

A pty has no baud rate. Here every byte takes 10 bits (8N1) on one shared pair of wires (RS-485, half duplex)
on an absolute schedule: it starts when it was written or when the line becomes free, and is handed over in
chunks of up to 14 bytes (the usual trigger level of a 16550 receive FIFO) when the last byte of the chunk is
through. Both sides speaking at once is a collision: what overlaps arrives garbled, as on a real bus.

Faults are switched on the board (``wire-<device>/…``): cut, drop, corrupt (seeded), delay_s.
"""

import os
import select
import termios
import time
import tty
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from drivers.simulator.board import Board, wait_for

BAUD = 19200
BITS = 10
FIFO = 14
DEVICES = ("bms-1", "meter-1")
IDLE_S = 1.0
GARBLE = 0x5A


def gateway_tty(directory: Path, device: str) -> Path:
    """Return where the gateway opens the line of ``device``."""
    return directory / f"tty-{device.removesuffix('-1')}"


def device_tty(directory: Path, device: str) -> Path:
    """Return where the device itself opens its line."""
    return directory / f"tty-{device.removesuffix('-1')}-device"


@dataclass(slots=True)
class End:
    """One end of a line: the master side of its pty, and what is on its way to it."""

    master: int
    slave: int
    """Kept open so that the line does not hang up when its user closes it."""
    path: Path
    coming: deque[tuple[float, int]] = field(default_factory=deque)
    """Time at which each byte is through [s], and the byte."""


def open_end(path: Path) -> End:
    """Make a pty whose user side is the symlink ``path``."""
    master, slave = os.openpty()
    tty.setraw(slave, termios.TCSANOW)
    os.set_blocking(master, False)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(os.ttyname(slave))
    new.rename(path)
    return End(master, slave, path)


class Line:
    """One line between the gateway and one device; times are seconds of one monotonic clock."""

    def __init__(self, gateway: End, device: End, baud: int, seed: int) -> None:
        """Nothing is on the line."""
        self.ends = (gateway, device)
        self.byte_s = BITS / baud
        self._free_s = 0.0
        self._random = np.random.default_rng(seed)
        self.cut = False
        self.drop = self.corrupt = self.delay_s = 0.0

    def put(self, source: End, data: bytes, now_s: float) -> None:
        """Start sending what ``source`` has written."""
        target = self.ends[source is self.ends[0]]
        collision = bool(source.coming)
        if collision:
            source.coming = deque((at, byte ^ GARBLE) for at, byte in source.coming)
        at = max(now_s + self.delay_s, self._free_s)
        for byte in data:
            at += self.byte_s
            if not self._lost():
                target.coming.append((at, self._damaged(byte ^ GARBLE if collision else byte)))
        self._free_s = at

    def take(self, end: End, now_s: float) -> bytes:
        """Return the chunks for ``end`` that are through by now."""
        due = bytearray()
        while end.coming and (at := self._chunk_s(end)) is not None and at <= now_s:
            due += bytes(end.coming.popleft()[1] for _ in range(min(FIFO, len(end.coming))))
        return b"" if self.cut else bytes(due)

    def next_s(self) -> float | None:
        """Return when the next chunk is through, None while the line is idle."""
        return min((at for end in self.ends if (at := self._chunk_s(end)) is not None), default=None)

    def _chunk_s(self, end: End) -> float | None:
        """Return when the next chunk for ``end`` is through."""
        return end.coming[min(FIFO, len(end.coming)) - 1][0] if end.coming else None

    def _lost(self) -> bool:
        return self.drop > 0.0 and self._random.random() < self.drop

    def _damaged(self, byte: int) -> int:
        if self.corrupt > 0.0 and self._random.random() < self.corrupt:
            return byte ^ (1 << int(self._random.integers(8)))
        return byte


def follow(line: Line, board: Board, device: str) -> None:
    """Set the line's faults as the board says."""
    line.cut = bool(board.fault(f"wire-{device}/cut"))
    line.drop, line.corrupt = board.fault(f"wire-{device}/drop"), board.fault(f"wire-{device}/corrupt")
    line.delay_s = board.fault(f"wire-{device}/delay_s")


def read(end: End) -> bytes:
    """Return what the user of this end has written."""
    try:
        return os.read(end.master, 4096)
    except OSError:
        return b""


def write(end: End, data: bytes) -> None:
    """Hand bytes to the user of this end; what nobody reads is lost, as in a full FIFO."""
    try:
        os.write(end.master, data)
    except BlockingIOError:
        pass


def turn(lines: dict[str, Line], board: Board) -> None:
    """Wait for the next thing to happen on any line and do it."""
    ends = {end.master: (line, end) for line in lines.values() for end in line.ends}
    next_s = min((at for line in lines.values() if (at := line.next_s()) is not None), default=None)
    wait_s = IDLE_S if next_s is None else max(0.0, next_s - time.monotonic())
    ready, _, _ = select.select(list(ends), (), (), wait_s)
    for device, line in lines.items():
        follow(line, board, device)
    for master in ready:
        line, end = ends[master]
        line.put(end, read(end), time.monotonic())
    for line, end in ends.values():
        if data := line.take(end, time.monotonic()):
            write(end, data)


def run(directory: Path, baud: int = BAUD) -> None:
    """Join all lines of the site until the process ends."""
    board = wait_for(directory)
    lines = {}
    for seed, device in enumerate(DEVICES):
        ends = open_end(gateway_tty(directory, device)), open_end(device_tty(directory, device))
        lines[device] = Line(*ends, baud, seed)
    while True:
        turn(lines, board)
