"""What the fleet believes about each site: a pure state machine over Sparkplug births, data and deaths.

No I/O and no clock: time is an argument, what must be done comes back as a value. A value is believed only
while its meaning is proven: the births of this session came, no message is missing in between, and the
session has not died. Anything else makes the site STALE and asks it to be born again.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from cloud_link.protocol.sparkplug import Metric, Payload
from cloud_link.protocol.sparkplug import Quality as WireQuality
from models.point import Quality
from models.units import NS_PER_S

REORDER_NS = 2 * NS_PER_S
"""How long a message may be missing before the site is asked to be born again."""
HELD_MAX = 64
"""Messages kept behind a missing one."""
REBIRTH_FIRST_NS = 5 * NS_PER_S
REBIRTH_LONGEST_NS = 60 * NS_PER_S
"""Rebirth requests to one site are at least this far apart; the distance doubles from the first to this."""
SILENT_NS = 3 * NS_PER_S
"""A site that is STALE and silent for so long is asked to be born again: its birth may have been missed."""
DEVICES_MAX = 256
BD_SEQ = "bdSeq"

Plain = bool | int | float | str | None

QUALITY: Mapping[int | None, Quality] = {
    None: Quality.GOOD,
    WireQuality.GOOD: Quality.GOOD,
    WireQuality.STALE: Quality.STALE,
}


class Link(StrEnum):
    """Whether a site can be believed and reached."""

    ONLINE = "online"
    STALE = "stale"
    """Perhaps there, but what we know is not proven to be true now."""
    OFFLINE = "offline"
    """It died, or said goodbye."""


class Now(NamedTuple):
    """One instant on both clocks."""

    utc_ms: int
    mono_ns: int


class Reading(NamedTuple):
    """Newest value of one point."""

    value: Plain
    quality: Quality
    t_ms: int
    """UTC of the site."""


class Message(NamedTuple):
    """One decoded Sparkplug message."""

    kind: str
    site: str
    device: str
    """Empty for the node itself."""
    payload: Payload
    raw: bytes = b""


class Meaning(NamedTuple):
    """What an alias stands for."""

    device: str
    name: str
    datatype: int


@dataclass(slots=True)
class Device:
    """Newest values of one device, or of the node itself."""

    online: bool = False
    t_ms: int = 0
    points: dict[str, Reading] = field(default_factory=dict)

    def die(self, t_ms: int) -> None:
        """Take every value down to STALE."""
        self.online = False
        self.t_ms = max(self.t_ms, t_ms)
        for name, reading in self.points.items():
            if reading.quality > Quality.STALE:
                self.points[name] = reading._replace(quality=Quality.STALE)


@dataclass(slots=True)
class Site:
    """What is known of one site."""

    name: str
    link: Link = Link.OFFLINE
    bd_seq: int = -1
    seq: int = -1
    """Sequence number of the newest message that was taken."""
    birth_ms: int = 0
    heard_ms: int = 0
    heard_ns: int = 0
    """When it was last heard, on our own clocks."""
    devices: dict[str, Device] = field(default_factory=dict)
    aliases: dict[int, Meaning | None] = field(default_factory=dict)
    """None = given twice, so it means nothing."""
    types: dict[int, int] = field(default_factory=dict)
    """Datatype by alias, for the decoder."""
    held: dict[int, Message] = field(default_factory=dict)
    """Messages that wait for one before them, by sequence number."""
    held_until_ns: int = 0
    asked_ns: int = 0
    asked_every_ns: int = 0
    births: int = 0
    """Counts every birth: a new number means that aliases may mean something else."""

    def node(self, name: str) -> Reading | None:
        """Return a node-level value such as ``site/lo_kw``."""
        device = self.devices.get("")
        return device.points.get(name) if device else None


@dataclass(slots=True)
class Verdict:
    """What became of a message, and what to do."""

    passed: list[tuple[Message, bool]] = field(default_factory=list)
    """Messages whose turn it was, in order, and whether each was understood."""
    rebirth: bool = False
    """Ask the site to be born again."""
    why: str = ""
    """Why something was not taken."""

    @property
    def taken(self) -> list[Message]:
        """The messages that were understood."""
        return [message for message, understood in self.passed if understood]


class Registry:
    """All sites of one tenant."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.changed: set[tuple[str, str]] = set()
        """(site, device) that changed since somebody last cleared it."""
        self._up_ns: int | None = None
        """Since when our own connection stands."""

    def restore(self, site: str, link: Link, bd_seq: int, birth_ms: int, heard_ms: int) -> None:
        """Remember a site from before a restart; nothing of it is believed until it is born again."""
        believed = Link.OFFLINE if link is Link.OFFLINE else Link.STALE
        self.sites[site] = Site(site, believed, bd_seq, birth_ms=birth_ms, heard_ms=heard_ms)

    def types(self, site: str) -> Mapping[int, int]:
        """Return the datatypes of a site's aliases."""
        known = self.sites.get(site)
        return known.types if known else {}

    def apply(self, message: Message, now: Now) -> Verdict:
        """Take one message; never raises for what a site sends."""
        site = self.sites.setdefault(message.site, Site(message.site))
        if message.kind == "NDEATH":
            return self._died(site, message, now)
        if message.kind == "NBIRTH":
            return self._born(site, message, now)
        if message.kind not in HANDLERS:
            return Verdict(why=f"unknown kind {message.kind[:20]}")
        site.heard_ms, site.heard_ns = now
        if site.link is not Link.ONLINE:
            return self._ask(site, now, "data before birth")
        return self._in_order(site, message, now)

    def tick(self, now: Now) -> list[str]:
        """Return the sites to be asked to be born again: a message stayed missing, or they are silent."""
        asked = []
        for site in self.sites.values():
            waited_long = bool(site.held) and now.mono_ns >= site.held_until_ns
            if waited_long:
                self._doubt(site, now.utc_ms)
            if (waited_long or self._is_silent(site, now)) and self._ask(site, now, "").rebirth:
                asked.append(site.name)
        return asked

    def _is_silent(self, site: Site, now: Now) -> bool:
        if self._up_ns is None or site.link is not Link.STALE:
            return False
        return now.mono_ns - max(self._up_ns, site.heard_ns) > SILENT_NS

    def link_up(self, now: Now) -> None:
        """Our own connection stands, and everything that is sent from now on is seen."""
        self._up_ns = now.mono_ns

    def link_lost(self, now: Now) -> None:
        """Our own connection is gone: whatever happens now is not seen, so nothing can be believed."""
        self._up_ns = None
        for site in self.sites.values():
            if site.link is Link.ONLINE:
                self._doubt(site, now.utc_ms)

    # --- sessions --------------------------------------------------------------------------------------

    def _born(self, site: Site, message: Message, now: Now) -> Verdict:
        bd_seq = _bd_seq(message.payload)
        if bd_seq is None or not _is_seq(message.payload.seq):
            return Verdict(why="a birth without bdSeq or seq")
        self._doubt(site, now.utc_ms)
        site.aliases.clear()
        site.types.clear()
        site.link, site.bd_seq, site.seq = Link.ONLINE, bd_seq, message.payload.seq or 0
        site.birth_ms = site.heard_ms = now.utc_ms
        site.heard_ns = now.mono_ns
        self._device_born(site, message, now)
        return Verdict([(message, True)])

    def _died(self, site: Site, message: Message, now: Now) -> Verdict:
        bd_seq = _bd_seq(message.payload)
        if bd_seq is None or bd_seq != site.bd_seq:
            return Verdict(why="a death of another session")
        self._doubt(site, now.utc_ms)
        site.link = Link.OFFLINE
        return Verdict([(message, True)])

    def _doubt(self, site: Site, t_ms: int) -> None:
        """Believe nothing more of this session."""
        if site.link is Link.ONLINE:
            site.link = Link.STALE
        site.held.clear()
        for name, device in site.devices.items():
            device.die(t_ms)
            self.changed.add((site.name, name))

    def _ask(self, site: Site, now: Now, why: str) -> Verdict:
        """Ask for a rebirth, unless that was done a moment ago."""
        since_ns = now.mono_ns - site.asked_ns
        if site.asked_ns and since_ns < site.asked_every_ns:
            return Verdict(why=why)
        in_a_row = site.asked_ns and since_ns < 2 * site.asked_every_ns
        site.asked_every_ns = (
            min(2 * site.asked_every_ns, REBIRTH_LONGEST_NS) if in_a_row else REBIRTH_FIRST_NS
        )
        site.asked_ns = now.mono_ns
        return Verdict(rebirth=True, why=why)

    # --- the order of messages -------------------------------------------------------------------------

    def _in_order(self, site: Site, message: Message, now: Now) -> Verdict:
        seq = message.payload.seq
        if seq is None or not _is_seq(seq):
            return self._ask(site, now, "data without seq")
        if seq == site.seq:
            return Verdict(why="delivered twice")
        ahead = (seq - site.seq - 1) % 256
        if ahead >= HELD_MAX:
            self._doubt(site, now.utc_ms)
            return self._ask(site, now, "seq out of order")
        if ahead:
            if not site.held:
                site.held_until_ns = now.mono_ns + REORDER_NS
            site.held[seq] = message
            return Verdict(why="waits for one before it")
        return self._take(site, message, now)

    def _take(self, site: Site, first: Message, now: Now) -> Verdict:
        """Take a message and those that waited for it."""
        verdict = Verdict()
        message: Message | None = first
        while message is not None:
            site.seq = message.payload.seq or 0
            why = HANDLERS[message.kind](self, site, message, now)
            verdict.passed.append((message, not why))
            if why:
                asked = self._ask(site, now, why)
                verdict.rebirth, verdict.why = verdict.rebirth or asked.rebirth, why
            message = site.held.pop((site.seq + 1) % 256, None)
        return verdict

    # --- what the messages say -------------------------------------------------------------------------

    def _device_born(self, site: Site, message: Message, now: Now) -> str:
        if message.device not in site.devices and len(site.devices) >= DEVICES_MAX:
            return "too many devices"
        for alias in [a for a, known in site.aliases.items() if known and known.device == message.device]:
            del site.aliases[alias]
        for metric in message.payload.metrics:
            if metric.alias is not None and metric.name:
                meaning = Meaning(message.device, metric.name, metric.datatype)
                twice = metric.alias in site.aliases
                site.aliases[metric.alias] = None if twice else meaning
                site.types[metric.alias] = 0 if twice else metric.datatype
        device = site.devices.setdefault(message.device, Device())
        device.online = True
        device.points.clear()
        site.births += 1
        named = ((metric.name, metric) for metric in message.payload.metrics if metric.name)
        self._put(site, message, named, now)
        return ""

    def _data(self, site: Site, message: Message, now: Now) -> str:
        device = site.devices.get(message.device)
        past = all(metric.is_historical for metric in message.payload.metrics)
        if device is None or not (device.online or past):
            return "data of a device before its birth"
        named = []
        for metric in message.payload.metrics:
            if metric.alias is None:
                known = metric.name in device.points
                named.append((metric.name, metric))
            else:
                known = metric.alias in site.aliases
                meaning = site.aliases.get(metric.alias)
                if meaning and meaning.device == message.device:
                    named.append((meaning.name, metric))
            if not known:
                return "unknown metric"
        if not past:
            self._put(site, message, named, now)
        return ""

    def _device_died(self, site: Site, message: Message, now: Now) -> str:
        device = site.devices.setdefault(message.device, Device())
        device.die(_time_of(message.payload, now))
        self.changed.add((site.name, message.device))
        return ""

    def _put(self, site: Site, message: Message, named: Iterable[tuple[str, Metric]], now: Now) -> None:
        """Take over newest values; what is historical belongs to the reports alone."""
        device = site.devices[message.device]
        t_ms = _time_of(message.payload, now)
        device.t_ms = t_ms
        for name, metric in named:
            if not metric.is_historical:
                device.points[name] = _reading(metric, t_ms)
        self.changed.add((site.name, message.device))


