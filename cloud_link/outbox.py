"""Reports kept until the fleet has confirmed them.

Every report gets the next number. A row stands for the numbers ``first`` to ``number``: when the store is
full, the oldest rows are merged in pairs, so that a very long outage costs resolution of the oldest part,
never a hole. The newest few rows are held in memory: on a healthy link they are confirmed before they would
be written, which spares the flash; a crash may cost those few. Not here: when and how rows are sent.
"""

import secrets
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from models.errors import StoreError

FRESH_ROWS = 5
"""Rows held in memory before they are written together: seconds that a crash may cost."""
FRESH_MAX = 3600
"""Rows held in memory while the disk takes nothing; beyond it the oldest are merged."""
REMEMBER_EVERY = 300
"""How far the number on disk may lag behind the confirmed one."""
LEAP = 1000
"""Numbers skipped at each opening, so that none is ever given twice, whatever a crash or a power cut (SQLite
in NORMAL mode) made the disk forget. The next row covers the skipped ones."""

_THIN_PAIRS = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS report (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memo (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


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
        self._fresh: deque[Row] = deque()
        self.problem = ""
        """Why the disk takes nothing at the moment; empty when it does."""
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
        known = self.recall("epoch")
        self.epoch: int = known or secrets.randbits(52) + 1
        """Random number of this file; numbers mean nothing without it."""
        self.remember("epoch", self.epoch)
        self.confirmed: int = self.recall("confirmed")
        """The fleet has everything up to here (as far as the disk remembers, at first)."""
        self._remembered = self.confirmed
        self.dropped: int = self.recall("dropped")
        """Reports that were merged into their successor because the store was full."""
        rows, highest = self._db.execute("SELECT count(*), max(number) FROM report").fetchone()
        self._on_disk: int = rows
        self.newest: int = max(highest or 0, self.confirmed)
        """Highest number given so far."""
        self._leap = self._leap_over() if known else 0

    def _leap_over(self) -> int:
        """Return how many numbers the next row skips, past whatever earlier openings may have given.

        Kept on disk for certain (FULL) before a number is given: openings that crash one after the other,
        with nothing written in between, must leap further each time.
        """
        last = max(self.newest, self.recall("leapt")) + LEAP
        self._db.execute("PRAGMA synchronous = FULL")
        self.remember("leapt", last)
        self._db.execute("PRAGMA synchronous = NORMAL")
        return last - self.newest

    @property
    def backlog(self) -> int:
        """Rows that wait for confirmation."""
        return self._on_disk + len(self._fresh)

    def recall(self, name: str) -> int:
        """Return a small number kept beside the reports, 0 when it was never set."""
        row = self._db.execute("SELECT value FROM memo WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def remember(self, name: str, value: int) -> None:
        """Keep a small number beside the reports."""
        self._db.execute("INSERT OR REPLACE INTO memo VALUES (?, ?)", (name, value))

    def add(self, body: bytes) -> Row:
        """Keep a report and return it with its number. A disk that takes nothing shows in ``problem``."""
        row = Row(self.newest + 1, self.newest + 1 + self._leap, body)
        self._fresh.append(row)
        self.newest, self._leap = row.number, 0
        if len(self._fresh) >= FRESH_ROWS or self.backlog > self._max_rows:
            self.flush()
        return row

    def flush(self) -> None:
        """Write what is in memory; keep it there, bounded, when the disk does not take it."""
        try:
            self._in_one_go(self._write_fresh)
            self._on_disk += len(self._fresh)
            self._fresh.clear()
            self.problem = ""
            if self._on_disk > self._max_rows:
                self._thin()
        except sqlite3.Error as error:
            self.problem = f"outbox: {error}"
            while len(self._fresh) > FRESH_MAX:
                older, newer = self._fresh.popleft(), self._fresh.popleft()
                self._fresh.appendleft(self._merged(older, newer))
                self.dropped += 1

    def confirm(self, number: int) -> int:
        """Forget what the fleet has: everything up to ``number``; return how many rows that were.

        A number that was never given, or an old one, changes nothing.

        Raises:
            StoreError: the disk does not forget; it will be confirmed again.
        """
        if not self.confirmed < number <= self.newest:
            return 0
        rows = 0
        if self._on_disk or number - self._remembered >= REMEMBER_EVERY:
            try:
                rows = self._in_one_go(lambda: self._delete(number))
            except sqlite3.Error as error:
                raise StoreError(f"outbox: {error}") from error
            self._on_disk, self._remembered = self._on_disk - rows, number
        while self._fresh and self._fresh[0].number <= number:
            self._fresh.popleft()
            rows += 1
        self.confirmed = number
        return rows

    def after(self, number: int, limit: int) -> list[Row]:
        """Return the oldest rows above ``number``, in order."""
        found = self._db.execute(
            "SELECT first, number, body FROM report WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
        )
        rows = [Row(*row) for row in found] if self._on_disk else []
        return rows + [row for row in self._fresh if row.number > number][: limit - len(rows)]

    def _write_fresh(self) -> int:
        rows = [(row.number, row.first, row.body) for row in self._fresh]
        return self._db.executemany("INSERT INTO report VALUES (?, ?, ?)", rows).rowcount

    def _delete(self, number: int) -> int:
        self.remember("confirmed", number)
        return self._db.execute("DELETE FROM report WHERE number <= ?", (number,)).rowcount

    def _merged(self, older: Row, newer: Row) -> Row:
        return Row(older.first, newer.number, self._merge(older.body, newer.body))

    def _thin(self) -> None:
        """Merge the oldest rows in pairs: the newer one of each takes over the numbers of the older one."""
        rows = self.after(0, min(2 * _THIN_PAIRS, self._on_disk // 2 * 2))
        pairs = list(zip(rows[::2], rows[1::2], strict=False))

        def replace() -> int:
            for older, newer in pairs:
                row = self._merged(older, newer)
                self._db.execute("DELETE FROM report WHERE number = ?", (older.number,))
                self._db.execute(
                    "UPDATE report SET first = ?, body = ? WHERE number = ?",
                    (row.first, row.body, row.number),
                )
            self.remember("dropped", self.dropped + len(pairs))
            return len(pairs)

        gone = self._in_one_go(replace)
        self.dropped, self._on_disk = self.dropped + gone, self._on_disk - gone

    def _in_one_go(self, work: Callable[[], int]) -> int:
        """Do all of it or nothing."""
        self._db.execute("BEGIN")
        try:
            rows = work()
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return rows

    def close(self) -> None:
        """Write what is in memory and close the file."""
        if self._fresh or self.confirmed != self._remembered:
            self.flush()
            self.remember("confirmed", self.confirmed)
        self._db.close()

    def __enter__(self) -> "Outbox":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()
