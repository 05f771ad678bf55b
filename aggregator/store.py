"""The fleet's memory: one SQLite file in WAL mode, written by one process, read by many.

One row per report (the packed payload as the site sent it, with the alias table that explains it), never
one row per point. Everything that must survive a kill is committed before anybody is told about it: outbox
numbers before they are confirmed, sequence numbers before a command leaves.

Nothing grows without limit: reports, orders and finished commands with their acks go after ``KEEP_MS``
(``Store.trim``), and the freed pages are used again. Sites, alias tables and sequence numbers stay for ever.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from aggregator.problems import FleetStoreError, Refusal
from aggregator.rows import AckRow, CommandRow, OrderRow, ReportRow, SiteRow
from models.errors import BusyError

BUSY_MS = 2000
SERVER_BUSY_MS = 10_000
"""How long the server waits for a foreign lock before it gives up; the link's queue holds meanwhile."""
LOCK_WAIT_S = 1.0
BEAT_MAX_AGE_MS = 5000
KEEP_MS = 400 * 86_400_000
"""How long reports, orders and finished commands stay, by the fleet's clock."""
TRIM_ROWS = 500
"""Rows of a table that go at once: a few milliseconds."""


def _schema_1(connection: sqlite3.Connection) -> None:
    """Create every table of version 1."""
    from sqlite_utils import Database  # 100 ms: only when a store is made or migrated

    database = Database(connection)
    database.table("sites").create(
        {"site": str, "state": str, "bd_seq": int, "birth_ms": int, "last_ms": int}
        | {"epoch": int, "contiguous": int, "received": int, "missing": int, "duplicates": int},
        pk="site",
    )
    database.table("latest").create(
        {"site": str, "device": str, "t_ms": int, "online": int, "points": str}, pk=("site", "device")
    )
    database.table("names").create({"id": int, "site": str, "names": str}, pk="id")
    database.table("names").create_index(["site", "names"], unique=True)
    database.table("reports").create(
        {"site": str, "epoch": int, "first": int, "number": int}
        | {"t_ms": int, "received_ms": int, "history": int, "names": int, "body": bytes},
        not_null={"site", "t_ms", "body"},
    )
    database.table("reports").create_index(["site", "epoch", "number"], unique=True)
    database.table("reports").create_index(["site", "t_ms"])
    database.table("commands").create(
        {"id": str, "site": str, "seq": int, "kind": str, "p_kw": float, "valid_from_ms": int}
        | {"valid_to_ms": int, "stage": str, "code": str, "actual_kw": float, "sent_ms": int}
        | {"stage_ms": int, "body": bytes},
        pk="id",
    )
    database.table("commands").create_index(["site", "seq"], unique=True)
    database.table("acks").create(
        {"command_id": str, "stage": str, "code": str, "t_ms": int, "received_ms": int}
        | {"actual_kw": float, "detail": str},
        pk=("command_id", "stage"),
    )
    database.table("sequences").create({"site": str, "seq": int}, pk="site")
    database.table("orders").create(
        {"id": int, "site": str, "p_kw": float, "for_s": float, "clip": int, "created_ms": int}
        | {"command_id": str, "sent_kw": float, "refusal": str, "done": int},
        pk="id",
        defaults={"done": 0},
    )
    database.table("orders").create_index(["done"])
    database.table("server").create(
        {"id": int, "pid": int, "t_ms": int, "started_ms": int, "connected": int}, pk="id"
    )


def _schema_2(connection: sqlite3.Connection) -> None:
    """Make the oldest rows quick to find."""
    for table, column in (("reports", "received_ms"), ("orders", "created_ms"), ("commands", "stage_ms")):
        connection.execute(f"CREATE INDEX {table}_age ON {table} ({column})")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_schema_1, _schema_2)
"""Each takes the store from version n to n + 1; never edited once released."""


