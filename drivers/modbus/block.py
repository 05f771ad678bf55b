"""A planned block read made ready: request, decoding table, and buffers that are used again at every poll."""

import math
from collections.abc import Sequence

import numpy as np

from cython_ext.registers import KINDS, Row, Table
from drivers.catalog.product import PointSpec
from drivers.modbus import frames
from drivers.modbus.frames import MAX_REGISTERS
from drivers.modbus.job import Job
from drivers.modbus.plan import Read, slack_s
from models.point import Quality
from models.units import seconds_to_ns


class Block:
    """Decodes what one Read brings."""

    def __init__(self, read: Read, points: Sequence[PointSpec], unit_id: int) -> None:
        self.read = read
        self.job: Job | None = None
        """Its request with what the device does about the reply; made by the device."""
        self.period_ns = seconds_to_ns(read.period_s)
        self.slack_ns = seconds_to_ns(slack_s(read, points))
        self.due_ns = 0
        self.trouble = ""
        """Why it was not usable last time; empty when it was."""
        unit = unit_id if read.unit_id is None else read.unit_id
        self.request = frames.read(unit, read.fn, read.address, read.count)
        self.index = np.array(read.points, np.intp)
        self.value = np.full(len(read.points), np.nan)
        self.quality = np.zeros(len(read.points), np.uint8)
        self._table = Table([_row(points[i], read) for i in read.points])

    def decode(self, data: bytes) -> None:
        """Fill ``value`` and ``quality`` from the data of a proven reply."""
        self._table.decode(data, self.value, self.quality)

    def spoil(self) -> None:
        """Make every value BAD."""
        self.value.fill(np.nan)
        self.quality.fill(Quality.BAD)

    def postpone(self, now_ns: int) -> None:
        """Set when it is due again; what is overdue is asked for at once, but never caught up."""
        self.due_ns = max(self.due_ns + self.period_ns, now_ns)

    def probes(self) -> list[frames.Request]:
        """Return reads of the same place of other lengths, which tell a fresh reply from one still owed.

        Even counts come first: some devices refuse half of a 32-bit value. A longer one is the last resort.
        """
        whole = self.read.count
        counts = [*range(2, whole, 2), *range(1, whole, 2), *([whole + 1] if whole < MAX_REGISTERS else [])]
        unit, fn, address = self.request.unit, self.read.fn, self.read.address
        return [frames.read(unit, fn, address, count) for count in counts]


def _row(point: PointSpec, read: Read) -> Row:
    bit = point.type == "bit"
    return Row(
        kind=KINDS.index(point.type),
        at=(point.address - read.address) * (1 if bit else 2),
        low_word_first=point.low_word_first,
        byte_swap=point.byte_swap,
        mask=point.mask,
        shift=point.shift,
        na=point.na,
        scale=point.scale,
        add=point.add,
        lo=-math.inf if point.by else point.lo,  # what another point changes is judged after that
        hi=math.inf if point.by else point.hi,
        codes=point.map,
    )
