"""The telemetry plane of a site: a Sparkplug edge node that owns the outbox.

One worker thread takes reports, network events and confirmations from one queue, so nothing here is locked.
Every report goes to the outbox first. While the fleet (the primary host) is online it is also sent at once;
older ones follow as history, throttled, until everything is confirmed.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_link.changes import Changes, Report, alive, merge, pack, unpack
from cloud_link.node import Node, asks_rebirth
from cloud_link.outbox import Outbox, Row
from cloud_link.protocol.canonical import Rejected
from cloud_link.protocol.confirm import decode_confirm
from cloud_link.protocol.signing import Keyring
from cloud_link.protocol.topics import confirm_topic, sparkplug_topic, state_topic
from cloud_link.settings import LinkSettings
from cloud_link.transport import Message, Transport
from cloud_link.worker import Worker
from models.errors import LinkError
from models.point import Point

log = logging.getLogger(__name__)

TURN_S = 0.05
RESEND_S = 10.0
"""Without any progress for so long, everything unconfirmed is sent again."""
REBIRTH_S = 1.0
"""Births are at least this far apart, however often they are asked for."""
PENDING_MAX = 500
"""Messages on their way to the socket; beyond it history waits."""
BATCH = 50


@dataclass(slots=True)
class LinkCounters:
    """What the telemetry plane did since its start, and how it stands."""

    connected: bool = False
    host_online: bool = False
    protocol: int = 5
    """5 or 4 (MQTT 3.1.1)."""
    made: int = 0
    sent: int = 0
    """Reports handed to the network, repetitions included."""
    confirmed: int = 0
    """Rows that the fleet has confirmed."""
    dropped: int = 0
    """Reports merged into their successor because the outbox was full; over the life of the outbox."""
    backlog: int = 0
    """Rows that wait for confirmation."""
    newest: int = 0
    births: int = 0
    ignored: int = 0
    """Messages received that mean nothing or prove nothing."""
    connects: int = 0
    last_problem: str = ""
    disk_problem: str = ""
    """Why reports cannot be written at the moment; empty = they can."""


class Telemetry:
    """Sends one site's reports.

    Args:
        settings: names, addresses and files.
        points: the site's points, in the order of its image.
        keys: of the fleet; confirmations must be signed with one of them.
        utc_ms: the wall clock.
    """

    def __init__(
        self, settings: LinkSettings, points: Sequence[Point], keys: Keyring, utc_ms: Callable[[], int]
    ) -> None:
        self._settings, self._points, self._keys, self._utc_ms = settings, tuple(points), keys, utc_ms
        self._outbox = Outbox(settings.state_dir / "outbox.db", settings.outbox_rows, merge)
        self._changes = Changes(points)
        self._node = Node(settings.tenant, settings.site, points)
        self._topics = {
            sparkplug_topic(settings.tenant, "NCMD", settings.site): self._on_ncmd,
            confirm_topic(settings.tenant, settings.site): self._on_confirm,
        }
        if settings.host:
            self._topics[state_topic(settings.host)] = self._on_state
        self.counters = LinkCounters(backlog=self._outbox.backlog, dropped=self._outbox.dropped)
        self._bd_seq = self._outbox.recall("bd_seq")
        self._session = -1
        self._born = self._granted = False
        self._host_online, self._host_ms = not settings.host, -1
        self._latest: Report | None = None
        self._alive: set[str] = set()
        self._rebirth = False
        self._births_s = self._progress_s = 0.0
        self._cursor = self._live_from = 0
        self._budget, self._budget_s = 0.0, time.monotonic()
        self._transport = Transport(
            settings.address,
            f"{settings.tenant}-{settings.site}-telemetry",
            on_message=lambda message: self._put("message", message),
            on_up=lambda kept: self._put("up", self._bd_seq),
            on_down=lambda reason: self._put("down", reason),
            will=self._will,
        )
        handlers: dict[str, Callable[[Any], None]] = {
            "report": self._on_report,
            "up": self._on_up,
            "down": self._on_down,
            "granted": self._on_granted,
            "message": self._on_message,
        }
        self._worker = Worker("telemetry", TURN_S, handlers, self._turn, self._problem)

    def start(self) -> None:
        """Connect and work until :meth:`stop`."""
        self._worker.start()
        self._transport.start()

    def report(self, report: Report) -> None:
        """Take a report; returns at once."""
        self._put("report", report)

    def stop(self) -> None:
        """Say goodbye (NDEATH), disconnect, and keep what is not confirmed."""
        self._worker.stop()
        farewell = self._node.death(self._session, self._utc_ms()) if self._born else None
        self._transport.stop(farewell)
        self._outbox.close()

    def _put(self, kind: str, content: Any) -> None:
        self.counters.ignored += not self._worker.put(kind, content)

    def _problem(self, problem: str) -> None:
        self.counters.last_problem = problem

    def _will(self) -> Message:
        """Return the NDEATH of the next connection, under its own number (network thread)."""
        self._bd_seq = (self._bd_seq + 1) % 256
        return self._node.death(self._bd_seq, self._utc_ms())

    # --- the worker --------------------------------------------------------------------------------------

    def _turn(self, now_s: float) -> None:
        if self._granted and self._host_online and self._latest is not None:
            wanted = not self._born or (self._rebirth and now_s - self._births_s >= REBIRTH_S)
            if wanted:
                self._be_born(now_s)
        if self._born:
            self._backfill(now_s)
        self._count()

    def _count(self) -> None:
        counters, outbox = self.counters, self._outbox
        counters.connected, counters.protocol = self._transport.connected, self._transport.protocol
        counters.host_online = self._host_online and self._granted
        counters.backlog, counters.dropped, counters.newest = outbox.backlog, outbox.dropped, outbox.newest
        counters.connects = self._transport.connects
        counters.disk_problem = outbox.problem

    # --- connection --------------------------------------------------------------------------------------

    def _on_up(self, bd_seq: int) -> None:
        self._session, self._born, self._granted = bd_seq, False, False
        self._host_online, self._host_ms = not self._settings.host, -1
        self._outbox.remember("bd_seq", bd_seq)
        topics = [(topic, 1) for topic in self._topics]
        self._transport.subscribe(topics, lambda good: self._put("granted", (bd_seq, good)))

    def _on_down(self, reason: str) -> None:
        self._born = self._granted = False
        self.counters.last_problem = reason

    def _on_granted(self, answer: tuple[int, bool]) -> None:
        bd_seq, good = answer
        if not good:
            raise LinkError("the broker does not let this site subscribe to its own topics")
        self._granted = bd_seq == self._session

    def _send(self, message: Message) -> int:
        """Hand one message to the connection that these births belong to; return its size."""
        if self._session != self._bd_seq:
            raise LinkError("the connection has changed")
        self._transport.publish(message)
        return len(message.payload)

    # --- births and deaths -------------------------------------------------------------------------------

    def _be_born(self, now_s: float) -> None:
        report = self._latest
        assert report is not None
        rows = self._outbox.after(0, 1)
        first = rows[0].first if rows else self._outbox.newest + 1
        for message in self._node.births(self._session, self._outbox.epoch, first, report):
            self._send(message)
        self._alive = set(self._node.devices)
        self._note_deaths(report)
        # Whoever asks for a rebirth has missed something: what is not confirmed counts as not sent.
        self._cursor, self._live_from = self._outbox.confirmed, self._outbox.newest + 1
        self._born, self._rebirth, self._births_s, self._progress_s = True, False, now_s, now_s
        self.counters.births += 1

    def _note_deaths(self, report: Report) -> None:
        lives = alive(self._points, report.quality)
        for device in sorted(self._alive - lives):
            self._send(self._node.device_death(device, report.t_ms))
        self._alive = lives

    def _note_returns(self, report: Report) -> None:
        for device in sorted(alive(self._points, report.quality) - self._alive):
            self._send(self._node.device_birth(device, report))
            self._alive.add(device)

    # --- reports -----------------------------------------------------------------------------------------

    def _on_report(self, report: Report) -> None:
        self._latest = report
        row = self._outbox.add(pack(report.t_ms, self._changes.worth_telling(report)))
        self.counters.made += 1
        if self._born:
            self._note_returns(report)
            self._send_row(row, historical=False)
            self._note_deaths(report)

    def _send_row(self, row: Row, *, historical: bool) -> int:
        t_ms, news = unpack(row.body)
        size = 0
        for message in self._node.data(row, t_ms, news, self._utc_ms(), historical=historical):
            size += self._send(message)
        self.counters.sent += 1
        return size

    def _backfill(self, now_s: float) -> None:
        """Send old rows, oldest first, within the byte budget; start again when nothing is confirmed."""
        rate = self._settings.history_bytes_per_s
        self._budget = min(rate, self._budget + (now_s - self._budget_s) * rate)
        self._budget_s = now_s
        if not self._outbox.backlog:
            self._progress_s = now_s
        elif now_s - self._progress_s > RESEND_S:
            self._cursor, self._live_from = self._outbox.confirmed, self._outbox.newest + 1
            self._progress_s = now_s
        if self._budget <= 0 or self._cursor >= self._live_from - 1 or self._transport.pending > PENDING_MAX:
            return
        for row in self._outbox.after(self._cursor, BATCH):
            if row.number >= self._live_from or self._budget <= 0:
                break
            self._budget -= self._send_row(row, historical=True)
            self._cursor, self._progress_s = row.number, now_s

    # --- what the fleet says -----------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        handler = self._topics.get(message.topic)
        if handler is None or not handler(message.payload):
            self.counters.ignored += 1

    def _on_ncmd(self, raw: bytes) -> bool:
        asked = asks_rebirth(raw)
        self._rebirth |= asked
        return asked

    def _on_confirm(self, raw: bytes) -> bool:
        try:
            confirm = decode_confirm(raw, self._keys)
        except Rejected as rejected:
            log.info("confirmation ignored: %s", rejected)
            return False
        if confirm.site != self._settings.site or confirm.epoch != self._outbox.epoch:
            return False
        rows = self._outbox.confirm(confirm.number)
        if rows:
            self.counters.confirmed += rows
            self._cursor = max(self._cursor, confirm.number)
            self._progress_s = time.monotonic()
        return True

    def _on_state(self, raw: bytes) -> bool:
        state = _state(raw)
        if state is None or state[1] < self._host_ms:
            return False
        renewed = self._born and state[1] > self._host_ms
        self._host_online, self._host_ms = state
        if self._host_online and renewed:  # a new session of the fleet has not heard our births
            wait_s = random.uniform(0.0, self._settings.birth_spread_s)
            self._rebirth, self._births_s = True, time.monotonic() + wait_s - REBIRTH_S
        if not self._host_online and self._born:
            self._born = self._granted = False
            self._transport.drop(self._node.death(self._session, self._utc_ms()))
        return True


def _state(raw: bytes) -> tuple[bool, int] | None:
    """Return (online, UTC ms) of a host's STATE, or None if it is not one."""
    try:
        state = json.loads(raw[:1000])
    except (ValueError, RecursionError):
        return None
    if not isinstance(state, dict):
        return None
    online, t_ms = state.get("online"), state.get("timestamp")
    if not isinstance(online, bool) or not isinstance(t_ms, int) or isinstance(t_ms, bool):
        return None
    return online, t_ms
