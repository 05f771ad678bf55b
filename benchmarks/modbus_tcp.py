"""CPU time of reading 100 registers over Modbus TCP and decoding them: ours and pymodbus' synchronous client.

Measured: request, reply, the proof that it answers, 100 signed 16-bit values scaled by 0.1 (ours also judges
the quality of each), against one plain socket server in a process and on a core of its own. Thread CPU time
with the kernel's share. Not measured: a real device (2 to 50 ms), the asynchronous client, serial lines.
"""

import multiprocessing
import os
import socket
import struct
import threading
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from pymodbus.client import ModbusTcpClient

from benchmarks.measure import Row, alternate, report, wants_json
from drivers.catalog.product import PointSpec
from drivers.modbus.block import Block
from drivers.modbus.line import Endpoint, Line
from drivers.modbus.link import Station, TcpLink
from drivers.modbus.plan import plan_reads
from models.point import Quality, Role

COUNT = 100
SCALE = 0.1
ROUNDS, PER_ROUND = 15, 300
VALUES = [(37 * i) % 4001 - 2000 for i in range(COUNT)]
BARE = "a bare socket, nothing checked"
TRANSPORT_OURS, TRANSPORT_PEER = "ours, read only", "pymodbus, read only"
OURS, PEER, PEER_POINTS = "ours", "pymodbus, one convert call", "pymodbus, a convert call a point"


def pin(which: int) -> None:
    """Stay on one core: what a wake-up costs depends on where the other process runs."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[which]})


def answer(connection: socket.socket) -> None:
    """Answer every request on one connection with the same registers."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = struct.pack(f">BBB{COUNT}h", 1, 3, 2 * COUNT, *VALUES)
    tail = struct.pack(">HH", 0, len(body)) + body
    while request := connection.recv(256):
        connection.sendall(request[:2] + tail)


def serve(ready: Connection) -> None:
    """Listen on a free port and tell it; runs in a process of its own until that is ended."""
    pin(-1)
    listener = socket.create_server(("127.0.0.1", 0))
    ready.send(listener.getsockname()[1])
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def our_side(port: int) -> tuple[TcpLink, Block]:
    """Return an open link and the block that one read brings."""
    kind: dict[str, Any] = {"fn": 3, "type": "i16", "scale": SCALE}
    points = [PointSpec(f"p{i}", Role.OTHER, "kW", 1.0, 3.0, address=i, **kind) for i in range(COUNT)]
    (read,) = plan_reads(points, max_gap=8, max_registers=125)
    link = TcpLink(Line(Endpoint("127.0.0.1", port)))
    link.stations[1] = Station(0.1, 0.5)
    link.open()
    return link, Block(read, points, 1)


def measure(port: int) -> dict[str, dict[str, float]]:
    """Measure all sides against the server at ``port``."""
    link, block = our_side(port)
    client: Any = ModbusTcpClient("127.0.0.1", port=port)  # its annotations do not say what it returns
    int16 = client.DATATYPE.INT16

    def ours() -> None:
        block.decode(link.ask(block.request))

    def registers() -> list[int]:
        found: list[int] = client.read_holding_registers(0, count=COUNT, device_id=1).registers
        return found

    def peer() -> list[float]:
        return [value * SCALE for value in client.convert_from_registers(registers(), int16)]

    def peer_points() -> list[float]:
        read = registers()
        return [client.convert_from_registers(read[i : i + 1], int16) * SCALE for i in range(COUNT)]

    bare = socket.create_connection(("127.0.0.1", port))
    frame = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, COUNT)

    def exchange() -> bytes:
        bare.sendall(frame)
        return bare.recv(512)

    try:
        if not client.connect():
            raise SystemExit("the peer cannot connect")
        ours()
        same = block.value.tolist() == peer() == peer_points()
        if not same or not np.all(block.quality == Quality.GOOD):
            raise SystemExit("the sides do not read the same values")
        sides = {
            BARE: exchange,
            TRANSPORT_OURS: lambda: link.ask(block.request),
            TRANSPORT_PEER: registers,
            OURS: ours,
            PEER: peer,
            PEER_POINTS: peer_points,
        }
        return alternate(sides, ROUNDS, PER_ROUND)
    finally:
        bare.close()
        client.close()
        link.close()


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        pin(0)
        found = measure(here.recv())
    finally:
        server.terminate()
        server.join()
    cpu = {name: side["cpu_us"] for name, side in found.items()}
    ratios = {
        "over_bare_socket": cpu[TRANSPORT_OURS] / cpu[BARE],
        "read_only": cpu[TRANSPORT_PEER] / cpu[TRANSPORT_OURS],
        "read_and_decode": cpu[PEER] / cpu[OURS],
        "read_and_decode_by_point": cpu[PEER_POINTS] / cpu[OURS],
    }
    base = {name: OURS if name in (OURS, PEER, PEER_POINTS) else TRANSPORT_OURS for name in cpu}
    rows: list[Row] = [
        (name, *side.values(), side["cpu_us"] / cpu[base[name]]) for name, side in found.items()
    ]
    titles = "100 registers", "CPU us", "worst", "wall us", "worst", "CPU ratio"
    remarks = f"median and worst of {ROUNDS} rounds of {PER_ROUND} reads; ratio to our side of the same work"
    report(as_json, {"benchmark": "modbus_tcp", "sides": found, "ratios": ratios}, titles, rows, remarks)


if __name__ == "__main__":
    main()
