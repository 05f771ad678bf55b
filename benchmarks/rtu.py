"""Reads of 100 registers over a serial line that takes time, as a share of what the wire allows.

The line is the simulator's: every byte takes its time, and chunks of 14 come out as of a UART. A read is 8
bytes, 3.5 characters in which the device keeps silent, 205 bytes, and 3.5 characters before the next request
(Modbus over serial line V1.02, 2.5.1.1): that is the limit. Our side keeps its silence; libmodbus and
pymodbus begin the next request at once, so their share may exceed 1. Sides take turns in one run; 8N1.

libmodbus needs a C compiler and ``apt-get install libmodbus-dev``; without them it is left out, and said so.
"""

import asyncio
import multiprocessing
import os
import select
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, report, wants_json
from cython_ext.registers import crc16
from drivers.modbus import frames
from drivers.modbus.line import parse_url
from drivers.modbus.link import Station, link_to
from drivers.simulator.wire import End, Line, open_end, read, write

COUNT = 100
REPLY = bytes((1, 3, 2 * COUNT)) + b"".join(i.to_bytes(2, "big") for i in range(COUNT))
REPLY += crc16(REPLY).to_bytes(2, "little")
REQUEST_SIZE = 8
ROUNDS = 5
READS = {9600: 4, 19_200: 8, 115_200: 40}
GOALS = {9600: 0.97, 19_200: 0.97, 115_200: 0.93}
OURS, LIBMODBUS, SYNC, ASYNC = "ours", "libmodbus", "pymodbus", "pymodbus, asynchronous"

Side = Callable[[int], tuple[float, float]]
"""Reads so many times; returns wall and CPU seconds."""


class Device:
    """One line with what is at its other end, which keeps the silence that it must."""

    def __init__(
        self, path: Path, baud: int, answer: Callable[[bytes], bytes] = lambda request: REPLY
    ) -> None:
        """``answer``: what is said to a request, nothing if it is empty."""
        self.gateway, self._here = open_end(path), End(-1, -1, path)
        self._line = Line(self.gateway, self._here, baud, 0)
        self._silence_s = parse_url(f"rtu:///dev/null?baud={baud}").silence_ns / 1e9
        self._answer = answer
        self._got = b""
        self._reply_s: float | None = None

    def turn(self, ready: bool) -> float | None:
        """Do what is due; return when something is due next."""
        now_s = time.monotonic()
        if ready:
            self._line.put(self.gateway, read(self.gateway), now_s)
        self._got += self._line.take(self._here, now_s)
        if self._reply_s is None and len(self._got) >= REQUEST_SIZE:
            self._reply_s = now_s + self._silence_s
        if self._reply_s is not None and now_s >= self._reply_s:
            self._line.put(self._here, self._answer(self._got[:REQUEST_SIZE]), now_s)
            self._got, self._reply_s = self._got[REQUEST_SIZE:], None
        if data := self._line.take(self.gateway, now_s):
            write(self.gateway, data)
        return min((at for at in (self._line.next_s(), self._reply_s) if at is not None), default=None)


def serve(ready: Connection, paths: list[str], baud: int) -> None:
    """Run the lines; in a process and on a core of its own until that is ended."""
    run([Device(Path(path), baud) for path in paths], ready)


def run(devices: list[Device], ready: Connection) -> None:
    """Run lines until the process is ended."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    ready.send(True)
    waiting: list[int] = []
    while True:
        due = [device.turn(device.gateway.master in waiting) for device in devices]
        next_s = min((at for at in due if at is not None), default=None)
        wait_s = 1.0 if next_s is None else max(0.0, next_s - time.monotonic())
        waiting, _, _ = select.select([device.gateway.master for device in devices], (), (), wait_s)


def timed(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Do ``work`` ``count`` times; return wall and CPU seconds."""
    wall, cpu = time.monotonic(), time.thread_time()
    for _ in range(count):
        work()
    return time.monotonic() - wall, time.thread_time() - cpu


def our_side(path: Path, baud: int, stack: ExitStack) -> Side:
    """Read with our link."""
    link = link_to(parse_url(f"rtu://{path}?baud={baud}"))
    link.stations[1] = Station(0.5, 2.0)
    link.open()
    stack.callback(link.close)
    request = frames.read(1, 3, 0, COUNT)
    return lambda count: timed(lambda: link.ask(request), count)


def sync_side(path: Path, baud: int, stack: ExitStack) -> Side:
    """Read with pymodbus' synchronous client."""
    from pymodbus.client import ModbusSerialClient

    client = ModbusSerialClient(str(path), baudrate=baud, timeout=2, retries=0)
    if not client.connect():
        raise SystemExit("pymodbus cannot open the line")
    stack.callback(client.close)
    return lambda count: timed(lambda: client.read_holding_registers(0, count=COUNT).registers[99], count)


