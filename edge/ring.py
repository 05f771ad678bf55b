"""The flight recorder: the last minutes of cycle records at full rate, in a memory-mapped file.

One writer (the controller), any number of readers. The file outlives the process that wrote it, and a
controller that starts again with the same layout goes on where its predecessor stopped.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cython_ext import seqlock
from edge import mapped
from models.errors import StoreError

MARGIN = 4
"""Records next to the write position that a reader does not touch: they may be overwritten meanwhile."""


class Ring:
    """A ring of fixed-size records that describes itself."""

    def __init__(self, memory: mmap.mmap, meta: dict[str, Any], dtype: np.dtype[np.void], body: int) -> None:
        """Use ``create`` or ``open``."""
        self.meta = meta
        self.dtype = dtype
        whole = np.frombuffer(memory, np.uint8)
        self._count = whole[mapped.COUNT_AT : mapped.COUNT_AT + 16]
        self._rows = whole[body:].view(dtype)
        self._bytes = whole[body:].reshape(len(self._rows), dtype.itemsize)

    @classmethod
    def create(cls, path: Path, dtype: np.dtype[np.void], slots: int, meta: dict[str, Any]) -> "Ring":
        """Continue the ring at ``path`` when it has this layout and description, else begin a new one.

        Raises:
            StoreError: there is no room for it.
        """
        try:
            old = cls.open(path, writable=True)
            if old.dtype == dtype and len(old._rows) == slots and old.meta == meta:
                return old
            path.replace(path.with_suffix(".previous"))
        except StoreError:
            pass
        fresh = path.with_suffix(".new")
        mapped.create(fresh, mapped.RING, {"dtype": _describe(dtype), "meta": meta}, slots * dtype.itemsize)
        fresh.replace(path)
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> "Ring":
        """Map an existing ring.

        Raises:
            StoreError: there is none, or it is not one of ours.
        """
        memory, text, body = mapped.attach(path, mapped.RING, writable)
        try:
            return cls(memory, text["meta"], _dtype(text["dtype"]), body)
        except (ValueError, KeyError, TypeError) as error:
            raise mapped.damaged(path, error) from error

    @property
    def total(self) -> int:
        """Number of records ever written; record ``n`` (from 0) stands at ``n % slots``."""
        out = np.zeros(8, np.uint8)
        seqlock.read(self._count, out)
        return int(out.view("<u8")[0])

    def append(self, record: bytes) -> None:
        """Store one record."""
        total = self.total
        self._bytes[total % len(self._rows)] = np.frombuffer(record, np.uint8)
        seqlock.write(self._count, np.array([total + 1], "<u8").view(np.uint8))

    def newest(self) -> np.void | None:
        """Return a copy of the newest record."""
        total = self.total
        return None if total == 0 else self._rows[(total - 1) % len(self._rows)].copy()

    def last(self, count: int) -> NDArray[np.void]:
        """Return copies of up to ``count`` newest records, oldest first."""
        total = self.total
        first = max(total - count, total - len(self._rows) + MARGIN, 0)
        return self._rows[np.arange(first, total) % len(self._rows)]

    def since(self, cycle: int) -> NDArray[np.void]:
        """Return copies of all records whose ``cycle`` is larger, oldest first."""
        newest = self.newest()
        if newest is None or int(newest["cycle"]) <= cycle:
            return self._rows[:0].copy()
        rows = self.last(min(int(newest["cycle"]) - cycle, len(self._rows)))
        return rows[rows["cycle"] > cycle]


def _describe(dtype: np.dtype[np.void]) -> list[Any]:
    return [[name, *_plain(dtype.fields[name][0])] for name in dtype.names or () if dtype.fields]


def _plain(part: np.dtype[Any]) -> list[Any]:
    base, shape = part.subdtype or (part, ())
    if base.names:
        return [_describe(base), list(shape)]
    return [base.str, list(shape)]


def _dtype(described: list[Any]) -> np.dtype[np.void]:
    return np.dtype(
        [
            (name, _dtype(base) if isinstance(base, list) else base, tuple(shape))
            for name, base, shape in described
        ]
    )
