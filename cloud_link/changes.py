"""Report by exception: what of a second is worth telling, and how it is kept until it is told.

Pure. A value is told when it left its dead band, changed its quality, or in a full report. Heartbeats come
in full reports only: their news is that a device lives, which births and deaths tell.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cloud_link.protocol import sparkplug
from models.point import Point, Quality, Role

Plain: TypeAlias = float | int | str | None

Entry: TypeAlias = tuple[str, str, Plain, int]
"""(device or empty for the node itself, metric, value, Sparkplug quality)."""

DEAD_BANDS: Mapping[str, tuple[float, float]] = {
    "kW": (0.1, 0.005),
    "kvar": (0.1, 0.005),
    "V": (0.5, 0.002),
    "A": (0.2, 0.005),
    "Hz": (0.01, 0.0),
    "degC": (0.2, 0.0),
    "kWh": (0.1, 0.0),
    "": (0.001, 0.0),
}
"""Symbol: (absolute, share of the last told value); the larger counts. Others: any change."""

_QUALITY = {
    Quality.GOOD: sparkplug.Quality.GOOD,
    Quality.UNCERTAIN: sparkplug.Quality.STALE,
    Quality.STALE: sparkplug.Quality.STALE,
    Quality.BAD: sparkplug.Quality.BAD,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What the site looks like at one instant."""

    t_ms: int
    """UTC."""
    node: Mapping[str, Plain]
    """Node-level values by metric name."""
    value: Sequence[float]
    """(P,) in the order of the site's points."""
    quality: Sequence[int]
    """(P,) models.point.Quality, already aged."""


def wire_quality(quality: int) -> int:
    """Return the Sparkplug quality of one of ours; only GOOD stays good."""
    return _QUALITY[Quality(quality)]


def alive(points: Sequence[Point], quality: Sequence[int]) -> set[str]:
    """Return the devices of which at least one value is current."""
    pairs = zip(points, quality, strict=True)
    return {point.device for point, level in pairs if level >= Quality.UNCERTAIN}


def short_name(point: Point) -> str:
    """Return the name of a point inside its device."""
    return point.name.removeprefix(point.device + "/")


def entries(points: Sequence[Point], report: Report) -> list[Entry]:
    """Return everything that a report says; what is not a finite number is None."""
    node: list[Entry] = [("", name, _plain(value), 192) for name, value in report.node.items()]
    rows = zip(points, report.value, report.quality, strict=True)
    return node + [(p.device, short_name(p), _plain(float(v)), wire_quality(int(q))) for p, v, q in rows]


def _plain(value: Plain) -> Plain:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


class Changes:
    """Remembers what was told last."""

    def __init__(self, points: Sequence[Point], full_every_s: float = 60.0) -> None:
        self._points = tuple(points)
        self._bands = {(p.device, short_name(p)): _band(p) for p in points}
        self._quiet = {(p.device, short_name(p)) for p in points if p.role is Role.HEARTBEAT}
        self._full_every_ms = full_every_s * 1000.0
        self._told: dict[tuple[str, str], tuple[Plain, int]] = {}
        self._alive: set[str] = set()
        self._full_ms = -math.inf

    def worth_telling(self, report: Report) -> list[Entry]:
        """Return what must be told of ``report``, and take it as told.

        A device that has just been lost tells its qualities once; after that it is silent until it is back.
        """
        lives = alive(self._points, report.quality)
        speaks = lives | self._alive | {""}
        self._alive = lives
        full = not 0 <= report.t_ms - self._full_ms < self._full_every_ms
        if full:
            self._full_ms = report.t_ms
        news = [entry for entry in entries(self._points, report) if entry[0] in speaks]
        news = [entry for entry in news if full or self._differs(entry)]
        self._told.update({(device, name): (value, quality) for device, name, value, quality in news})
        return news

    def _differs(self, entry: Entry) -> bool:
        device, name, value, quality = entry
        key = device, name
        if key not in self._told:
            return True
        last, last_quality = self._told[key]
        if quality != last_quality:
            return True
        if not isinstance(value, float) or not isinstance(last, float):
            return value != last
        absolute, share = self._bands.get(key, DEAD_BANDS["kW"])
        return key not in self._quiet and abs(value - last) > max(absolute, share * abs(last))


def _band(point: Point) -> tuple[float, float]:
    return DEAD_BANDS.get(point.symbol, (0.0, 0.0))


def pack(t_ms: int, news: Iterable[Entry]) -> bytes:
    """Return the body under which news are kept."""
    return json.dumps(
        [t_ms, [list(entry) for entry in news]], separators=(",", ":"), ensure_ascii=False
    ).encode()


def unpack(body: bytes) -> tuple[int, list[Entry]]:
    """Return time and news of a body."""
    t_ms, rows = json.loads(body)
    return t_ms, [(device, name, value, quality) for device, name, value, quality in rows]


def merge(older: bytes, newer: bytes) -> bytes:
    """Return one body for two: what only the older one tells still held at the time of the newer one."""
    old = {entry[:2]: entry for entry in unpack(older)[1]}
    t_ms, news = unpack(newer)
    return pack(t_ms, (old | {entry[:2]: entry for entry in news}).values())
