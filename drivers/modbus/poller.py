"""The thread of one link: which request of which device goes next.

Writes go before reads, but after each write a read that is due has its turn, so that slow writes cannot keep
the readings away; devices that write take turns. Among the reads that are due the one whose values would
first be too old goes first. A unit that keeps silent is asked so rarely that its timeouts take a small share
of the line. There is never more than one open request. No exception leaves the thread: a fault of ours is
told and shows as the device being offline.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from drivers.modbus.exchange import Exchange
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.line import LineLost
from drivers.modbus.link import Link
from drivers.modbus.stats import LineStats
from models.errors import DriverError, Refused

log = logging.getLogger(__name__)

RECONNECT_NS = 100_000_000
RECONNECT_MAX_NS = 2_000_000_000
MUTE = 4
"""After so many requests in a row without a usable reply a TCP connection is opened anew."""
CRASH_NS = 1_000_000_000
"""Pause after a fault of ours, so that it cannot spin."""
STOP_S = 10.0
PACE = 15
"""A silent unit is left alone for so many times as long as its silence took: it costs the others 1/16 …"""
PACE_MAX_NS = 10_000_000_000
"""… and less each time, until the pause is this long."""


class Served(Protocol):
    """A device as the thread sees it."""

    name: str

    def read(self, now_ns: int) -> tuple[int, Job | None]:
        """Return the next read and when it is due."""

    def write(self, now_ns: int) -> Job | None:
        """Return what must be written now."""

    def write_ns(self) -> int:
        """Return when to ask for writes again if nothing happens before."""

    def line_lost(self, error: LineLost, now_ns: int) -> None:
        """The line cannot be opened; nothing was asked."""

    def line_back(self) -> None:
        """The line was opened again."""

    def fault(self, what: str, now_ns: int) -> None:
        """A fault of our own happened while it was served."""


@dataclass(slots=True, eq=False)
class Seat:
    """A device on the line."""

    device: Served
    silent: int = 0
    """Requests in a row that it has not answered."""
    until_ns: int = 0
    """It is left alone until then."""
    known: bool = False
    """Whether it was ever heard."""

    def missed(self, took_ns: int, now_ns: int, alone: bool) -> None:
        """It kept silent: once may be noise when it is known, and when nobody talks it is in nobody's way."""
        self.silent += 1
        paces = self.silent - self.known - 1
        if paces >= 0 and not alone:
            pause_ns = PACE * took_ns
            self.until_ns = now_ns + max(pause_ns, min(pause_ns << min(paces, 8), PACE_MAX_NS))

    def heard(self) -> None:
        """It is there."""
        self.known = True
        self.forgive()

    def forgive(self) -> None:
        """Ask it as if nothing had been."""
        self.silent = self.until_ns = 0


Due = tuple[int, Job, Seat]
"""When it was due, what it is, and whose."""


def most_urgent(reads: Iterable[Due], now_ns: int) -> Due | None:
    """Return the read that is due and whose values would first be too old; None when none is due."""
    first, deadline_ns = None, NEVER_NS
    for read in reads:
        limit_ns = read[0] + read[1].slack_ns
        if read[0] <= now_ns and limit_ns < deadline_ns:
            first, deadline_ns = read, limit_ns
    return first


