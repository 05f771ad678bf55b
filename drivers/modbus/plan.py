"""Which block reads fetch the points of a device at the least cost; exact, see :func:`plan_reads`.

What a plan costs is the time that the line is busy with it, per second. A block is dear by itself (request,
turn-around, silence) and cheap by the register, so neighbours go together, gaps are read along, and a slow
point may ride in a faster block. The search goes over the points by address and keeps, of all ways to have
read the points so far, those that no other way beats whatever comes next.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from cython_ext.registers import KINDS, WORDS
from drivers.catalog.product import PointSpec
from drivers.modbus.frames import MAX_BITS, READ_COILS, READ_INPUTS
from drivers.modbus.line import Endpoint

Hole = tuple[int, int, int]
"""Function, first and last register of what must never be read."""
RTU_BYTES = 8 + 5
"""Bytes of a read on the serial line besides its registers: the request, and what frames the reply."""
MOST_WAYS = 500
"""So many ways are followed at once; the register lists of real products need up to 90."""
TURNAROUND_S = 0.005
"""What a serial device takes to answer; a guess, since only the time in use shows it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """How long one read keeps the line busy."""

    request_s: float
    register_s: float
    """For each register; a bit is a sixteenth of it."""

    def of(self, fn: int, count: int) -> float:
        """Return the seconds that a read of ``count`` registers (or bits) takes."""
        return self.request_s + count * self.register_s * (1 / 16 if _is_bits(fn) else 1)


TCP = Cost(0.01, 20e-6)
"""A device answers after some 10 ms and fetches 50 registers a millisecond; typical, not measured."""


def cost_on(endpoint: Endpoint, turnaround_s: float = TURNAROUND_S) -> Cost:
    """Return what a read costs on a line: wire time and two silences when it is serial."""
    byte_s = endpoint.byte_ns / 1e9
    if not byte_s:
        return TCP
    return Cost(RTU_BYTES * byte_s + 2 * endpoint.silence_ns / 1e9 + turnaround_s, 2 * byte_s)


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
    unit_id: int | None = None
    """None is the device's own."""

    def __str__(self) -> str:
        return f"function {self.fn}, {self.count} from address {self.address}"


@dataclass(frozen=True, slots=True)
class _Span:
    """Registers that are wanted together, and the points that lie in them."""

    first: int
    end: int
    speed: int
    """Position of the period among those of the group; 0 is the fastest."""
    points: tuple[int, ...]


class _Rule(NamedTuple):
    """What the search must know of a group."""

    request: tuple[float, ...]
    """Share of the line that a block of each speed takes, without its registers."""
    register: tuple[float, ...]
    """What each register adds to that."""
    most: int
    """Registers (or bits) in one block."""
    end: int = 0
    """End of the run: a block that reaches it is never full, wherever it began."""


class _Way(NamedTuple):
    """One way to have read the spans so far."""

    cost: float
    live: tuple[tuple[int, int] | None, ...]
    """First register and end of the block of each speed, as long as it can grow."""
    parent: "_Way | None" = None
    speed: int = 0
    """Which block took the last span …"""
    opened: bool = False
    """… and whether it began there."""


def width(point: PointSpec) -> int:
    """Return how many registers (or bits) a point takes."""
    return WORDS[KINDS.index(point.type)] or 1


def plan_reads(
    points: Sequence[PointSpec],
    max_gap: int,
    max_registers: int,
    holes: Iterable[Hole] = (),
    cost: Cost = TCP,
) -> tuple[Read, ...]:
    """Return the cheapest set of block reads; every point is in exactly one of them.

    The sum of cost over period is the least of all sets in which a read has one unit, one function and no
    more than ``max_registers``; each point lies wholly in one read whose period is not longer than its own; a
    value and the points that change it lie in the same one, where one can hold them; and no read has a hole,
    or a gap longer than ``max_gap``: registers that no point of that unit and function lies in. This holds
    over all periods together (and as long as MOST_WAYS are enough; beyond, the cheapest so far are followed).
    Points without a function (derived ones) are left out; a point that is longer than ``max_registers`` has
    a read of its own.

    Args:
        points: the points of one device.
        max_gap: largest run of unwanted registers that is read along; 0 forbids gaps.
        max_registers: the device's limit for one read; bits have the protocol's own limit.
        holes: what must never be read; ValueError when a point lies there.
        cost: of a read on that line.
    """
    forbidden = tuple(holes)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, point in enumerate(points):
        if point.fn:
            groups.setdefault((-1 if point.unit_id is None else point.unit_id, point.fn), []).append(i)
    reads: list[Read] = []
    for (unit, fn), members in groups.items():
        periods = sorted({points[i].period_s for i in members})
        rule = _Rule(
            tuple(cost.of(fn, 0) / period_s for period_s in periods),
            tuple((cost.of(fn, 1) - cost.of(fn, 0)) / period_s for period_s in periods),
            MAX_BITS if _is_bits(fn) else max_registers,
        )
        walls = [hole[1:] for hole in forbidden if hole[0] == fn]
        bundles = _bundles(points, members, partial(_fits, points, members, rule.most, max_gap, walls))
        for run in _runs(_spans(points, bundles, periods), max_gap, walls):
            for speed, taken in _cheapest(run, rule):
                count = max(span.end for span in taken) - taken[0].first
                inside = tuple(
                    sorted((i for span in taken for i in span.points), key=lambda i: points[i].address)
                )
                unit_id = None if unit < 0 else unit
                reads.append(Read(fn, taken[0].first, count, periods[speed], inside, unit_id))
    return tuple(
        sorted(reads, key=lambda read: (read.unit_id is not None, read.fn, read.period_s, read.address))
    )


