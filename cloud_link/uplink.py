"""The site's end of the link: telemetry out, commands in, as one object.

Two connections with two client ids: telemetry is a clean Sparkplug session, commands have a session that the
broker keeps. Every method returns at once; the work is done in two threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from cloud_link.accept import Open
from cloud_link.changes import Report
from cloud_link.commands import Act, Commands
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.settings import LinkSettings
from cloud_link.telemetry import Telemetry
from models.point import Point


class Uplink:
    """One site's link to its fleet.

    Args:
        settings: names, addresses, files and limits.
        points: the site's points, in the order of its image.
        keys: public keys of the fleet, for commands and confirmations.
        own: signs acknowledgements.
        act: what to do with a command that passed every check, and our own number of it; called in a thread
            of the link.
        utc_ms: the wall clock.
        clock_trusted: whether the wall clock can be relied on; without, only stops are accepted.
    """

    def __init__(
        self,
        settings: LinkSettings,
        points: Sequence[Point],
        keys: Keyring,
        own: SigningKey,
        act: Act,
        *,
        utc_ms: Callable[[], int],
        clock_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._telemetry = Telemetry(settings, points, keys, utc_ms)
        self._commands = Commands(settings, keys, own, act, utc_ms, clock_trusted)

    @property
    def resumed(self) -> list[Open]:
        """Commands that an earlier run accepted and that have not come to their end."""
        return self._commands.resumed

    def start(self) -> None:
        """Connect, and stay connected, in the background."""
        self._telemetry.start()
        self._commands.start()

    def report(self, report: Report) -> None:
        """Tell what the site looks like now; once a second."""
        self._telemetry.report(report)

    def progress(self, command_id: str, stage: str, actual_kw: float | None, detail: str = "") -> None:
        """Tell that an accepted command has reached a stage; LinkError if there is no such stage."""
        self._commands.progress(command_id, stage, actual_kw, detail)

    def counters(self) -> dict[str, Any]:
        """Return what was done and how the link stands, for ``edge status``."""
        return {"telemetry": asdict(self._telemetry.counters), "commands": asdict(self._commands.counters)}

    def stop(self) -> None:
        """Say goodbye and end all threads; what is not confirmed or sent stays on disk."""
        self._commands.stop()
        self._telemetry.stop()
