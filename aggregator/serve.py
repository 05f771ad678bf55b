"""The fleet server: one process, one worker. The link only fills a queue; the worker does the rest.

Order of every turn: take messages, place orders, store what came (at most 200 ms after it came), and only
then confirm to the sites what is stored. Killed at any point, it loses nothing that it has confirmed.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from aggregator.dispatch import Dispatcher, Order
from aggregator.ingest import Ingest, Report
from aggregator.numbers import Numbers
from aggregator.problems import Refusal
from aggregator.registry import Link, Now, Registry
from aggregator.rows import ReportRow, SiteRow
from aggregator.store import Store
from cloud_link.protocol.command import FINAL_STAGES
from cloud_link.protocol.confirm import Confirm, encode_confirm
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.protocol.sparkplug import DataType, Metric, Payload, encode
from cloud_link.protocol.topics import (
    FLEET_HOST,
    VERSION,
    command_topic,
    confirm_topic,
    own_site,
    sparkplug_topic,
    state_topic,
)
from cloud_link.transport import Address, Message, Transport
from models.errors import LinkError
from models.units import MS_PER_S, NS_PER_MS

log = logging.getLogger(__name__)

TURN_S = 0.02
"""Longest wait for a message, so also for an order."""
TURN_MESSAGES = 500
FLUSH_NS = 200 * NS_PER_MS
SLOW_NS = 1000 * NS_PER_MS
TRIM_NS = 3_600_000 * NS_PER_MS
"""How often old rows are looked for; as long as there are some, a few go in every slow turn."""
ORDER_MAX_AGE_S = 10.0
QUEUE_MAX = 100_000
"""Messages beyond this are dropped; nothing is lost, because they are not confirmed."""

UP, DOWN, SUBSCRIBED = "up", "down", "subscribed"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server must be told."""

    db: Path
    broker: Address
    tenant: str
    key: Path
    site_keys: Path


class Counts(NamedTuple):
    """What the server did since its start."""

    messages: int
    reports: int
    refused: int


