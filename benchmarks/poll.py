"""What polling costs: one read, its decoding, 200 points end to end, and how many requests a scan takes.

Peers: pymodbus' asynchronous client, libmodbus in C (client and server are compiled on the spot: gcc and
libmodbus-dev), pymodbus' converter and a precompiled struct for decoding, the requests that other projects
send and the proven optimum for the plans. All clients ask one libmodbus server in a process and on a core of
its own, in turn. Thread CPU time with the kernel's share. "End to end" is the thread of a line as the
controller runs it, every 100 ms: plan, request, proof, decoding, readings with quality and time in the shared
image; its peer is the bare C client at that pace, where caches are cold each time.
Not measured: real devices, serial lines.
"""

import asyncio
import itertools
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pymodbus.client import AsyncModbusTcpClient

from benchmarks import plans, rtu
from benchmarks.measure import Rounds, Row, alternate, report, wants_json
from benchmarks.modbus_tcp import COUNT, VALUES, our_side, pin
from cython_ext.registers import KINDS, Table
from cython_ext.registers import Row as Field
from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import PointSpec
from drivers.modbus.device import ModbusDevice
from drivers.modbus.line import Endpoint, Line
from drivers.modbus.link import Station, TcpLink
from drivers.modbus.poller import LinkPoller
from drivers.modbus.spec import ModbusSpec
from edge.image import DeviceInfo, SharedImage
from models.point import Quality, Role

ROUNDS, PER_ROUND = 11, 300
SCANS_S = 6.0
PATIENCE = 1.0, 2.0
"""Bounds of the time for a reply, s: a busy machine must not end the run."""
SOURCE = Path(__file__).with_name("libmodbus_peer.c")
MISSING = "gcc and libmodbus are needed: apt-get install gcc pkg-config libmodbus-dev"
OURS, LIBMODBUS, PYMODBUS = "ours", "libmodbus", "pymodbus_async"
OURS_VALUES, PYMODBUS_VALUES = "ours, values", "pymodbus_async, values"
KINDS_100 = ("u16", "i16", "u32", "i32", "f32", "u16", "i16", "f64", "u32", "i16")
CODES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f", "f64": "d"}


@dataclass
class Timed:
    """The C client: told how many reads to do, it says how long they took."""

    process: subprocess.Popen[str]

    def run(self, count: int) -> tuple[float, float]:
        """Return CPU and wall time of one read, us."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        cpu_ns, wall_ns = map(int, self.process.stdout.readline().split())
        return cpu_ns / count / 1000, wall_ns / count / 1000


@contextmanager
def libmodbus(folder: Path) -> Iterator[tuple[int, Timed]]:
    """Compile the C side, run its server, and yield the server's port and a client on our core."""
    if not (shutil.which("gcc") and shutil.which("pkg-config")):
        raise SystemExit(MISSING)
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=False
    )
    if flags.returncode:
        raise SystemExit(MISSING)
    program = folder / "peer"
    subprocess.run(["gcc", "-O2", "-o", program, SOURCE, *flags.stdout.split()], check=True)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([program, "server"], preexec_fn=lambda: pin(-1), **pipes) as server:
        try:
            assert server.stdout
            port = int(server.stdout.readline())
            client = subprocess.Popen([program, "client", str(port)], preexec_fn=lambda: pin(0), **pipes)
            with client:
                yield port, Timed(client)
        finally:
            server.kill()


async def _repeat(client: AsyncModbusTcpClient, count: int, decode: bool = False) -> list[Any]:
    found: list[Any] = []
    for _ in range(count):
        found = list((await client.read_holding_registers(0, count=COUNT, device_id=1)).registers)
        if decode:
            numbers: Any = client.convert_from_registers(found, client.DATATYPE.INT16)
            found = [number * 0.1 for number in numbers]
    return found


