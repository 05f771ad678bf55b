"""Follows fleet commands from acceptance to their end, by what the cycle records say. Pure: no I/O, no clock.

At most one command is posted to the controller at a time; others may wait for their begin. A newer one
supersedes the posted one. Times are monotonic from the moment of acceptance, so that a jump of the wall clock
does not move a command that was accepted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from cloud_link.protocol.command import Command, is_reached

LOST_NS = 1_500_000_000
"""A posted command that the records do not show for so long is gone from the controller."""


class Phase(IntEnum):
    """How far a command has come; only forward."""

    WAITING = 0
    """Its begin is not there yet."""
    POSTED = 1
    """The controller has it."""
    ACTIVE = 2
    """It decided a cycle."""
    REACHED = 3
    """The measured power followed."""


@dataclass(slots=True)
class Followed:
    """One accepted command."""

    command: Command
    ref: int
    begin_ns: int
    end_ns: int
    phase: Phase = Phase.WAITING
    epoch_ms: int = 0
    """Which controller has it."""
    seen_ns: int = 0
    """When a record last showed it, or when it was posted."""


class View(NamedTuple):
    """What the newest cycle record says, as far as commands are concerned."""

    mono_ns: int
    epoch_ms: int
    """Start of the controller that wrote it."""
    fleet_ref: int | None
    """The fleet request that the controller holds."""
    winner: str
    target_kw: float
    battery_kw: float | None
    """Measured; None when not known."""


class Progress(NamedTuple):
    """A stage to report."""

    command_id: str
    stage: str
    actual_kw: float | None
    detail: str


class Follower:
    """The accepted commands of one site."""

    def __init__(self) -> None:
        self._followed: list[Followed] = []

    def __len__(self) -> int:
        return len(self._followed)

    def __contains__(self, followed: Followed) -> bool:
        return any(other is followed for other in self._followed)

    def add(self, followed: Followed) -> None:
        """Follow a command that waits for its begin."""
        self._followed.append(followed)

    def posted(self, followed: Followed, now_ns: int, epoch_ms: int) -> list[Progress]:
        """Note that the controller has this command now; return the ends of those that it replaces.

        A stop also replaces everything that was still waiting.
        """
        stop = followed.command.kind == "stop"
        ends = []
        for other in list(self._followed):
            if other is not followed and (stop or other.phase is not Phase.WAITING):
                self._followed.remove(other)
                by = f"by {followed.command.id}"
                ends.append(Progress(other.command.id, "superseded", None, by))
        if followed not in self._followed:
            self._followed.append(followed)
        followed.phase, followed.seen_ns, followed.epoch_ms = Phase.POSTED, now_ns, epoch_ms
        return ends

    def due(self, now_ns: int) -> list[Followed]:
        """Return the waiting commands whose begin has come, oldest first."""
        ready = [f for f in self._followed if f.phase is Phase.WAITING and f.begin_ns <= now_ns < f.end_ns]
        return sorted(ready, key=lambda f: f.ref)

    def drop(self, followed: Followed, why: str) -> Progress:
        """Give up a command that the controller does not take."""
        self._followed.remove(followed)
        return Progress(followed.command.id, "aborted", None, why)

    def look(self, view: View | None, now_ns: int) -> list[Progress]:
        """Return the stages that are reached now; None for ``view`` when the controller is not running."""
        news: list[Progress] = []
        for followed in list(self._followed):
            news += self._look_at(followed, view, now_ns)
        return news

    def _look_at(self, followed: Followed, view: View | None, now_ns: int) -> Iterable[Progress]:
        actual_kw = view.battery_kw if view else None
        if now_ns >= followed.end_ns:
            self._followed.remove(followed)
            detail = "it never decided a cycle" if followed.phase is Phase.POSTED else ""
            return [Progress(followed.command.id, "expired", actual_kw, detail)]
        if view is None or followed.phase is Phase.WAITING:
            return []
        if view.fleet_ref != followed.ref:
            return self._missing(followed, view, now_ns)
        followed.seen_ns = now_ns
        return _advance(followed, view)

    def _missing(self, followed: Followed, view: View, now_ns: int) -> list[Progress]:
        """Handle a controller that does not hold the command (any more)."""
        if now_ns - followed.seen_ns < LOST_NS:
            return []
        if view.epoch_ms != followed.epoch_ms:  # a new controller: it must be told again
            followed.phase = Phase.WAITING
            return []
        return [self.drop(followed, "cancelled at the site")]


def _advance(followed: Followed, view: View) -> list[Progress]:
    news = []
    if followed.phase is Phase.POSTED and view.winner == "fleet":
        followed.phase = Phase.ACTIVE
        news.append(Progress(followed.command.id, "active", view.battery_kw, ""))
    if (
        followed.phase is Phase.ACTIVE
        and view.winner == "fleet"
        and is_reached(view.battery_kw, view.target_kw)
    ):
        followed.phase = Phase.REACHED
        news.append(Progress(followed.command.id, "active", view.battery_kw, "reached"))
    return news
