"""What a line has done lately: kept by its thread, read by whoever shows it."""

import time
from dataclasses import dataclass, field

from models.errors import BadReply, DriverError, Refused
from models.units import NS_PER_S

WINDOW_S = 10
"""What is said of the present holds for so many whole seconds."""


@dataclass(slots=True)
class UnitStats:
    """Requests to one unit since the line is served, by what became of them."""

    requests: int = 0
    timeouts: int = 0
    bad_replies: int = 0
    refused: int = 0


@dataclass(slots=True)
class LineStats:
    """Load and errors of one line; one thread writes, others may read at any time."""

    units: dict[int | str, UnitStats] = field(default_factory=dict)
    _second: int = 0
    _busy_ns: list[int] = field(default_factory=lambda: [0] * (WINDOW_S + 1))
    """By second, the one that runs included; a request counts where it ended."""
    _wait_ns: list[int] = field(default_factory=lambda: [0] * (WINDOW_S + 1))

    @property
    def requests(self) -> int:
        """All requests since the line is served."""
        return sum(unit.requests for unit in tuple(self.units.values()))

    def busy(self, now_ns: int | None = None) -> float:
        """Return the share of the last WINDOW_S in which a request was open, 0..1."""
        return min(1.0, sum(self._past(self._busy_ns, now_ns)) / (WINDOW_S * NS_PER_S))

    def wait_s(self, now_ns: int | None = None) -> float:
        """Return how long a read was due until it was over, at the longest in the last WINDOW_S.

        A value of that line is at most so much older than the period of its read.
        """
        return max(self._past(self._wait_ns, now_ns)) / NS_PER_S

    def note(
        self, unit: int | str, start_ns: int, end_ns: int, due_ns: int, error: DriverError | None
    ) -> None:
        """Count one request; ``due_ns`` is when it was due."""
        if (second := end_ns // NS_PER_S) != self._second:
            self._go_to(second)
        now = self._second % (WINDOW_S + 1)
        self._busy_ns[now] += end_ns - start_ns
        if end_ns - due_ns > self._wait_ns[now]:
            self._wait_ns[now] = end_ns - due_ns
        stats = self.units.get(unit)
        if stats is None:
            stats = self.units[unit] = UnitStats()
        stats.requests += 1
        if error is None:
            return
        if isinstance(error, Refused):
            stats.refused += 1
        elif isinstance(error, BadReply):
            stats.bad_replies += 1
        else:
            stats.timeouts += 1

    def _go_to(self, second: int) -> None:
        for passed in range(max(self._second + 1, second - WINDOW_S), second + 1):
            self._busy_ns[passed % (WINDOW_S + 1)] = self._wait_ns[passed % (WINDOW_S + 1)] = 0
        self._second = max(self._second, second)

    def _past(self, by_second: list[int], now_ns: int | None) -> list[int]:
        """Return what the last WINDOW_S whole seconds brought."""
        now = (time.monotonic_ns() if now_ns is None else now_ns) // NS_PER_S
        seconds = range(max(now - WINDOW_S, self._second - WINDOW_S), min(now - 1, self._second) + 1)
        return [by_second[second % (WINDOW_S + 1)] for second in seconds] or [0]
