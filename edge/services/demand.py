"""The largest average import of the month so far: what has been billed cannot be saved any more.

Fed with the meter's power as the planner sees it; kept on disk, so that a restart does not forget it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from edge.clock import TRUSTED_MS
from models.tariff import Tariff
from models.units import MS_PER_S

MIN_COVER = 0.5
"""A window of which less than this was seen sets no peak."""
MONTH_START_MS = 3_600_000
"""A month of which more than this has gone by unseen does not count as followed from its start."""
MAX_HOLD_MS = 30_000
"""A sample stands for no longer than this."""


@dataclass(slots=True)
class Demand:
    """Averages over the tariff's windows, their maximum per local month."""

    path: Path
    month: str = ""
    peak_kw: float = 0.0
    complete: bool = False
    """Whether the month has been followed from its start."""
    _window: int = -1
    _sum: float = 0.0
    _seen_ms: int = 0
    _last_ms: int = 0

    def load(self, start_kw: float) -> None:
        """Continue where the file stopped; ``start_kw`` is billed this month as the user says."""
        try:
            data = json.loads(self.path.read_text("utf-8"))
            self.month, self.peak_kw = str(data["month"]), float(data["peak_kw"])
            self.complete = bool(data["complete"])
        except (OSError, ValueError, KeyError, TypeError):
            self.month, self.peak_kw, self.complete = "", start_kw, start_kw > 0

    def add(self, utc_ms: int, import_kw: float | None, tariff: Tariff) -> None:
        """Take one measurement; None when the meter is not known.

        One from a clock that was never set is left out: it would turn the month and forget what is billed.
        """
        if utc_ms < TRUSTED_MS:
            return
        month = tariff.month(utc_ms)
        self._turn_month(month, tariff.month(utc_ms - MONTH_START_MS) != month)
        window = utc_ms // (tariff.demand_window_s * MS_PER_S)
        if window != self._window:
            self._close(tariff.demand_window_s * MS_PER_S)
            self._window, self._sum, self._seen_ms, self._last_ms = window, 0.0, 0, utc_ms
        span = min(max(utc_ms - self._last_ms, 0), MAX_HOLD_MS)
        self._last_ms = utc_ms
        if import_kw is not None:
            self._sum += max(import_kw, 0.0) * span
            self._seen_ms += span

    def _turn_month(self, month: str, new: bool) -> None:
        """Begin a month; what happened in one that is not new any more (a long outage) is not known."""
        if month == self.month:
            return
        if self.month:
            self._window, self.peak_kw, self.complete = -1, 0.0, new
        self.month = month
        self._save()

    def _close(self, window_ms: int) -> None:
        if self._window < 0 or self._seen_ms < MIN_COVER * window_ms:
            return
        mean = self._sum / self._seen_ms
        if mean > self.peak_kw:
            self.peak_kw = mean
            self._save()

    def _save(self) -> None:
        data = {"month": self.month, "peak_kw": round(self.peak_kw, 3), "complete": self.complete}
        write_atomic(self.path, json.dumps(data))


def write_atomic(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new text, never a part of one.

    Raises:
        OSError: the disk does not take it.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
