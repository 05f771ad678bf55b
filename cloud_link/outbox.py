"""Reports kept on disk until the fleet has confirmed them.

Every report gets the next number. A row stands for the numbers ``first`` to ``number``: when the store is
full, the oldest rows are merged in pairs, so that a very long outage costs resolution of the oldest part,
never a hole. Not here: when and how rows are sent.
"""

import secrets
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from models.errors import StoreError

LEAP = 1000
"""Numbers skipped when the machine was started anew: SQLite in NORMAL mode may forget the last seconds,
the fleet may have them, and no number may be given twice. The next row covers the skipped ones."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_THIN_PAIRS = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS report (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memo (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


def _boot() -> int:
    """Return a number that changes when the machine is started anew."""
    try:
        return zlib.crc32(_BOOT_ID.read_bytes())
    except OSError:
        return secrets.randbits(32)


@dataclass(frozen=True, slots=True)
class Row:
    """One stored report."""

    first: int
    number: int
    body: bytes


class Outbox:
    """The reports of one site that the fleet has not confirmed; one thread at a time.

    Args:
        path: SQLite file, made when missing.
        max_rows: more than that are thinned.
        merge: body of a row that replaces an (older, newer) pair.
    """

    def __init__(
        self,
        path: Path,
        max_rows: int = 100_000,
        merge: Callable[[bytes, bytes], bytes] = lambda older, newer: newer,
    ) -> None:
        self._max_rows, self._merge = max(max_rows, 2), merge
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            self._recall()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}") from error

    def _recall(self) -> None:
        self.epoch: int = self.recall("epoch") or secrets.randbits(52) + 1
        """Random number of this file; numbers mean nothing without it."""
        self.remember("epoch", self.epoch)
        self.confirmed: int = self.recall("confirmed")
        """The fleet has everything up to here."""
        self.dropped: int = self.recall("dropped")
        """Reports that were merged into their successor because the store was full."""
        rows, highest = self._db.execute("SELECT count(*), max(number) FROM report").fetchone()
        self.backlog: int = rows
        """Rows that wait for confirmation."""
        self.newest: int = max(highest or 0, self.confirmed)
        """Highest number given so far."""
        boot = _boot()
        self._leap = LEAP if self.newest and boot != self.recall("boot") else 0
        self.remember("boot", boot)

    def recall(self, name: str) -> int:
        """Return a small number kept beside the reports, 0 when it was never set."""
        row = self._db.execute("SELECT value FROM memo WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def remember(self, name: str, value: int) -> None:
        """Keep a small number beside the reports."""
        self._db.execute("INSERT OR REPLACE INTO memo VALUES (?, ?)", (name, value))

    def add(self, body: bytes) -> Row:
        """Store a report and return it with its number; StoreError when the disk refuses."""
        row = Row(self.newest + 1, self.newest + 1 + self._leap, body)
        try:
            self._db.execute("INSERT INTO report VALUES (?, ?, ?)", (row.number, row.first, row.body))
            self.newest, self.backlog, self._leap = row.number, self.backlog + 1, 0
            if self.backlog > self._max_rows:
                self._thin()
        except sqlite3.Error as error:
            raise StoreError(f"outbox: {error}") from error
        return row

    def confirm(self, number: int) -> int:
        """Forget what the fleet has: everything up to ``number``; return how many rows that were.

        A number that was never given, or an old one, changes nothing.
        """
        if not self.confirmed < number <= self.newest:
            return 0
        try:
            self._db.execute("BEGIN")
            rows = self._db.execute("DELETE FROM report WHERE number <= ?", (number,)).rowcount
            self.remember("confirmed", number)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise StoreError(f"outbox: {error}") from error
        self.confirmed, self.backlog = number, self.backlog - rows
        return rows

    def after(self, number: int, limit: int) -> list[Row]:
        """Return the oldest rows above ``number``, in order."""
        found = self._db.execute(
            "SELECT first, number, body FROM report WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
        )
        return [Row(*row) for row in found]

    def _thin(self) -> None:
        """Merge the oldest rows in pairs: the newer one of each takes over the numbers of the older one."""
        rows = self.after(0, min(2 * _THIN_PAIRS, self.backlog // 2 * 2))
        pairs = list(zip(rows[::2], rows[1::2], strict=False))
        self._db.execute("BEGIN")
        try:
            for older, newer in pairs:
                self._db.execute("DELETE FROM report WHERE number = ?", (older.number,))
                self._db.execute(
                    "UPDATE report SET first = ?, body = ? WHERE number = ?",
                    (older.first, self._merge(older.body, newer.body), newer.number),
                )
            self.remember("dropped", self.dropped + len(pairs))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._undo()
            raise
        self.dropped, self.backlog = self.dropped + len(pairs), self.backlog - len(pairs)

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "Outbox":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()
