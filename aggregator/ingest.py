"""From what arrives to what is believed and what is stored. Pure: bytes and time in, rows out.

A report counts once, by its outbox number, however often and in whatever order it comes: newest state first
and history later, or everything again after a lost confirmation. What cannot be understood is not counted,
so the site sends it again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.numbers import NUMBER_MAX, Numbers
from aggregator.registry import Meaning, Message, Now, Registry, Site, named_values
from cloud_link.protocol.sparkplug import Metric, Payload, decode
from cloud_link.protocol.topics import sparkplug_parts
from models.errors import LinkError

NUMBER = "outbox/number"
EPOCH = "outbox/epoch"
FIRST = "outbox/first"
"""Of a report: it stands for every number from here to its own; absent = for its own alone."""
CONFIRMED = "outbox/confirmed"
"""Of a birth: what is up to here was confirmed once, and the site keeps it no more."""


@dataclass(frozen=True, slots=True)
class Report:
    """One payload to be stored."""

    site: str
    epoch: int
    first: int | None
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
        first = number = None
        if message.kind.endswith("DATA"):
            values = named_values(message, site.aliases)
            number = _number(values.get(NUMBER))
            if number is not None:
                first = min(_number(values.get(FIRST)) or number, number)
                if not numbers.add(first, number):
                    return None
        history = any(metric.is_historical for metric in message.payload.metrics)
        t_ms = _own_time(message.payload, history) or now.utc_ms
        table = self._table(site)
        return Report(
            site.name, numbers.epoch, first, number, message.device,
            t_ms, now.utc_ms, history, table, message.raw,
        )  # fmt: skip

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
    epoch, confirmed = values.get(EPOCH), values.get(CONFIRMED)
    if type(epoch) is int and epoch > 0:
        numbers.begin(epoch, confirmed if type(confirmed) is int and 0 < confirmed < NUMBER_MAX else 0)


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
