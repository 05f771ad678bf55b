"""One MQTT connection that keeps itself up; the only place that knows paho.

MQTT 5 first, 3.1.1 when the broker refuses it. Every connection is a fresh client with a fresh will, so
nothing is repeated behind the caller's back: whoever needs a message to arrive keeps it until ``on_done``
says so. Callbacks run in the network thread of paho and must only hand over.
"""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from models.errors import LinkError

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 60.0
STEADY_S = 5.0
"""A connection that lasted this long starts the waits from the beginning."""
ANSWER_S = 10.0
"""Longest wait for the broker's answer to CONNECT."""
KEEPALIVE_S = 30


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is and how to be let in."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = ""
    ca_file: Path | None = None
    """With it the connection is TLS and the broker must prove itself to this authority."""
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message in either direction."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


def wait_s(failures: int) -> float:
    """Return how long to wait before the next attempt: doubling from 0.2 s to 60 s, jittered by half."""
    base_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures, 16))
    return base_s * random.uniform(0.5, 1.5)


class Transport:
    """A connection to one broker under one client id.

    Args:
        address: the broker.
        client_id: at most one connection at a time may use it.
        on_message: called for each message received.
        on_up: called after each connection, with whether the broker kept our session.
        on_down: called when a connection ended or could not be made, with the reason.
        will: called before each attempt; what the broker publishes when we vanish.
        session_s: how long the broker keeps subscriptions and QoS 1 messages for us; 0 = not at all.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        *,
        on_message: Callable[[Message], None],
        on_up: Callable[[bool], None] = lambda kept: None,
        on_down: Callable[[str], None] = lambda reason: None,
        will: Callable[[], Message] | None = None,
        session_s: int = 0,
    ) -> None:
        self._address, self._client_id = address, client_id
        self._on_message, self._on_up, self._on_down = on_message, on_up, on_down
        self._will, self._session_s = will, session_s
        self._stop = threading.Event()
        self._down = threading.Event()
        self._thread: threading.Thread | None = None
        self._link: _Link | None = None
        self._cut_off = 0
        self.protocol: int = paho.MQTTv5
        """5 or 4 (3.1.1): what the last connection used or the next one tries."""
        self.connects = 0
        """Connections made since the start."""

    @property
    def connected(self) -> bool:
        """Whether the broker has let us in and the connection stands."""
        link = self._link
        return link is not None and link.up.is_set() and not self._down.is_set()

    @property
    def pending(self) -> int:
        """Messages handed over whose ``on_done`` has not been called yet."""
        link = self._link
        return 0 if link is None else link.waiting()

    def start(self) -> None:
        """Begin to connect, in a thread of our own; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"mqtt {self._client_id}", daemon=True)
            self._thread.start()

    def stop(self, farewell: Message | None = None) -> None:
        """Send ``farewell``, disconnect, and wait until the threads have ended."""
        self._stop.set()
        self.drop(farewell)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(ANSWER_S)

    def drop(self, farewell: Message | None = None) -> None:
        """Send ``farewell`` and end this connection; unless stopped, the next one is made at once."""
        link = self._link
        if farewell is not None and link is not None and self.connected:
            link.publish(farewell, None, None)
        if link is not None:
            link.client.disconnect()
        self._down.set()

    def publish(
        self, message: Message, *, expiry_s: int | None = None, on_done: Callable[[bool], None] | None = None
    ) -> int:
        """Hand a message to the network; return its id within this connection.

        Args:
            message: what to send.
            expiry_s: the broker drops it when it could not be delivered for so long (MQTT 5 only).
            on_done: called in the network thread: QoS 0 written, QoS 1 acknowledged (True) or refused
                (False). Not called when the connection ends first.

        Raises:
            LinkError: not connected.
        """
        link = self._link
        if link is None or not self.connected:
            raise LinkError("not connected")
        return link.publish(message, expiry_s, on_done)

    def subscribe(self, topics: Sequence[tuple[str, int]], on_done: Callable[[bool], None]) -> None:
        """Ask for topics (filter, QoS); ``on_done`` says whether all were granted. LinkError when down."""
        link = self._link
        if link is None or not self.connected:
            raise LinkError("not connected")
        link.subscribe(topics, on_done)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began_s, tried = time.monotonic(), self.protocol
            reason, answered = self._connect_once()
            if self._stop.is_set():
                break
            if self.protocol < tried:  # refused for its version only: the older one is tried at once
                continue
            failures = 0 if answered and time.monotonic() - began_s > STEADY_S else failures + 1
            _call("on_down", self._on_down, reason)
            self._stop.wait(wait_s(failures - 1) if failures else 0.0)

    def _connect_once(self) -> tuple[str, bool]:
        """Live through one connection; return why it ended and whether it ever stood."""
        self._down.clear()
        link = _Link(self._client_id, self.protocol, self._session_s, self._down, self._on_message)
        try:
            will = self._will() if self._will is not None else None
            link.open(self._address, will)
        except (OSError, ValueError, RuntimeError) as error:  # the last one: no room for another thread
            return f"{self._address.host}:{self._address.port}: {error}", False
        self._link = link
        try:
            if not link.wait_up(ANSWER_S) or self._stop.is_set():
                self._choose_protocol(link)
                return link.reason or "the broker did not answer", False
            self.connects, self._cut_off = self.connects + 1, 0
            _call("on_up", self._on_up, link.session_kept)
            self._down.wait()
            return link.reason or "connection closed", True
        finally:
            self._link = None
            link.close()

    def _choose_protocol(self, link: "_Link") -> None:
        """Change the protocol when the broker says so, or hangs up twice at CONNECT without a word."""
        self._cut_off = self._cut_off + 1 if link.cut_off else 0
        if link.wrong_protocol or self._cut_off >= 2:
            self._cut_off = 0
            self.protocol = paho.MQTTv311 if self.protocol == paho.MQTTv5 else paho.MQTTv5


