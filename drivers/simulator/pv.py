"""The simulated PV inverter: an OPC UA server without security, for the demo only."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.server.server import Server

from drivers.simulator.board import Board, wait_for

DEVICE = "pv-1"
NAMESPACE = "urn:yunchu:simulator:pv"
REFRESH_S = 0.1
VARIABLES = (
    ("ActivePower", ua.VariantType.Double, "p_kw", 1.0),
    ("ReactivePower", ua.VariantType.Double, "q_kvar", 1.0),
    ("EnergyTotal", ua.VariantType.Double, "e_export_kwh", 1.0),
    ("State", ua.VariantType.Int32, "state", 1),
    ("Irradiance", ua.VariantType.Double, "irradiance_w_m2", 1.0),
    ("Heartbeat", ua.VariantType.UInt32, "heartbeat", 1),
)
"""Browse name, type, point on the board, factor."""


async def build(port: int) -> tuple[Server, dict[str, Any], Any]:
    """Return the server, its variables by point, and the writable power limit [%]."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/pv/")
    server.set_server_name("PV inverter (simulated)")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace(NAMESPACE)
    inverter = await server.nodes.objects.add_object(space, "Inverter")
    nodes = {}
    for name, kind, point, _ in VARIABLES:
        nodes[point] = await inverter.add_variable(space, name, 0, varianttype=kind)
    limit = await inverter.add_variable(space, "ActivePowerLimit", 100.0, varianttype=ua.VariantType.Double)
    await limit.set_writable()
    return server, nodes, limit


async def refresh(server: Server, nodes: dict[str, Any], limit: Any, board: Board) -> None:
    """Bring the variables up to the board, and the power limit from the variable to the board."""
    percent = await limit.read_value()
    board["command/pv_limit"] = min(max(float(percent) / 100.0, 0.0), 1.0)
    for _, kind, point, factor in VARIABLES:
        value = board[f"{DEVICE}/{point}"] * factor
        if kind is not ua.VariantType.Double:
            value = int(value)
        await server.write_attribute_value(nodes[point].nodeid, ua.DataValue(ua.Variant(value, kind)))


async def serve(board: Board, port: int) -> None:
    """Serve until the process ends; a silent device hangs as a whole."""
    server, nodes, limit = await build(port)
    await refresh(server, nodes, limit, board)
    async with server:
        while True:
            while board.fault(f"{DEVICE}/silent"):
                time.sleep(REFRESH_S)
            await refresh(server, nodes, limit, board)
            await asyncio.sleep(REFRESH_S)


def run(directory: Path, port: int) -> None:
    """Serve until the process ends."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    asyncio.run(serve(wait_for(directory), port))