class Store:
    """One open store. A writing store holds a lock file, so there is one server per store."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[bytes] | None) -> None:
        self.path = path
        self._db = connection
        self._lock = lock

    @classmethod
    def serve(cls, path: Path) -> Self:
        """Open for the one process that writes; creates and migrates the file.

        Raises:
            BusyError: another server holds it.
            StoreError: it cannot be used.
        """
        lock = _take_lock(path)
        try:
            with translated(path):
                connection = sqlite3.connect(path, timeout=SERVER_BUSY_MS / 1000, isolation_level=None)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")  # a confirmed report survives a power cut
                _migrate(path, connection)
        except BaseException:
            lock.close()
            raise
        return cls(path, connection, lock)

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Open next to a running or stopped server, to read and to place orders.

        Raises:
            StoreError: it does not exist or cannot be used.
        """
        if not path.is_file():
            raise FleetStoreError("FLEET-001", str(path))
        with translated(path):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_MS / 1000, isolation_level=None
            )
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != len(MIGRATIONS):
            connection.close()
            raise FleetStoreError("FLEET-005", str(path), found=version, known=len(MIGRATIONS))
        return cls(path, connection, None)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored together, or nothing of it."""
        with translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with translated(self.path):
            return self._db.execute(sql, values).fetchall()

    # --- sites and reports -----------------------------------------------------------------------------

    def put_sites(self, rows: Iterable[SiteRow]) -> None:
        """Store the state of sites."""
        self._db.executemany("INSERT OR REPLACE INTO sites VALUES (?,?,?,?,?,?,?,?,?,?)", map(_values, rows))

    def sites(self) -> list[SiteRow]:
        """Return all sites by name."""
        return [SiteRow(*row) for row in self._rows("SELECT * FROM sites ORDER BY site")]

    def put_latest(self, rows: Iterable[tuple[str, str, int, bool, str]]) -> None:
        """Store the newest values: (site, device, t_ms, online, JSON of {point: [value, quality, t_ms]})."""
        self._db.executemany("INSERT OR REPLACE INTO latest VALUES (?,?,?,?,?)", rows)

    def latest(self, site: str) -> dict[str, dict[str, tuple[Any, int, int]]]:
        """Return the newest values of a site: device → point → (value, quality, t_ms)."""
        rows = self._rows("SELECT device, points FROM latest WHERE site=? ORDER BY device", site)
        return {device: {k: tuple(v) for k, v in json.loads(points).items()} for device, points in rows}

    def node_points(self) -> dict[str, dict[str, tuple[Any, int, int]]]:
        """Return the node-level values of all sites: site → name → (value, quality, t_ms)."""
        rows = self._rows("SELECT site, points FROM latest WHERE device=''")
        return {site: {k: tuple(v) for k, v in json.loads(points).items()} for site, points in rows}

    def names_id(self, site: str, table: str) -> int:
        """Return the id of an alias table (its JSON text), storing it when it is new."""
        self._db.execute("INSERT OR IGNORE INTO names (site, names) VALUES (?,?)", (site, table))
        return int(self._rows("SELECT id FROM names WHERE site=? AND names=?", site, table)[0][0])

    def names(self, names_id: int) -> str:
        """Return an alias table by its id."""
        return str(self._rows("SELECT names FROM names WHERE id=?", names_id)[0][0])

    def put_reports(self, rows: Iterable[ReportRow]) -> None:
        """Store reports; one that is already there stays, though it may come to stand for more numbers."""
        sql = (
            "INSERT INTO reports VALUES (?,?,?,?,?,?,?,?,?) "
            "ON CONFLICT (site, epoch, number) DO UPDATE SET first=min(first, excluded.first)"
        )
        self._db.executemany(sql, map(_values, rows))

    def reports(self, site: str, since_ms: int = 0) -> list[ReportRow]:
        """Return the reports of a site in the order of their own time."""
        sql = "SELECT * FROM reports WHERE site=? AND t_ms>=? ORDER BY t_ms, number"
        return [ReportRow(*row) for row in self._rows(sql, site, since_ms)]

    def ranges_above(self, site: str, epoch: int, number: int) -> list[tuple[int, int]]:
        """Return what the stored reports above ``number`` stand for: (first, last)."""
        sql = "SELECT first, number FROM reports WHERE site=? AND epoch=? AND number>? ORDER BY number"
        return [(int(first), int(last)) for first, last in self._rows(sql, site, epoch, number)]

    # --- commands --------------------------------------------------------------------------------------

    def next_seq(self, site: str) -> int:
        """Return a number that no command to this site ever had; call it inside a transaction."""
        sql = "INSERT INTO sequences VALUES (?,1) ON CONFLICT (site) DO UPDATE SET seq=seq+1 RETURNING seq"
        return int(self._rows(sql, site)[0][0])

    def put_command(self, row: CommandRow) -> None:
        """Store a new command, or the new stage of a known one."""
        marks = ",".join("?" * 13)
        news = ", ".join(f"{name}=excluded.{name}" for name in ("stage", "code", "actual_kw", "stage_ms"))
        sql = f"INSERT INTO commands VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {news}"
        self._db.execute(sql, _values(row))

    def command(self, command_id: str) -> CommandRow | None:
        """Return one command."""
        rows = self._rows("SELECT * FROM commands WHERE id=?", command_id)
        return CommandRow(*rows[0]) if rows else None

    def commands(self, since_ms: int = 0, limit: int = 50) -> list[CommandRow]:
        """Return the newest commands, newest first."""
        sql = "SELECT * FROM commands WHERE sent_ms>=? ORDER BY sent_ms DESC, seq DESC LIMIT ?"
        return [CommandRow(*row) for row in self._rows(sql, since_ms, limit)]

    def commands_in(self, stages: Iterable[str]) -> list[CommandRow]:
        """Return the commands that are in one of these stages, oldest first."""
        wanted = list(stages)
        marks = ",".join("?" * len(wanted))
        sql = f"SELECT * FROM commands WHERE stage IN ({marks}) ORDER BY sent_ms, seq"
        return [CommandRow(*row) for row in self._rows(sql, *wanted)]

    def put_ack(self, row: AckRow) -> bool:
        """Store a stage of a command; the first answer of each stage counts. Return whether it is new."""
        cursor = self._db.execute("INSERT OR IGNORE INTO acks VALUES (?,?,?,?,?,?,?)", _values(row))
        return cursor.rowcount == 1

    def acks(self, command_id: str) -> list[AckRow]:
        """Return the stages of a command in the order in which they came."""
        sql = "SELECT * FROM acks WHERE command_id=? ORDER BY received_ms, rowid"
        return [AckRow(*row) for row in self._rows(sql, command_id)]

    # --- orders and the server's heartbeat --------------------------------------------------------------

    def add_order(self, site: str, p_kw: float, for_s: float, clip: bool, now_ms: int) -> int:
        """Ask the running server for a dispatch; return the order's id."""
        sql = "INSERT INTO orders (site, p_kw, for_s, clip, created_ms) VALUES (?,?,?,?,?) RETURNING id"
        with self.transaction():
            return int(self._rows(sql, site, p_kw, for_s, clip, now_ms)[0][0])

    def open_orders(self) -> list[OrderRow]:
        """Return the orders that the server has not taken yet."""
        return [_order(row) for row in self._rows("SELECT * FROM orders WHERE done=0 ORDER BY id")]

    def order(self, order_id: int) -> OrderRow:
        """Return one order."""
        return _order(self._rows("SELECT * FROM orders WHERE id=?", order_id)[0])

    def order_sent(self, order_id: int, command_id: str, sent_kw: float) -> None:
        """Note that an order became a command."""
        sql = "UPDATE orders SET done=1, command_id=?, sent_kw=? WHERE id=?"
        self._db.execute(sql, (command_id, sent_kw, order_id))

    def order_refused(self, order_id: int, refusal: Refusal) -> None:
        """Note that an order was refused, and why."""
        text = json.dumps(asdict(refusal), ensure_ascii=False)
        self._db.execute("UPDATE orders SET done=1, refusal=? WHERE id=?", (text, order_id))

    def trim(self, now_ms: int, final: Iterable[str]) -> int:
        """Delete some of what is too old, at most TRIM_ROWS of a table; return how many rows went.

        Args:
            now_ms: UTC.
            final: stages of commands that are over; others stay.
        """
        stages = list(final)
        over = f"stage_ms<? AND stage IN ({','.join('?' * len(stages))}) ORDER BY stage_ms LIMIT {TRIM_ROWS}"
        before = now_ms - KEEP_MS
        with self.transaction():
            gone = self._db.execute(f"SELECT id FROM commands WHERE {over}", (before, *stages)).fetchall()
            self._db.executemany("DELETE FROM acks WHERE command_id=?", gone)
            self._db.executemany("DELETE FROM commands WHERE id=?", gone)
            count = len(gone)
            # the + keeps SQLite from taking the index of ``done``, which finds nearly every order
            for table, when in (("reports", "received_ms<?"), ("orders", "created_ms<? AND +done=1")):
                old = f"SELECT rowid FROM {table} WHERE {when} LIMIT {TRIM_ROWS}"
                count += self._db.execute(f"DELETE FROM {table} WHERE rowid IN ({old})", (before,)).rowcount
        return count

    def beat(self, pid: int, now_ms: int, started_ms: int, connected: bool) -> None:
        """Write the server's sign of life."""
        self._rows("INSERT OR REPLACE INTO server VALUES (1,?,?,?,?)", pid, now_ms, started_ms, connected)

    def server(self, now_ms: int) -> tuple[bool, bool]:
        """Return whether a server is alive on this store, and whether it is connected to the broker."""
        rows = self._rows("SELECT t_ms, connected FROM server")
        if not rows or not _is_locked(self.path) or abs(now_ms - rows[0][0]) > BEAT_MAX_AGE_MS:
            return False, False
        return True, bool(rows[0][1])