class _Link:
    """One paho client for the life of one connection."""

    def __init__(
        self,
        client_id: str,
        protocol: int,
        session_s: int,
        down: threading.Event,
        on_message: Callable[[Message], None],
    ) -> None:
        self.up = threading.Event()
        self.session_kept = False
        self.reason = ""
        self.wrong_protocol = self.cut_off = False
        self._down, self._session_s, self._protocol = down, session_s, protocol
        self._changed = threading.Event()
        self._on_message = on_message
        self._lock = threading.Lock()
        self._waiting: dict[int, Callable[[bool], None]] = {}
        self._early: dict[int, bool] = {}
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if protocol == paho.MQTTv5 else session_s == 0,
            protocol=MQTTProtocolVersion(protocol),
            reconnect_on_failure=False,
        )
        self.client.max_inflight_messages_set(200)
        self.client.connect_timeout = 5.0
        self.client.on_socket_open = _no_delay
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_message = self._received
        self.client.on_publish = self._published
        self.client.on_subscribe = self._subscribed

    def open(self, address: Address, will: Message | None) -> None:
        """Connect the socket and start paho's thread; raises OSError or ValueError."""
        if address.username:
            self.client.username_pw_set(address.username, address.password)
        if address.ca_file is not None:
            self.client.tls_set(
                str(address.ca_file),
                str(address.cert_file) if address.cert_file else None,
                str(address.key_file) if address.key_file else None,
            )
        if will is not None:
            self.client.will_set(will.topic, will.payload, will.qos, will.retain)
        if self._protocol == paho.MQTTv5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self._session_s
            self.client.connect(
                address.host,
                address.port,
                KEEPALIVE_S,
                clean_start=self._session_s == 0,
                properties=properties,
            )
        else:
            self.client.connect(address.host, address.port, KEEPALIVE_S)
        self.client.loop_start()

    def close(self) -> None:
        """End paho's thread and its socket."""
        self.client.disconnect()
        self.client.loop_stop()

    def wait_up(self, timeout_s: float) -> bool:
        """Wait until the broker has answered; False when it refused, went away or took too long."""
        answered = self._changed.wait(timeout_s)
        self.cut_off = answered and not self.up.is_set() and not self.reason
        return self.up.is_set()

    def waiting(self) -> int:
        with self._lock:
            return len(self._waiting)

    def publish(self, message: Message, expiry_s: int | None, on_done: Callable[[bool], None] | None) -> int:
        properties = None
        if expiry_s is not None and self._protocol == paho.MQTTv5:
            properties = _properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expiry_s
        try:
            info = self.client.publish(
                message.topic, message.payload, message.qos, message.retain, properties
            )
        except ValueError as error:
            raise LinkError(f"{message.topic}: {error}") from error
        self._expect(info.mid, on_done or _nothing)
        return info.mid

    def subscribe(self, topics: Sequence[tuple[str, int]], on_done: Callable[[bool], None]) -> None:
        result, mid = self.client.subscribe(list(topics))
        if result != paho.MQTT_ERR_SUCCESS or mid is None:
            raise LinkError("not connected")
        self._expect(mid, on_done)

    def _expect(self, mid: int, on_done: Callable[[bool], None]) -> None:
        """Remember whom to tell; the answer may have come before we knew the id."""
        with self._lock:
            if mid not in self._early:
                self._waiting[mid] = on_done
                return
            good = self._early.pop(mid)
        _call("on_done", on_done, good)

    def _settle(self, mid: int, good: bool) -> None:
        with self._lock:
            on_done = self._waiting.pop(mid, None)
            if on_done is None:
                self._early[mid] = good
                return
        _call("on_done", on_done, good)

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.reason = f"refused by the broker: {reason}"
            self.wrong_protocol = reason.value == 0x84
        else:
            self.session_kept = bool(flags.session_present)
            self.up.set()
        self._changed.set()

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self.up.is_set():
            self.reason = str(reason)
        self._changed.set()
        self._down.set()

    def _received(self, client: Any, data: Any, message: Any) -> None:
        _call(
            "on_message",
            self._on_message,
            Message(message.topic, bytes(message.payload), message.qos, bool(message.retain)),
        )

    def _published(self, client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
        self._settle(mid, not reason.is_failure)

    def _subscribed(self, client: Any, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        self._settle(mid, not any(reason.is_failure for reason in reasons))


def _properties(packet: int) -> Any:
    make: Any = Properties  # untyped in paho
    return make(packet)


def _nothing(good: bool) -> None:
    """Stand in for a caller who does not want to know."""


def _no_delay(client: Any, data: Any, sock: Any) -> None:
    """Without it a QoS 1 exchange waits for delayed acknowledgements: 43 ms instead of 0.4 ms."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _call(name: str, callback: Callable[[Any], None], argument: Any) -> None:
    """Call back without letting a mistake there end the network thread."""
    try:
        callback(argument)
    except Exception:  # top of the link thread: a caller's mistake must not cut the link
        log.exception("%s failed", name)