def slack_s(read: Read, points: Sequence[PointSpec]) -> float:
    """Return how long after it is due a read may be answered before a value of it is too old; at least 0."""
    return max(0.0, min(points[i].max_age_s for i in read.points) - read.period_s)


def split(read: Read, points: Sequence[PointSpec]) -> tuple[Read, ...]:
    """Return the two reads that replace one which the device refuses as a whole; empty when it has one point.

    The cut is in the largest gap, for that is what most likely is not there, else between the points in the
    middle. A read that is refused again is split again: so what cannot be read ends up alone, after few
    requests, and every other point keeps its value.

    Args:
        read: made by :func:`plan_reads` or here.
        points: the points that were planned.
    """
    if len(read.points) < 2:
        return ()
    order = sorted(read.points, key=lambda i: (points[i].address, width(points[i])))
    ends = [points[order[0]].address + width(points[order[0]])]
    for i in order[1:]:
        ends.append(max(ends[-1], points[i].address + width(points[i])))
    middle = len(order) / 2
    cut = max(range(1, len(order)), key=lambda k: (points[order[k]].address - ends[k - 1], -abs(k - middle)))
    return tuple(_around(read, part, points) for part in (order[:cut], order[cut:]))


def _around(read: Read, part: Sequence[int], points: Sequence[PointSpec]) -> Read:
    first = min(points[i].address for i in part)
    count = max(points[i].address + width(points[i]) for i in part) - first
    return Read(read.fn, first, count, read.period_s, tuple(part), read.unit_id)


def _is_bits(fn: int) -> bool:
    return fn in (READ_COILS, READ_INPUTS)


def _bundles(
    points: Sequence[PointSpec], members: Sequence[int], fits: Callable[[Sequence[int]], bool]
) -> list[tuple[int, ...]]:
    """Return the points that are read at one moment: a value with what changes it, where one read can."""
    position = {points[i].name: i for i in members}
    bundle: dict[int, tuple[int, ...]] = {i: (i,) for i in members}
    for i in members:
        for by in points[i].by:
            other = bundle.get(position.get(by.point, -1), bundle[i])
            if other is not bundle[i] and fits(joined := (*bundle[i], *other)):
                bundle.update(dict.fromkeys(joined, joined))
    return list({id(one): one for one in bundle.values()}.values())


def _fits(
    points: Sequence[PointSpec],
    members: Sequence[int],
    most: int,
    max_gap: int,
    walls: Sequence[tuple[int, int]],
    joined: Sequence[int],
) -> bool:
    """Whether one read may hold these points."""
    first, end = _extent(points, joined)
    if end - first > most or any(wall[0] < end and first <= wall[1] for wall in walls):
        return False
    reached = first
    for i in sorted(members, key=lambda i: points[i].address):
        if points[i].address >= end:
            break
        if points[i].address - reached > max_gap:
            return False
        reached = max(reached, points[i].address + width(points[i]))
    return True


def _extent(points: Sequence[PointSpec], some: Sequence[int]) -> tuple[int, int]:
    """Return the first register of some points, and the one behind the last."""
    return min(points[i].address for i in some), max(points[i].address + width(points[i]) for i in some)


