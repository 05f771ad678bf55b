"""Events: what somebody may need to know, one JSON line each, with a stable code.

Written by the controller and the services on a change of state, never once per cycle. ``edge status`` shows
the last ones, the recorder keeps them.
"""

import json
import threading
import time
from pathlib import Path
from typing import Any

MAX_BYTES = 4_000_000
"""The file is moved aside at this size; the recorder has long stored its lines by then."""


class Events:
    """Appends to one file; safe to call from any thread."""

    def __init__(self, path: Path, source: str) -> None:
        """Args: path of the file; source is the process that speaks."""
        self._path = path
        self._source = source
        self._lock = threading.Lock()

    def emit(self, code: str, where: str, what: str) -> None:
        """Store one event; a full disk must never disturb the caller."""
        line = {
            "t_ms": time.time_ns() // 1_000_000,
            "source": self._source,
            "code": code,
            "where": where,
            "what": what,
        }
        with self._lock:
            try:
                if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
                    self._path.replace(self._path.with_suffix(".previous"))
                with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            except OSError:
                pass


def tail(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the last ``count`` events, oldest first; half a line (a full disk, a power cut) is no event."""
    try:
        lines = path.read_bytes().splitlines()[-count:]
    except OSError:
        return []
    return [event for line in lines for event in parsed(line)]


def parsed(line: bytes) -> list[dict[str, Any]]:
    """Return the event that one line holds, or none."""
    try:
        event = json.loads(line)
    except ValueError:
        return []
    return [event] if isinstance(event, dict) else []
