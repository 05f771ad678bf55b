"""OPC UA devices: one session, one subscription, read only.

A subscription reports changes alone, so a constant value needs another proof that it still holds. Here every
publish response of the server, also an empty one (a keep-alive, OPC 10000-4 5.14.1), confirms all values:
they get its time of receipt. When the server is silent for a third of the smallest maximum age, all values
are read in one request. So nothing that is constant goes stale while the server answers, and everything does
when it does not. A server that does not take all nodes into the subscription is polled instead.

Runs in a process of its own (``edge.controller.host``): decoding a burst of notifications blocks for
milliseconds. The session is ours to renew: it is opened anew, nodes are looked up by browse path and
namespace URI again (the index may have changed with a restart of the server) and the subscription is made
again.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Sequence

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.common.subscription import DataChangeEvent, OverflowPolicy, Subscription
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from numpy.typing import NDArray

from drivers.catalog.product import PointSpec, Product
from drivers.driver import Counters, Sink
from models.errors import BadReply, DriverError, NoReply
from models.point import Point, Quality
from models.proposal import Setpoint
from models.units import NS_PER_S

REQUEST_S = 1.0
"""No request may take longer; a late answer is worth less than a fresh session."""
SESSION_MS = 30_000
"""A server forgets our lost session after this, so that its few places do not run out."""
TICK_S = 0.1
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
QUEUE = 4000
FIRST_NUMBER = 1
"""Sequence numbers start again with 1 after 2**32 - 1."""
LAST_KNOWN = frozenset(
    {StatusCodes.UncertainLastUsableValue, StatusCodes.UncertainNoCommunicationLastUsableValue}
)
"""The server itself says that it has lost the source and repeats an old value."""
PERMANENT = (StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid)
"""The address space is not the one in which we have looked up the nodes."""


def quality_of(status: ua.StatusCode | None) -> Quality:
    """Return what a status code is worth; none means Good (OPC 10000-4 7.11)."""
    code = 0 if status is None else status.value
    if code in LAST_KNOWN:
        return Quality.STALE
    return (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)[code >> 30]


def decode(spec: PointSpec, data: ua.DataValue) -> tuple[float, Quality]:
    """Return value and quality of one data value; what is no number, out of range or unmapped is BAD."""
    quality = quality_of(data.StatusCode)
    raw = None if data.Value is None else data.Value.Value
    if quality is Quality.BAD or not isinstance(raw, int | float):
        return math.nan, Quality.BAD
    if spec.map:
        value = spec.map.get(int(raw), math.nan) if raw == raw // 1 else math.nan
    else:
        value = float(raw) * spec.scale + spec.add
    if not (math.isfinite(value) and spec.lo <= value <= spec.hi):
        return math.nan, Quality.BAD
    return value, quality


class _Listener(Subscription):
    """A subscription that notes when it was heard and whether anything got lost on the way."""

    heard_ns: int = 0
    lost: bool = False
    _expected: int = 0
    """Number of the next message with notifications; a keep-alive carries it too, without using it up."""

    async def publish_callback(self, publish_result: ua.PublishResult) -> None:
        """Take one publish response; called by asyncua's publish loop."""
        message = publish_result.NotificationMessage
        notified = message.NotificationData or ()
        await super().publish_callback(publish_result)
        if any(isinstance(part, ua.StatusChangeNotification) for part in notified):
            return  # the end of the subscription proves nothing about values
        number = int(message.SequenceNumber)
        if self._expected and number not in (self._expected, FIRST_NUMBER):
            self.lost = True
        self._expected = number + bool(notified)
        self.heard_ns = time.monotonic_ns()