def _values(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.__slots__)


def _order(row: tuple[Any, ...]) -> OrderRow:
    return OrderRow(*row[:9])


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says into a StoreError that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        busy = "locked" in str(error) or "busy" in str(error)
        raise FleetStoreError("FLEET-003" if busy else "FLEET-004", str(path), detail=str(error)) from error
    except sqlite3.DatabaseError as error:
        raise FleetStoreError("FLEET-002", str(path), detail=str(error)) from error


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > len(MIGRATIONS):
        raise FleetStoreError("FLEET-005", str(path), found=found, known=len(MIGRATIONS))
    for version, step in enumerate(MIGRATIONS[found:], start=found + 1):
        connection.execute("BEGIN IMMEDIATE")
        step(connection)
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("COMMIT")


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _take_lock(path: Path) -> IO[bytes]:
    """Hold the lock file until this process ends, however it ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _lock_path(path).open("ab")
    except OSError as error:
        raise FleetStoreError("FLEET-004", str(path), detail=str(error)) from error
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:  # readers test the lock for an instant, so one refusal proves nothing
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                handle.close()
                raise BusyError(str(path)) from None
            time.sleep(0.02)


def _is_locked(path: Path) -> bool:
    """Whether some process holds the lock: true proof of life, also after a kill or a clock jump."""
    try:
        handle = os.open(_lock_path(path), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
