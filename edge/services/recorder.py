"""The recorder: every second of the ring, every event and every plan go into the history.

It follows the ring by cycle number, so that its own restarts leave no hole as long as they are shorter than
the ring. When the disk is full or the file is locked it keeps the newest hour in memory and says so; when the
file is damaged it sets it aside and begins a new one. Once an hour it deletes what is too old, or too much
for the disk; age is counted from the newest record, so that a site that stands still forgets nothing.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge.events import Events, parsed
from edge.history import FILE, MIN_ROOM_BYTES, History, set_aside
from edge.history_reader import CorruptError
from edge.services.tape import Part, Tape
from models.errors import StoreError
from models.units import MS_PER_S

POLL_S = 0.5
FLUSH_S = 5.0
"""What a power cut may cost. Each flush writes a few pages: more often means a shorter life of the flash."""
IDLE_S = 2.0
"""When no record has come for so long, the second that was begun is taken as it is."""
TRIM_S = 3600.0
"""How often the history is looked through for what is too old."""
MAX_PENDING = 3600
"""Seconds that are kept in memory while nothing can be stored."""
STATE_FILE = "recorder.json"


class EventTail:
    """Reads ``events.jsonl`` line by line, also across its move to ``.previous``."""

    def __init__(self, path: Path) -> None:
        """Begin with what the file before still holds; what is known already is not stored twice."""
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = 0
        self._kept = self._lines(path.with_suffix(".previous"))

    def take(self) -> list[dict[str, Any]]:
        """Return the events that have come since the last call."""
        lines, self._kept = self._kept, []
        lines += self._more()
        with suppress(OSError):
            if self._file is None or self._path.stat().st_ino != self._inode:
                if self._file is not None:
                    self._file.close()
                self._file = self._path.open("rb")
                self._inode = self._path.stat().st_ino
                lines += self._more()
        return [event for line in lines for event in parsed(line)]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _more(self) -> list[bytes]:
        if self._file is None:
            return []
        lines = []
        while line := self._file.readline():
            if not line.endswith(b"\n"):  # half of a line that is being written
                self._file.seek(-len(line), 1)
                break
            lines.append(line)
        return lines

    @staticmethod
    def _lines(path: Path) -> list[bytes]:
        try:
            return path.read_bytes().splitlines()
        except OSError:
            return []


def _alike(parts: Iterable[Part]) -> list[list[Part]]:
    """Put neighbours of the same layout together, so that a flush is one row and one transaction."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and groups[-1][0].alike(part):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


