"""Which commands a site acts on, and the memory that makes each act happen once.

The order of the checks is fixed: size, parse, schema, key, signature (all in ``decode_command``), site,
number (on disk before anything else happens), clock and validity, target and nameplate. What a command came
to is kept, so that the same command sent twice gets the same answer and nothing else.

A disk that takes nothing holds up every command but a stop: that only removes power and may be done twice.
"""

import sqlite3
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_link.protocol.canonical import Rejected
from cloud_link.protocol.command import FINAL_STAGES, Command, command_hash, decode_command
from cloud_link.protocol.signing import Keyring
from models.errors import StoreError

FUTURE_MS = 48 * 3_600_000
LONGEST_MS = 24 * 3_600_000
KEEP_MS = 7 * 24 * 3_600_000
"""How long what became of a command is remembered after its end; its number is remembered for ever."""
RATE_MAX, RATE_S = 50, 10.0
"""At most so many new commands of one issuer in so many seconds; stops do not count."""

UNKEPT = 0
"""Stands for our own number of a stop that could not be written down; the numbers begin at 1."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS issuer (name TEXT PRIMARY KEY, last_seq TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS command (
    ref INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, raw BLOB NOT NULL,
    stage TEXT NOT NULL, valid_to_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS ack (
    n INTEGER PRIMARY KEY AUTOINCREMENT, ref INTEGER NOT NULL, body BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS unsent ON ack (n) WHERE sent = 0;
"""

_UNENDED = "stage NOT IN ({})".format(", ".join(f"'{stage}'" for stage in sorted(FINAL_STAGES)))


@dataclass(frozen=True, slots=True)
class Admission:
    """A command that is proven to come from whom it says."""

    ref: int
    """Our own number of it, or UNKEPT."""
    command: Command
    hash: str
    again: bool
    """It was here before, with the same bytes: only its last answer is due."""


@dataclass(frozen=True, slots=True)
class Open:
    """A command that has not come to its end."""

    ref: int
    command: Command
    hash: str
    stage: str


