"""Where the points of a product lie in one OPC UA server, found anew in each session.

A namespace index may change with every restart of the server, so a product names namespaces by URI: a browse
path below Objects in the namespace of the product, or a node id as text, ``nsu=<URI>;s=<id>``
(OPC 10000-6 5.3.1.11). An element of a path may name another namespace in the same way, ``nsu=<URI>;<name>``.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from models.errors import BadReply, DriverError

T = TypeVar("T")
R = TypeVar("R")

NODE_ID = re.compile(r"nsu=(.+);([isgb]=.+)", re.DOTALL)
ELEMENT = re.compile(r"nsu=(.+?);(.+)", re.DOTALL)
AT_MOST = 1000
"""Nodes in one request to a server that tells no limit, so that no answer grows beyond its buffers."""
MISSING = (StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid)
REQUEST_S = 1.0
"""No request may take longer; a late answer is worth less than a fresh session."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many nodes the server takes in one request (OPC 10000-5 6.3.11)."""

    read: int = AT_MOST
    translate: int = AT_MOST
    monitor: int = AT_MOST


LIMIT_NODES = (
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
)


async def soon(work: Awaitable[T], within_s: float = REQUEST_S) -> T:
    """Wait for an answer, but not long; raises TimeoutError.

    Not ``asyncio.wait_for``, which up to Python 3.11 forgets that it was cancelled when the answer comes at
    the same moment: then ``stop`` would not end the driver.
    """
    async with asyncio.timeout(within_s):
        return await work


async def read_limits(client: Client) -> Limits:
    """Return what the server says of itself; 0 or no answer means that it sets no limit."""
    session = client.uaclient.session
    found = []
    for number in LIMIT_NODES:  # one by one: the limit of a read is not known yet
        node = ua.NodeId.from_string(f"i={number}")
        (value,) = await soon(session.read_attributes([node], AttributeIds.Value))
        raw = value.Value.Value if value.Value is not None else None
        found.append(min(int(raw), AT_MOST) if isinstance(raw, int) and raw > 0 else AT_MOST)
    return Limits(*found)


async def in_parts(
    items: Sequence[T], size: int, ask: Callable[[list[T]], Awaitable[Sequence[R]]]
) -> list[R]:
    """Ask for ``items`` in requests of at most ``size``; exactly one result for each, in their order.

    Raises:
        BadReply: an answer has another number of results.
    """
    results: list[R] = []
    for first in range(0, len(items), size):
        part = list(items[first : first + size])
        answer = await soon(ask(part))
        if len(answer) != len(part):
            raise BadReply(f"{len(answer)} results for {len(part)} nodes")
        results += answer
    return results


class Space:
    """The server's namespaces, as they are in this session."""

    def __init__(self, uris: Sequence[str], uri: str) -> None:
        """Args: the server's namespace array; the namespace of names that do not tell their own."""
        self._uris = list(uris)
        self._uri = uri

    def _index(self, uri: str) -> int:
        uri = uri.replace("%3B", ";").replace("%25", "%")
        if uri not in self._uris:
            raise BadReply(f"the server has no namespace {uri}")
        return self._uris.index(uri)

    def node_id(self, node: Sequence[str]) -> ua.NodeId | None:
        """Return the node id when ``node`` is one, None when it is a browse path.

        Raises:
            BadReply: the server does not have its namespace.
        """
        match = NODE_ID.fullmatch(node[0]) if len(node) == 1 else None
        if match is None:
            return None
        return ua.NodeId.from_string(f"ns={self._index(match[1])};{match[2]}")

    def path(self, node: Sequence[str]) -> ua.RelativePath:
        """Return the way from Objects to the node; BadReply as above."""
        elements = []
        for name in node:
            match = ELEMENT.fullmatch(name)
            uri, own = (match[1], match[2]) if match else (self._uri, name)
            step = ua.RelativePathElement()
            step.ReferenceTypeId = ua.NodeId.from_string(f"i={ObjectIds.HierarchicalReferences}")
            step.IsInverse = False  # type: ignore[assignment]
            step.IncludeSubtypes = True  # type: ignore[assignment]
            step.TargetName = ua.QualifiedName(own, self._index(uri))
            elements.append(step)
        return ua.RelativePath(Elements=elements)


async def look_up(
    client: Client, nodes: Sequence[Sequence[str]], uri: str, limits: Limits
) -> list[ua.NodeId | None]:
    """Return the node id of each node, None for what the server does not have.

    Raises:
        BadReply: the server lacks a namespace, so it is another one or not ready, or it answers wrongly.
    """
    space = Space(await soon(client.get_namespace_array()), uri)
    found = [space.node_id(node) for node in nodes]
    asked = [at for at, node_id in enumerate(found) if node_id is None]
    paths = [space.path(nodes[at]) for at in asked]
    objects = client.nodes.objects.nodeid

    async def translate(part: list[ua.RelativePath]) -> Sequence[ua.BrowsePathResult]:
        results: Sequence[ua.BrowsePathResult] = await client.translate_browsepaths(objects, part)
        return results

    results = await in_parts(paths, limits.translate, translate)
    for at, result in zip(asked, results, strict=True):
        if result.StatusCode.is_good() and result.Targets:
            found[at] = result.Targets[0].TargetId
    return found


async def read_values(client: Client, nodes: Sequence[ua.NodeId], limits: Limits) -> list[ua.DataValue]:
    """Read values, straight from their sources.

    Raises:
        DriverError: a node is gone, so the address space is not the one in which they were looked up.
    """

    async def read(part: list[ua.NodeId]) -> Sequence[ua.DataValue]:
        values: Sequence[ua.DataValue] = await client.uaclient.session.read_attributes(
            part, AttributeIds.Value
        )
        return values

    values = await in_parts(nodes, limits.read, read)
    for node, value in zip(nodes, values, strict=True):
        if value.StatusCode is not None and value.StatusCode.value in MISSING:
            raise DriverError(f"{node.to_string()} is gone")
    return values
