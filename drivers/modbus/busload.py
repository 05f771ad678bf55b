"""Whether the devices of one line fit on it, told before anything is opened.

The line is played request by request by the rule of :mod:`drivers.modbus.poller`: one request at a time, of
what is due the one whose values would first be too old, writes before reads but never two while a read waits.
All starts at once, which is the worst that can come. A request takes its time on the wire, the silences, what
the device wants between requests, and a guess of how long it takes to answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cython_ext.registers import KINDS, WORDS
from drivers.catalog.product import PointSpec, Product, Register
from drivers.modbus.frames import READ_HOLDING
from drivers.modbus.line import Endpoint
from drivers.modbus.plan import Cost, Read, cost_on, plan_reads, slack_s

HORIZON = 3
"""So many times the longest period is played …"""
MOST_REQUESTS = 20_000
"""… but never more requests than this."""
CHANGES_PER_S = 1.0
"""New setpoints that are written in the worst case, beside the refresh."""


@dataclass(frozen=True, slots=True)
class LineDevice:
    """What one device asks of its line."""

    name: str
    points: tuple[PointSpec, ...]
    reads: tuple[Read, ...]
    writes: tuple[tuple[float, int], ...] = ()
    """Period in seconds and registers of each write that goes out again and again."""
    gap_s: float = 0.0
    """Silence that it wants before each request."""


@dataclass(frozen=True, slots=True)
class BusLoad:
    """What becomes of a line."""

    utilisation: float
    """Share of the time in which it is busy; above 1 not everything can be read as often as it should."""
    requests_per_s: float
    """As planned, whether or not there is time for them."""
    worst_age_s: Mapping[tuple[str, str], float]
    """How old a value becomes at most, by device and point; infinite when its turn never came."""
    late: tuple[tuple[str, str], ...]
    """Device and name of the points that are too old now and then."""


@dataclass(slots=True)
class _Task:
    """One request that comes again and again, in seconds."""

    period: float
    cost: float
    slack: float = 0.0
    write: bool = False
    points: tuple[tuple[str, PointSpec], ...] = ()
    due: float = 0.0
    last: float = 0.0
    """When it was last answered."""
    on_time: bool = True
    """Whether its period has held so far, since the last answer."""
    age: float = 0.0

    @property
    def deadline(self) -> float:
        return self.due + self.slack

    def answered(self, now: float) -> None:
        """Note how old its values have become, at whatever moment they were due before."""
        self.age = max(self.age, self.period + now - self.due if self.on_time else now - self.last)
        self.on_time = self.due + self.period >= now
        self.last, self.due = now, max(self.due + self.period, now)


def line_device(
    name: str, product: Product, endpoint: Endpoint, changes_per_s: float = CHANGES_PER_S
) -> LineDevice:
    """Return what a device of that product asks of the line; ValueError when its points lie in its holes.

    SunSpec points count once it is known where they lie, and derived ones cost nothing.
    """
    link, points = product.link, product.points
    reads = plan_reads(points, link.max_gap, link.max_registers, link.holes, cost_on(endpoint))
    writes: list[tuple[float, int]] = []
    if product.write:
        period_s = 1 / (1 / product.write.refresh_s + changes_per_s)
        writes = [(period_s, _words(row.register)) for row in product.write.rows]
        if product.write.heartbeat:
            writes.append((product.write.refresh_s, _words(product.write.heartbeat)))
    return LineDevice(name, points, reads, tuple(writes), link.gap_s)


def load_of(devices: Sequence[LineDevice], endpoint: Endpoint) -> BusLoad:
    """Return how busy the line is, and how old values become on it.

    Args:
        devices: all that share the line.
        endpoint: the line; on TCP a round trip is a typical one.
    """
    tasks = [task for device in devices for task in _tasks(device, cost_on(endpoint))]
    _play(tasks)
    ages = {(device, point.name): task.age for task in tasks for device, point in task.points}
    late = tuple(
        (device, point.name) for task in tasks for device, point in task.points if task.age > point.max_age_s
    )
    return BusLoad(
        sum(task.cost / task.period for task in tasks), sum(1 / task.period for task in tasks), ages, late
    )


def _tasks(device: LineDevice, cost: Cost) -> list[_Task]:
    reads = [
        _Task(
            read.period_s,
            cost.of(read.fn, read.count) + device.gap_s,
            slack_s(read, device.points),
            points=tuple((device.name, device.points[i]) for i in read.points),
        )
        for read in device.reads
    ]
    # A write and its echo have as many bytes as a read of two registers more.
    return reads + [
        _Task(period_s, cost.of(READ_HOLDING, words + 2) + device.gap_s, write=True)
        for period_s, words in device.writes
    ]


def _play(tasks: Sequence[_Task]) -> None:
    end = HORIZON * max((task.period for task in tasks), default=0.0)
    now, wrote = 0.0, False
    for _ in range(MOST_REQUESTS):
        due = [task for task in tasks if task.due <= now]
        if not due:
            now = min((task.due for task in tasks), default=end)
            due = [task for task in tasks if task.due <= now]
        if now >= end:
            break
        writes = [task for task in due if task.write]
        reads = [task for task in due if not task.write]
        wrote = bool(writes) and not (wrote and reads)
        turn = min(writes if wrote else reads, key=lambda task: task.deadline)
        now += turn.cost
        turn.answered(now)
    for task in tasks:
        task.age = max(task.age, now - task.last) if task.last else math.inf


def _words(register: Register) -> int:
    return WORDS[KINDS.index(register.type)] or 1