class Acceptor:
    """Admits and judges commands, and remembers them; one thread at a time.

    Args:
        path: ``commands.db``, made when missing; every change is on the disk before it counts.
        site: our own name.
        keys: who may command.
        targets: what may be commanded and its nameplate range [kW].
    """

    def __init__(
        self, path: Path, site: str, keys: Keyring, targets: Mapping[str, tuple[float, float]]
    ) -> None:
        self._site, self._keys, self._targets = site, keys, dict(targets)
        self._recent: dict[str, deque[float]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}") from error

    def admit(self, raw: bytes, now_s: float) -> Admission:
        """Check everything that does not need the clock, and write the command down.

        Args:
            raw: as received.
            now_s: monotonic, for the rate limit.

        Raises:
            Rejected: MALFORMED, UNKNOWN_KIND, RANGE, SIG, SITE, REPLAY or RATE; nothing was written.
            StoreError: it cannot be written down, so it must not be acted on (never for a stop).
        """
        command = decode_command(raw, self._keys)
        if command.site != self._site:
            raise Rejected("SITE", f"this is {self._site}, not {command.site[:40]}", command.id)
        digest = command_hash(raw)
        try:
            known = self._db.execute("SELECT ref, hash FROM command WHERE id = ?", (command.id,)).fetchone()
            if known is not None:
                if known[1] != digest:
                    raise Rejected("REPLAY", "another command had this id", command.id)
                return Admission(known[0], command, digest, again=True)
            self._check_new(command, now_s)
            return Admission(self._write_down(command, raw, digest), command, digest, again=False)
        except sqlite3.Error as error:
            if command.kind == "stop":
                return Admission(UNKEPT, command, digest, again=False)
            raise StoreError(f"commands: {error}") from error

    def _check_new(self, command: Command, now_s: float) -> None:
        row = self._db.execute("SELECT last_seq FROM issuer WHERE name = ?", (command.issuer,)).fetchone()
        if row is not None and command.seq <= int(row[0]):
            raise Rejected("REPLAY", f"number {command.seq} is not above {row[0]}", command.id)
        if command.kind == "stop":
            return
        times = self._recent.setdefault(command.issuer, deque(maxlen=RATE_MAX))
        if len(times) == RATE_MAX and now_s - times[0] < RATE_S:
            raise Rejected("RATE", f"more than {RATE_MAX} commands in {RATE_S:g} s", command.id)
        times.append(now_s)

    def _write_down(self, command: Command, raw: bytes, digest: str) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO issuer VALUES (?, ?)", (command.issuer, str(command.seq))
            )
            ref = self._db.execute(
                "INSERT INTO command (id, hash, raw, stage, valid_to_ms) VALUES (?, ?, ?, 'received', ?)",
                (command.id, digest, raw, command.valid_to_ms),
            ).lastrowid
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return int(ref or 0)

    def judge(self, command: Command, now_ms: int, *, clock_trusted: bool) -> None:
        """Check validity and power; return when the command may be acted on.

        A stop is judged without a clock when there is none to trust.

        Raises:
            Rejected: TIME_UNTRUSTED, EXPIRED, FUTURE, RANGE or UNKNOWN_KIND (the target).
        """
        if not clock_trusted and command.kind != "stop":
            raise Rejected("TIME_UNTRUSTED", "this site does not know the time", command.id)
        if clock_trusted:
            if now_ms > command.valid_to_ms:
                raise Rejected("EXPIRED", f"over since {now_ms - command.valid_to_ms} ms", command.id)
            if command.valid_from_ms > now_ms + FUTURE_MS:
                raise Rejected("FUTURE", "it begins more than 48 h from now", command.id)
        if not 0 < command.valid_to_ms - command.valid_from_ms <= LONGEST_MS:
            raise Rejected("RANGE", "it must last more than 0 and at most 24 h", command.id)
        if command.target not in self._targets:
            raise Rejected("UNKNOWN_KIND", f"target {command.target[:40]!r} is not known here", command.id)
        low_kw, high_kw = self._targets[command.target]
        if not low_kw <= command.p_kw <= high_kw:
            raise Rejected("RANGE", f"{command.p_kw:g} kW is not in {low_kw:g}..{high_kw:g} kW", command.id)

    def record(self, ref: int, stage: str, ack: bytes) -> None:
        """Keep the stage that a command reached and the acknowledgement that says so, until it is sent."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE command SET stage = ? WHERE ref = ?", (stage, ref))
            self._db.execute("INSERT INTO ack (ref, body) VALUES (?, ?)", (ref, ack))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"commands: {error}") from error

    def repeat(self, ref: int) -> None:
        """Make the last acknowledgement of a command due again; StoreError when that cannot be noted."""
        try:
            self._db.execute(
                "UPDATE ack SET sent = 0 WHERE n = (SELECT max(n) FROM ack WHERE ref = ?)", (ref,)
            )
        except sqlite3.Error as error:
            raise StoreError(f"commands: {error}") from error

    def unsent(self, limit: int = 100) -> list[tuple[int, bytes]]:
        """Return (number, bytes) of the acknowledgements that the broker does not have yet, in order."""
        return list(
            self._db.execute("SELECT n, body FROM ack WHERE sent = 0 ORDER BY n LIMIT ?", (limit,)).fetchall()
        )

    def sent(self, number: int) -> None:
        """Note that the broker has an acknowledgement; StoreError when that cannot be noted."""
        try:
            self._db.execute("UPDATE ack SET sent = 1 WHERE n = ?", (number,))
        except sqlite3.Error as error:
            raise StoreError(f"commands: {error}") from error

    def find(self, command_id: str) -> Open | None:
        """Return a command that has not come to its end."""
        return next((each for each in self._open("id = ? AND " + _UNENDED, (command_id,))), None)

    def open_commands(self) -> list[Open]:
        """Return all commands that have not come to their end, oldest first."""
        return self._open(_UNENDED, ())

    def _open(self, where: str, values: tuple[str, ...]) -> list[Open]:
        rows = self._db.execute(
            f"SELECT ref, raw, hash, stage FROM command WHERE {where} ORDER BY ref", values
        ).fetchall()
        found = []
        for ref, raw, digest, stage in rows:
            try:
                found.append(Open(ref, decode_command(raw, self._keys), digest, stage))
            except Rejected:  # its key is trusted no more, so nobody may act on it any further
                continue
        return found

    def forget_old(self, now_ms: int) -> None:
        """Remove what became of commands that ended long ago; their numbers stay."""
        old = "SELECT ref FROM command WHERE valid_to_ms < ?"
        self._db.execute(f"DELETE FROM ack WHERE sent = 1 AND ref IN ({old})", (now_ms - KEEP_MS,))
        self._db.execute(
            f"DELETE FROM command WHERE ref IN ({old}) AND ref NOT IN (SELECT ref FROM ack)",
            (now_ms - KEEP_MS,),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
