"""Which requests fetch the points of a meter, and what each brings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivers.catalog.product import PointSpec
from drivers.dlt645 import values
from drivers.dlt645.frames import read_item
from drivers.dlt645.values import Group
from models.point import Quality
from models.units import seconds_to_ns


@dataclass(frozen=True, slots=True)
class Read:
    """One data item or block and the points that it brings."""

    di: str
    period_s: float
    points: tuple[int, ...]
    """Positions in the sequence that was planned."""

    def __str__(self) -> str:
        return f"data item {self.di}"


def plan_reads(points: Sequence[PointSpec]) -> tuple[Read, ...]:
    """Ask for a block where a meter has one for two or more items of the same period, else for each item.

    Points that are derived from others are in no request.

    Raises:
        ValueError: an identifier is not in the table, or does not hold a number.
    """
    groups: dict[tuple[str, float], list[int]] = {}
    for i, spec in enumerate(points):
        if not spec.derivation:
            groups.setdefault((_block_of(spec.di), spec.period_s), []).append(i)
    reads: list[Read] = []
    for (block, period_s), members in groups.items():
        whole = Read(block, period_s, tuple(members))
        alone = single_reads(whole, points)
        reads += (whole,) if len(alone) > 1 else alone
    return tuple(reads)


def single_reads(read: Read, points: Sequence[PointSpec]) -> tuple[Read, ...]:
    """Return one read for each item of a block."""
    members: dict[str, list[int]] = {}
    for i in read.points:
        members.setdefault(points[i].di.upper(), []).append(i)
    return tuple(Read(di, read.period_s, tuple(group)) for di, group in members.items())


def _block_of(di: str) -> str:
    group, number = _numeric(di)
    back = int(di[6:], 16) - int(group.di[6:], 16)
    return group.member(values.ALL if len(group.numbers) > 1 else number, back)


def _numeric(di: str) -> tuple[Group, int]:
    found = values.find(di)
    if found is None or found[1] == values.ALL or found[0].kind not in ("number", "demand"):
        raise ValueError(f"data item {di or '(none)'} is not known to hold one number")
    return found


class Block:
    """Asks for what one Read brings, in as many frames as it takes, and decodes it."""

    def __init__(self, read: Read, points: Sequence[PointSpec], unit: str) -> None:
        self.read = read
        self.period_ns = seconds_to_ns(read.period_s)
        self.due_ns = 0
        self.trouble = ""
        """Why it was not usable last time; empty when it was."""
        self.index = np.array(read.points, np.intp)
        self.value = np.full(len(read.points), np.nan)
        self.quality = np.zeros(len(read.points), np.uint8)
        self._specs = [points[i] for i in read.points]
        self._unit = unit
        self._sizes = values.sizes(read.di) or range(0)
        self.restart()

    def restart(self) -> None:
        """Begin with the first frame."""
        self._steps = read_item(self._unit, self.read.di, self._sizes)
        self.request = next(self._steps)

    def take(self, data: bytes) -> bool:
        """Take the data of a proven reply; return whether ``value`` and ``quality`` are filled.

        Raises:
            BadReply: the digits are no digits, or the frames do not belong together.
        """
        try:
            self.request = self._steps.send(data)
        except StopIteration as end:
            self._decode(end.value)
            self.restart()
            return True
        return False

    def spoil(self) -> None:
        """Make every value BAD."""
        self.value.fill(np.nan)
        self.quality.fill(Quality.BAD)

    def postpone(self, now_ns: int) -> None:
        """Set when it is due again; what is overdue is asked for at once, but never caught up."""
        self.due_ns = max(self.due_ns + self.period_ns, now_ns)

    def _decode(self, data: bytes) -> None:
        for k, spec in enumerate(self._specs):
            group, number = _numeric(spec.di)
            at = 0 if self.read.di == spec.di.upper() else group.numbers.index(number) * group.width
            raw = data[at : at + group.width]
            value = _scaled(spec, values.number(group, raw)) if raw else math.nan
            self.value[k] = value
            self.quality[k] = Quality.BAD if math.isnan(value) else Quality.GOOD


def _scaled(spec: PointSpec, value: float) -> float:
    """Return the value of a point, nan when the meter has none or it cannot be believed."""
    if spec.map and not math.isnan(value):
        value = spec.map.get(int(value), math.nan)
    else:
        value = value * spec.scale + spec.add
    if spec.by:
        return value  # what another point changes is judged after that
    return value if spec.lo <= value <= spec.hi else math.nan
