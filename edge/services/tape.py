"""Reading the controller's ring second by second, across restarts of either side and new configurations."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.history_reader import Layout
from edge.image import SharedImage
from edge.ring import Ring
from models.errors import StoreError
from models.units import MS_PER_S

Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Records of whole seconds, and what is needed to know what they look like."""

    rows: Rows
    points: tuple[str, ...]
    site_toml: str
    version: str

    def alike(self, other: "Part") -> bool:
        """Whether both have the same layout."""
        mine = (self.rows.dtype, self.points, self.site_toml, self.version)
        return mine == (other.rows.dtype, other.points, other.site_toml, other.version)


def last_of_seconds(rows: Rows) -> tuple[Rows, Rows]:
    """Split off the second that may still get records: the last record of every earlier one, the rest."""
    if not len(rows):
        return rows, rows
    ends = np.flatnonzero(np.diff(rows["utc_ms"] // MS_PER_S))
    return rows[ends], rows[-1:]


class Tape:
    """Follows ``ring`` in a run folder from where the history ends."""

    def __init__(self, run_dir: Path, newest: tuple[Layout, np.void] | None) -> None:
        """Args: newest is what was stored last, so that a restart loses and repeats nothing."""
        self._run_dir = run_dir
        self._path = run_dir / "ring"
        self._newest = newest
        self._ring: Ring | None = None
        self._inode = 0
        self.cycle = -1
        """Number of the newest record that was read."""
        self._points: tuple[str, ...] = ()
        self._open: Rows | None = None
        """The newest record of the second that is not over."""
        self.missed = 0
        """Records that were overwritten before they were read; always 0 unless the recorder was away."""

    def take(self, finish: bool = False) -> list[Part]:
        """Return what has come since the last call.

        Args:
            finish: also return the second that is not over, because nothing more will come.

        Raises:
            StoreError: there is no ring, or its points are not known (yet).
        """
        parts: list[Part] = []
        if self._ring is not None and self._replaced():
            parts = self._read(self._ring, finish=True)
            self._ring = None
            if parts:
                return parts  # safe before anything can go wrong with the new one
        if self._ring is None:
            parts = self._reach()
        assert self._ring is not None
        return parts + self._read(self._ring, finish)

    def _replaced(self) -> bool:
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def _reach(self) -> list[Part]:
        """Open the ring; return what the one before it still held for us."""
        ring = Ring.open(self._path)
        self._inode = self._path.stat().st_ino
        self._points = self._point_names(ring)
        self._ring, self._open, self.cycle = ring, None, -1
        newest, self._newest = self._newest, None
        if newest is None:
            return []
        layout, row = newest
        if self._seek(ring, row):
            return []
        try:
            before = Ring.open(self._path.with_suffix(".previous"))
        except StoreError:
            before = None
        if before is None or before.dtype != layout.dtype or not self._seek(before, row):
            oldest = ring.since(-1)[:1]
            if layout.dtype == ring.dtype and len(oldest):  # away for longer than the ring reaches back
                self.missed += max(int(oldest["cycle"][0]) - int(row["cycle"]) - 1, 0)
            return []
        points, self._points = self._points, layout.points
        parts = self._read(before, finish=True)
        self._points, self.cycle = points, -1
        return parts

    def _point_names(self, ring: Ring) -> tuple[str, ...]:
        count = ring.dtype["value"].shape[0]
        names = tuple(point.name for point in SharedImage.open(self._run_dir / "image").points)
        if len(names) != count:
            raise StoreError(f"{self._path} and the image beside it do not belong together")
        return names

    def _seek(self, ring: Ring, row: np.void) -> bool:
        """Go to the place behind ``row``; False when it is not in the ring."""
        rows = ring.since(-1)
        same = (rows["cycle"] == row["cycle"]) & (rows["mono_ns"] == row["mono_ns"])
        if same.any():
            self.cycle = int(row["cycle"])
        return bool(same.any())

    def _read(self, ring: Ring, finish: bool) -> list[Part]:
        rows = ring.since(self.cycle)
        if len(rows):
            if self.cycle >= 0:
                self.missed += int(rows["cycle"][0]) - self.cycle - 1
            self.cycle = int(rows["cycle"][-1])
        if self._open is not None:
            rows = np.concatenate((self._open, rows))
        whole, rest = last_of_seconds(rows)
        if finish:
            whole, rest = np.concatenate((whole, rest)), rest[:0]
        self._open = rest if len(rest) else None
        meta = ring.meta
        return [Part(whole, self._points, meta["site_toml"], meta["version"])] if len(whole) else []