def read_100(port: int, c_client: Timed) -> dict[str, dict[str, float]]:
    """Read 100 registers; the sides with values also decode and scale them, ours judges them too."""
    link, block = our_side(port)
    link.stations[1] = Station(*PATIENCE)
    loop = asyncio.new_event_loop()

    async def connected() -> AsyncModbusTcpClient:
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        return client

    client = loop.run_until_complete(connected())
    try:
        block.decode(link.ask(block.request))
        if [round(10 * x) for x in block.value.tolist()] != VALUES or not np.all(
            block.quality == Quality.GOOD
        ):
            raise SystemExit("our side does not read the right values")
        if loop.run_until_complete(_repeat(client, 1)) != [value & 0xFFFF for value in VALUES]:
            raise SystemExit("the peer does not read the right values")
        found = {name: Rounds() for name in (OURS, PYMODBUS, LIBMODBUS, OURS_VALUES, PYMODBUS_VALUES)}
        for turn in range(ROUNDS + 1):
            if turn == 1:  # the first was to warm up
                found = {name: Rounds() for name in found}
            found[OURS].run(lambda: link.ask(block.request), PER_ROUND)
            found[OURS_VALUES].run(lambda: block.decode(link.ask(block.request)), PER_ROUND)
            _many(found[PYMODBUS], lambda: loop.run_until_complete(_repeat(client, PER_ROUND)))
            _many(found[PYMODBUS_VALUES], lambda: loop.run_until_complete(_repeat(client, PER_ROUND, True)))
            cpu_us, wall_us = c_client.run(PER_ROUND)
            found[LIBMODBUS].cpu_us.append(cpu_us)
            found[LIBMODBUS].wall_us.append(wall_us)
        return {name: side.summary() for name, side in found.items()}
    finally:
        client.close()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
        link.close()


def _many(side: Rounds, work: Callable[[], object]) -> None:
    """Count ``work`` as PER_ROUND operations."""
    one = Rounds()
    one.run(work, 1)
    side.cpu_us.append(one.cpu_us[0] / PER_ROUND)
    side.wall_us.append(one.wall_us[0] / PER_ROUND)


