"""One DL/T 645 meter: asks for its data items and keeps its slice of the image; it is never written to.

All methods except ``start``, ``offer`` and ``stop`` run in the thread of the link that the meter is on.
"""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from drivers.catalog.product import PointSpec, Product
from drivers.dlt645.block import Block, plan_reads, single_reads
from drivers.dlt645.frames import Request
from drivers.driver import Sink
from drivers.modbus.derive import Meaning
from drivers.modbus.event import EventCode, OnEvent
from drivers.modbus.job import NEVER_NS, Job
from drivers.modbus.line import LineLost
from drivers.modbus.presence import BACKOFF_NS, Presence
from models.errors import BadReply, DriverError, Refused
from models.point import Point
from models.proposal import Setpoint

REFUSED_NS = 1_000_000_000
"""An item that is refused is not asked for more often than this."""


class Poller(Protocol):
    """The link thread as a meter sees it."""

    shared: bool
    """Whether other devices are on the same line."""

    def ambiguous(self, request: Any, now_ns: int) -> bool:
        """Whether ``request`` must not be sent now, see :class:`drivers.modbus.link.Link`."""

    def join(self, device: Any) -> None:
        """Begin to serve the device."""

    def leave(self, device: Any) -> None:
        """Stop serving the device."""


class Dlt645Device:
    """Implements :class:`drivers.driver.Driver`."""

    def __init__(
        self,
        name: str,
        product: Product,
        points: Sequence[Point],
        address: str,
        sink: Sink,
        poller: Poller,
        on_event: OnEvent,
    ) -> None:
        self.name = name
        self.points = points
        self._sink = sink
        self._poller = poller
        self._on_event = on_event
        self._specs: tuple[PointSpec, ...] = product.points
        self._meaning = Meaning(self._specs, len(self._specs), sink)
        self._address = address
        self._blocks = [Block(read, self._specs, address) for read in plan_reads(self._specs)]
        self._presence = Presence(name, sink, poller, on_event, self._spoil_all)
        self.counters = self._presence.counters

    # the contract

    def start(self) -> None:
        """Begin to poll; returns at once, also when the meter is not there."""
        for block in self._blocks:
            block.due_ns = time.monotonic_ns()
        self._poller.join(self)

    def offer(self, setpoint: Setpoint) -> None:
        """Refuse: a meter takes no setpoints."""
        self.counters.door_refused += 1

    def stop(self) -> None:
        """Stop polling and close the line when nobody else is on it."""
        self._poller.leave(self)

    # what the link thread asks for

    def write(self, now_ns: int) -> Job | None:
        """Return nothing: a meter is never written."""
        return None

    def write_ns(self) -> int:
        """Return when to ask for writes again: never."""
        return NEVER_NS

    def read(self, now_ns: int) -> tuple[int, Job | None]:
        """Return the next read and when it is due; no read while every one could be mistaken."""
        block = min(self._blocks, key=_due_ns)
        due_ns = max(block.due_ns, self._presence.hold_ns)
        if due_ns > now_ns or not self._poller.ambiguous(block.request, now_ns):
            return due_ns, self._job(block, block.request)
        # Any other item that is answered shows that nothing older is on its way.
        for other in sorted(self._blocks, key=_due_ns):
            if not self._poller.ambiguous(other.request, now_ns):
                return due_ns, self._job(other, other.request)
        self._presence.hold_ns = now_ns + BACKOFF_NS
        return self._presence.hold_ns, None

    def line_lost(self, error: LineLost, now_ns: int) -> None:
        """The line cannot be opened; nothing was asked."""
        self._presence.missed(str(error), now_ns)

    def line_back(self) -> None:
        """The line was opened again: there is no reason to wait."""
        self._presence.line_back()

    def fault(self, what: str, now_ns: int) -> None:
        """Show a fault of our own."""
        self._presence.fault(what, now_ns)

    # reading

    def _job(self, block: Block, request: Request) -> Job:
        return Job(
            request,
            lambda data, now_ns: self._answered(block, data, now_ns),
            lambda error, now_ns: self._failed(block, error, now_ns),
        )

    def _answered(self, block: Block, data: bytes, now_ns: int) -> None:
        try:
            complete = block.take(data)
        except BadReply as error:
            self._failed(block, error, now_ns)
            return
        if complete:
            block.postpone(now_ns)
            self._put(block, now_ns)
            if block.trouble:
                block.trouble = ""
                self._on_event(EventCode.READ_BACK, self.name, str(block.read))
        self._presence.alive(now_ns)

    def _failed(self, block: Block, error: DriverError, now_ns: int) -> None:
        block.restart()
        block.postpone(now_ns)
        if isinstance(error, Refused):
            self._refused(block, error, now_ns)
        elif isinstance(error, BadReply):
            self._spoil(block, EventCode.READ_BAD, error, now_ns)
        self._presence.failed(f"{block.read}: {error}", error, now_ns)

    def _refused(self, block: Block, error: Refused, now_ns: int) -> None:
        """Ask for the items of a refused block one by one from now on: many meters have no blocks."""
        alone = single_reads(block.read, self._specs)
        if len(alone) > 1:
            blocks = [Block(read, self._specs, self._address) for read in alone]
            for single in blocks:
                single.due_ns = now_ns
            self._blocks = [other for other in self._blocks if other is not block] + blocks
            return
        block.due_ns = max(block.due_ns, now_ns + REFUSED_NS)
        self._spoil(block, EventCode.READ_REFUSED, error, now_ns)

    def _put(self, block: Block, now_ns: int) -> None:
        self._meaning.put(block.read.points, block.index, block.value, block.quality, now_ns)

    def _spoil(self, block: Block, code: EventCode, error: DriverError, now_ns: int) -> None:
        block.spoil()
        self._put(block, now_ns)
        if block.trouble != code:
            block.trouble = code
            self._on_event(code, self.name, f"{block.read}: {error}")

    def _spoil_all(self, now_ns: int) -> None:
        for block in self._blocks:
            block.spoil()
            self._put(block, now_ns)


def _due_ns(block: Block) -> int:
    return block.due_ns
