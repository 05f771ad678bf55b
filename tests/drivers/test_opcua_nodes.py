"""Where nodes lie: namespaces by URI, node ids as text, and the limits that a server sets."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client

from drivers.opcua_nodes import AT_MOST, Limits, Space, in_parts, look_up, read_limits, read_values
from models.errors import BadReply, DriverError
from tests.drivers.conftest import NAMESPACE
from tests.drivers.opcua_server import Plant

SPACE = Space(["http://opcfoundation.org/UA/", "urn:a;b", "urn:own"], "urn:own")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (["nsu=urn:own;s=Power;1"], "ns=2;s=Power;1"),
        (["nsu=urn:a%3Bb;i=7"], "ns=1;i=7"),
        (["nsu=http://opcfoundation.org/UA/;i=2258"], "i=2258"),
        (["Inverter", "Power"], None),
        (["nsu=urn:own;Power"], None),
    ],
)
def test_a_node_id_is_told_from_a_path(node: Sequence[str], text: str | None) -> None:
    found = SPACE.node_id(node)
    assert (found and found.to_string()) == text


def test_a_path_names_the_namespace_of_each_element() -> None:
    path = SPACE.path(["nsu=urn:a%3Bb;Set", "A/B.C", "s=1"])
    names = [(step.TargetName.NamespaceIndex, step.TargetName.Name) for step in path.Elements]
    assert names == [(1, "Set"), (2, "A/B.C"), (2, "s=1")]


@pytest.mark.parametrize("node", [["nsu=urn:foreign;i=1"], ["nsu=urn:foreign;Set", "A"]])
def test_a_foreign_namespace_is_not_guessed(node: Sequence[str]) -> None:
    with pytest.raises(BadReply, match="no namespace urn:foreign"):
        SPACE.node_id(node) or SPACE.path(node)


def test_requests_are_no_larger_than_the_server_takes() -> None:
    asked: list[list[int]] = []

    async def ask(part: list[int]) -> list[int]:
        asked.append(part)
        return [-item for item in part]

    assert asyncio.run(in_parts(range(5), 2, ask)) == [0, -1, -2, -3, -4]
    assert asked == [[0, 1], [2, 3], [4]]


def test_an_answer_that_is_too_short_is_not_used() -> None:
    async def ask(part: list[int]) -> list[int]:
        return part[1:]

    with pytest.raises(BadReply, match="1 results for 2 nodes"):
        asyncio.run(in_parts(range(4), 2, ask))


def test_nodes_are_found_by_path_and_by_id_in_a_real_server(plant: Plant) -> None:
    async def work() -> tuple[Any, ...]:
        async with Client(plant.url) as client:
            limits = await read_limits(client)
            power = plant.nodes["ActivePower"].nodeid
            by_id = f"nsu={NAMESPACE};{power.to_string().partition(';')[2]}"
            asked = [["Inverter", "ActivePower"], [by_id], ["Inverter", "Nonsense"]]
            found = await look_up(client, asked, NAMESPACE, Limits(translate=1))
            values = await read_values(client, found[:2], Limits(read=1))
            with pytest.raises(DriverError, match="is gone"):
                await read_values(client, [ua.NodeId.from_string("ns=2;i=99999")], limits)
            return limits, found, [value.Value.Value for value in values]

    limits, found, values = asyncio.run(work())
    assert limits == Limits(AT_MOST, AT_MOST, AT_MOST)
    assert found == [plant.nodes["ActivePower"].nodeid, plant.nodes["ActivePower"].nodeid, None]
    assert values == [42.5, 42.5]


def test_limits_of_the_server_are_read(plant: Plant) -> None:
    node = plant.server.get_node(
        ua.NodeId.from_string(
            f"i={ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall}"
        )
    )

    async def work() -> Limits:
        async with Client(plant.url) as client:
            return await read_limits(client)

    before = plant.do(node.read_data_value())
    plant.do(node.write_value(ua.Variant(3, ua.VariantType.UInt32)))
    try:
        assert asyncio.run(work()).monitor == 3
    finally:
        plant.do(node.write_attribute(ua.AttributeIds.Value, ua.DataValue(before.Value)))
