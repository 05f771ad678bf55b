"""One Modbus device: polls its blocks, keeps its slice of the image, sends its setpoint while that lives.

All methods except ``start``, ``offer`` and ``stop`` run in the thread of the link that the device is on.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.catalog.loader import points_of
from drivers.catalog.product import PointSpec, Product
from drivers.driver import Counters
from drivers.modbus.block import Block
from drivers.modbus.derive import Readings, after, rules_of, run
from drivers.modbus.event import EventCode, OnEvent
from drivers.modbus.exchange import Exchange
from drivers.modbus.frames import Request
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.line import LineLost
from drivers.modbus.plan import TCP, Cost, plan_reads
from drivers.modbus.spec import ModbusSpec
from drivers.modbus.writer import Writer
from models.errors import BadReply, DriverError, NoReply, Refused
from models.point import Point
from models.proposal import Setpoint

OFFLINE_AFTER = 3
"""Failures in a row after which the device counts as offline and all its points are BAD."""
BACKOFF_NS = 500_000_000
BACKOFF_MAX_NS = 5_000_000_000
COUNT_NS = 500_000_000
"""Counters are published this often."""
LEAVE_S = 1.0
"""Longest wait for the last words to a device when the controller stops."""
REFUSED_NS = 1_000_000_000
"""A block that is refused is not asked for more often than this."""


class Poller(Protocol):
    """The link thread as a device sees it."""

    shared: bool
    """Whether other devices are on the same line."""

    def ambiguous(self, request: Exchange, now_ns: int) -> bool:
        """Whether ``request`` must not be sent now, see :class:`drivers.modbus.link.Link`."""

    def wake(self) -> None:
        """Make it look for writes at once."""

    def join(self, device: "ModbusDevice") -> None:
        """Begin to serve the device."""

    def leave(self, device: "ModbusDevice") -> None:
        """Stop serving the device."""


class ModbusDevice:
    """Implements :class:`drivers.driver.Driver`."""

    def __init__(
        self, spec: ModbusSpec, product: Product, poller: Poller, on_event: OnEvent, cost: Cost = TCP
    ) -> None:
        self.name = spec.name
        self.points: Sequence[Point] = points_of(product, spec.name, spec.units)
        self.counters = Counters()
        self._sink = spec.sink
        self._poller = poller
        self._on_event = on_event
        self._product = product
        self._unit_id = spec.unit_id
        self._cost = cost
        self._holes = list(product.link.holes)
        self._adopt(product.points)
        self._position = {spec.name: i for i, spec in enumerate(product.points)}
        self._writer = Writer(spec, product, self.counters, self._value_of, self._tell)
        self._readback = self._position.get(product.write.readback, -1) if product.write else -1
        self._write_failing = False
        self._streak = 0
        self._hold_ns = 0
        self._count_ns = 0

    def _adopt(self, specs: Sequence[PointSpec]) -> None:
        """Take the points to be polled; those beyond the device's own are not shown."""
        self._specs = specs
        self._rules = rules_of(specs)
        self._final = Readings(specs)
        self._plain = Readings(specs) if any(spec.by for spec in specs) else self._final
        self._plan()

    def _plan(self) -> None:
        link = self._product.link
        reads = plan_reads(self._specs, link.max_gap, link.max_registers, self._holes, self._cost)
        self._blocks = [Block(read, self._specs, self._unit_id) for read in reads]
        for block in self._blocks:
            block.job = self._read_job(block)
            block.rules = after(self._rules, block.read.points)

    # the contract

    def start(self) -> None:
        """Begin to poll; returns at once, also when the device is not there."""
        for block in self._blocks:
            block.due_ns = time.monotonic_ns()
        self._poller.join(self)

    def offer(self, setpoint: Setpoint) -> None:
        """Hand over the newest setpoint; returns at once and never raises."""
        self._writer.mail.newest = setpoint
        self._poller.wake()

    def stop(self) -> None:
        """Say what is configured for the loss, stop polling, and close the line when nobody else is on it."""
        last = self._writer.mail.newest
        if last is not None:
            self._writer.mail.newest = replace(last, expires_ns=0)
            self._poller.wake()
            until_s = time.monotonic() + LEAVE_S
            while self.counters.online and not self._writer.idle and time.monotonic() < until_s:
                time.sleep(0.005)
        self._poller.leave(self)

    # what the link thread asks for

    def write(self, now_ns: int) -> Job | None:
        """Return what must be written now."""
        if not self.counters.online or self._streak:
            return None
        request = self._writer.next(now_ns)
        if request is None:
            return None
        return Job(
            request,
            lambda data, at_ns: self._write_answered(request, at_ns),
            lambda error, at_ns: self._write_failed(request, error, at_ns),
        )

    def write_ns(self) -> int:
        """Return when to ask for writes again if nothing happens before."""
        return NEVER_NS if self._streak or not self.counters.online else self._writer.next_ns

    def read(self, now_ns: int) -> tuple[int, Job | None]:
        """Return the next read and when it is due; no read while every one could be mistaken."""
        block = min(self._blocks, key=_due_ns)
        due_ns = max(block.due_ns, self._hold_ns)
        if due_ns > now_ns or not self._poller.ambiguous(block.request, now_ns):
            return due_ns, block.job
        for request in self._probes():
            if not self._poller.ambiguous(request, now_ns):
                return due_ns, Job(request, self._probe_answered, block.job.failed)
        self._hold_ns = now_ns + BACKOFF_NS
        return self._hold_ns, None

    def line_lost(self, error: LineLost, now_ns: int) -> None:
        """The line cannot be opened; nothing was asked."""
        self._missed(str(error), now_ns)

    def line_back(self) -> None:
        """The line was opened again: there is no reason to wait."""
        self.counters.reconnects += 1
        self._hold_ns = 0

    def fault(self, what: str, now_ns: int) -> None:
        """Show a fault of our own: whatever the device does, nobody looks at it properly."""
        if self._streak < OFFLINE_AFTER:
            self._streak = OFFLINE_AFTER
            self._on_event(EventCode.FAULT, self.name, what)
            self._offline(what, now_ns)

    # reading

    def _read_job(self, block: Block) -> Job:
        def answered(data: bytes, now_ns: int) -> None:
            block.decode(data)
            block.postpone(now_ns)
            self._put(block, now_ns)
            if block.trouble:
                block.trouble = ""
                self._on_event(EventCode.READ_BACK, self.name, str(block.read))
            self._alive(now_ns)

        def failed(error: DriverError, now_ns: int) -> None:
            block.postpone(now_ns)
            if isinstance(error, Refused):
                block.due_ns = max(block.due_ns, now_ns + REFUSED_NS)
                self._spoil(block, EventCode.READ_REFUSED, error, now_ns)
            elif isinstance(error, BadReply):
                self._spoil(block, EventCode.READ_BAD, error, now_ns)
            self._failed(f"{block.read}: {error}", error, now_ns)

        return Job(block.request, answered, failed)

    def _probes(self) -> Iterator[Request]:
        for block in self._blocks:
            yield block.request
            yield from block.probes()

    def _probe_answered(self, data: bytes, now_ns: int) -> None:
        """The unit is there and owes nothing any more; the values come with the next full read."""
        self._alive(now_ns)

    def _put(self, block: Block, now_ns: int) -> None:
        plain, final, index = self._plain, self._final, block.index
        for readings in (plain, final) if plain is not final else (final,):
            readings.value[index], readings.quality[index] = block.value, block.quality
            readings.t_ns[index] = now_ns
        if not block.rules:
            self._sink.put(index, block.value, block.quality, now_ns)
        else:
            run(block.rules, plain, final, now_ns)
            self._show(index, now_ns)
            for rule in block.rules:
                self._show(np.array([rule.target], np.intp), int(final.t_ns[rule.target]))
        if self._readback in block.read.points:
            self._writer.seen(now_ns)

    def _show(self, index: NDArray[np.intp], t_ns: int) -> None:
        """Put what the readings mean into the image; points beyond the device's own are for us alone."""
        index = index[index < len(self.points)]
        self._sink.put(index, self._final.value[index], self._final.quality[index], t_ns)

    def _spoil(self, block: Block, code: EventCode, error: DriverError, now_ns: int) -> None:
        block.spoil()
        self._put(block, now_ns)
        if block.trouble != code:
            block.trouble = code
            self._on_event(code, self.name, f"{block.read}: {error}")

    # being there or not

    def _alive(self, now_ns: int) -> None:
        self.counters.polls += 1
        self._present(now_ns)

    def _present(self, now_ns: int) -> None:
        """Something of this device was heard: also an exception shows that it is there."""
        self._streak = 0
        self._hold_ns = 0
        if not self.counters.online:
            self.counters.online = True
            self._count_ns = 0
            self._writer.forget()
            self._on_event(EventCode.ONLINE, self.name, "the device answers")
        self._count(now_ns)

    def _failed(self, what: str, error: DriverError, now_ns: int) -> None:
        """Count a request that brought nothing usable; an exception at least shows that somebody is there."""
        if isinstance(error, Refused):
            self.counters.refused += 1
            self._present(now_ns)
            return
        if isinstance(error, BadReply):
            self.counters.bad_replies += 1
        elif isinstance(error, NoReply):
            self.counters.timeouts += 1
        self._missed(what, now_ns)

    def _missed(self, what: str, now_ns: int) -> None:
        """Ask again later and later: a dead unit must not cost the others more than a slot now and then.

        A device that is alone on its line is asked again at once after the first failure.
        """
        self._streak += 1
        doublings = self._streak - (1 if self._poller.shared else 2)
        if doublings >= 0:
            self._hold_ns = now_ns + min(BACKOFF_NS << min(doublings, 8), BACKOFF_MAX_NS)
        if self._streak == OFFLINE_AFTER:
            self._offline(what, now_ns)
        self._count(now_ns)

    def _offline(self, what: str, now_ns: int) -> None:
        self.counters.online = False
        self._count_ns = 0
        self._on_event(EventCode.OFFLINE, self.name, what)
        self._count(now_ns)
        for block in self._blocks:
            block.spoil()
            self._put(block, now_ns)

    def _count(self, now_ns: int) -> None:
        if now_ns >= self._count_ns:
            self._count_ns = now_ns + COUNT_NS
            self._sink.count(self.counters)

    # writing

    def _value_of(self, point: str) -> float:
        return self._final.known(self._position[point], time.monotonic_ns())

    def _tell(self, code: EventCode, what: str) -> None:
        self._on_event(code, self.name, what)

    def _write_answered(self, request: Request, now_ns: int) -> None:
        self.counters.writes += 1
        self._writer.confirmed(request, now_ns)
        if self._write_failing:
            self._write_failing = False
            self._on_event(EventCode.WRITE_BACK, self.name, "writes are confirmed again")

    def _write_failed(self, request: Request, error: DriverError, now_ns: int) -> None:
        self._writer.failed(request)
        what = f"write {request.pdu.hex()}: {error}"
        if not self._write_failing:
            self._write_failing = True
            self._on_event(EventCode.WRITE_FAILED, self.name, what)
        self._failed(what, error, now_ns)


def _due_ns(block: Block) -> int:
    return block.due_ns