class OpcUa:
    """One OPC UA server as a device; implements ``drivers.driver.Driver``."""

    def __init__(self, name: str, url: str, product: Product, points: Sequence[Point], sink: Sink) -> None:
        """Nothing is opened yet.

        Args:
            name: of the device.
            url: ``opc.tcp://host:port/path``.
            product: from the catalog, protocol opcua.
            points: of the device, in the order of the product's points.
            sink: the device's slice of the image.
        """
        self.name = name
        self.points = points
        self.counters = Counters()
        self._url = url
        self._product = product
        self._sink = sink
        size = len(product.points)
        self._all = np.arange(size, dtype=np.intp)
        self._value: NDArray[np.float64] = np.full(size, np.nan)
        self._quality: NDArray[np.uint8] = np.zeros(size, np.uint8)
        self._at: dict[ua.NodeId, list[int]] = {}
        self._heard_ns = 0
        self._flushing = False
        self._ask_ns = round(min(spec.max_age_s for spec in product.points) / 3 * NS_PER_S)
        self._stop = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=f"opcua {name}", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still works; False after ``stop``, or when a fault of ours has ended it."""
        return self._thread.is_alive()

    def offer(self, setpoint: Setpoint) -> None:
        """Refuse: no product of this protocol takes setpoints."""
        self.counters.door_refused += 1

    def stop(self) -> None:
        """Close the session; the readings become stale."""
        self._stop.set()
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop may just have ended by itself
                loop.call_soon_threadsafe(task.cancel)
        if self._thread.is_alive():
            self._thread.join(3 * REQUEST_S)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._forever())

    async def _forever(self) -> None:
        """Hold a session for ever."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        failures = 0
        while not self._stop.is_set():
            began_ns = self._heard_ns
            try:
                await self._session()
            except asyncio.CancelledError as error:
                if self._stop.is_set():
                    raise
                self._count_failure(error)  # only ``stop`` ends us; the library cancelled its own request
            except Exception as error:  # noqa: BLE001 - top loop of the driver: asyncua lets anything escape
                self._count_failure(error)
            finally:
                self._mark_lost()
            failures = 0 if self._heard_ns > began_ns else failures + 1
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            self.counters.reconnects += 1

    def _count_failure(self, error: BaseException) -> None:
        if isinstance(error, TimeoutError | OSError | NoReply):
            self.counters.timeouts += 1
        elif isinstance(error, UaStatusCodeError):
            self.counters.refused += 1
        else:
            self.counters.bad_replies += 1

    def _mark_lost(self) -> None:
        """Keep the last values, but say that nobody vouches for them any more."""
        self.counters.online = False
        self._quality[self._quality >= Quality.UNCERTAIN] = Quality.STALE
        self._sink.put(self._all, self._value, self._quality, self._heard_ns)
        self._sink.count(self.counters)

    async def _session(self) -> None:
        """Connect, look up, subscribe and listen until something breaks."""
        client = Client(self._url, timeout=REQUEST_S)
        client.session_timeout = SESSION_MS
        client.name = client.description = "yunchu"
        client.application_uri = "urn:yunchu:edge"
        await asyncio.wait_for(client.connect(), 3 * REQUEST_S)
        try:
            nodes = await self._look_up(client)
            self.counters.online = True
            await self._ask(client, nodes)
            listener = await self._subscribe(client, nodes)
            if listener is None:
                await self._poll(client, nodes)
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(listener))
                group.create_task(self._watch(client, nodes, listener))
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        finally:
            with contextlib.suppress(TimeoutError, OSError, UaError):
                await asyncio.wait_for(client.disconnect(), REQUEST_S)

    async def _look_up(self, client: Client) -> list[Node]:
        """Find the nodes of all points with one request; a missing one leaves its point BAD."""
        uris = await client.get_namespace_array()
        uri = self._product.link.namespace
        if uri not in uris:
            raise BadReply(f"the server has no namespace {uri}")
        index = uris.index(uri)
        paths = ["".join(f"/{index}:{name}" for name in spec.node) for spec in self._product.points]
        results = await client.translate_browsepaths(client.nodes.objects.nodeid, paths)
        self._at = {}
        for point, result in enumerate(results):
            if result.StatusCode.is_good() and result.Targets:
                self._at.setdefault(result.Targets[0].TargetId, []).append(point)
            else:
                self.counters.refused += 1
                self._value[point], self._quality[point] = math.nan, Quality.BAD
        if not self._at:
            raise BadReply("the server has none of the nodes")
        return [client.get_node(node) for node in self._at]

    async def _subscribe(self, client: Client, nodes: list[Node]) -> _Listener | None:
        """Subscribe to all nodes; None when the server does not take every one of them."""
        fastest_s = min(spec.period_s for spec in self._product.points)
        params = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=fastest_s * 1000.0,
            RequestedLifetimeCount=round(SESSION_MS / 1000.0 / fastest_s),
            RequestedMaxKeepAliveCount=1,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
        )
        listener = _Listener(
            client.uaclient.session, params, queue_maxsize=QUEUE, overflow=OverflowPolicy.DISCONNECT
        )
        # Iterator mode drops silently unless this policy tells; then everything is read again.
        listener.set_overflow_disconnect_handler(lambda: setattr(listener, "lost", True))
        await listener.init()
        for period_s, group in self._by_period(nodes).items():
            sampling = ua.Duration(period_s * 1000.0)
            results = await listener.subscribe_data_change(group, queuesize=1, sampling_interval=sampling)
            refused = sum(isinstance(result, ua.StatusCode) for result in results)
            if refused:
                self.counters.refused += refused
                await listener.delete()
                return None
        return listener

    def _by_period(self, nodes: list[Node]) -> dict[float, list[Node]]:
        groups: dict[float, list[Node]] = {}
        for node in nodes:
            period_s = min(self._product.points[point].period_s for point in self._at[node.nodeid])
            groups.setdefault(period_s, []).append(node)
        return groups

    async def _listen(self, listener: _Listener) -> None:
        """Take every notification; what arrived together is published together."""
        loop = asyncio.get_running_loop()
        async for event in listener:
            if not isinstance(event, DataChangeEvent):
                raise NoReply("the server has ended the subscription")
            self._take(event.node.nodeid, event.data.monitored_item.Value)
            if not self._flushing:
                self._flushing = True
                loop.call_soon(self._flush, listener)
        raise NoReply("the subscription has ended")

    async def _watch(self, client: Client, nodes: list[Node], listener: _Listener) -> None:
        """Let a keep-alive confirm the values, and ask when there are none or something was lost."""
        while True:
            await asyncio.sleep(TICK_S)
            if listener.lost or time.monotonic_ns() - listener.heard_ns > self._ask_ns:
                self.counters.bad_replies += listener.lost
                listener.lost = False
                await self._ask(client, nodes)
            elif listener.heard_ns > self._heard_ns:
                self._flush(listener)

    async def _poll(self, client: Client, nodes: list[Node]) -> None:
        while True:
            await asyncio.sleep(self._ask_ns / NS_PER_S)
            await self._ask(client, nodes)

    async def _ask(self, client: Client, nodes: list[Node]) -> None:
        """Read all values in one request."""
        values = await asyncio.wait_for(client.read_attributes(nodes), REQUEST_S)
        if len(values) != len(nodes):
            raise BadReply(f"{len(values)} values for {len(nodes)} nodes")
        for node, value in zip(nodes, values, strict=True):
            if value.StatusCode is not None and value.StatusCode.value in PERMANENT:
                raise DriverError(f"{node} is gone")
            self._take(node.nodeid, value)
        self._publish(time.monotonic_ns())

    def _take(self, node: ua.NodeId, data: ua.DataValue) -> None:
        for point in self._at[node]:
            self._value[point], self._quality[point] = decode(self._product.points[point], data)

    def _flush(self, listener: _Listener) -> None:
        self._flushing = False
        self._publish(listener.heard_ns)

    def _publish(self, heard_ns: int) -> None:
        """Put all values into the image: at ``heard_ns`` the server vouched for every one of them."""
        self._heard_ns = max(heard_ns, self._heard_ns)
        self.counters.polls += 1
        self._sink.put(self._all, self._value, self._quality, self._heard_ns)
        self._sink.count(self.counters)
