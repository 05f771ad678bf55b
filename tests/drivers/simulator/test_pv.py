"""The PV inverter over OPC UA."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from asyncua import Client, ua

from drivers.simulator.check import undetected_wrong
from drivers.simulator.pv import NAMESPACE
from drivers.simulator.site import SimulatedSite

Find = Callable[[str], Awaitable[Any]]


def talk(site: SimulatedSite, work: Callable[[Find], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``work`` with a function that finds a variable of the inverter by name."""

    async def session() -> Any:
        async with Client(site.endpoints["pv-1"]) as client:
            space = await client.get_namespace_index(NAMESPACE)

            async def find(name: str) -> Any:
                return await client.nodes.objects.get_child([f"{space}:Inverter", f"{space}:{name}"])

            return await work(find)

    return asyncio.run(session())


def test_variables_have_their_types_and_show_the_plant(site: SimulatedSite) -> None:
    kinds = {
        "ActivePower": ua.VariantType.Double,
        "ReactivePower": ua.VariantType.Double,
        "EnergyTotal": ua.VariantType.Double,
        "State": ua.VariantType.Int32,
        "Irradiance": ua.VariantType.Double,
        "Heartbeat": ua.VariantType.UInt32,
        "ActivePowerLimit": ua.VariantType.Double,
    }
    points = {"ActivePower": "p_kw", "Heartbeat": "heartbeat", "Irradiance": "irradiance_w_m2"}

    async def work(find: Find) -> None:
        for name, kind in kinds.items():
            shown = await (await find(name)).read_data_value()
            assert shown.Value.VariantType is kind, name
            if name in points:
                at = time.monotonic_ns()
                assert not undetected_wrong(site.trace(), f"pv-1/{points[name]}", at, shown.Value.Value)[0]
        assert await (await find("ActivePower")).read_value() > 1.0, "it is noon"

    talk(site, work)


def test_only_the_limit_can_be_written_and_it_limits(site: SimulatedSite, until: Callable[..., None]) -> None:
    site.fault("site/pv_kw", 40.0)

    async def limit(find: Find, percent: float) -> None:
        await (await find("ActivePowerLimit")).write_value(percent)

    async def write_power(find: Find) -> None:
        with pytest.raises(ua.UaStatusCodeError):
            await (await find("ActivePower")).write_value(1.0)

    talk(site, write_power)
    talk(site, lambda find: limit(find, 25.0))
    until(lambda: abs(site.truth()["pv_kw"] - 15.0) < 1.0)
    talk(site, lambda find: limit(find, 100.0))
    until(lambda: abs(site.truth()["pv_kw"] - 40.0) < 1.0)


def test_silent_hangs_and_comes_back(site: SimulatedSite, until: Callable[..., None]) -> None:
    async def hang(find: Find) -> None:
        node = await find("Heartbeat")
        site.fault("pv-1/silent", 1.0)
        with pytest.raises(TimeoutError):
            while True:
                await asyncio.wait_for(node.read_value(), 0.5)
        site.fault("pv-1/silent", 0.0)
        assert await node.read_value() > 0

    talk(site, hang)
