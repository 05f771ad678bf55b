"""The reading side of a device: its blocks, what they mean, and its slice of the image."""

from collections.abc import Callable, Iterator, Sequence

from drivers.catalog.product import LinkSpec, PointSpec
from drivers.driver import Sink
from drivers.modbus.block import Block
from drivers.modbus.derive import Meaning
from drivers.modbus.frames import Request
from drivers.modbus.plan import Cost, Read, plan_reads, split
from models.errors import Refused

REFUSED_NS = 1_000_000_000
"""A block that is refused is not asked for more often than this."""
NOT_THERE = (2, 3)
"""Exceptions that say that registers of a block do not exist."""


class Polled:
    """Polls the points of one device; used by the link thread alone."""

    def __init__(
        self, specs: Sequence[PointSpec], shown: int, link: LinkSpec, unit_id: int, sink: Sink, cost: Cost
    ) -> None:
        """Args: the points, of which the first ``shown`` are in the image, and how to read them."""
        self.specs = specs
        self._unit_id = unit_id
        self._meaning = Meaning(specs, shown, sink)
        reads = plan_reads(specs, link.max_gap, link.max_registers, link.holes, cost)
        self.blocks = [self._block(read) for read in reads]

    def _block(self, read: Read) -> Block:
        return Block(read, self.specs, self._unit_id)

    def known(self, point: str, now_ns: int) -> float:
        """Return the value of a point if it may be used, else NaN."""
        return self._meaning.known(point, now_ns)

    def holds(self, block: Block, point: str) -> bool:
        """Whether a block brings this point."""
        return any(self.specs[i].name == point for i in block.read.points)

    def start(self, now_ns: int) -> None:
        """Make everything due."""
        for block in self.blocks:
            block.due_ns = now_ns

    def due(self, now_ns: int) -> Block | None:
        """Return the block that is due and has values that would first be too old, else the next to be due.

        None when the device has none of the points.
        """
        ready = [block for block in self.blocks if block.due_ns <= now_ns]
        return min(ready, key=_deadline_ns) if ready else min(self.blocks, key=_due_ns, default=None)

    def free(self, ambiguous: Callable[[Request], bool]) -> Request | None:
        """Return a read whose reply cannot be mistaken for one that is still owed, or None."""
        return next((request for request in self._probes() if not ambiguous(request)), None)

    def _probes(self) -> Iterator[Request]:
        for block in self.blocks:
            yield block.request
            yield from block.probes()

    def take(self, block: Block, data: bytes, now_ns: int) -> None:
        """Decode the data of a proven reply and publish what it means."""
        block.decode(data)
        block.postpone(now_ns)
        self._put(block, now_ns)

    def spoil(self, block: Block, now_ns: int) -> None:
        """Make the points of a block BAD."""
        block.spoil()
        self._put(block, now_ns)

    def spoil_all(self, now_ns: int) -> None:
        """Make all points BAD."""
        for block in self.blocks:
            self.spoil(block, now_ns)

    def refused(self, block: Block, error: Refused, now_ns: int) -> None:
        """Ask a refused block less often; one that reaches over registers that do not exist is divided."""
        block.due_ns = max(block.due_ns, now_ns + REFUSED_NS)
        halves = split(block.read, self.specs) if error.code in NOT_THERE else ()
        if halves:
            new = [self._block(read) for read in halves]
            for half in new:
                half.due_ns, half.trouble = now_ns, block.trouble
            at = self.blocks.index(block)
            self.blocks[at : at + 1] = new

    def _put(self, block: Block, now_ns: int) -> None:
        self._meaning.put(block.read.points, block.index, block.value, block.quality, now_ns)


def _due_ns(block: Block) -> int:
    return block.due_ns


def _deadline_ns(block: Block) -> int:
    return block.due_ns + block.slack_ns