def decode_100() -> dict[str, dict[str, float]]:
    """Decode 100 mixed points of one block with scale; ours also judges range and "not available"."""
    names = [KINDS_100[i % len(KINDS_100)] for i in range(100)]
    form = struct.Struct(">" + "".join(CODES[name] for name in names))
    data = form.pack(*(float(i) if name[0] == "f" else i for i, name in enumerate(names)))
    at = [0]
    for name in names:
        at.append(at[-1] + struct.calcsize(">" + CODES[name]))
    rows = [
        Field(KINDS.index(name), at[i], na=(0xFFFF, 0x8000), scale=0.1, lo=-1e9, hi=1e9)
        for i, name in enumerate(names)
    ]
    table, value, quality = Table(rows), np.zeros(100), np.zeros(100, np.uint8)
    types = AsyncModbusTcpClient.DATATYPE
    wide = {"u": "UINT", "i": "INT", "f": "FLOAT"}
    kinds = [types[wide[name[0]] + name[1:]] for name in names]
    registers = list(struct.unpack(f">{len(data) // 2}H", data))
    slices = [slice(a // 2, b // 2) for a, b in itertools.pairwise(at)]
    convert: Any = AsyncModbusTcpClient.convert_from_registers

    def by_point() -> list[float]:
        return [convert(registers[part], kind) * 0.1 for part, kind in zip(slices, kinds, strict=True)]

    def by_struct() -> list[float]:
        return [number * 0.1 for number in form.unpack(data)]

    table.decode(data, value, quality)
    if not value.tolist() == by_point() == by_struct():
        raise SystemExit("the sides do not decode the same values")
    sides = {OURS: lambda: table.decode(data, value, quality), "pymodbus": by_point, "struct": by_struct}
    return alternate(sides, ROUNDS, PER_ROUND)


def points_200(port: int, c_client: Timed, folder: Path) -> dict[str, float]:
    """Poll 200 points every 100 ms as the controller does; return the CPU time a point."""
    product = load_product("yunchu/bms215")
    specs = tuple(
        PointSpec(f"p{i}", Role.OTHER, "kW", 0.1, 1.0, 3 + i // 100, i % 100, "i16", 0.1) for i in range(200)
    )
    product = replace(product, points=specs, link=replace(product.link, max_gap=0), write=None, prepare=())
    link = TcpLink(Line(Endpoint("127.0.0.1", port)))
    link.stations[1] = Station(*PATIENCE)
    points = points_of(product, "dev", "unit")
    image = SharedImage.create(
        folder / "image", "bench", points, [DeviceInfo("dev", "modbus", 0, len(points))], 0
    )
    spec = ModbusSpec("dev", "unit", product.key, f"tcp://127.0.0.1:{port}", 1, None, image.slice("dev"))
    poller = LinkPoller(link)
    device = ModbusDevice(spec, product, poller, lambda *_: None)
    device.start()
    try:
        time.sleep(1.0)
        polls, cpu_ns = device.counters.polls, time.process_time_ns()
        time.sleep(SCANS_S)
        cpu_ns, polls = time.process_time_ns() - cpu_ns, device.counters.polls - polls
        shown = image.snapshot()
        age_ns = time.monotonic_ns() - int(shown.t_ns.min())
    finally:
        device.stop()
    if [round(10 * x) for x in shown.value.tolist()] != VALUES * 2 or not np.all(
        shown.quality == Quality.GOOD
    ):
        raise SystemExit("the image does not show the right values")
    per_read_us = cpu_ns / polls / 1000
    peer_us = _paced(c_client)
    return {
        "ours": per_read_us / 100,
        "peer": peer_us / 100,
        "ratio": per_read_us / peer_us,
        "reads_per_s": polls / SCANS_S,
        "oldest_ms": age_ns / 1e6,
    }


def _paced(c_client: Timed) -> float:
    """Return the CPU time of one read of the C client that reads twice every 100 ms, us."""
    found = []
    for _ in range(20):
        time.sleep(0.1)
        found.append(c_client.run(2)[0])
    return statistics.fmean(found)


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as name, libmodbus(Path(name)) as (port, c_client):
        serial = _serial(Path(name))
        pin(0)
        reads = read_100(port, c_client)
        decoded = decode_100()
        polled = points_200(port, c_client, Path(name))
    planned = plans.compare()
    data = {
        "benchmark": "poll",
        "read_100": _against(reads, PYMODBUS)
        | {
            "libmodbus": _against(reads, LIBMODBUS),
            "values": _against(reads, PYMODBUS_VALUES, OURS_VALUES),
            "sides": reads,
        },
        "decode_100": _against(decoded, "pymodbus")
        | {"struct": _against(decoded, "struct"), "sides": decoded},
        "points_200": polled,
        "rtu": serial,
        "plans": {
            "ours": sum(float(row["planner"]) for row in planned),
            "peer": sum(float(row["by_hand"]) for row in planned),
            "optimum": sum(float(row["optimum"]) for row in planned),
            "worst_over_optimum": max(
                float(row[f"{line}_over_optimum"]) for row in planned for line in ("tcp", "9600_baud")
            ),
            "lists": planned,
        },
    }
    report(as_json, data, ("", "ours", "peer", "ours/peer"), _rows(data, planned), _remarks())


def _serial(folder: Path) -> dict[str, dict[str, float]]:
    """Return by baud which share of the paced wire's limit is reached; see :mod:`benchmarks.rtu`."""
    program = rtu.built(folder)
    found = {}
    for baud in rtu.READS:
        sides = rtu.measure(baud, program, folder)
        ours, peer = (sides[side]["share"] for side in (rtu.OURS, LIBMODBUS))
        found[str(baud)] = {"ours": ours, "peer": peer, "ratio": ours / peer, "goal": rtu.GOALS[baud]}
    return found


def _against(sides: dict[str, dict[str, float]], peer: str, mine: str = OURS) -> dict[str, Any]:
    ours, theirs = sides[mine]["cpu_us"], sides[peer]["cpu_us"]
    return {"ours": ours, "peer": theirs, "ratio": ours / theirs}


def _rows(data: dict[str, Any], planned: list[dict[str, float | str]]) -> list[Row]:
    def row(name: str, found: dict[str, Any]) -> Row:
        return name, found["ours"], found["peer"], found["ratio"]

    rows = [
        row("read 100 registers, pymodbus async: CPU us", data["read_100"]),
        row("read 100 registers, libmodbus in C: CPU us", data["read_100"]["libmodbus"]),
        row("read 100 registers and decode, pymodbus async: CPU us", data["read_100"]["values"]),
        row("decode 100 points, pymodbus: CPU us", data["decode_100"]),
        row("decode 100 points, struct: CPU us", data["decode_100"]["struct"]),
        row("200 points every 100 ms, libmodbus in C: CPU us a point", data["points_200"]),
        *(row(f"paced line of {baud} baud, libmodbus: share", sides) for baud, sides in data["rtu"].items()),
    ]
    for listed in planned:
        ours, hand = float(listed["planner"]), float(listed["by_hand"])
        rows.append((f"requests, {listed['name']}", ours, hand, ours / hand))
    ratio = statistics.median(float(x["planner"]) / float(x["by_hand"]) for x in planned)
    return [*rows, ("requests, 20 lists; median ratio", data["plans"]["ours"], data["plans"]["peer"], ratio)]


def _remarks() -> str:
    return (
        f"median of {ROUNDS} rounds of {PER_ROUND}; requests: the peer is what the list's source sends. "
        "Every plan has as many requests and as little load as the proven optimum where --json says so."
    )


if __name__ == "__main__":
    main()
