"""Absolute monotonic deadlines, real-time priority and the watchdog: how the loop keeps its time."""

import ctypes
import errno
import gc
import os
import socket
import sys
import time

from models.units import NS_PER_S

TIMER_ABSTIME = 1
FREEZE_THRESHOLD = 50_000
"""Allocations between collections once the start-up objects are frozen; the loop itself makes no cycles."""


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


_libc = ctypes.CDLL(None, use_errno=True)


def sleep_until(deadline_ns: int) -> None:
    """Sleep until the monotonic time ``deadline_ns``; returns at once when it has passed.

    ``clock_nanosleep`` with an absolute time does not drift and does not lose the time between reading the
    clock and going to sleep; a signal only makes it go on sleeping.
    """
    spec = _Timespec(*divmod(deadline_ns, NS_PER_S))
    while _libc.clock_nanosleep(time.CLOCK_MONOTONIC, TIMER_ABSTIME, ctypes.byref(spec), None) == errno.EINTR:
        pass


def settle(fifo_priority: int | None) -> str | None:
    """Prepare the process for the loop; return a remark when the wanted priority is refused."""
    sys.setswitchinterval(0.0005)  # a polling thread must not hold the interpreter for the default 5 ms
    gc.collect()
    gc.freeze()
    gc.set_threshold(FREEZE_THRESHOLD)
    if not fifo_priority:
        return None
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(fifo_priority))
    except (OSError, ValueError) as error:
        return f"real-time priority {fifo_priority} is refused ({error}); the loop runs without it"
    return None


class Cadence:
    """Hands out the deadlines of a fixed cycle; an overrun is counted and never caught up."""

    def __init__(self, period_ns: int, now_ns: int) -> None:
        """The first deadline is one period from now."""
        self.period_ns = period_ns
        self.next_ns = now_ns + period_ns
        self.missed = 0
        """Cycles that did not happen because an earlier one took too long."""

    def advance(self, now_ns: int) -> None:
        """Set the next deadline strictly after ``now_ns``, skipping what cannot be met any more."""
        self.next_ns += self.period_ns
        if now_ns >= self.next_ns:
            skipped = (now_ns - self.next_ns) // self.period_ns + 1
            self.missed += skipped
            self.next_ns += skipped * self.period_ns


def notify(message: str) -> None:
    """Tell systemd, when it listens: ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1`` (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        try:
            door.sendto(message.encode(), address)
        except OSError:
            return
