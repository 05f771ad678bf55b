"""The thread of one link: which request of which device goes next.

Writes go before reads, but after each write a read that is due has its turn, so that slow writes cannot keep
the readings away. Among reads the one that has been due for longest goes first. There is never more than one
open request. No exception leaves the thread: a fault of ours is told and shows as the device being offline.
"""

import logging
import os
import select
import threading
import time
from operator import itemgetter

from drivers.modbus.device import ModbusDevice
from drivers.modbus.exchange import Exchange
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.line import LineLost
from drivers.modbus.link import Link
from models.errors import DriverError, Refused

log = logging.getLogger(__name__)

RECONNECT_NS = 100_000_000
RECONNECT_MAX_NS = 2_000_000_000
MUTE = 4
"""After so many requests in a row without a usable reply a TCP connection is opened anew."""
CRASH_NS = 1_000_000_000
"""Pause after a fault of ours, so that it cannot spin."""
STOP_S = 10.0


class LinkPoller:
    """Serves the devices of one link; implements :class:`drivers.modbus.device.Poller`."""

    def __init__(self, link: Link) -> None:
        self.shared = False
        self._link = link
        self._devices: tuple[ModbusDevice, ...] = ()
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
        self._serving: ModbusDevice | None = None
        """Whose turn it is; None when it is nobody's in particular."""

    def __del__(self) -> None:
        os.close(self._wake)

    # for other threads

    def wake(self) -> None:
        """Make the thread look for writes at once."""
        os.eventfd_write(self._wake, 1)

    def join(self, device: ModbusDevice) -> None:
        """Begin to serve a device; the first one starts the thread."""
        with self._change:
            if device in self._devices:
                return
            self._devices = (*self._devices, device)
            self.shared = len(self._devices) > 1
            if self._thread is None:
                self._stopping.clear()
                name = f"modbus {self._link.line.endpoint.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
        self.wake()

    def leave(self, device: ModbusDevice) -> None:
        """Stop serving a device; the last one ends the thread and closes the line."""
        with self._change:
            self._devices = tuple(other for other in self._devices if other is not device)
            self.shared = len(self._devices) > 1
            if self._devices or self._thread is None:
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
        for device in (self._serving,) if self._serving else self._devices:
            try:
                device.fault(what, time.monotonic_ns())
            except Exception:  # as above: what is broken may be the way to tell it
                log.exception("a fault of %s cannot be told", device.name)

    def _turn(self) -> None:
        self._serving = None
        now_ns = time.monotonic_ns()
        if not self._link.line.is_open:
            if now_ns < self._reconnect_ns:
                self._sleep_until(self._reconnect_ns)
            else:
                self._open()
            return
        job, look_ns = self._next(now_ns)
        if job is None:
            self._sleep_until(look_ns)
        else:
            self._ask(job)

    def _next(self, now_ns: int) -> tuple[Job | None, int]:
        """Return what to ask now, or None and when to look again."""
        reads = ((*device.read(now_ns), device) for device in self._devices)
        look_ns, job, reader = min(reads, key=itemgetter(0), default=(NEVER_NS, None, None))
        read_due = job is not None and look_ns <= now_ns
        for device in () if read_due and self._wrote else self._devices:
            self._serving = device
            write = device.write(now_ns)
            if write is not None:
                self._wrote = True
                return write, now_ns
            look_ns = min(look_ns, device.write_ns())
        self._serving, self._wrote = reader, False
        return (job if read_due else None), look_ns

    def _ask(self, job: Job) -> None:
        try:
            data = self._link.ask(job.request)
        except LineLost as error:
            self._lose()
            job.failed(error, time.monotonic_ns())
        except Refused as error:
            self._mute = self._losses = 0
            job.failed(error, time.monotonic_ns())
        except DriverError as error:
            self._mute += 1
            if self._mute >= MUTE and self._link.line.endpoint.host:
                self._lose()
            job.failed(error, time.monotonic_ns())
        else:
            self._mute = self._losses = 0
            job.answered(data, time.monotonic_ns())

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
            for device in self._devices:
                device.line_lost(error, time.monotonic_ns())
            return
        if self._opened:
            for device in self._devices:
                device.line_back()
        self._opened = True

    def _sleep_until(self, at_ns: int) -> None:
        """Wait for the time or for a wake-up, whichever comes first."""
        left_ns = at_ns - time.monotonic_ns()
        if left_ns > 0 and self._idle.poll(min(left_ns / 1e6, 1000.0)):
            os.eventfd_read(self._wake)
