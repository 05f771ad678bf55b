"""Running recorded cycles through the control of this version, and collecting what would be different.

A record holds everything that the cycle was given, so a difference is a change of behaviour, nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.cycle import run_cycle
from control.owners import OWNERS
from control.record import dtype, unpack
from edge.chunk import columns
from edge.config import loads
from edge.controller.build import site_of
from edge.history import History
from edge.ring import Ring
from models.errors import ConfigError, Problem, StoreError
from models.site import Site

Rows = NDArray[np.void]
BLOCK = 500
HOUR_MS = 3_600_000
SETPOINT = "p_set_kw["


@dataclass(slots=True)
class Difference:
    """One number of the record that comes out different."""

    name: str
    cycles: int
    """How many cycles differ in it."""
    first_cycle: int
    first_utc_ms: int
    recorded: float | str
    """In the first differing cycle; the name when it is an owner of a limit or a wish."""
    replayed: float | str
    largest: float | None
    """Largest distance of two finite values; None for names."""


@dataclass(slots=True)
class Result:
    """What a replay has found."""

    cycles: int = 0
    differing: int = 0
    first_cycle: int | None = None
    largest_setpoint_kw: float = 0.0
    """Largest change of a setpoint."""
    skipped: int = 0
    """Cycles that this version cannot run, because the record has another layout."""
    differences: dict[str, Difference] = field(default_factory=dict)


def stretches(path: Path) -> Iterator[tuple[str, Rows, float]]:
    """Yield site configuration, records, and which part of the file is done then (0..1)."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if head.startswith(b"YUNCHU-RING"):
        yield from _of_ring(path)
    elif head.startswith(b"SQLite format 3"):
        yield from _of_history(path)
    else:
        raise StoreError(f"{path} is neither a ring of cycle records nor a history")


def _of_ring(path: Path) -> Iterator[tuple[str, Rows, float]]:
    ring = Ring.open(path)
    rows = ring.since(-1)
    for at in range(0, len(rows), BLOCK):
        yield ring.meta["site_toml"], rows[at : at + BLOCK], min((at + BLOCK) / len(rows), 1.0)


def _of_history(path: Path) -> Iterator[tuple[str, Rows, float]]:
    history = History.open(path)
    try:
        span = history.span()
        if span is None:
            return
        first, end = span[0], span[1] + 1
        for since_ms in range(first, end, HOUR_MS):
            until_ms = min(since_ms + HOUR_MS, end)
            for layout, rows in history.records(since_ms, until_ms):
                for at in range(0, len(rows), BLOCK):
                    yield layout.site_toml, rows[at : at + BLOCK], (until_ms - first) / (end - first)
    finally:
        history.close()


class Replay:
    """Runs records again and collects what differs."""

    def __init__(self) -> None:
        """Nothing is replayed yet."""
        self.result = Result()
        self.problems: list[Problem] = []
        self._sites: dict[str, Site | None] = {}

    def add(self, site_toml: str, rows: Rows) -> None:
        """Run the cycles of these records (N,) again."""
        site = self._site(site_toml)
        if site is None or not _same_layout(rows.dtype, dtype(site)):
            self.result.skipped += len(rows)
            return
        kind = dtype(site)
        again = np.frombuffer(b"".join(run_cycle(site, *unpack(site, row)).record for row in rows), kind)
        recorded = np.empty(len(rows), kind)
        for name in kind.names or ():
            recorded[name] = rows[name]
        self.result.cycles += len(rows)
        if recorded.tobytes() != again.tobytes():
            self._compare(recorded, again)

    def _site(self, site_toml: str) -> Site | None:
        if site_toml not in self._sites:
            try:
                self._sites[site_toml] = site_of(loads(site_toml, "recorded.toml", check_files=False))
            except ConfigError as error:
                self._sites[site_toml] = None
                self.problems += error.problems
        return self._sites[site_toml]

    def _compare(self, recorded: Rows, again: Rows) -> None:
        width = recorded.dtype.itemsize
        old, new = (np.frombuffer(rows.tobytes(), np.uint8).reshape(-1, width) for rows in (recorded, again))
        unlike = old != new
        any_unlike = unlike.any(axis=1)
        self.result.differing += int(any_unlike.sum())
        if self.result.first_cycle is None:
            self.result.first_cycle = int(recorded["cycle"][any_unlike.argmax()])
        for column in columns(recorded.dtype):
            size = np.dtype(column.code).itemsize
            part = slice(column.offset, column.offset + size)
            where = unlike[:, part].any(axis=1)
            if where.any():
                a, b = (np.ascontiguousarray(raw[where, part]).view(column.code)[:, 0] for raw in (old, new))
                first = recorded[where.argmax()]
                self._note(column.name, int(first["cycle"]), int(first["utc_ms"]), a, b)

    def _note(self, name: str, cycle: int, utc_ms: int, recorded: Any, replayed: Any) -> None:
        largest = None
        if not _is_owner(name):
            distance = np.abs(recorded.astype(np.float64) - replayed.astype(np.float64))
            largest = float(distance[np.isfinite(distance)].max(initial=0.0))
        if name.startswith(SETPOINT) and largest is not None:
            self.result.largest_setpoint_kw = max(self.result.largest_setpoint_kw, largest)
        seen = self.result.differences.get(name)
        if seen is None:
            values = _value(name, recorded[0]), _value(name, replayed[0])
            self.result.differences[name] = Difference(name, len(recorded), cycle, utc_ms, *values, largest)
            return
        seen.cycles += len(recorded)
        if largest is not None:
            seen.largest = max(seen.largest or 0.0, largest)


def _same_layout(recorded: np.dtype[np.void], wanted: np.dtype[np.void]) -> bool:
    return all(
        name in (recorded.names or ()) and recorded[name] == wanted[name] for name in wanted.names or ()
    )


def _is_owner(name: str) -> bool:
    stem = name.split("[")[0]
    return stem.endswith("_by") or stem == "winner"


def _value(name: str, value: Any) -> float | str:
    if _is_owner(name) and int(value) < len(OWNERS):
        return str(OWNERS[int(value)])
    return float(value)
