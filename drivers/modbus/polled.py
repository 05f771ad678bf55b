"""The reading side of a device: its blocks, what they mean, and its slice of the image.

A block that the device refuses because not all of it exists is divided, until what is missing is alone. That
costs requests, so it is done only for a block of which one point can be read alone: a device that refuses
everything, say because it boots, is left as it was planned. Now and then the whole is tried again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from drivers.catalog.product import LinkSpec, PointSpec
from drivers.driver import Sink
from drivers.modbus import frames
from drivers.modbus.block import Block
from drivers.modbus.derive import Meaning
from drivers.modbus.frames import Request
from drivers.modbus.plan import Cost, Read, plan_reads, split, width
from models.errors import Refused

REFUSED_NS = 1_000_000_000
"""A block that is refused is not asked for more often than this."""
NOT_THERE = (2, 3)
"""Exceptions that say that registers of a block do not exist."""
WHOLE_NS = 60_000_000_000
"""A block that was divided is tried as a whole again after this, then after twice as long …"""
WHOLE_MAX_NS = 3_600_000_000_000
"""… up to this."""


@dataclass(slots=True, eq=False)
class Doubt:
    """A block was refused: one of its points is read alone, the next one after each refusal."""

    turn: int = 0
    asking: bool = True
    partly: bool = False
    """Whether that point could be read."""


@dataclass(slots=True, eq=False)
class Division:
    """A block of the plan, and the parts that are polled in its place."""

    whole: Block
    parts: list[Block]
    again_ns: int
    """When the whole is tried again."""
    pause_ns: int = WHOLE_NS


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
        self._doubts: dict[Block, Doubt] = {}
        self._divisions: list[Division] = []

    def _block(self, read: Read) -> Block:
        return Block(read, self.specs, self._unit_id)

    def known(self, point: str, now_ns: int) -> float:
        """Return the value of a point if it may be used, else NaN."""
        return self._meaning.known(point, now_ns)

    def inherit(self, other: "Polled") -> None:
        """Take over what is known of the points that are the same."""
        self._meaning.inherit(other._meaning)

    def holds(self, block: Block, point: str) -> bool:
        """Whether a block brings this point."""
        return any(self.specs[i].name == point for i in block.read.points)

    def start(self, now_ns: int) -> None:
        """Make everything due."""
        for block in self.blocks:
            block.due_ns = now_ns

    def due(self, now_ns: int) -> Block | None:
        """Return the block that is due and has values that would first be too old, else the next to be due.

        None when the device has none of the points. In place of a part it may be the whole, to try it.
        """
        ready = [block for block in self.blocks if block.due_ns <= now_ns]
        if not ready:
            return min(self.blocks, key=_due_ns, default=None)
        block = min(ready, key=_deadline_ns)
        for division in self._divisions:
            if division.again_ns <= now_ns and block in division.parts:
                division.whole.due_ns = block.due_ns
                return division.whole
        return block

    def sample(self) -> tuple[Block, Request] | None:
        """Return a refused block and a read of one of its points; None when there is no doubt."""
        for block, doubt in self._doubts.items():
            if doubt.asking:
                spec = self.specs[block.read.points[doubt.turn % len(block.read.points)]]
                return block, frames.read(block.request.unit, block.read.fn, spec.address, width(spec))
        return None

    def sampled(self, block: Block, readable: bool, now_ns: int) -> None:
        """Take what became of a sample; when it was read the block is asked again at once."""
        doubt = self._doubts[block]
        doubt.turn, doubt.asking, doubt.partly = doubt.turn + 1, False, readable
        if readable:
            block.due_ns = now_ns

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
        self._doubts.pop(block, None)
        self._join(block)
        self._put(block, now_ns)

    def spoil(self, block: Block, now_ns: int) -> None:
        """Make the points of a block BAD."""
        block.spoil()
        self._put(block, now_ns)

    def spoil_all(self, now_ns: int) -> None:
        """Make all points BAD."""
        for block in self.blocks:
            self.spoil(block, now_ns)

    def untried(self, block: Block, now_ns: int) -> bool:
        """Whether a block that failed was only tried while its parts are polled; it is tried again later."""
        for division in self._divisions:
            if division.whole is block:
                division.pause_ns = min(2 * division.pause_ns, WHOLE_MAX_NS)
                division.again_ns = now_ns + division.pause_ns
                return True
        return False

    def doubt(self, block: Block, error: Refused, now_ns: int) -> None:
        """Ask a refused block less often; divide it when a point of it could be read since the last time."""
        block.due_ns = max(block.due_ns, now_ns + REFUSED_NS)
        if error.code not in NOT_THERE or len(block.read.points) < 2:
            return
        doubt = self._doubts.setdefault(block, Doubt())
        doubt.asking = True
        if doubt.partly:
            self.refused(block, error, now_ns)

    def refused(self, block: Block, error: Refused, now_ns: int) -> None:
        """Ask a refused block less often; one that reaches over registers that do not exist is divided."""
        block.due_ns = max(block.due_ns, now_ns + REFUSED_NS)
        halves = split(block.read, self.specs) if error.code in NOT_THERE else ()
        if not halves:
            return
        new = [self._block(read) for read in halves]
        for half in new:
            half.due_ns, half.trouble = now_ns, block.trouble
        division = next((one for one in self._divisions if block in one.parts), None)
        if division is None:
            self._divisions.append(division := Division(block, [block], now_ns + WHOLE_NS))
        for blocks in (self.blocks, division.parts):
            at = blocks.index(block)
            blocks[at : at + 1] = new
        self._doubts.pop(block, None)

    def _join(self, block: Block) -> None:
        """Poll a block that could be read in place of its parts."""
        for division in self._divisions:
            if division.whole is block:
                self._divisions.remove(division)
                at = self.blocks.index(division.parts[0])
                self.blocks[at : at + len(division.parts)] = [block]
                for part in division.parts:
                    self._doubts.pop(part, None)
                return

    def _put(self, block: Block, now_ns: int) -> None:
        self._meaning.put(block.read.points, block.index, block.value, block.quality, now_ns)


def _due_ns(block: Block) -> int:
    return block.due_ns


def _deadline_ns(block: Block) -> int:
    return block.due_ns + block.slack_ns
