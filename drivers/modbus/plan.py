"""Which block reads fetch the points of a device."""

from collections.abc import Sequence
from dataclasses import dataclass

from cython_ext.registers import KINDS, WORDS
from drivers.catalog.product import PointSpec
from drivers.modbus.frames import MAX_BITS, READ_COILS, READ_INPUTS


@dataclass(frozen=True, slots=True)
class Read:
    """One block read and the points that it brings."""

    fn: int
    address: int
    count: int
    """Registers, or bits for function 1 and 2."""
    period_s: float
    points: tuple[int, ...]
    """Positions in the sequence that was planned, by address."""

    def __str__(self) -> str:
        return f"function {self.fn}, {self.count} from address {self.address}"


def width(point: PointSpec) -> int:
    """Return how many registers (or bits) a point takes."""
    return WORDS[KINDS.index(point.type)] or 1


def plan_reads(points: Sequence[PointSpec], max_gap: int, max_registers: int) -> tuple[Read, ...]:
    """Merge points into few block reads; every point is in exactly one of them.

    Points share a block when function and period are the same, when at most ``max_gap`` registers that
    nobody wants lie between them, and when the block has at most ``max_registers`` registers. A point is
    never split over two blocks.

    Args:
        points: the points of one device.
        max_gap: largest run of unwanted registers that is read along.
        max_registers: the device's limit for one read; bits have the protocol's own limit.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].fn, points[i].period_s, points[i].address))
    reads: list[Read] = []
    for i in order:
        point = points[i]
        if reads and (joined := _joined(reads[-1], i, point, max_gap, max_registers)):
            reads[-1] = joined
        else:
            reads.append(Read(point.fn, point.address, width(point), point.period_s, (i,)))
    return tuple(reads)


def _joined(read: Read, i: int, point: PointSpec, max_gap: int, max_registers: int) -> Read | None:
    """Return ``read`` made longer by ``point``, or None when they do not go together."""
    if (read.fn, read.period_s) != (point.fn, point.period_s):
        return None
    most = MAX_BITS if point.fn in (READ_COILS, READ_INPUTS) else max_registers
    count = max(read.count, point.address + width(point) - read.address)
    if point.address > read.address + read.count + max_gap or count > most:
        return None
    return Read(read.fn, read.address, count, read.period_s, (*read.points, i))
