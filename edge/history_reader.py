"""Reading the history: series of a point, whole records, events. ``edge.history`` describes the tables."""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge import chunk
from models.errors import StoreError
from models.point import Quality
from models.units import MS_PER_S

MINUTE_MS = 60_000
QUARTER_MS = 900_000
DAY_MS = 86_400_000
BUSY_S = 2.0
Rows = NDArray[np.void]
Series = tuple[NDArray[np.int64], NDArray[np.float64]]
"""UTC [ms] (N,) and values (N,) or (N, K)."""

DERIVED = {
    "site/net_load_kw": "net_kw",
    "site/target_kw": "target_kw",
    "site/lo_kw": "site_lo_kw",
    "site/hi_kw": "site_hi_kw",
}
"""Series that are not points: name to field of the record."""
NET_LOAD = "site/net_load_kw"
CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_SEQUENCE"})


class CorruptError(StoreError):
    """The file is damaged; it has to be set aside."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the records of one configuration look like."""

    id: int
    dtype: np.dtype[np.void]
    points: tuple[str, ...]
    """Names, in the order of ``value``."""
    site_toml: str
    version: str


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind = CorruptError if getattr(error, "sqlite_errorname", "") in CORRUPT else StoreError
        raise kind(f"{path}: {error}") from error
    except ValueError as error:  # a blob that does not decode
        raise CorruptError(f"{path}: {error}") from error