class LinkPoller:
    """Serves the devices of one link; implements :class:`drivers.modbus.device.Poller`."""

    def __init__(self, link: Link) -> None:
        self.shared = False
        self.stats = LineStats()
        self._link = link
        self._seats: tuple[Seat, ...] = ()
        self._change = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._idle = select.poll()
        self._idle.register(self._wake, select.POLLIN)
        self._reconnect_ns = 0
        self._losses = 0
        self._mute = 0
        self._opened = False
        self._wrote = False
        """Whether the last request was a write."""
        self._writer = 0
        """Position of the device that is asked first for writes."""
        self._serving: Seat | None = None
        """Whose turn it is; None when it is nobody's in particular."""

    def __del__(self) -> None:
        os.close(self._wake)

    # for other threads

    def wake(self) -> None:
        """Make the thread look for writes at once."""
        os.eventfd_write(self._wake, 1)

    def join(self, device: Served) -> None:
        """Begin to serve a device; the first one starts the thread."""
        with self._change:
            if any(seat.device is device for seat in self._seats):
                return
            self._seats = (*self._seats, Seat(device))
            self.shared = len(self._seats) > 1
            if self._thread is None:
                self._stopping.clear()
                name = f"modbus {self._link.line.endpoint.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
        self.wake()

    def leave(self, device: Served) -> None:
        """Stop serving a device; the last one ends the thread and closes the line."""
        with self._change:
            self._seats = tuple(seat for seat in self._seats if seat.device is not device)
            self.shared = len(self._seats) > 1
            if self._seats or self._thread is None:
                return
            self._stopping.set()
            self.wake()
            self._thread.join(STOP_S)
            self._thread = None

    def ambiguous(self, request: Exchange, now_ns: int) -> bool:
        """Whether ``request`` must not be sent now."""
        return self._link.ambiguous(request, now_ns)

    # the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # link thread top loop: a fault of ours must not end the polling
                log.exception("fault in the thread of %s", self._link.line.endpoint.name)
                self._link.close()
                self._tell_fault(f"fault of our own: {type(error).__name__}: {error}")
                self._stopping.wait(CRASH_NS / 1e9)
        self._link.close()
        self._opened = False

    def _tell_fault(self, what: str) -> None:
        for seat in (self._serving,) if self._serving else self._seats:
            try:
                seat.device.fault(what, time.monotonic_ns())
            except Exception:  # as above: what is broken may be the way to tell it
                log.exception("a fault of %s cannot be told", seat.device.name)

    def _turn(self) -> None:
        self._serving = None
        now_ns = time.monotonic_ns()
        if not self._link.line.is_open:
            if now_ns < self._reconnect_ns:
                self._sleep_until(self._reconnect_ns)
            else:
                self._open()
            return
        due, look_ns = self._next(now_ns)
        if due is None:
            self._sleep_until(look_ns)
        else:
            self._ask(*due)

    def _next(self, now_ns: int) -> tuple[Due | None, int]:
        """Return what to ask now, or None and when to look again."""
        look_ns = NEVER_NS
        reads: list[Due] = []
        for seat in self._seats:
            self._serving = seat
            due_ns, job = (seat.until_ns, None) if now_ns < seat.until_ns else seat.device.read(now_ns)
            look_ns = min(look_ns, due_ns)
            if job is not None:
                reads.append((due_ns, job, seat))
        read = most_urgent(reads, now_ns)
        if read is None or not self._wrote:
            write, write_ns = self._next_write(now_ns)
            if write is not None:
                self._wrote = True
                return write, now_ns
            look_ns = min(look_ns, write_ns)
        self._serving, self._wrote = None, False
        return read, look_ns

    def _next_write(self, now_ns: int) -> tuple[Due | None, int]:
        """Return what to write now, or None and when to look again; who has written is asked last."""
        look_ns, count = NEVER_NS, len(self._seats)
        for k in range(self._writer, self._writer + count):
            seat = self._seats[k % count]
            if now_ns < seat.until_ns:
                continue
            self._serving = seat
            write = seat.device.write(now_ns)
            if write is not None:
                self._writer = (k + 1) % count
                return (now_ns, write, seat), now_ns
            look_ns = min(look_ns, seat.device.write_ns())
        return None, look_ns

    def _ask(self, due_ns: int, job: Job, seat: Seat) -> None:
        self._serving = seat
        due_ns = max(due_ns, seat.until_ns)
        start_ns = time.monotonic_ns()
        try:
            data = self._link.ask(job.request)
        except DriverError as error:
            end_ns = time.monotonic_ns()
            self.stats.note(job.request.unit, start_ns, end_ns, due_ns, error)
            self._judge(error, None if job.aside else seat, end_ns - start_ns, end_ns)
            job.failed(error, end_ns)
        else:
            end_ns = time.monotonic_ns()
            self.stats.note(job.request.unit, start_ns, end_ns, due_ns, None)
            self._mute = self._losses = 0
            seat.heard()
            job.answered(data, end_ns)

    def _judge(self, error: DriverError, seat: Seat | None, took_ns: int, now_ns: int) -> None:
        """See what a failure says of the line and of the unit, None for one of which nothing was expected."""
        if isinstance(error, LineLost):
            self._lose()
        elif isinstance(error, Refused):
            self._mute = self._losses = 0
            if seat is not None:
                seat.heard()
        elif seat is not None:
            self._mute += 1
            if self._mute >= MUTE and self._link.line.endpoint.host:
                self._lose()
            alone = all(other.silent for other in self._seats if other is not seat)
            seat.missed(took_ns, now_ns, alone)

    def _lose(self) -> None:
        """Close the line; open it again soon, and less soon when that keeps bringing nothing."""
        self._link.close()
        self._mute = 0
        pause_ns = min(RECONNECT_NS << min(self._losses, 8), RECONNECT_MAX_NS)
        self._losses += 1
        self._reconnect_ns = time.monotonic_ns() + pause_ns

    def _open(self) -> None:
        try:
            self._link.open()
        except LineLost as error:
            self._lose()
            for seat in self._seats:
                seat.device.line_lost(error, time.monotonic_ns())
            return
        if self._opened:
            for seat in self._seats:
                seat.forgive()
                seat.device.line_back()
        self._opened = True

    def _sleep_until(self, at_ns: int) -> None:
        """Wait for the time or for a wake-up, whichever comes first."""
        left_ns = at_ns - time.monotonic_ns()
        if left_ns > 0 and self._idle.poll(min(left_ns / 1e6, 1000.0)):
            os.eventfd_read(self._wake)
