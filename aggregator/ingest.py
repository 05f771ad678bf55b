"""From what arrives to what is believed and what is stored. Pure: bytes and time in, rows out.

A report counts once, by its outbox number, however often and in whatever order it comes: newest state first
and history later, or everything again after a lost confirmation. What cannot be understood is not counted,
so the site sends it again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.registry import Meaning, Message, Now, Registry, Site, named_values
from cloud_link.protocol.sparkplug import Metric, Payload, decode
from cloud_link.protocol.topics import sparkplug_parts
from models.errors import LinkError

NUMBER = "outbox/number"
EPOCH = "outbox/epoch"
FIRST = "outbox/first"
"""Oldest number that the site still keeps: what is below will never come (again)."""
NUMBER_MAX = 2**53


@dataclass(slots=True)
class Numbers:
    """Which outbox numbers of a site are here."""

    epoch: int = 0
    contiguous: int = 0
    above: set[int] = field(default_factory=set)
    """Numbers that came before others below them."""
    received: int = 0
    """Distinct reports, over all epochs."""
    duplicates: int = 0

    @property
    def missing(self) -> int:
        """How many numbers below the highest one are still to come."""
        return max(self.above) - self.contiguous - len(self.above) if self.above else 0

    def add(self, number: int) -> bool:
        """Note a number; return whether it is new."""
        if number <= self.contiguous or number in self.above:
            self.duplicates += 1
            return False
        self.above.add(number)
        self.received += 1
        self._advance()
        return True

    def begin(self, epoch: int, first: int) -> None:
        """A birth says which outbox it is and from which number on it still has everything."""
        if epoch != self.epoch:
            self.epoch, self.contiguous = epoch, 0
            self.above.clear()
        if first - 1 > self.contiguous:
            self.contiguous = first - 1
            self.above = {number for number in self.above if number >= first}
            self._advance()

    def _advance(self) -> None:
        while self.contiguous + 1 in self.above:
            self.contiguous += 1
            self.above.remove(self.contiguous)


@dataclass(frozen=True, slots=True)
class Report:
    """One payload to be stored."""

    site: str
    epoch: int
    number: int | None
    device: str
    t_ms: int
    received_ms: int
    history: bool
    table: str
    """Alias table that explains the body, see :func:`read_table`."""
    body: bytes


@dataclass(slots=True)
class Taken:
    """What one message came to."""

    reports: list[Report] = field(default_factory=list)
    rebirth: str = ""
    """Site that must be asked to be born again."""
    why: str = ""
    """Why something was not taken."""


class Ingest:
    """Telemetry of one tenant."""

    def __init__(self, tenant: str, registry: Registry) -> None:
        self.tenant = tenant
        self.registry = registry
        self.numbers: dict[str, Numbers] = {}
        self._tables: dict[str, tuple[int, str]] = {}

    def take(self, topic: str, raw: bytes, now: Now) -> Taken:
        """Take one Sparkplug message; what is wrong with it is in ``why``, nothing is raised."""
        parts = sparkplug_parts(topic)
        if parts is None or parts[0] != self.tenant or parts[1] == "STATE":
            return Taken(why="not a message of this tenant")
        _, kind, name, device = parts
        if (device is None) == kind.startswith("D") or kind in ("NCMD", "DCMD"):
            return Taken(why="not a message of a site")
        try:
            payload = decode(raw, self.registry.types(name) if kind.endswith("DATA") else None)
        except LinkError as error:
            return Taken(why=str(error))
        return self._apply(Message(kind, name, device or "", payload, raw), now)

    def _apply(self, message: Message, now: Now) -> Taken:
        verdict = self.registry.apply(message, now)
        taken = Taken(rebirth=message.site if verdict.rebirth else "", why=verdict.why)
        site = self.registry.sites[message.site]
        numbers = self.numbers.setdefault(message.site, Numbers())
        for each in verdict.taken:
            if each.kind == "NBIRTH":
                _begin(numbers, each.payload)
            report = self._report(site, numbers, each, now)
            if report is not None:
                taken.reports.append(report)
        return taken

    def _report(self, site: Site, numbers: Numbers, message: Message, now: Now) -> Report | None:
        """Return what is to be stored, or None for what is already there or says nothing."""
        if message.kind.endswith("DEATH"):
            return None
        number = None
        if message.kind.endswith("DATA"):
            number = _number(named_values(message, site.aliases).get(NUMBER))
            if number is not None and not numbers.add(number):
                return None
        history = any(metric.is_historical for metric in message.payload.metrics)
        t_ms = _own_time(message.payload, history) or now.utc_ms
        table = self._table(site)
        return Report(
            site.name, numbers.epoch, number, message.device, t_ms, now.utc_ms, history, table, message.raw
        )

    def _table(self, site: Site) -> str:
        births, table = self._tables.get(site.name, (-1, ""))
        if births != site.births:
            rows = [[alias, *meaning] for alias, meaning in sorted(site.aliases.items()) if meaning]
            table = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
            self._tables[site.name] = site.births, table
        return table


def read_table(table: str) -> dict[int, Meaning | None]:
    """Return the alias table that was stored with a report."""
    return {alias: Meaning(device, name, datatype) for alias, device, name, datatype in json.loads(table)}


def unpack(body: bytes, aliases: Mapping[int, Meaning | None]) -> dict[str, Metric]:
    """Return the metrics of a stored report by name.

    Raises:
        LinkError: the body is not a payload.
    """
    types = {alias: meaning.datatype for alias, meaning in aliases.items() if meaning}
    return named_values(Message("", "", "", decode(body, types)), aliases)


def _begin(numbers: Numbers, payload: Payload) -> None:
    values = {metric.name: metric.value for metric in payload.metrics}
    epoch, first = values.get(EPOCH), values.get(FIRST)
    if type(epoch) is int:
        numbers.begin(epoch, first if type(first) is int and 0 < first < NUMBER_MAX else 1)


def _number(metric: Metric | None) -> int | None:
    if metric is None or type(metric.value) is not int or not 0 < metric.value < NUMBER_MAX:
        return None
    return metric.value


def _own_time(payload: Payload, history: bool) -> int | None:
    """History is as old as what it tells of, not as its sending."""
    if history:
        times = [metric.timestamp_ms for metric in payload.metrics if metric.timestamp_ms]
        return max(times, default=payload.timestamp_ms)
    return payload.timestamp_ms
