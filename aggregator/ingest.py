"""From what arrives to what is believed and what is stored. Pure: bytes and time in, rows out.

A report is a message for each device with news and the NDATA that closes it. It counts once, by its number,
however often and in whatever order it comes: newest state first and history later, or everything again after
a lost confirmation. A report of which anything was refused is not counted, so the site sends it again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.numbers import NUMBER_MAX, Numbers
from aggregator.registry import Meaning, Message, Now, Registry, Site, named_values
from cloud_link.protocol.report import OUTBOX_EPOCH, OUTBOX_FIRST, OUTBOX_NUMBER
from cloud_link.protocol.sparkplug import Metric, Payload, decode
from cloud_link.protocol.topics import sparkplug_parts
from models.errors import LinkError

PARTS_MAX = 256
"""Messages of one report: a device each, and the one that closes it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a site had to say about one instant, to be stored."""

    site: str
    epoch: int
    first: int | None
    number: int | None
    t_ms: int
    received_ms: int
    history: bool
    table: str
    """Alias table that explains the body, see :func:`read_table`."""
    body: bytes
    """Its messages one behind the other, which in protobuf is one payload with all their metrics."""


@dataclass(slots=True)
class Parts:
    """The messages of a report that is not closed yet."""

    messages: list[Message] = field(default_factory=list)
    whole: bool = True
    """Nothing of it was refused."""

    def add(self, message: Message, understood: bool) -> None:
        """Put one more message to it."""
        self.whole = self.whole and understood and len(self.messages) < PARTS_MAX
        if self.whole:
            self.messages.append(message)

    def clear(self) -> None:
        """Begin the next report."""
        self.messages.clear()
        self.whole = True


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
        self._parts: dict[str, Parts] = {}

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
        for each, understood in verdict.passed:
            report = self._pass(self.registry.sites[message.site], each, understood, now)
            if report is not None:
                taken.reports.append(report)
        return taken

    def _pass(self, site: Site, message: Message, understood: bool, now: Now) -> Report | None:
        """Put a message to the report that it is a part of; return the report when it is complete and new."""
        parts = self._parts.setdefault(site.name, Parts())
        numbers = self.numbers.setdefault(site.name, Numbers())
        if message.kind == "NBIRTH":
            parts.clear()
            _begin(numbers, message.payload)
        if not message.kind.endswith("DATA"):
            return None
        parts.add(message, understood)
        if message.kind == "DDATA" and numbers.epoch:
            return None  # a site without an outbox does not close its reports: each message is one
        whole, messages = parts.whole, list(parts.messages)
        parts.clear()
        return self._report(site, messages, now) if whole else None

    def _report(self, site: Site, messages: list[Message], now: Now) -> Report | None:
        """Return what is to be stored, or None for what is already there."""
        last = messages[-1]
        values = named_values(last, site.aliases)
        number = _number(values.get(OUTBOX_NUMBER))
        numbers = self.numbers.setdefault(site.name, Numbers())
        first = min(_number(values.get(OUTBOX_FIRST)) or NUMBER_MAX, number) if number else None
        if first and number and not numbers.add(first, number):
            return None
        history = any(metric.is_historical for metric in last.payload.metrics)
        t_ms = _own_time(last.payload) or now.utc_ms
        body = b"".join(message.raw for message in messages)
        return Report(
            site.name, numbers.epoch, first, number, t_ms, now.utc_ms, history, self._table(site), body
        )

    def _table(self, site: Site) -> str:
        births, table = self._tables.get(site.name, (-1, ""))
        if births != site.births:
            rows = [[alias, *meaning] for alias, meaning in sorted(site.aliases.items()) if meaning]
            table = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
            self._tables[site.name] = site.births, table
        return table


def read_table(table: str) -> dict[int, Meaning]:
    """Return the alias table that was stored with a report."""
    return {alias: Meaning(device, name, datatype) for alias, device, name, datatype in json.loads(table)}


def unpack(body: bytes, aliases: Mapping[int, Meaning]) -> dict[str, Metric]:
    """Return the metrics of a stored report by ``device/point`` or node-level name.

    Raises:
        LinkError: the body is no payload.
    """
    found = {}
    payload = decode(body, {alias: meaning.datatype for alias, meaning in aliases.items()})
    for metric in payload.metrics:
        meaning = aliases.get(-1 if metric.alias is None else metric.alias)
        if meaning:
            found[f"{meaning.device}/{meaning.name}" if meaning.device else meaning.name] = metric
    return found


def _begin(numbers: Numbers, payload: Payload) -> None:
    values = {metric.name: metric.value for metric in payload.metrics}
    epoch, first = values.get(OUTBOX_EPOCH), values.get(OUTBOX_FIRST)
    if type(epoch) is int and epoch > 0:
        numbers.begin(epoch, first if type(first) is int and 0 < first <= NUMBER_MAX else 1)


def _number(metric: Metric | None) -> int | None:
    if metric is None or type(metric.value) is not int or not 0 < metric.value < NUMBER_MAX:
        return None
    return metric.value


def _own_time(payload: Payload) -> int | None:
    """A report is as old as what it tells of, not as its sending."""
    return max(
        (metric.timestamp_ms for metric in payload.metrics if metric.timestamp_ms),
        default=payload.timestamp_ms,
    )
