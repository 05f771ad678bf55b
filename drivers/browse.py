"""What an OPC UA server has below its Objects folder: variables with type and value, for people."""

import asyncio
import logging
from typing import NamedTuple

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.uaerrors import UaError

from models.errors import LinkError

NODES_MAX = 2000
"""A server may have a hundred thousand; nobody reads more."""
CONNECT_S = 5.0
REQUEST_S = 3.0


class Variable(NamedTuple):
    """One variable."""

    path: str
    """Names below Objects, separated by ``/``; elements of a ``node`` in a catalog file."""
    node: str
    """Node id with the URI of its namespace."""
    type: str
    value: str


def browse(url: str, depth: int) -> list[Variable]:
    """Return the variables of a server that needs no security, down to ``depth`` levels.

    Raises:
        LinkError: it does not answer, or wants security.
    """
    logging.getLogger("asyncua").setLevel(logging.ERROR)  # remarks about the session are not for people
    try:
        return asyncio.run(_browse(url, depth))
    except (OSError, TimeoutError, UaError, ConnectionError, ValueError) as error:
        raise LinkError(f"{type(error).__name__}: {error}") from error


async def _browse(url: str, depth: int) -> list[Variable]:
    found: list[Variable] = []
    async with asyncio.timeout(CONNECT_S):
        client = Client(url, timeout=REQUEST_S)
        await client.connect()
    try:
        uris = await client.get_namespace_array()
        todo: list[tuple[Node, str, int]] = [(client.nodes.objects, "", 0)]
        while todo and len(found) < NODES_MAX:
            node, path, level = todo.pop(0)
            for child in await _children(node):
                name = child.BrowseName.Name if child.BrowseName else ""
                if level == 0 and not child.NodeId.NamespaceIndex:
                    continue  # the server's own objects tell about the server, not about the device
                below = f"{path}/{name}" if path else str(name)
                inner = client.get_node(child.NodeId)
                if child.NodeClass == ua.NodeClass.Variable:
                    found.append(await _variable(inner, below, uris))
                if level + 1 < depth:
                    todo.append((inner, below, level + 1))
    finally:
        await client.disconnect()
    return found


async def _children(node: Node) -> list[ua.ReferenceDescription]:
    result: list[ua.ReferenceDescription] = await node.get_children_descriptions()
    return result


async def _variable(node: Node, path: str, uris: list[str]) -> Variable:
    try:
        data = await node.read_data_value(raise_on_bad_status=False)
    except UaError as error:
        return Variable(path, _text(node.nodeid, uris), "?", type(error).__name__)
    variant = data.Value
    kind = variant.VariantType.name if variant is not None and variant.VariantType is not None else "?"
    good = data.StatusCode is None or data.StatusCode.is_good()
    value = repr(variant.Value) if variant is not None and good else str(data.StatusCode)
    return Variable(path, _text(node.nodeid, uris), kind, value[:80])


def _text(node: ua.NodeId, uris: list[str]) -> str:
    """Return a node id as the catalog writes it."""
    text = node.to_string()
    index = node.NamespaceIndex or 0
    return f"nsu={uris[index]};{text.partition(';')[2]}" if index else text
