"""The history of a site: one SQLite file that a power cut, a full disk or a bad sector does not empty.

Tables, all readable with plain SQL except for the blobs (``edge.chunk``):
  layout   what a record looks like: its numbers, the points, the site's configuration, the version
  second   the open minute: one row per flush, a few records each
  minute   one row per minute of records, one record a second; written when the minute is over
  quarter  mean, min and max of every point and of the site's powers over 15 minutes, one row each
  due      quarters that have records but no rows in ``quarter`` yet
  plan     every plan, as compressed JSON
  event    every event
A row of ``second`` or ``minute`` belongs to a layout, so that it stays readable after the configuration
changes. sqlite-utils makes the tables; everything else is plain sqlite3.

Nothing grows without limit (``KEEP_DAYS``): minutes, events and plans stay 400 days (12 to 16 MB a day, about
6 GB), quarters 10 years. ``layout`` grows only when somebody changes the configuration. When the disk is
nearly full the minutes that were stored first go earlier, down to a week. Freed pages are used again and the
file does not shrink: VACUUM would write all of it to the flash once more.
"""

import hashlib
import json
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import chunk
from edge.history_reader import (
    DAY_MS,
    DERIVED,
    MINUTE_MS,
    NET_LOAD,
    QUARTER_MS,
    CorruptError,
    HistoryReader,
    Layout,
    Rows,
    Series,
    speaking,
)
from models.errors import StoreError
from models.point import Quality
from models.units import MS_PER_S

FILE = "history.db"
"""Name in the state folder."""
KEEP_DAYS = {"minute": 400, "event": 400, "plan": 400, "quarter": 3653}
"""How long the rows of each table stay."""
MIN_ROOM_BYTES = 500_000_000
"""Below this the oldest minutes go early."""
MIN_MINUTES = 7 * 1440
"""The newest minutes that stay even then."""
BATCH_ROWS = 60
"""Rows of one transaction, so that it is short."""
BATCHES = 48
"""Per table and call: two days of minutes, so that a clock that jumps ahead for an hour costs no more."""