class HistoryReader:
    """A history file opened for reading."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Use ``open``."""
        self.path = path
        self._db = database
        self._layouts: dict[int, Layout] = {}

    @classmethod
    def _connect(cls, path: Path, mode: str) -> Self:
        if mode == "ro" and not path.is_file():
            raise StoreError(f"there is no history at {path}")
        with speaking(path):
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            database = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
        history = cls(path, database)
        try:
            with speaking(path):
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except StoreError:
            history.close()
            raise
        return history

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def newest(self) -> tuple[Layout, np.void] | None:
        """Return the record that was stored last, with its layout."""
        for table in ("second", "minute"):
            query = f"SELECT layout, record FROM {table} ORDER BY id DESC LIMIT 1"
            for number, blob in self._query(query):
                layout = self._layout(number)
                return layout, self._unpack(blob, layout)[-1]
        return None

    def span(self) -> tuple[int, int] | None:
        """Return UTC of the first and the last record, None when there is none."""
        query = (
            "SELECT min(utc_ms), max(until_ms) FROM"
            " (SELECT utc_ms, until_ms FROM minute UNION ALL SELECT utc_ms, until_ms FROM second)"
        )
        ((first, last),) = self._query(query)
        return None if first is None else (first, last)

    def held(self) -> tuple[int, float]:
        """Return the size of the file [bytes], and how many days lie between its first and last minute."""
        query = (
            "SELECT page_count * page_size,"
            " (SELECT max(utc_ms) FROM minute) - (SELECT min(utc_ms) FROM minute)"
            " FROM pragma_page_count, pragma_page_size"
        )
        ((size_bytes, held_ms),) = self._query(query)
        return size_bytes, (held_ms or 0) / DAY_MS

    def points(self) -> list[str]:
        """Return the names of all series that can be read, those of the newest layout first."""
        names: dict[str, None] = {}
        for (number,) in self._query("SELECT id FROM layout ORDER BY id DESC"):
            layout = self._layout(number)
            names |= dict.fromkeys(layout.points)
            names |= {name: None for name, field in DERIVED.items() if field in (layout.dtype.names or ())}
        return list(names)

    def records(self, since_ms: int, until_ms: int) -> list[tuple[Layout, Rows]]:
        """Return the records with ``since_ms`` <= UTC < ``until_ms``, one entry per stretch of one layout."""
        found: list[tuple[Layout, Rows]] = []
        for number, blob in self._blobs(since_ms, until_ms):
            layout = self._layout(number)
            rows = self._unpack(blob, layout)
            rows = rows[(rows["utc_ms"] >= since_ms) & (rows["utc_ms"] < until_ms)]
            if len(rows) and found and found[-1][0] is layout:
                found[-1] = (layout, np.concatenate((found[-1][1], rows)))
            elif len(rows):
                found.append((layout, rows))
        return found

    def read(self, point: str, since_ms: int, until_ms: int, step_s: float = 1.0) -> Series:
        """Return means of one point, as ``read_many`` does: t_ms (N,), value (N,)."""
        t_ms, value = self.read_many([point], since_ms, until_ms, step_s)
        return t_ms, value[:, 0]

    def read_many(self, points: Sequence[str], since_ms: int, until_ms: int, step_s: float = 1.0) -> Series:
        """Return means of points on a regular grid; nan where nothing usable is known.

        Args:
            points: (K,) names as in ``points``.
            since_ms: UTC from which.
            until_ms: UTC up to which, exclusive.
            step_s: of the grid, whose times are multiples of it; from 900 s on the 15-minute rows are used.

        Returns:
            t_ms (N,) begin of each step, value (N, K).
        """
        step_ms = max(round(step_s * MS_PER_S), 1)
        first_ms = since_ms // step_ms * step_ms
        with self._snapshot():
            if step_ms < QUARTER_MS:
                parts = [self._raw(points, since_ms, until_ms)]
            else:
                first_ms = since_ms // QUARTER_MS * QUARTER_MS // step_ms * step_ms
                parts = self._rolled(points, first_ms, until_ms)
        return _means(*_joined(parts), first_ms, until_ms, step_ms)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Make several queries see the same state of the file."""
        self._query("BEGIN")
        try:
            yield
        finally:
            self._query("COMMIT")

    def _rolled(self, points: Sequence[str], since_ms: int, until_ms: int) -> list[Series]:
        """Return the 15-minute means, and means of the records of the quarters that are not rolled up yet."""
        t_ms, value = self._quarters(points, since_ms, until_ms)
        query = "SELECT utc_ms FROM due WHERE utc_ms >= ? AND utc_ms < ?"
        due = [row[0] for row in self._query(query, since_ms, until_ms)]
        old = np.isin(t_ms, due)  # rolled up once, but more has come since
        parts = [(t_ms[~old], value[~old])]
        for quarter_ms in due:
            end_ms = quarter_ms + QUARTER_MS
            raw = self._raw(points, quarter_ms, min(until_ms, end_ms))
            parts.append(_means(*raw, quarter_ms, end_ms, QUARTER_MS))
        return parts

    def events(self, since_ms: int, until_ms: int) -> list[dict[str, Any]]:
        """Return the events of a stretch of time, oldest first, as ``edge.events`` writes them."""
        query = (
            'SELECT utc_ms, source, code, "where", what FROM event'
            " WHERE utc_ms >= ? AND utc_ms < ? ORDER BY utc_ms, id"
        )
        keys = ("t_ms", "source", "code", "where", "what")
        return [dict(zip(keys, row, strict=True)) for row in self._query(query, since_ms, until_ms)]

    def plans(self, since_ms: int, until_ms: int) -> list[dict[str, Any]]:
        """Return the plans that were made in a stretch of time, oldest first."""
        query = "SELECT plan FROM plan WHERE utc_ms >= ? AND utc_ms < ? ORDER BY id"
        return [json.loads(zlib.decompress(row[0])) for row in self._query(query, since_ms, until_ms)]

    def _query(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with speaking(self.path):
            return self._db.execute(query, values).fetchall()

    def _blobs(self, since_ms: int, until_ms: int) -> list[tuple[int, bytes]]:
        where = f"utc_ms BETWEEN ?1 - {MINUTE_MS} AND ?2 AND until_ms >= ?1"  # a row spans a minute at most
        query = (
            f"SELECT layout, record, utc_ms, 0 AS level, id FROM minute WHERE {where} UNION ALL"
            f" SELECT layout, record, utc_ms, 1, id FROM second WHERE {where} ORDER BY utc_ms, level, id"
        )
        return [(row[0], row[1]) for row in self._query(query, since_ms, until_ms)]

    def _layout(self, number: int) -> Layout:
        if number not in self._layouts:
            query = "SELECT dtype, points, site_toml, version FROM layout WHERE id = ?"
            ((dtype, points, site_toml, version),) = self._query(query, number)
            self._layouts[number] = Layout(
                number, chunk.described(dtype), tuple(json.loads(points)), site_toml, version
            )
        return self._layouts[number]

    def _unpack(self, blob: bytes, layout: Layout) -> Rows:
        with speaking(self.path):
            return chunk.unpack(blob, layout.dtype)

    def _raw(self, points: Sequence[str], since_ms: int, until_ms: int) -> Series:
        """Return t_ms (N,) and value (N, K) of all records, nan where not usable."""
        parts = [_nothing(points)]
        for number, blob in self._blobs(since_ms, until_ms):
            layout = self._layout(number)
            names = [_column_names(layout, point) for point in points]
            with speaking(self.path):
                columns = chunk.unpack_columns(blob, layout.dtype, ["utc_ms", *chain(*names)])
            t_ms, found = columns[0].astype(np.int64), iter(columns[1:])
            value = np.full((len(t_ms), len(points)), np.nan)
            for at, name in enumerate(names):
                if name:
                    value[:, at] = next(found)
                if len(name) == 2:
                    value[next(found).astype(np.uint8) < Quality.UNCERTAIN, at] = np.nan
            wanted = (t_ms >= since_ms) & (t_ms < until_ms)
            parts.append((t_ms[wanted], value[wanted]))
        return _joined(parts)

    def _quarters(self, points: Sequence[str], since_ms: int, until_ms: int) -> Series:
        marks = ", ".join("?" * len(points))
        query = (
            f"SELECT utc_ms, point, mean FROM quarter WHERE utc_ms >= ? AND utc_ms < ? AND point IN ({marks})"
        )
        rows = self._query(query, since_ms, until_ms, *points)
        t_ms = np.unique(np.array([row[0] for row in rows], np.int64))
        value = np.full((len(t_ms), len(points)), np.nan)
        where, column = (
            {ms: at for at, ms in enumerate(t_ms.tolist())},
            {name: at for at, name in enumerate(points)},
        )
        for utc_ms, point, mean in rows:
            value[where[utc_ms], column[point]] = mean
        return t_ms, value


def _nothing(points: Sequence[str]) -> Series:
    return np.zeros(0, np.int64), np.zeros((0, len(points)))


def _joined(parts: Sequence[Series]) -> Series:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _column_names(layout: Layout, point: str) -> list[str]:
    """Return the columns of a series: value and, for a point, quality; nothing when it is not recorded."""
    if point in layout.points:
        number = layout.points.index(point)
        return [f"value[{number}]", f"quality[{number}]"]
    field = DERIVED.get(point, "")
    return [field] if field in (layout.dtype.names or ()) else []


def _means(
    t_ms: NDArray[np.int64], value: NDArray[np.float64], first_ms: int, until_ms: int, step_ms: int
) -> Series:
    """Return the means of (N, K) values in each step of a grid."""
    size = max(-(-(until_ms - first_ms) // step_ms), 0)
    means = np.full((size, value.shape[1]), np.nan)
    for at, column in enumerate(value.T):
        known = np.isfinite(column)
        slot = (t_ms[known] - first_ms) // step_ms
        count = np.bincount(slot, minlength=size)[:size]
        total = np.bincount(slot, column[known], minlength=size)[:size]
        np.divide(total, count, out=means[:, at], where=count > 0)
    return first_ms + step_ms * np.arange(size, dtype=np.int64), means