HANDLERS: Mapping[str, Callable[[Registry, Site, Message, Now], str]] = {
    "DBIRTH": Registry._device_born,
    "NDATA": Registry._data,
    "DDATA": Registry._data,
    "DDEATH": Registry._device_died,
}


def named_values(message: Message, aliases: Mapping[int, Meaning | None]) -> dict[str, Metric]:
    """Return the metrics of a message by name; those whose alias means nothing are left out."""
    found = {}
    for metric in message.payload.metrics:
        meaning = aliases.get(metric.alias) if metric.alias is not None else None
        if name := metric.name or (meaning.name if meaning else ""):
            found[name] = metric
    return found


def _reading(metric: Metric, t_ms: int) -> Reading:
    value = metric.value
    t_ms = metric.timestamp_ms or t_ms
    if value is None or isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return Reading(None, Quality.BAD, t_ms)
    return Reading(value, QUALITY.get(metric.quality, Quality.BAD), t_ms)


def _time_of(payload: Payload, now: Now) -> int:
    return payload.timestamp_ms or now.utc_ms


def _is_seq(seq: int | None) -> bool:
    return seq is not None and 0 <= seq <= 255


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == BD_SEQ and type(metric.value) is int and 0 <= metric.value <= 255:
            return metric.value
    return None
