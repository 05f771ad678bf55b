"""A visitor on a line: asks single requests through the thread that serves the line anyway.

Implements ``Served`` of :mod:`drivers.modbus.poller`. It is on the line only while it asks, and its requests
take their turn among the reads, so that no setpoint waits for a person.
"""

import threading
import time

from cython_ext.registers import KINDS, WORDS
from drivers.driver import Driver
from drivers.modbus.device import ModbusDevice
from drivers.modbus.frames import Request
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.line import LineLost
from drivers.modbus.link import Link, Station
from drivers.modbus.poller import LinkPoller
from models.errors import DriverError, NoReply
from models.units import NS_PER_S

WAIT_S = 10.0
"""Longest wait for a turn and the reply."""
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 0.1, 0.5
"""Of units that the site does not know."""


class Guest:
    """Asks one request at a time; one thread uses it, the link thread calls the methods of Served."""

    name = "guest"

    def __init__(self, poller: LinkPoller, link: Link) -> None:
        self._poller = poller
        self._link = link
        self._job: Job | None = None
        self._due_ns = NEVER_NS
        self._done = threading.Event()
        self._answer: bytes | DriverError = b""

    def __call__(self, request: Request) -> bytes:
        """Ask, see :data:`drivers.talk.Ask`; NoReply also when the line is not open."""
        self._done.clear()
        self._job = Job(request, self._take, self._take)
        self._due_ns = time.monotonic_ns()
        self._poller.join(self)
        try:
            if not self._done.wait(WAIT_S):
                return _value(NoReply("the line did not come to it"))
        finally:
            self._job = None
            self._poller.leave(self)
        return _value(self._answer)

    def _take(self, answer: bytes | DriverError, now_ns: int) -> None:
        self._job, self._answer = None, answer
        self._done.set()

    # what the link thread asks for

    def read(self, now_ns: int) -> tuple[int, Job | None]:
        """Return the request, due since it was asked for."""
        job = self._job
        if job is None:
            return NEVER_NS, None
        self._link.stations.setdefault(job.request.unit, Station(TIMEOUT_MIN_S, TIMEOUT_MAX_S))
        return self._due_ns, job

    def write(self, now_ns: int) -> Job | None:
        """Return nothing: a person's write takes its turn like a read, after every setpoint."""
        return None

    def write_ns(self) -> int:
        """Return never."""
        return NEVER_NS

    def line_lost(self, error: LineLost, now_ns: int) -> None:
        """The line cannot be opened."""
        if self._job is not None:
            self._take(NoReply(str(error)), now_ns)

    def line_back(self) -> None:
        """Nothing is to be made up for."""

    def fault(self, what: str, now_ns: int) -> None:
        """A fault of ours while it was asked."""
        self._take(NoReply(what), now_ns)


def _value(answer: bytes | DriverError) -> bytes:
    if isinstance(answer, DriverError):
        raise answer
    return answer


def line_of(driver: Driver) -> tuple[LinkPoller, Link] | None:
    """Return the thread and the link that serve a device, None when it has a line of another kind."""
    poller = getattr(driver, "_poller", None)
    return (poller, poller._link) if isinstance(poller, LinkPoller) else None


def slowest_s(link: Link, unit: int | str) -> float:
    """Return the slowest reply of a unit of late [s]; 0 before the first."""
    return link.stations[unit]._slow_ns / NS_PER_S


def units_of(driver: Driver) -> set[int]:
    """Return the Modbus units that are this device."""
    if not isinstance(driver, ModbusDevice):
        return set()
    others = {spec.unit_id for spec in driver._polled.specs if spec.unit_id is not None}
    return {driver._spec.unit_id} | others


def kept_registers(driver: Driver) -> set[tuple[int, int]]:
    """Return unit and address of what the controller writes by itself: setpoint, heartbeat, release.

    Nobody else may write there: a device has one writer.
    """
    if not isinstance(driver, ModbusDevice) or driver._spec.nameplate is None:
        return set()
    write = driver._writer._spec
    if write is None:
        return set()
    registers = [row.register for row in (*write.rows, *write.release)]
    registers += [write.heartbeat] if write.heartbeat else []
    return {
        (driver._spec.unit_id if one.unit_id is None else one.unit_id, one.address + word)
        for one in registers
        for word in range(WORDS[KINDS.index(one.type)])
    }
