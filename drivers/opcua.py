"""OPC UA devices: one session, one subscription, one writer.

A subscription reports changes alone, so a constant value needs another proof that it still holds. Here every
publish response of the server, also an empty one (a keep-alive, OPC 10000-4 5.14.1), confirms all values:
they get its time of receipt. When the server is silent for a third of the smallest maximum age, all values
are read in one go. So nothing that is constant goes stale while the server answers, and everything does
when it does not. A server that does not take all nodes into the subscription, or looks at them more seldom
than their maximum age, is polled instead.

Runs in a process of its own (``edge.controller.host``): decoding a burst of notifications blocks for
milliseconds. The session is ours to renew: it is opened anew, nodes are looked up again (a namespace index
may have changed with a restart of the server) and the subscription is made again.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from numpy.typing import NDArray

from drivers.catalog.product import Product
from drivers.driver import Counters, Mail, Nameplate, Sink
from drivers.opcua_event import EventCode
from drivers.opcua_listen import SESSION_MS, Listener
from drivers.opcua_nodes import REQUEST_S, Limits, look_up, read_limits, read_values, soon
from drivers.opcua_security import InsecureLink, Judge, Link, secure
from drivers.opcua_value import judge, parts
from drivers.opcua_write import Box, Writer
from models.errors import BadReply, DriverError, NoReply
from models.point import Point, Quality
from models.proposal import Setpoint
from models.units import NS_PER_S

TICK_S = 0.1
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 10.0
"""A session that has lived so long makes up for the failures before it."""
JUDGE_S = 3600.0
"""Certificates are looked at so often."""


class OpcUa:
    """One OPC UA server as a device; implements ``drivers.driver.Driver``."""

    def __init__(
        self,
        name: str,
        link: Link,
        product: Product,
        points: Sequence[Point],
        sink: Sink,
        *,
        nameplate: Nameplate | None = None,
        mail: Box | None = None,
        on_event: Callable[[str, str, str], None] = lambda *_: None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            name: of the device.
            link: where the server is, how the link is protected, and whom it trusts.
            product: from the catalog, protocol opcua.
            points: of the device, in the order of the product's points.
            sink: the device's slice of the image.
            nameplate: what the device may be asked for; without it no setpoint passes the door.
            mail: where another process puts the newest setpoint; without it ``offer`` brings it.
            on_event: ``on_event(code, device, what)``, called in the driver's thread.
        """
        self.name = name
        self.points = points
        self.counters = Counters()
        self._link = link
        self._product = product
        self._sink = sink
        self._mail = Mail()
        self._on_event = on_event
        self._writer: Writer | None = None
        if product.write is not None:
            args = nameplate, mail or self._mail, self.counters, self._tell, self._value_of
            self._writer = Writer(product.write, *args)
        size = len(product.points)
        self._all = np.arange(size, dtype=np.intp)
        self._value: NDArray[np.float64] = np.full(size, np.nan)
        self._quality: NDArray[np.uint8] = np.zeros(size, np.uint8)
        self._nodes: list[ua.NodeId] = []
        self._users: list[list[int]] = []
        """Points of each node; the place in this list is the handle of the node."""
        self._heard_ns = 0
        self._ask_ns = round(min(spec.max_age_s for spec in product.points) / 3 * NS_PER_S)
        self._trouble = ""
        self._told: set[tuple[EventCode, str]] = set()
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
        """Hand over the newest setpoint; refused when the product takes none."""
        if self._writer is None:
            self.counters.door_refused += 1
        self._mail.newest = setpoint

    def stop(self) -> None:
        """Release the device and close the session; the readings become stale."""
        self._stop.set()
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop may just have ended by itself
                loop.call_soon_threadsafe(task.cancel)
        if self._thread.is_alive():
            self._thread.join(5 * REQUEST_S)

    def _value_of(self, name: str) -> float:
        """Return the present value of a point, NaN when it is not known well."""
        for point, spec in enumerate(self._product.points):
            if spec.name == name and self._quality[point] == Quality.GOOD:
                return float(self._value[point])
        return math.nan

    def _tell(self, code: str, what: str) -> None:
        self._on_event(code, self.name, what)

    def _tell_once(self, code: EventCode, what: str) -> None:
        """Tell what holds for as long as this process lives, and is found again in each session."""
        if (code, what) not in self._told:
            self._told.add((code, what))
            self._tell(code, what)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._forever())

    async def _forever(self) -> None:
        """Hold a session for ever."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        failures = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                await self._session()
            except asyncio.CancelledError as error:
                if self._stop.is_set():
                    raise
                self._failed(error)  # only ``stop`` ends us; the library cancelled its own request
            except Exception as error:  # noqa: BLE001 - top loop of the driver: asyncua lets anything escape
                self._failed(error)
            finally:
                self._mark_lost()
            if self._stop.is_set():
                return  # a task group that fails forgets that it was cancelled
            failures = 0 if time.monotonic() - began_s > STEADY_S else failures + 1
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            self.counters.reconnects += 1

    def _failed(self, error: BaseException) -> None:
        """Count a session that has ended, and tell when it is for another reason than the last one."""
        if isinstance(error, TimeoutError | OSError | NoReply):
            self.counters.timeouts += 1
        elif isinstance(error, UaStatusCodeError):
            self.counters.refused += 1
        else:
            self.counters.bad_replies += 1
        code = EventCode.INSECURE if isinstance(error, InsecureLink) else EventCode.OFFLINE
        what = str(error) or type(error).__name__
        if what != self._trouble:
            self._trouble = what
            self._tell(code, what)

    def _mark_lost(self) -> None:
        """Keep the last values, but say that nobody vouches for them any more."""
        self.counters.online = False
        self._quality[self._quality >= Quality.UNCERTAIN] = Quality.STALE
        self._sink.put(self._all, self._value, self._quality, self._heard_ns)
        self._sink.count(self.counters)

    async def _session(self) -> None:
        """Connect, look up, subscribe, listen and write until something breaks."""
        client = Client(self._link.url, timeout=REQUEST_S)
        client.session_timeout = SESSION_MS
        client.name = client.description = "yunchu"
        judge = await secure(client, self._link.security)
        await soon(client.connect(), 3 * REQUEST_S)
        writing = False
        try:
            limits = await read_limits(client)
            await self._look_up(client, limits)
            if self._writer is not None:
                await self._writer.look_up(client, self._product.link.namespace, limits)
                writing = True
            await self._ask(client, limits)
            self._trouble = ""
            self._tell(EventCode.ONLINE, f"{len(self._nodes)} nodes at {self._link.url}")
            await self._work(client, limits, judge)
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        finally:
            with contextlib.suppress(TimeoutError, OSError, UaError, DriverError, ValueError):
                if writing and self._writer is not None and self._stop.is_set():
                    await self._writer.release(client)
            with contextlib.suppress(TimeoutError, OSError, UaError):
                await soon(client.disconnect())

    async def _look_up(self, client: Client, limits: Limits) -> None:
        """Find the nodes of all points; a missing one leaves its point BAD."""
        specs = self._product.points
        found = await look_up(client, [spec.node for spec in specs], self._product.link.namespace, limits)
        users: dict[ua.NodeId, list[int]] = {}
        for point, node in enumerate(found):
            if node is not None:
                users.setdefault(node, []).append(point)
                continue
            self.counters.refused += 1
            self._value[point], self._quality[point] = math.nan, Quality.BAD
            self._tell_once(EventCode.READ_REFUSED, f"no node {'/'.join(specs[point].node)}")
        if not users:
            raise BadReply("the server has none of the nodes")
        self._nodes, self._users = list(users), list(users.values())

    async def _work(self, client: Client, limits: Limits, judge: Judge) -> None:
        listener = await self._subscribe(client, limits)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._judge(judge))
            if listener is None:
                group.create_task(self._poll(client, limits))
            else:
                group.create_task(self._watch(client, limits, listener))
            if self._writer is not None:
                group.create_task(self._writer.run(client))

    async def _judge(self, judge: Judge) -> None:
        """Look at the certificates now and then; a session may outlive them."""
        while True:
            for remark in judge():
                self._tell_once(EventCode.CERTIFICATE, remark)
            await asyncio.sleep(JUDGE_S)

    async def _subscribe(self, client: Client, limits: Limits) -> Listener | None:
        """Subscribe to all nodes; None when the server does not watch every one of them as needed."""
        specs = self._product.points
        listener = Listener(self._take, lambda: self._publish(listener.heard_ns))
        await listener.open(client, min(spec.period_s for spec in specs))
        groups: dict[float, list[tuple[int, ua.NodeId]]] = {}
        for handle, node in enumerate(self._nodes):
            period_s = min(specs[point].period_s for point in self._users[handle])
            groups.setdefault(period_s, []).append((handle, node))
        refused, late = 0, False
        for period_s, nodes in groups.items():
            slowest_s, short = await listener.add(client, nodes, period_s, limits)
            refused += short
            oldest_s = min(specs[point].max_age_s for handle, _ in nodes for point in self._users[handle])
            if slowest_s > oldest_s:
                what = (
                    f"notifications up to {slowest_s:g} s late, wanted every {period_s:g} s; values are read"
                )
                self._tell_once(EventCode.SLOWER, what)
                late = True
        if refused or late:
            self.counters.refused += refused
            await listener.close(client)
            return None
        return listener

    async def _watch(self, client: Client, limits: Limits, listener: Listener) -> None:
        """Ask for all values when there is no keep-alive or something was lost."""
        while True:
            await asyncio.sleep(TICK_S)
            if listener.ended:
                raise NoReply("the server has ended the subscription")
            if listener.lost or time.monotonic_ns() - listener.heard_ns > self._ask_ns:
                self.counters.bad_replies += listener.lost
                listener.lost = False
                await self._ask(client, limits)

    async def _poll(self, client: Client, limits: Limits) -> None:
        while True:
            await asyncio.sleep(self._ask_ns / NS_PER_S)
            await self._ask(client, limits)

    async def _ask(self, client: Client, limits: Limits) -> None:
        """Read all values."""
        for handle, value in enumerate(await read_values(client, self._nodes, limits)):
            self._take(handle, *parts(value))
        self._publish(time.monotonic_ns())

    def _take(self, handle: int, content: object, code: int) -> None:
        for point in self._users[handle]:
            self._value[point], self._quality[point] = judge(self._product.points[point], content, code)

    def _publish(self, heard_ns: int) -> None:
        """Put all values into the image: at ``heard_ns`` the server vouched for every one of them."""
        self._heard_ns = max(heard_ns, self._heard_ns)
        self.counters.polls += 1
        self.counters.online = True
        self._sink.put(self._all, self._value, self._quality, self._heard_ns)
        self._sink.count(self.counters)