def clock() -> Now:
    """Return this instant on both clocks."""
    return Now(time.time_ns() // NS_PER_MS, time.monotonic_ns())


def own_key(path: Path) -> SigningKey:
    """Return the fleet's key; it is made when there is none (readable for its owner only)."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        SigningKey.generate().save(path)
    return SigningKey.load(path)


class Server:
    """The running fleet.

    Args:
        settings: where everything is.
        on_ready: called once, when the broker has let us in and granted the topics.

    Raises:
        StoreError, BusyError, LinkError: the store or a key file cannot be used.
    """

    def __init__(self, settings: Settings, on_ready: Callable[[], None]) -> None:
        self._settings, self._on_ready = settings, on_ready
        self._key = own_key(settings.key)
        self._keys_stamp = _stamp(settings.site_keys)
        keys = Keyring.load(settings.site_keys) if self._keys_stamp else Keyring({})
        self._store = Store.serve(settings.db)
        self._registry = Registry()
        self._ingest = Ingest(settings.tenant, self._registry)
        self._dispatcher = Dispatcher(self._registry, self._store, self._key, keys, self._send_command)
        self._queue: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._pending: list[Report] = []
        self._tables: dict[tuple[str, str], int] = {}
        self._confirmed: dict[str, tuple[int, int, int]] = {}
        self._stop = False
        self._started_ms = clock().utc_ms
        self._session_ms = self._started_ms
        self._flushed_ns = self._slow_ns = self._trim_ns = 0
        self._messages = self._reports = self._refused = self._dropped = 0
        self._restore()
        self._link = Transport(
            settings.broker,
            f"{FLEET_HOST}-{settings.tenant}",
            on_message=self._received,
            on_up=lambda kept: self._queue.put((UP, None)),
            on_down=lambda reason: self._queue.put((DOWN, reason)),
            will=self._will,
        )

    @property
    def counts(self) -> Counts:
        """What was done since the start."""
        return Counts(self._messages, self._reports, self._refused)

    def stop(self) -> None:
        """Ask the worker to end; safe in a signal handler."""
        self._stop = True

    def run(self) -> None:
        """Work until :meth:`stop`; the last reports are stored before it returns.

        Raises:
            StoreError: the store stays unusable.
        """
        self._link.start()
        try:
            while not self._stop:
                self._turn()
            self._flush(clock())
            self._beat(clock(), connected=False)
        finally:
            self._link.stop(self._state(online=False))
            self._store.close()

    # --- called by the network thread: only hand over -----------------------------------------------------

    def _received(self, message: Message) -> None:
        if self._queue.qsize() < QUEUE_MAX:
            self._queue.put((message.topic, message.payload))
        else:
            self._dropped += 1

    def _will(self) -> Message:
        self._session_ms = clock().utc_ms
        return self._state(online=False)

    def _state(self, online: bool) -> Message:
        """Return the STATE of this host; the birth carries the time of the will of the same connection."""
        text = json.dumps({"online": online, "timestamp": self._session_ms}, separators=(",", ":"))
        return Message(state_topic(FLEET_HOST), text.encode(), 1, True)

    # --- the worker --------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._take_messages()
        now = clock()
        for site in self._registry.tick(now):
            self._ask_rebirth(site, now)
        self._place_orders(now)
        self._dispatcher.tick(now)
        if now.mono_ns - self._flushed_ns >= FLUSH_NS or len(self._pending) >= TURN_MESSAGES:
            self._flush(now)
        if now.mono_ns - self._slow_ns >= SLOW_NS:
            self._slow_ns = now.mono_ns
            self._flush(now)
            self._confirm()
            self._beat(now, self._link.connected)
            self._reload_keys()
            self._trim(now)

    def _take_messages(self) -> None:
        try:
            item = self._queue.get(timeout=TURN_S)
            for _ in range(TURN_MESSAGES):
                self._take(*item)
                item = self._queue.get_nowait()
            self._take(*item)
        except Empty:
            pass

    def _take(self, topic: str, content: Any) -> None:
        now = clock()
        if topic in LINK_EVENTS:
            LINK_EVENTS[topic](self, content)
        elif topic.startswith("spBv1.0/STATE/"):
            self._check_state(content)
        elif own := own_site(topic):
            if own[0] == self._settings.tenant and own[2] == "ack":
                self._note_refused(topic, self._dispatcher.ack(own[1], content, now))
        else:
            self._telemetry(topic, content, now)

    def _telemetry(self, topic: str, raw: bytes, now: Now) -> None:
        self._messages += 1
        taken = self._ingest.take(topic, raw, now)
        self._pending += taken.reports
        self._note_refused(topic, taken.why)
        if taken.rebirth:
            self._ask_rebirth(taken.rebirth, now)
        if "/NBIRTH/" in topic:
            self._confirmed.pop(topic.rpartition("/")[2], None)

    def _note_refused(self, topic: str, why: str) -> None:
        if why:
            self._refused += 1
            log.debug("%s: %s", topic, why)

    def _came_up(self, _: Any) -> None:
        tenant = self._settings.tenant
        topics = (f"spBv1.0/{tenant}/#", f"yunchu/v{VERSION}/{tenant}/+/ack", state_topic(FLEET_HOST))
        try:
            self._link.subscribe(
                [(topic, 1) for topic in topics], lambda granted: self._queue.put((SUBSCRIBED, granted))
            )
        except LinkError:
            log.info("the connection ended before the topics were asked for")

    def _went_down(self, reason: str) -> None:
        log.warning("no connection to the broker: %s", reason)
        self._registry.link_lost(clock())

    def _subscribed(self, granted: bool) -> None:
        if not granted:
            log.error("the broker does not grant the topics of tenant %s", self._settings.tenant)
            return
        self._publish(self._state(online=True))
        self._registry.link_up(clock())
        self._confirmed.clear()
        self._on_ready()
        self._on_ready = _nothing

    def _check_state(self, raw: bytes) -> None:
        """Say that we are online when a late will of an older connection says that we are not."""
        try:
            state = json.loads(raw)
        except (ValueError, RecursionError):
            return
        if isinstance(state, dict) and state.get("online") is False and not self._stop:
            self._publish(self._state(online=True))

    # --- what leaves -------------------------------------------------------------------------------------

    def _publish(self, message: Message, expiry_s: int | None = None) -> bool:
        try:
            self._link.publish(message, expiry_s=expiry_s)
        except LinkError as error:
            log.info("%s was not sent: %s", message.topic, error)
            return False
        return True

    def _ask_rebirth(self, site: str, now: Now) -> None:
        metric = Metric(
            True, "Node Control/Rebirth", datatype=DataType.BOOLEAN, timestamp_ms=now.utc_ms
        )  # fmt: skip
        raw = encode(Payload((metric,), now.utc_ms), with_types=True)
        self._publish(Message(sparkplug_topic(self._settings.tenant, "NCMD", site), raw))

    def _send_command(self, site: str, raw: bytes, useful_s: int) -> None:
        self._publish(Message(command_topic(self._settings.tenant, site), raw, 1), useful_s)

    def _confirm(self) -> None:
        """Tell each site what is stored (call it after a flush); again when it seems not to have heard it."""
        if not self._link.connected:
            return
        for site, numbers in self._ingest.numbers.items():
            state = numbers.epoch, numbers.contiguous, numbers.duplicates
            if not numbers.epoch or self._confirmed.get(site) == state:
                continue
            raw = encode_confirm(Confirm(VERSION, site, numbers.epoch, numbers.contiguous), self._key)
            if self._publish(Message(confirm_topic(self._settings.tenant, site), raw, 1)):
                self._confirmed[site] = state

    # --- the store ---------------------------------------------------------------------------------------

    def _restore(self) -> None:
        for row in self._store.sites():
            self._registry.restore(row.site, Link(row.state), row.bd_seq, row.birth_ms, row.last_ms)
            numbers = Numbers(row.epoch, [], row.received, row.duplicates)
            numbers.restore([(1, row.contiguous)])
            numbers.restore(self._store.ranges_above(row.site, row.epoch, row.contiguous))
            self._ingest.numbers[row.site] = numbers

    def _flush(self, now: Now) -> None:
        """Store everything that came, at once or not at all."""
        self._flushed_ns = now.mono_ns
        if not self._pending and not self._registry.changed:
            return
        with self._store.transaction():
            self._store.put_reports(map(self._report_row, self._pending))
            self._store.put_latest(map(self._latest_row, self._registry.changed))
            self._store.put_sites(self._site_row(site) for site in {s for s, _ in self._registry.changed})
        self._reports += len(self._pending)
        self._pending.clear()
        self._registry.changed.clear()

    def _report_row(self, report: Report) -> ReportRow:
        key = report.site, report.table
        if key not in self._tables:
            self._tables[key] = self._store.names_id(*key)
        return ReportRow(
            report.site, report.epoch, report.first, report.number, report.t_ms,
            report.received_ms, report.history, self._tables[key], report.body,
        )  # fmt: skip

    def _latest_row(self, changed: tuple[str, str]) -> tuple[str, str, int, bool, str]:
        device = self._registry.sites[changed[0]].devices[changed[1]]
        return *changed, device.t_ms, device.online, json.dumps(device.points, ensure_ascii=False)

    def _site_row(self, name: str) -> SiteRow:
        site, numbers = self._registry.sites[name], self._ingest.numbers.get(name, Numbers())
        return SiteRow(
            name, site.link, site.bd_seq, site.birth_ms, site.heard_ms,
            numbers.epoch, numbers.contiguous, numbers.received, numbers.missing, numbers.duplicates,
        )  # fmt: skip

    def _place_orders(self, now: Now) -> None:
        for row in self._store.open_orders():
            age_s = (now.utc_ms - row.created_ms) / MS_PER_S
            if age_s > ORDER_MAX_AGE_S:
                with self._store.transaction():
                    self._store.order_refused(row.id, Refusal("FLEET-027", row.site, {"age_s": round(age_s)}))
                continue
            self._dispatcher.order(row.id, Order(row.site, row.p_kw, row.for_s, row.clip), now)

    def _beat(self, now: Now, connected: bool) -> None:
        self._store.beat(os.getpid(), now.utc_ms, self._started_ms, connected)

    def _trim(self, now: Now) -> None:
        if now.mono_ns >= self._trim_ns and not self._store.trim(now.utc_ms, FINAL_STAGES):
            self._trim_ns = now.mono_ns + TRIM_NS

    def _reload_keys(self) -> None:
        """Take over the sites' keys when their file changed; a broken file changes nothing."""
        stamp = _stamp(self._settings.site_keys)
        if stamp == self._keys_stamp:
            return
        self._keys_stamp = stamp
        try:
            self._dispatcher.keys = Keyring.load(self._settings.site_keys)
        except LinkError as error:
            log.error("%s", error)


LINK_EVENTS: dict[str, Callable[[Server, Any], None]] = {
    UP: Server._came_up,
    DOWN: Server._went_down,
    SUBSCRIBED: Server._subscribed,
}


def _stamp(path: Path) -> int:
    """Return when a file was changed last; 0 = it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _nothing() -> None:
    """Stand in after the first time."""