class History(HistoryReader):
    """The history file; one writer (the recorder), any number of readers."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Use ``open``."""
        super().__init__(path, database)
        self._known: dict[str, Layout] = {}
        self.aside: Path | None = None
        """Where a damaged file was moved to when this one was begun."""

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> "History":
        """Open the history.

        Args:
            path: of the file; it is made when ``writable``.
            writable: for the one writer; a damaged file is then set aside and a new one begun.

        Raises:
            StoreError: it cannot be opened; CorruptError when only reading a damaged file.
        """
        if not writable:
            return cls._connect(path, "ro")
        try:
            return cls._prepared(path)
        except CorruptError:
            aside = set_aside(path)
            history = cls._prepared(path)
            history.aside = aside
            return history

    @classmethod
    def _prepared(cls, path: Path) -> "History":
        history = cls._connect(path, "rwc")
        try:
            with speaking(path):
                history._db.execute("PRAGMA journal_mode = WAL")
                history._db.execute("PRAGMA synchronous = NORMAL")
                history._db.execute("PRAGMA journal_size_limit = 8000000")
                history._db.execute("PRAGMA secure_delete = OFF")  # else freed pages are written once more
                _migrate(history._db)
        except StoreError:
            history.close()
            raise
        return history

    def layout(self, dtype: np.dtype[np.void], points: Sequence[str], site_toml: str, version: str) -> Layout:
        """Return the layout of these records, stored when it is new."""
        text = chunk.describe(dtype)
        names = json.dumps(list(points), ensure_ascii=False)
        key = hashlib.sha256("\0".join((text, names, site_toml, version)).encode()).hexdigest()
        if key in self._known:
            return self._known[key]
        with self._transaction():
            row = (key, int(time.time() * MS_PER_S), text, names, site_toml, version)
            self._db.execute(
                "INSERT OR IGNORE INTO layout(key, since_ms, dtype, points, site_toml, version)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
            (number,) = self._db.execute("SELECT id FROM layout WHERE key = ?", (key,)).fetchone()
        self._known[key] = self._layout(number)
        return self._known[key]

    def append(self, layout: Layout, rows: Rows) -> None:
        """Store records (N,), oldest first, in one transaction; minutes that are over are packed on the way.

        Raises:
            StoreError: nothing was stored; CorruptError when the file is damaged.
        """
        if not len(rows):
            return
        with self._transaction():
            self._insert("second", layout, rows)
            quarters = np.unique(rows["utc_ms"] // QUARTER_MS * QUARTER_MS).tolist()
            self._db.executemany("INSERT OR IGNORE INTO due(utc_ms) VALUES (?)", [(q,) for q in quarters])
            self._compact(layout, int(rows["utc_ms"][-1]) // MINUTE_MS)
            self._roll(int(rows["utc_ms"][-1]) // QUARTER_MS * QUARTER_MS)

    def add_events(self, events: Iterable[dict[str, Any]]) -> None:
        """Store events as ``edge.events`` writes them; one that is there already is not stored twice."""
        keys = ("t_ms", "source", "code", "where", "what")
        rows = [tuple(event.get(key, "") for key in keys) for event in events]
        with self._transaction():
            self._db.executemany(
                'INSERT OR IGNORE INTO event(utc_ms, source, code, "where", what) VALUES (?, ?, ?, ?, ?)',
                rows,
            )

    def add_plan(self, utc_ms: int, text: str) -> None:
        """Store a plan (JSON text), unless it is the one stored last."""
        packed = zlib.compress(text.encode(), 6)
        with self._transaction():
            last = self._db.execute("SELECT plan FROM plan ORDER BY id DESC LIMIT 1").fetchone()
            if last is None or last[0] != packed:
                self._db.execute("INSERT INTO plan(utc_ms, plan) VALUES (?, ?)", (utc_ms, packed))

    def trim(self, now_ms: int) -> bool:
        """Delete what is too old, and the oldest minutes while the disk is nearly full; call it once an hour.

        Args:
            now_ms: UTC from which age is counted.

        Returns:
            Whether minutes had to go early.

        Raises:
            StoreError: it cannot be done now; what was deleted before stays deleted.
        """
        for table, days in KEEP_DAYS.items():
            old = f"SELECT rowid FROM {table} WHERE utc_ms < ? ORDER BY utc_ms LIMIT {BATCH_ROWS}"
            for _ in range(BATCHES):
                if not self._delete(table, old, now_ms - days * DAY_MS):
                    break
        first = "SELECT id FROM minute WHERE id <= (SELECT max(id) FROM minute) - ? ORDER BY id"
        thinned = False
        for _ in range(BATCHES):
            if self.room() >= MIN_ROOM_BYTES:
                break
            if not self._delete("minute", f"{first} LIMIT {BATCH_ROWS}", MIN_MINUTES):
                break
            thinned = True
        return thinned

    def room(self) -> int:
        """Return how much can still be stored [bytes]: what is free on the disk and inside the file."""
        try:
            free = shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise StoreError(f"{self.path}: {error}") from error
        query = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
        return free + int(self._query(query)[0][0])

    def _delete(self, table: str, which: str, value: int) -> int:
        with self._transaction():
            return self._db.execute(f"DELETE FROM {table} WHERE rowid IN ({which})", (value,)).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with speaking(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._db.execute("ROLLBACK")
                raise

    def _insert(self, table: str, layout: Layout, rows: Rows) -> None:
        utc_ms = rows["utc_ms"]
        self._db.execute(
            f"INSERT INTO {table}(utc_ms, until_ms, layout, record) VALUES (?, ?, ?, ?)",
            (int(utc_ms.min()), int(utc_ms.max()), layout.id, chunk.pack(rows)),
        )

    def _compact(self, layout: Layout, open_minute: int) -> None:
        """Move every minute except the open one from ``second`` to ``minute``.

        A minute is a run of records of one layout within one minute of UTC; when the clock was set back, the
        same minute may be there twice.
        """
        pending = self._query("SELECT layout, record, utc_ms, until_ms FROM second ORDER BY id")
        minutes = {utc_ms // MINUTE_MS for row in pending for utc_ms in row[2:]}
        if minutes == {open_minute} and {row[0] for row in pending} == {layout.id}:
            return
        self._db.execute("DELETE FROM second")
        for number in dict.fromkeys(row[0] for row in pending):
            same = self._layout(number)
            rows = np.concatenate([self._unpack(row[1], same) for row in pending if row[0] == number])
            ends = np.flatnonzero(np.diff(rows["utc_ms"] // MINUTE_MS)) + 1
            for first, last in zip([0, *ends.tolist()], [*ends.tolist(), len(rows)], strict=True):
                part = rows[first:last]
                still_open = number == layout.id and last == len(rows)
                self._insert("second" if still_open else "minute", same, part)

    def _roll(self, open_quarter_ms: int) -> None:
        """Write the 15-minute rows of every quarter that is over and due."""
        due = self._db.execute("SELECT utc_ms FROM due WHERE utc_ms <> ?", (open_quarter_ms,)).fetchall()
        for (quarter_ms,) in due:
            found = self.records(quarter_ms, quarter_ms + QUARTER_MS)
            for name, value in _by_name(found).items():
                good = value[np.isfinite(value)]
                if len(good):
                    row = (quarter_ms, name, float(good.mean()), float(good.min()), float(good.max()))
                    self._db.execute("INSERT OR REPLACE INTO quarter VALUES (?, ?, ?, ?, ?)", row)
            self._db.execute("DELETE FROM due WHERE utc_ms = ?", (quarter_ms,))


def load_history(state_dir: Path, since_ms: int) -> Series:
    """Return 15-minute means of the site's net load: t_ms (N,), net_load_kw (N,) with nan in gaps.

    Empty when nothing was recorded yet.

    Raises:
        StoreError: the history cannot be read.
    """
    if not (state_dir / FILE).is_file():
        return np.zeros(0, np.int64), np.zeros(0)
    history = History.open(state_dir / FILE)
    try:
        span = history.span()
        if span is None:
            return np.zeros(0, np.int64), np.zeros(0)
        return history.read(NET_LOAD, max(since_ms, span[0]), span[1] + 1, QUARTER_MS / MS_PER_S)
    finally:
        history.close()


def set_aside(path: Path) -> Path:
    """Move a damaged history out of the way, never delete it; return its new name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
        number += 1
    path.replace(aside)
    for end in ("-wal", "-shm"):
        beside = path.with_name(path.name + end)
        if beside.exists():
            beside.replace(aside.with_name(aside.name + end))
    return aside


def _migrate(database: sqlite3.Connection) -> None:
    """Bring the tables to what this version needs."""
    from sqlite_utils import Database, Migrations  # 0.1 s: only the writer needs it

    steps = Migrations("yunchu.history")

    @steps(name="0001-tables")
    def tables(db: Any) -> None:
        blobs = {"id": int, "utc_ms": int, "until_ms": int, "layout": int, "record": bytes}
        text = {"dtype": str, "points": str, "site_toml": str, "version": str}
        db["layout"].create({"id": int, "key": str, "since_ms": int, **text}, pk="id")
        db["layout"].create_index(["key"], unique=True)
        db["second"].create(blobs, pk="id")
        db["minute"].create(blobs, pk="id")
        db["minute"].create_index(["utc_ms", "until_ms"])
        numbers = {"mean": float, "min": float, "max": float}
        db["quarter"].create({"utc_ms": int, "point": str, **numbers}, pk=("utc_ms", "point"))
        db["due"].create({"utc_ms": int}, pk="utc_ms")
        db["plan"].create({"id": int, "utc_ms": int, "plan": bytes}, pk="id")
        columns = {"utc_ms": int, "source": str, "code": str, "where": str, "what": str}
        db["event"].create({"id": int, **columns}, pk="id")
        db["event"].create_index(list(columns), unique=True)

    @steps(name="0002-age-of-plans")
    def age_of_plans(db: Any) -> None:
        db["plan"].create_index(["utc_ms"])

    steps.apply(Database(database))


def _by_name(found: list[tuple[Layout, Rows]]) -> dict[str, NDArray[np.float64]]:
    """Return the usable values of every series in these records; nan where a value is not usable."""
    parts: dict[str, list[NDArray[np.float64]]] = {}
    for layout, rows in found:
        value = np.where(rows["quality"] >= Quality.UNCERTAIN, rows["value"], np.nan)
        for number, name in enumerate(layout.points):
            parts.setdefault(name, []).append(value[:, number])
        for name, field in DERIVED.items():
            if field in (layout.dtype.names or ()):
                parts.setdefault(name, []).append(rows[field])
    return {name: np.concatenate(values) for name, values in parts.items()}
