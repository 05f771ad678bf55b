"""One Modbus device: polls its blocks, keeps its slice of the image, sends its setpoint while that lives.

All methods except ``start``, ``offer`` and ``stop`` run in the thread of the link that the device is on.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from drivers.catalog.loader import points_of
from drivers.catalog.product import PointSpec, Product
from drivers.driver import Mail
from drivers.modbus.block import Block
from drivers.modbus.event import EventCode, OnEvent
from drivers.modbus.exchange import Exchange
from drivers.modbus.finder import AGAIN_NS, Finder, Found
from drivers.modbus.finder import Search as Search
from drivers.modbus.frames import Request
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.line import LineLost
from drivers.modbus.plan import TCP, Cost
from drivers.modbus.polled import Polled
from drivers.modbus.presence import BACKOFF_NS, Presence, Writes
from drivers.modbus.spec import ModbusSpec
from drivers.modbus.writer import Writer
from models.errors import BadReply, DriverError, Refused
from models.point import Point
from models.proposal import Setpoint

MOST_TEXT = 400
LEAVE_S = 1.0
"""Longest wait for the last words to a device when the controller stops."""


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
        self,
        spec: ModbusSpec,
        product: Product,
        poller: Poller,
        on_event: OnEvent,
        cost: Cost = TCP,
        search: Search | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            spec: from the site.
            product: from the catalog.
            poller: the thread of its line.
            on_event: whom to tell.
            cost: of a read on the line.
            search: for a product that is found in the device itself.
        """
        self.name = spec.name
        self.points: Sequence[Point] = points_of(product, spec.name, spec.units)
        self._spec = spec
        self._poller = poller
        self._on_event = on_event
        self._cost = cost
        self._presence = Presence(spec.name, spec.sink, poller, on_event, self._gone)
        self.counters = self._presence.counters
        self._finder = Finder(search)
        self._writes = Writes(self._tell)
        self._mail = Mail()
        self._product = product
        self._hidden: tuple[PointSpec, ...] = ()
        self._polled, self._writer = self._new_polled(), self._new_writer()
        self._finder.begin()

    def _new_polled(self) -> Polled:
        spec, product = self._spec, self._product
        specs = (*product.points, *self._hidden)
        polled = Polled(specs, len(self.points), product.link, spec.unit_id, spec.sink, self._cost)
        polled.start(time.monotonic_ns())
        return polled

    def _new_writer(self) -> Writer:
        write = self._product.write
        self._readback = write.readback if write else ""
        return Writer(self._spec, self._product, self._mail, self.counters, self._value_of, self._tell)

    def _adopt(self, product: Product, hidden: tuple[PointSpec, ...]) -> None:
        """Take the product with registers that can be polled; what is known and still the same is kept."""
        before, polled = self._product, self._polled
        self._product, self._hidden = product, hidden
        self._polled = self._new_polled()
        self._polled.inherit(polled)
        if (product.write, product.prepare) != (before.write, before.prepare):
            self._writer = self._new_writer()

    # the contract

    def start(self) -> None:
        """Begin to poll; returns at once, also when the device is not there."""
        self._polled.start(time.monotonic_ns())
        self._poller.join(self)

    def offer(self, setpoint: Setpoint) -> None:
        """Hand over the newest setpoint; returns at once and never raises."""
        self._mail.newest = setpoint
        self._poller.wake()

    def stop(self) -> None:
        """Say what is configured for the loss, stop polling, and close the line when nobody else is on it."""
        last = self._mail.newest
        if last is not None:
            self._mail.newest = replace(last, expires_ns=0)
            self._poller.wake()
            until_s = time.monotonic() + LEAVE_S
            while self.counters.online and not self._writer.idle and time.monotonic() < until_s:
                time.sleep(0.005)
        self._poller.leave(self)

    # what the link thread asks for

    def write(self, now_ns: int) -> Job | None:
        """Return what must be written now."""
        request = self._writer.next(now_ns) if self._presence.well else None
        if request is None:
            return None
        return Job(
            request,
            lambda data, at_ns: self._write_answered(request, at_ns),
            lambda error, at_ns: self._write_failed(request, error, at_ns),
        )

    def write_ns(self) -> int:
        """Return when to ask for writes again if nothing happens before."""
        return self._writer.next_ns if self._presence.well else NEVER_NS

    def read(self, now_ns: int) -> tuple[int, Job | None]:
        """Return the next read and when it is due; no read while every one could be mistaken."""
        hold_ns = self._presence.hold_ns
        finder, ambiguous = self._finder, self._poller.ambiguous
        if finder.again_ns <= now_ns:
            finder.begin(aside=self.counters.online and bool(self._polled.blocks))
        if finder.asked is not None and not finder.aside:
            if hold_ns <= now_ns and ambiguous(finder.asked, now_ns):
                return self._held(now_ns), None
            return hold_ns, self._question(finder.asked)
        block = self._polled.due(now_ns)
        if block is None:
            return NEVER_NS, None
        if hold_ns <= now_ns and (sample := self._sample(now_ns)):
            return now_ns, sample
        due_ns = max(block.due_ns, hold_ns)
        question = finder.ready(now_ns) if due_ns > now_ns and self._presence.well else None
        if question is not None and not ambiguous(question, now_ns):
            return now_ns, self._question(question)
        job = self._job(block)
        if due_ns > now_ns or not ambiguous(block.request, now_ns):
            return due_ns, job
        request = self._polled.free(lambda one: ambiguous(one, now_ns))
        if request is None:
            return self._held(now_ns), None
        # That it answers shows that it owes nothing any more; the values come with the next full read.
        return due_ns, Job(request, lambda data, at_ns: self._presence.alive(at_ns), job.failed)

    def _held(self, now_ns: int) -> int:
        self._presence.hold_ns = now_ns + BACKOFF_NS
        return self._presence.hold_ns

    def line_lost(self, error: LineLost, now_ns: int) -> None:
        """The line cannot be opened; nothing was asked."""
        self._presence.missed(str(error), now_ns)

    def line_back(self) -> None:
        """The line was opened again: there is no reason to wait."""
        self._presence.line_back()

    def fault(self, what: str, now_ns: int) -> None:
        """Show a fault of our own: whatever the device does, nobody looks at it properly."""
        self._finder.asked = None
        self._presence.fault(what, now_ns)

    def _gone(self, now_ns: int) -> None:
        """The device is offline: its points are BAD, and it may come back as another."""
        if self._finder.asked is None or self._finder.aside:
            self._finder.begin()
        self._writer.forget()
        self._polled.spoil_all(now_ns)

    # looking for what it has

    def _question(self, request: Request) -> Job:
        """Return a question of the search; the silence of another unit is not this one's."""
        aside = self._finder.aside or request.unit != self._spec.unit_id

        def ended(answer: bytes | DriverError, now_ns: int) -> None:
            if isinstance(answer, bytes):
                self._presence.hold_ns = 0
            elif not aside and not isinstance(answer, Refused | LineLost):
                self._presence.failed(f"looking for its points: {answer}", answer, now_ns)
            try:
                self._found(self._finder.answer(answer, now_ns), now_ns)
            except DriverError as error:
                self._finder.begin()
                self._presence.missed(f"looking for its points: {error}", now_ns)

        return Job(request, ended, ended, AGAIN_NS, aside)

    def _found(self, found: Found | None, now_ns: int) -> None:
        """Poll what was found; what is polled already goes on undisturbed."""
        if found is None:
            return
        self._finder.keep(found, now_ns)
        if (found.product, found.hidden) == (self._product, self._hidden):
            return
        self._adopt(found.product, found.hidden)
        registers = [spec for spec in found.product.points if not spec.derivation]
        there = sum(bool(spec.fn) for spec in registers)
        what = f"{there} of {len(registers)} points found; {'; '.join(found.trouble) or 'nothing is missing'}"
        self._tell(EventCode.RESOLVED, what[:MOST_TEXT])
        if not there:
            self._presence.missed("it has none of the points of this product", now_ns)
            self._finder.again_ns = now_ns + AGAIN_NS

    # reading

    def _job(self, block: Block) -> Job:
        if block.job is None:
            block.job = Job(
                block.request,
                lambda data, now_ns: self._answered(block, data, now_ns),
                lambda error, now_ns: self._failed(block, error, now_ns),
                block.slack_ns,
            )
        return block.job

    def _answered(self, block: Block, data: bytes, now_ns: int) -> None:
        self._polled.take(block, data, now_ns)
        if self._readback and self._polled.holds(block, self._readback):
            self._writer.seen(now_ns)
        if block.trouble:
            block.trouble = ""
            self._tell(EventCode.READ_BACK, str(block.read))
        self._presence.alive(now_ns)

    def _failed(self, block: Block, error: DriverError, now_ns: int) -> None:
        block.postpone(now_ns)
        tried = self._polled.untried(block, now_ns)
        code = {Refused: EventCode.READ_REFUSED, BadReply: EventCode.READ_BAD}.get(type(error))
        if code is not None and not tried:
            self._polled.spoil(block, now_ns)
            if block.trouble != code:
                block.trouble = code
                self._tell(code, f"{block.read}: {error}")
        if isinstance(error, Refused) and not tried:
            self._polled.doubt(block, error, now_ns)
        self._presence.failed(f"{block.read}: {error}", error, now_ns)

    def _sample(self, now_ns: int) -> Job | None:
        """Return a read of one point of a block that was refused: it shows whether to divide the block."""
        sample = self._polled.sample()
        if sample is None or self._poller.ambiguous(sample[1], now_ns):
            return None
        block, request = sample

        def ended(answer: bytes | DriverError, now_ns: int) -> None:
            self._polled.sampled(block, isinstance(answer, bytes), now_ns)
            if isinstance(answer, bytes):
                self._presence.alive(now_ns)
            else:
                self._presence.failed(f"a point of {block.read}: {answer}", answer, now_ns)

        return Job(request, ended, ended, block.slack_ns)

    # writing

    def _value_of(self, point: str) -> float:
        return self._polled.known(point, time.monotonic_ns())

    def _tell(self, code: EventCode, what: str) -> None:
        self._on_event(code, self.name, what)

    def _write_answered(self, request: Request, now_ns: int) -> None:
        self.counters.writes += 1
        self._writer.confirmed(request, now_ns)
        self._writes.confirmed(now_ns)

    def _write_failed(self, request: Request, error: DriverError, now_ns: int) -> None:
        self._writer.failed(request)
        what = f"write {request.pdu.hex()}: {error}"
        self._writes.failed(what, now_ns)
        self._presence.failed(what, error, now_ns)
