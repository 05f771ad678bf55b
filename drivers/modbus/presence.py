"""Whether a device is there: its counters, how long it is left alone after failures, what is told about it.

Nothing here belongs to a protocol.
"""

from collections.abc import Callable
from typing import Protocol

from drivers.driver import Counters, Sink
from drivers.modbus.event import EventCode, OnEvent
from models.errors import BadReply, DriverError, NoReply, Refused

OFFLINE_AFTER = 3
"""Failures in a row after which the device counts as offline and all its points are BAD."""
BACKOFF_NS = 500_000_000
BACKOFF_MAX_NS = 5_000_000_000
FAULT_NS = 5_000_000_000
"""After a fault of our own the device is left alone so long, then twice as long …"""
FAULT_MAX_NS = 60_000_000_000
"""… up to this."""
WELL_NS = 60_000_000_000
"""When it was online for so long after a fault, all is forgotten and the next fault is told again."""
COUNT_NS = 500_000_000
"""Counters are published this often."""
WRITE_WELL_NS = 5_000_000_000
"""Writes are well again when they were confirmed for so long without a failure."""
WRITE_QUIET_NS = 10_000_000_000
"""That they fail is not told more often than this."""


class Shared(Protocol):
    """What is asked of a link's thread."""

    shared: bool
    """Whether other devices are on the same line."""


class Presence:
    """Presence of one device; used by the link's thread."""

    def __init__(self, name: str, sink: Sink, line: Shared, on_event: OnEvent, spoil: Callable[[int], None]):
        """Nothing was heard yet.

        Args:
            name: of the device.
            sink: where its counters are published.
            line: the thread of its link.
            on_event: whom to tell.
            spoil: makes all its points BAD; called with the monotonic time when it goes offline.
        """
        self.counters = Counters()
        self.hold_ns = 0
        """It must not be asked anything before this."""
        self._name, self._sink, self._line = name, sink, line
        self._on_event, self._spoil = on_event, spoil
        self._streak = 0
        self._count_ns = 0
        self._told_online: bool | None = None
        self._online_ns = 0
        """Since when it is online."""
        self._fault_ns = 0
        """It is left alone until then because of a fault of our own."""
        self._pause_ns = 0
        """How long it was left alone after the last fault; 0 when that is forgotten."""

    @property
    def well(self) -> bool:
        """Whether it is there and the last request to it was answered: only then it is written to."""
        return self.counters.online and not self._streak

    def alive(self, now_ns: int) -> None:
        """A request was answered and used."""
        self.counters.polls += 1
        self._present(now_ns)

    def failed(self, what: str, error: DriverError, now_ns: int) -> None:
        """Count a request that brought nothing usable; a refusal at least shows that somebody is there."""
        if isinstance(error, Refused):
            self.counters.refused += 1
            self._present(now_ns)
            return
        if isinstance(error, BadReply):
            self.counters.bad_replies += 1
        elif isinstance(error, NoReply):
            self.counters.timeouts += 1
        self.missed(what, now_ns)

    def missed(self, what: str, now_ns: int) -> None:
        """Ask again later and later: a dead unit must not cost the others more than a slot now and then.

        A device that is alone on its line is asked again at once after the first failure.
        """
        self._streak += 1
        doublings = self._streak - (1 if self._line.shared else 2)
        if doublings >= 0:
            pause_ns = min(BACKOFF_NS << min(doublings, 8), BACKOFF_MAX_NS)
            self.hold_ns = max(self._fault_ns, now_ns + pause_ns)
        if self._streak == OFFLINE_AFTER:
            self._offline(what, now_ns)
        self._count(now_ns)

    def line_back(self) -> None:
        """The line was opened again: there is no reason to wait."""
        self.counters.reconnects += 1
        self.hold_ns = self._fault_ns

    def fault(self, what: str, now_ns: int) -> None:
        """Show a fault of our own: whatever the device does, nobody looks at it properly.

        It is told once; that the device is online again only when it was so for WELL_NS.
        """
        first = not self._pause_ns
        self._pause_ns = min(2 * self._pause_ns or FAULT_NS, FAULT_MAX_NS)
        self.hold_ns = self._fault_ns = now_ns + self._pause_ns
        self._streak = max(self._streak, OFFLINE_AFTER)
        if first:
            self._on_event(EventCode.FAULT, self._name, what)
        self._offline(what, now_ns)

    def _present(self, now_ns: int) -> None:
        self._streak = 0
        self.hold_ns = 0
        if not self.counters.online:
            self.counters.online = True
            self._count_ns = 0
            self._online_ns = now_ns
        if self._pause_ns and now_ns - self._online_ns >= WELL_NS:
            self._pause_ns = 0
        if not self._pause_ns:
            self._tell(True, "the device answers")
        self._count(now_ns)

    def _offline(self, what: str, now_ns: int) -> None:
        self.counters.online = False
        self._count_ns = 0
        self._tell(False, what)
        self._count(now_ns)
        self._spoil(now_ns)

    def _tell(self, online: bool, what: str) -> None:
        if online is not self._told_online:
            self._told_online = online
            self._on_event(EventCode.ONLINE if online else EventCode.OFFLINE, self._name, what)

    def _count(self, now_ns: int) -> None:
        if now_ns >= self._count_ns:
            self._count_ns = now_ns + COUNT_NS
            self._sink.count(self.counters)


class Writes:
    """Tells that writes fail and that they are confirmed again; used by the link's thread.

    A setpoint may take several writes, of which one may fail each time: one that is confirmed means nothing.
    """

    def __init__(self, tell: Callable[[EventCode, str], None]) -> None:
        self._tell = tell
        self._failing = False
        self._told_ns = -WRITE_QUIET_NS
        self._good_ns: int | None = None
        """Since when all were confirmed; None when the last one failed."""

    def confirmed(self, now_ns: int) -> None:
        """A write was confirmed."""
        if self._good_ns is None:
            self._good_ns = now_ns
        if self._failing and now_ns - self._good_ns >= WRITE_WELL_NS:
            self._failing = False
            self._tell(EventCode.WRITE_BACK, "writes are confirmed again")

    def failed(self, what: str, now_ns: int) -> None:
        """A write was refused or not confirmed."""
        self._good_ns = None
        if not self._failing and now_ns - self._told_ns >= WRITE_QUIET_NS:
            self._failing, self._told_ns = True, now_ns
            self._tell(EventCode.WRITE_FAILED, what)
