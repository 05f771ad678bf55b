"""One subscription: what the server publishes, taken at once, and whether anything got lost on the way.

There is no queue between the library and the readings, so nothing is dropped on our side. What is lost on the
way leaves a gap in the sequence numbers (OPC 10000-4 5.14.1), and then all values are read again. Time stamps
are not asked for: the time of receipt counts, and a third of the bytes is saved.
"""

import time
from collections.abc import Callable, Sequence

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from drivers.opcua_nodes import Limits, in_parts, soon
from drivers.opcua_publish import Changes, publish_fast
from drivers.opcua_value import parts

FIRST_NUMBER = 1
"""Sequence numbers start again with 1 after 2**32 - 1."""
SESSION_MS = 30_000
"""A server forgets our lost session after this, so that its few places do not run out."""

Take = Callable[[int, object, int], None]
"""``take(handle, content, status code)`` for each change."""


class Listener:
    """Hears one subscription; ``heard_ns``, ``lost`` and ``ended`` tell how it goes."""

    def __init__(self, take: Take, heard: Callable[[], None]) -> None:
        """Args: what takes each change; what is called after each publish response."""
        self.heard_ns = 0
        self.lost = False
        self.ended = False
        self._take = take
        self._heard = heard
        self._id = 0
        self._publishing_s = 0.0
        self._expected = 0
        """Number of the next message with notifications; a keep-alive carries it too, without using it up."""

    async def open(self, client: Client, fastest_s: float) -> None:
        """Make the subscription; a server that publishes more slowly says so in its answer."""
        params = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=fastest_s * 1000.0,
            RequestedLifetimeCount=round(SESSION_MS / 1000.0 / fastest_s),
            RequestedMaxKeepAliveCount=1,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
        )
        session = client.uaclient.session
        publish_fast(session)
        result = await soon(session.create_subscription(params, self.hear))
        self._id = result.SubscriptionId
        self._publishing_s = result.RevisedPublishingInterval / 1000.0

    async def add(
        self, client: Client, nodes: Sequence[tuple[int, ua.NodeId]], period_s: float, limits: Limits
    ) -> tuple[float, int]:
        """Watch nodes, each with its handle.

        Returns:
            The longest time [s] from a change to its notification, by the intervals to which the server has
            revised us; and how many nodes it refuses.
        """

        async def create(part: list[tuple[int, ua.NodeId]]) -> Sequence[ua.MonitoredItemCreateResult]:
            params = ua.CreateMonitoredItemsParameters()
            params.SubscriptionId = self._id
            params.TimestampsToReturn = ua.TimestampsToReturn.Neither
            params.ItemsToCreate = [_item(handle, node, period_s) for handle, node in part]
            results: Sequence[ua.MonitoredItemCreateResult]
            results = await client.uaclient.session.create_monitored_items(params)
            return results

        results = await in_parts(nodes, limits.monitor, create)
        good = [result for result in results if result.StatusCode.is_good()]
        slowest_s = max((result.RevisedSamplingInterval for result in good), default=0.0) / 1000.0
        return slowest_s + self._publishing_s, len(results) - len(good)

    async def close(self, client: Client) -> None:
        """Delete the subscription."""
        await soon(client.uaclient.session.delete_subscriptions([self._id]))

    async def hear(self, publish_result: ua.PublishResult) -> None:
        """Take one publish response; called by asyncua's publish loop."""
        message = publish_result.NotificationMessage
        notified = message.NotificationData or ()
        for part in notified:
            if isinstance(part, Changes):
                for handle, content, code in part:
                    self._take(handle, content, code)
            elif isinstance(part, ua.DataChangeNotification):
                for item in part.MonitoredItems:
                    self._take(item.ClientHandle, *parts(item.Value))
            elif isinstance(part, ua.StatusChangeNotification):
                self.ended = True
                return  # the end of the subscription proves nothing about values
        number = int(message.SequenceNumber)
        if self._expected and number not in (self._expected, FIRST_NUMBER):
            self.lost = True
        self._expected = number + bool(notified)
        self.heard_ns = time.monotonic_ns()
        self._heard()


def _item(handle: int, node: ua.NodeId, period_s: float) -> ua.MonitoredItemCreateRequest:
    """Ask for the newest value alone, when value or status changes."""
    read = ua.ReadValueId()
    read.NodeId = node
    read.AttributeId = AttributeIds.Value
    wanted = ua.MonitoringParameters()
    wanted.ClientHandle = handle
    wanted.SamplingInterval = period_s * 1000.0
    wanted.QueueSize = 1
    wanted.DiscardOldest = True
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = read
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = wanted
    return request
