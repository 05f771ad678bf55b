"""A look at the running site with the standard library alone: for commands that must answer at once.

Reads the same files as ``edge.image`` and ``edge.ring``, without numpy, and never writes.
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cython_ext import seqlock
from edge import mapped
from models.errors import StoreError

QUALITIES = ("BAD", "STALE", "UNCERTAIN", "GOOD")
COUNTERS = (
    "polls", "timeouts", "bad_replies", "refused", "writes", "door_refused", "reconnects", "online",
)  # fmt: skip
CODES = {
    "<f8": "d",
    "<i8": "q",
    "<u8": "Q",
    "<i4": "i",
    "<u4": "I",
    "<u2": "H",
    "|u1": "B",
    "|i1": "b",
    "|b1": "?",
}
STALE_S = 1.0
"""A controller whose newest record is older than this does not run any more."""


@dataclass(frozen=True, slots=True)
class PointNow:
    """One point as it stands now."""

    name: str
    device: str
    unit: str
    role: str
    symbol: str
    value: float
    quality: str
    age_s: float | None


def _read(memory: mmap.mmap, at: int, size: int) -> bytearray | None:
    out = bytearray(size)
    with memoryview(memory) as whole:
        return out if seqlock.read(whole[at : at + 8 + size], out) else None


class Glance:
    """The image and the newest record of one site."""

    def __init__(self, run_dir: Path) -> None:
        """Map both files.

        Raises:
            StoreError: there is no running or stopped site in that folder.
        """
        self._image, self._meta, self._body = mapped.attach(run_dir / "image", mapped.IMAGE, writable=False)
        self.site: str = self._meta["site"]
        self.epoch_ms: int = self._meta["epoch_ms"]
        self.pid: int = self._meta["pid"]
        self.state_dir = Path(self._meta["state_dir"])
        self.record = _newest_record(run_dir / "ring")
        self.now_ns = time.monotonic_ns()

    @property
    def running(self) -> bool:
        """Whether the controller lives and has written a record just now."""
        return self.record is not None and self.record_age_s < STALE_S and _alive(self.pid)

    @property
    def record_age_s(self) -> float:
        """Age of the newest record."""
        return float("inf") if self.record is None else (self.now_ns - self.record["mono_ns"]) / 1e9

    def devices(self) -> list[dict[str, Any]]:
        """Return name, protocol and counters of every device."""
        rows = []
        for info, slice_ in self._slices():
            counters = slice_[2] if slice_ else [0.0] * len(COUNTERS)
            named = dict(zip(COUNTERS, map(int, counters), strict=True))
            errors = named["timeouts"] + named["bad_replies"] + named["refused"]
            online = bool(named.pop("online"))
            rows.append(
                {
                    "name": info["name"],
                    "protocol": info["protocol"],
                    "kind": info["kind"],
                    "online": online,
                    "errors": errors,
                    **named,
                }
            )
        return rows

    def points(self) -> list[PointNow]:
        """Return every point with the quality that its age leaves it."""
        found: list[PointNow] = []
        for info, slice_ in self._slices():
            described = self._meta["points"][info["first"] : info["first"] + info["count"]]
            value, t_ns, _, quality = slice_ or (
                [float("nan")] * len(described),
                [0] * len(described),
                [],
                b"",
            )
            for number, point in enumerate(described):
                age_s = (self.now_ns - t_ns[number]) / 1e9 if t_ns[number] else None
                word = QUALITIES[quality[number]] if quality and age_s is not None else "BAD"
                if word in ("GOOD", "UNCERTAIN") and age_s is not None and age_s > point["max_age_s"]:
                    word = "STALE"
                named = {k: point[k] for k in ("name", "device", "unit", "role", "symbol")}
                found.append(PointNow(**named, value=value[number], quality=word, age_s=age_s))
        return found

    def _slices(self) -> list[tuple[dict[str, Any], tuple[Any, ...] | None]]:
        """Return for each device its description and (value, t_ns, counters, quality)."""
        result: list[tuple[dict[str, Any], tuple[Any, ...] | None]] = []
        at = self._body
        for info in self._meta["devices"]:
            n = info["count"]
            size = n * 17 + len(COUNTERS) * 8
            raw = _read(self._image, at, size)
            at += mapped.aligned(8 + size)
            if raw is None:
                result.append((info, None))
                continue
            numbers = struct.unpack_from(f"<{n}d{n}q{len(COUNTERS)}d", raw)
            result.append((info, (numbers[:n], numbers[n : 2 * n], numbers[2 * n :], bytes(raw[-n:]))))
        return result


def _newest_record(path: Path) -> dict[str, Any] | None:
    try:
        memory, text, body = mapped.attach(path, mapped.RING, writable=False)
    except StoreError:
        return None
    raw = _read(memory, mapped.COUNT_AT, 8)
    total = int.from_bytes(raw or b"", "little")
    if total == 0:
        return None
    size = _size(text["dtype"])
    slots = (len(memory) - body) // size
    at = body + (total - 1) % slots * size
    return _unpack(text["dtype"], memory[at : at + size], 0)[0]


def _count(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _size(described: list[Any]) -> int:
    return sum(
        (_size(base) if isinstance(base, list) else struct.calcsize("<" + CODES[base])) * _count(shape)
        for _, base, shape in described
    )


def _unpack(described: list[Any], raw: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Return the fields of one record as plain numbers and (flat) lists, and where it ends."""
    fields: dict[str, Any] = {}
    for name, base, shape in described:
        count = _count(shape)
        values: list[Any]
        if isinstance(base, list):
            values = []
            for _ in range(count):
                row, at = _unpack(base, raw, at)
                values.append(row)
        else:
            code = f"<{count}{CODES[base]}"
            values = list(struct.unpack_from(code, raw, at))
            at += struct.calcsize(code)
        fields[name] = values if shape else values[0]
    return fields, at


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