def _spans(
    points: Sequence[PointSpec], bundles: Sequence[tuple[int, ...]], periods: Sequence[float]
) -> list[_Span]:
    """Return the registers of the points by address; who lies within one that is not slower rides with it."""
    extents = [(*_extent(points, some), min(points[i].period_s for i in some), some) for some in bundles]
    spans: list[_Span] = []
    for first, end, period_s, some in sorted(extents, key=lambda one: (one[0], -one[1], one[2])):
        speed = periods.index(period_s)
        for k in range(len(spans) - 1, -1, -1):
            host = spans[k]
            if host.first <= first and end <= host.end and host.speed <= speed:
                spans[k] = _Span(host.first, host.end, host.speed, (*host.points, *some))
                break
        else:
            spans.append(_Span(first, end, speed, some))
    return spans


def _runs(spans: list[_Span], max_gap: int, walls: Sequence[tuple[int, int]]) -> list[list[_Span]]:
    """Part the spans where no block may go across."""
    runs: list[list[_Span]] = []
    end = 0
    for span in spans:
        if any(first < span.end and span.first <= last for first, last in walls):
            raise ValueError(f"a point lies in the hole at address {span.first}")
        gap = span.first - end
        if runs and gap <= max_gap and not any(first < span.first and end <= last for first, last in walls):
            runs[-1].append(span)
        else:
            runs.append([span])
            end = 0
        end = max(end, span.end)
    return runs


def _cheapest(run: list[_Span], rule: _Rule) -> list[tuple[int, list[_Span]]]:
    """Return speed and spans of each block of the cheapest set for spans without a wall between them."""
    rule = rule._replace(end=max(span.end for span in run))
    ways = [_Way(0.0, (None,) * len(rule.request))]
    for k, span in enumerate(run):
        rest = run[k + 1 :]
        slowest = max((other.speed for other in rest), default=-1)
        grown = [
            _closed(way, rest[0].first if rest else 0, slowest, rule.most)
            for old in ways
            for way in _with(old, span, rule)
        ]
        ways = _unbeaten(grown, rest[0].first if rest else 0, rule)
    return _blocks(min(ways, key=lambda way: way.cost), run)


def _with(way: _Way, span: _Span, rule: _Rule) -> Iterable[_Way]:
    """Yield the ways to read one more span: in a block that grows, or in one that begins here."""
    for speed in range(span.speed + 1):
        block = way.live[speed]
        before, behind = way.live[:speed], way.live[speed + 1 :]
        if block and max(block[1], span.end) - block[0] <= rule.most:
            grown = max(0, span.end - block[1])
            live = (*before, (block[0], block[1] + grown), *behind)
            yield _Way(way.cost + rule.register[speed] * grown, live, way, speed)
        price = rule.request[speed] + rule.register[speed] * (span.end - span.first)
        first = min(span.first, rule.end - rule.most)
        yield _Way(way.cost + price, (*before, (first, span.end), *behind), way, speed, opened=True)


def _closed(way: _Way, following: int, slowest: int, most: int) -> _Way:
    """Forget blocks that no later span fits into, so that more ways are alike."""
    live = tuple(
        block if block and speed <= slowest and following < block[0] + most else None
        for speed, block in enumerate(way.live)
    )
    return way._replace(live=live)


def _unbeaten(ways: list[_Way], following: int, rule: _Rule) -> list[_Way]:
    """Drop each way that another one beats whatever comes."""
    kept: list[_Way] = []
    for way in sorted(ways, key=lambda way: way.cost):
        if not any(_beats(other, way, following, rule) for other in kept):
            kept.append(way)
            if len(kept) == MOST_WAYS:
                break
    return kept


def _beats(way: _Way, other: _Way, following: int, rule: _Rule) -> bool:
    """Whether ``way`` can do all that ``other`` can do later, and at no higher cost.

    Where its own block begins earlier (it would be full sooner), it needs a new one at the next span.
    """
    cost = way.cost
    for speed, theirs in enumerate(other.live):
        if theirs is None:
            continue
        ours = way.live[speed]
        extra = rule.request[speed] + rule.register[speed] * max(0, theirs[1] - following)
        if ours and ours[0] >= theirs[0]:
            extra = min(extra, rule.register[speed] * max(0, theirs[1] - ours[1]))
        cost += extra
    return cost <= other.cost


def _blocks(way: _Way, run: list[_Span]) -> list[tuple[int, list[_Span]]]:
    steps: list[_Way] = []
    at: _Way = way
    while at.parent is not None:
        steps.append(at)
        at = at.parent
    found: list[tuple[int, list[_Span]]] = []
    current: dict[int, list[_Span]] = {}
    for step, span in zip(reversed(steps), run, strict=True):
        if step.opened:
            current[step.speed] = []
            found.append((step.speed, current[step.speed]))
        current[step.speed].append(span)
    return found