def async_side(path: Path, baud: int, stack: ExitStack) -> Side:
    """Read with pymodbus' asynchronous client."""
    from pymodbus.client import AsyncModbusSerialClient

    loop = asyncio.new_event_loop()
    stack.callback(loop.close)

    async def opened() -> Any:
        client = AsyncModbusSerialClient(str(path), baudrate=baud, timeout=2, retries=0)
        await client.connect()
        return client

    client = loop.run_until_complete(opened())
    stack.callback(client.close)

    async def reads(count: int) -> None:
        for _ in range(count):
            (await client.read_holding_registers(0, count=COUNT)).registers[99]

    def side(count: int) -> tuple[float, float]:
        wall, cpu = time.monotonic(), time.thread_time()
        loop.run_until_complete(reads(count))
        return time.monotonic() - wall, time.thread_time() - cpu

    return side


def libmodbus_side(program: Path, path: Path, baud: int, stack: ExitStack) -> Side:
    """Read with libmodbus in a process of its own."""
    command = [str(program), str(path), str(baud)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(client.wait)
    stack.callback(client.terminate)
    give, take = client.stdin, client.stdout
    assert give and take

    def side(count: int) -> tuple[float, float]:
        give.write(f"{count}\n")
        give.flush()
        wall, cpu = take.readline().split()
        return int(wall) / 1e9, int(cpu) / 1e9

    return side


def built(folder: Path) -> Path | None:
    """Compile the C client; None when the compiler or libmodbus is not there."""
    program, source = folder / "rtu_client", Path(__file__).with_name("rtu_client.c")
    if not shutil.which("cc") or not shutil.which("pkg-config"):
        return None
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=False
    )
    if flags.returncode:
        return None
    subprocess.run(["cc", "-O2", "-o", program, source, *flags.stdout.split()], check=True)
    return program


def limit_s(baud: int) -> float:
    """Return the shortest time of one read that keeps the silences."""
    line = parse_url(f"rtu:///dev/null?baud={baud}")
    return ((REQUEST_SIZE + len(REPLY)) * line.byte_ns + 2 * line.silence_ns) / 1e9


def measure(baud: int, program: Path | None, folder: Path) -> dict[str, dict[str, float]]:
    """Let the sides take turns at one speed; return share of the limit and CPU for each."""
    names = [OURS, *([LIBMODBUS] if program else []), SYNC, ASYNC]
    paths = {name: folder / f"{baud}-{i}" for i, name in enumerate(names)}
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    wire = context.Process(target=serve, args=(there, [*map(str, paths.values())], baud), daemon=True)
    wire.start()
    with ExitStack() as stack:
        stack.callback(wire.join)
        stack.callback(wire.terminate)
        here.recv()
        sides = {
            OURS: our_side(paths[OURS], baud, stack),
            SYNC: sync_side(paths[SYNC], baud, stack),
            ASYNC: async_side(paths[ASYNC], baud, stack),
        }
        if program:
            sides[LIBMODBUS] = libmodbus_side(program, paths[LIBMODBUS], baud, stack)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for name in names:
            sides[name](1)
        for _ in range(ROUNDS):
            for name in names:
                found[name].append(sides[name](READS[baud]))
    return {name: summary(rounds, baud) for name, rounds in found.items()}


def summary(rounds: list[tuple[float, float]], baud: int) -> dict[str, float]:
    """Return median and worst share of the limit, and the median CPU of a read."""
    shares = [limit_s(baud) * READS[baud] / wall for wall, _ in rounds]
    cpu = statistics.median(cpu for _, cpu in rounds) / READS[baud]
    return {"share": statistics.median(shares), "share_worst": min(shares), "cpu_ms": 1000 * cpu}


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        program = built(Path(folder))
        found = {baud: measure(baud, program, Path(folder)) for baud in READS}
    ratios = {
        f"{name} at {baud}": sides[OURS]["share"] / side["share"]
        for baud, sides in found.items()
        for name, side in sides.items()
        if name != OURS
    }
    rows: list[Row] = [
        (f"{baud} {name}", *side.values(), GOALS[baud] if name == OURS else "")
        for baud, sides in found.items()
        for name, side in sides.items()
    ]
    titles = "baud, side", "share of limit", "worst", "CPU ms", "goal"
    remarks = f"median and worst of {ROUNDS} rounds" + (
        "" if program else "; libmodbus left out: no compiler or no libmodbus-dev"
    )
    data = {
        "benchmark": "rtu",
        "bauds": {str(baud): sides for baud, sides in found.items()},
        "goals": {str(baud): goal for baud, goal in GOALS.items()},
        "ratios": ratios,
        "libmodbus": program is not None,
    }
    report(as_json, data, titles, rows, remarks)


if __name__ == "__main__":
    main()