class Recorder:
    """Everything between the run folder and the history file; call ``turn`` again and again."""

    def __init__(self, run_dir: Path, state_dir: Path) -> None:
        """Nothing is opened yet."""
        self._run_dir = run_dir
        self._path = state_dir / FILE
        self._plan_path = state_dir / "plan.json"
        self._plan_stamp = 0
        self._events = Events(run_dir / "events.jsonl", "recorder")
        self._tail = EventTail(run_dir / "events.jsonl")
        self._new_events: deque[dict[str, Any]] = deque(maxlen=MAX_PENDING)
        self._history: History | None = None
        self._tape: Tape | None = None
        self._pending: deque[Part] = deque()
        self._missed = 0
        self._dropped = 0
        self._heard_s = self._flushed_s = 0.0
        self._trimmed_s = 0.0
        self._thinned = False
        self._stored_ms = 0
        self._held = (0, 0.0)
        self.degraded = ""
        """Why nothing is being stored; empty when all is well."""

    def turn(self, now_s: float, flush: bool = False) -> None:
        """Look for new records, and store what has gathered when it is time to.

        Args:
            now_s: monotonic time.
            flush: store at once, because this is the last turn.
        """
        try:
            self._collect(now_s)
        except StoreError:
            pass  # no controller has run yet, or it is just starting
        self._new_events.extend(self._tail.take())
        if flush or now_s - self._flushed_s >= FLUSH_S:
            self._flushed_s = now_s
            self._store()

    def close(self) -> None:
        """Close all files."""
        self._tail.close()
        if self._history is not None:
            self._history.close()
            self._history = None

    def _collect(self, now_s: float) -> None:
        if self._tape is None:
            if self._open() is None:
                return
            assert self._history is not None
            self._tape, self._heard_s = Tape(self._run_dir, self._history.newest()), now_s
        before = self._tape.cycle
        self._pending.extend(self._tape.take())
        if self._tape.cycle != before:
            self._heard_s = now_s
        elif now_s - self._heard_s > IDLE_S:
            self._pending.extend(self._tape.take(finish=True))
        while sum(len(part.rows) for part in self._pending) > MAX_PENDING:
            self._dropped += len(self._pending.popleft().rows)

    def _open(self) -> History | None:
        """Return the history, opened when it is not; None when that cannot be done now."""
        if self._history is None:
            try:
                self._history = History.open(self._path, writable=True)
            except StoreError as error:
                self._degrade(str(error))
                return None
            if self._history.aside is not None:
                self._events.emit(
                    "HISTORY_SET_ASIDE", str(self._history.aside), "damaged; a new one was begun"
                )
        return self._history

    def _store(self) -> None:
        """Store what is pending; what cannot be stored stays pending."""
        history = self._open()
        if history is None:
            return
        try:
            for parts in _alike(self._pending):
                first, rows = parts[0], np.concatenate([part.rows for part in parts])
                history.append(history.layout(rows.dtype, first.points, first.site_toml, first.version), rows)
                self._stored_ms = int(rows["utc_ms"][-1])
                for _ in parts:
                    self._pending.popleft()
            if self._new_events:
                history.add_events(list(self._new_events))
                self._new_events.clear()
            self._store_plan(history)
            self._trim(history)
            self._held = history.held()
        except CorruptError as error:
            self._degrade(str(error))
            history.close()
            self._history = None
            aside = set_aside(self._path)
            self._events.emit("HISTORY_SET_ASIDE", str(aside), "damaged; a new one is begun")
        except StoreError as error:
            self._degrade(str(error))
        else:
            self._recover()
        self._tell()

    def _trim(self, history: History) -> None:
        if self._flushed_s - self._trimmed_s < TRIM_S:
            return
        self._trimmed_s = self._flushed_s
        thinned = history.trim(self._stored_ms)
        if thinned and not self._thinned:
            what = f"less than {MIN_ROOM_BYTES // 10**6} MB free: the oldest days are deleted first"
            self._events.emit("HISTORY_THINNED", str(self._path), what)
        # over only when there is plenty of room, else it would come and go every day
        self._thinned = thinned or (self._thinned and history.room() < 2 * MIN_ROOM_BYTES)

    def _store_plan(self, history: History) -> None:
        with suppress(OSError, UnicodeDecodeError):
            stamp = self._plan_path.stat().st_mtime_ns
            if stamp != self._plan_stamp:
                history.add_plan(stamp // 1_000_000, self._plan_path.read_text("utf-8"))
                self._plan_stamp = stamp

    def _degrade(self, why: str) -> None:
        if not self.degraded:
            self._events.emit("HISTORY_DEGRADED", str(self._path), why)
        self.degraded = why
        self._tell()

    def _recover(self) -> None:
        if self.degraded:
            what = f"stores again; {self._dropped} s were lost"
            self._events.emit("HISTORY_RECOVERED", str(self._path), what)
        self.degraded, self._dropped = "", 0
        missed = self._tape.missed if self._tape else 0
        if missed > self._missed:
            self._events.emit("HISTORY_GAP", "recorder", f"{missed - self._missed} records came too fast")
            self._missed = missed

    def _tell(self) -> None:
        """Write how it stands beside the image, for ``edge status``."""
        state = {
            "degraded": self.degraded or None,
            "stored_utc_ms": self._stored_ms,
            "size_bytes": self._held[0],
            "held_days": round(self._held[1], 1),
            "pending_s": sum(len(part.rows) for part in self._pending),
            "t_ms": int(time.time() * MS_PER_S),
        }
        with suppress(OSError):
            fresh = self._run_dir / f"{STATE_FILE}.new"
            fresh.write_text(json.dumps(state))
            fresh.replace(self._run_dir / STATE_FILE)


def run_recorder(run_dir: Path, state_dir: Path, stop: threading.Event) -> None:
    """Record until ``stop`` is set; a disk that fails is reported and tried again."""
    recorder = Recorder(run_dir, state_dir)
    try:
        while not stop.wait(POLL_S):
            recorder.turn(time.monotonic())
        recorder.turn(time.monotonic(), flush=True)
    finally:
        recorder.close()
