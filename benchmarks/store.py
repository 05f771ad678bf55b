"""Size of the history and bytes written for it: ours, and narrow rows (point, time, value) in SQLite.

Measured: half an hour of one record a second of a site with four batteries, the same records for all sides,
in turn minute by minute. Ours stores the whole record (values, qualities, times, limits, decisions) as the
recorder does, a commit every 5 s. The peer stores only the values of the points, in the most compact narrow
table (integer key, WITHOUT ROWID), with a commit every second, and once more every 5 s to show what is due to
that alone. Written = bytes handed to the kernel, an upper bound of what reaches the disk.
Not measured: an SD card's own amplification and sync times, reading, years of growth.
"""

import os
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row, report, wants_json
from benchmarks.sites import Played, plant, site_text
from control.record import dtype
from edge.history import History
from edge.services.recorder import FLUSH_S

BATTERIES = 4
MINUTES = 30
CYCLES_PER_S = 10
DAY_S = 86_400
FLUSH = round(FLUSH_S)
OURS, NARROW, NARROW_SLOW = "our history", "narrow rows, commit 1 s", f"narrow rows, commit {FLUSH} s"
Rows = NDArray[np.void]


class Ours:
    """Our history, fed as the recorder feeds it."""

    def __init__(self, path: Path, played: Played) -> None:
        names = [point.name for point in played.plant.site.points]
        self._history = History.open(path, writable=True)
        self._layout = self._history.layout(dtype(played.plant.site), names, site_text(BATTERIES), "bench")

    def add(self, rows: Rows) -> None:
        for first in range(0, len(rows), FLUSH):
            self._history.append(self._layout, rows[first : first + FLUSH])

    def close(self) -> None:
        self._history.close()


class Narrow:
    """One row for each point and second."""

    def __init__(self, path: Path, commit_s: int) -> None:
        self._commit_s = commit_s
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(
            "CREATE TABLE reading(point INTEGER, utc_ms INTEGER, value REAL, PRIMARY KEY(point, utc_ms))"
            " WITHOUT ROWID"
        )

    def add(self, rows: Rows) -> None:
        for first in range(0, len(rows), self._commit_s):
            self._db.execute("BEGIN")
            for row in rows[first : first + self._commit_s]:
                at = int(row["utc_ms"])
                values = [(point, at, value) for point, value in enumerate(row["value"].tolist())]
                self._db.executemany("INSERT INTO reading VALUES (?, ?, ?)", values)
            self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


def minute(played: Played) -> Rows:
    """Return the next minute: the last record of every second."""
    rows = []
    for number in range(60 * CYCLES_PER_S):
        record = played.cycle().record
        if number % CYCLES_PER_S == CYCLES_PER_S - 1:
            rows.append(record)
    return np.frombuffer(b"".join(rows), dtype(played.plant.site))


def written() -> int:
    """Return the bytes that this process has handed to the kernel so far."""
    lines = Path("/proc/self/io").read_text("ascii").split()
    return int(lines[lines.index("wchar:") + 1])


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Return the figures of each side."""
    played = Played(plant(BATTERIES))
    sides: dict[str, Ours | Narrow] = {
        OURS: Ours(folder / OURS, played),
        NARROW: Narrow(folder / NARROW, 1),
        NARROW_SLOW: Narrow(folder / NARROW_SLOW, FLUSH),
    }
    bytes_, cpu_ns = dict.fromkeys(sides, 0), dict.fromkeys(sides, 0)
    for number in range(MINUTES + 1):
        rows = minute(played) if number < MINUTES else None
        for name, side in sides.items():
            before, start_ns = written(), time.thread_time_ns()
            if rows is None:
                side.close()
            else:
                side.add(rows)
            cpu_ns[name] += time.thread_time_ns() - start_ns
            bytes_[name] += written() - before
    seconds, points = MINUTES * 60, len(played.plant.site.points)
    sizes = {name: os.path.getsize(folder / name) for name in sides}
    return {
        name: {
            "bytes_per_s": sizes[name] / seconds,
            "bytes_per_value": sizes[name] / seconds / points,
            "written_mb_per_day": bytes_[name] / seconds * DAY_S / 1e6,
            "cpu_us_per_s": cpu_ns[name] / 1000 / seconds,
        }
        for name in sides
    }


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    ours = found[OURS]
    ratios = {name: {key: value / ours[key] for key, value in side.items()} for name, side in found.items()}
    rows: list[Row] = [
        (name, *side.values(), ratios[name]["bytes_per_s"], ratios[name]["written_mb_per_day"])
        for name, side in found.items()
    ]
    titles = "store", "B/s", "B/value", "MB/day written", "CPU us/s", "size ratio", "written ratio"
    data = {"benchmark": "store", "sides": found, "ratios": ratios}
    report(as_json, data, titles, rows, f"{BATTERIES} batteries, {MINUTES} min at 1 s; ratios to our history")


if __name__ == "__main__":
    main()
