"""The one envelope of every ``--json`` answer, and the exit codes. Pure data, shared by both programs."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import IntEnum
from typing import Any

from models.errors import Problem


class Exit(IntEnum):
    """What the exit code of a command says."""

    OK = 0
    NO = 1
    """The answer is no: a test failed, a difference was found."""
    USAGE = 2
    CONFIG = 3
    NOT_RUNNING = 4
    NO_ANSWER = 5
    """A device or a bus gives no answer."""
    REFUSED = 6
    """Refused by a guard."""
    DEGRADED = 7
    """It works, but something is stale, missing or alarmed."""
    NO_LINK = 8
    BUSY = 75
    INTERRUPTED = 130


def envelope(
    schema: str, data: Any, problems: Sequence[Problem] = (), *, ok: bool, time_ms: int
) -> dict[str, Any]:
    """Return the answer as a plain dictionary.

    Args:
        schema: name and version, for instance ``edge.status/1``.
        data: anything that JSON can carry.
        problems: what is wrong, worst first.
        ok: whether the command did what was asked.
        time_ms: UTC of the answer.
    """
    return {
        "schema": schema,
        "ok": ok,
        "time_ms": time_ms,
        "data": data,
        "problems": [asdict(problem) for problem in problems],
    }
