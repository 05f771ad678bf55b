"""10,000 changes a second from an OPC UA server of another make: what arrives, at which cost, who is late.

Measured: 1,000 variables of a node-opcua server change every 100 ms and count their changes, so that every
value that never arrives is known. Sides take turns: our driver into shared memory, and a plain asyncua
subscription whose callback keeps the value. CPU is that of the whole client process. Then a control loop of
20 ms runs in a process of its own, which snapshots that shared memory and runs the cycle of the demo, in turn
with and without a driver host that takes all changes. Not measured: a network, an encrypted link.

The server comes from npm (``npm install node-opcua@2``), once, into ``--peers``.
"""

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, quantile, report
from benchmarks.sites import Played, plant
from drivers.catalog.loader import points_of
from drivers.catalog.product import LinkSpec, PointSpec, Product
from edge.controller.deadline import Cadence, settle, sleep_until
from edge.image import DeviceInfo, SharedImage
from models.point import Role

VARIABLES, PERIOD_MS = 1000, 100
OFFERED = VARIABLES * 1000 // PERIOD_MS
ROUNDS, SETTLE_S, SECONDS = 3, 1.5, 3.0
LOOP_ROUNDS, LOOP_S, LOOP_MS = 2, 4.0, 20
PRIORITIES = {"default scheduler": None, "SCHED_FIFO": 50}
URI = "urn:yunchu:bench"
OURS, PEER = "ours", "asyncua, callback"
PINNED = "node-opcua@2"
SPAWN = multiprocessing.get_context("spawn")


def product() -> Product:
    """Return a product with one point a variable."""
    points = tuple(
        PointSpec(f"v{k}", Role.OTHER, "", PERIOD_MS / 1000, 1.0, node=(f"nsu={URI};s=V{k}",))
        for k in range(VARIABLES)
    )
    return Product(
        key="bench/bench", vendor="bench", product="bench", kind="meter", protocol="opcua", source=(),
        tested_on="", note="", variants=(), link=LinkSpec(namespace=URI), points=points,
    )  # fmt: skip


class Tally:
    """What arrived: how many notifications, and how far each variable's own count went on meanwhile."""

    def __init__(self) -> None:
        self.taken = 0
        self.last = np.zeros(VARIABLES)

    def run(self) -> dict[str, float]:
        """Wait for the time of measurement."""
        time.sleep(SETTLE_S)
        taken, last = self.taken, self.last.copy()
        cpu_s, start_s = time.process_time(), time.monotonic()
        time.sleep(SECONDS)
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - start_s
        got, made = self.taken - taken, float(np.sum(self.last - last))
        return {
            "per_s": got / wall_s,
            "made_per_s": made / wall_s,
            "share": got / made,
            "cpu_us": cpu_s / got * 1e6,
            "cpu_percent": cpu_s / wall_s * 100,
        }


def ours(pipe: Connection, url: str, path: Path) -> None:
    """Let our driver write into shared memory until told to end; its take is counted on the way."""
    from drivers.opcua import OpcUa
    from drivers.opcua_security import Link
    from edge.controller.host import HOST_NICE

    os.nice(HOST_NICE)
    made, tally = product(), Tally()
    sink = SharedImage.open(path, writable=True).slice("bench")
    driver = OpcUa("bench", Link(url), made, points_of(made, "bench", "bench"), sink)
    take = driver._take

    def counted(handle: int, content: object, code: int) -> None:
        tally.taken += 1
        take(handle, content, code)

    driver._take = counted  # type: ignore[method-assign]
    tally.last = driver._value
    driver.start()
    while pipe.recv() == "measure":
        found = tally.run()
        pipe.send(found | {"reported_lost": driver.counters.bad_replies})
    driver.stop()


def peer(pipe: Connection, url: str, _: Path) -> None:
    """Let asyncua call back until told to end."""
    from asyncua import Client

    logging.getLogger("asyncua").setLevel(logging.ERROR)
    tally = Tally()

    async def hold() -> None:
        client = Client(url)
        async with client:
            index = await client.get_namespace_index(URI)
            nodes = [client.get_node(f"ns={index};s=V{k}") for k in range(VARIABLES)]
            place = {node.nodeid: k for k, node in enumerate(nodes)}

            class Handler:
                def datachange_notification(self, node: Any, value: Any, _: Any) -> None:
                    tally.taken += 1
                    tally.last[place[node.nodeid]] = value

            subscription = await client.create_subscription(PERIOD_MS, Handler())
            for first in range(0, VARIABLES, 400):
                await subscription.subscribe_data_change(
                    nodes[first : first + 400], queuesize=1, sampling_interval=float(PERIOD_MS)
                )
            loop = asyncio.get_running_loop()
            while await loop.run_in_executor(None, pipe.recv) == "measure":
                found = await loop.run_in_executor(None, tally.run)
                pipe.send(found | {"reported_lost": 0})

    asyncio.run(hold())


@contextlib.contextmanager
def child(work: Callable[..., None], *args: Any) -> Iterator[Connection]:
    """Run ``work(pipe, …)`` in a process of its own; it ends when told to."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=work, args=(there, *args), daemon=True)
    process.start()
    try:
        yield here
        here.send("end")
        process.join(10.0)
    finally:
        if process.is_alive():
            process.terminate()
            process.join()


def loop(pipe: Connection, priority: int | None, path: Path) -> None:
    """Run the control loop for as long as asked; answers how late it woke and how late it was done."""
    image, played = SharedImage.open(path), Played(plant(1))
    pipe.send(settle(priority))
    while (seconds := pipe.recv()) != "end":
        late_us, done_us = [], []
        cadence = Cadence(LOOP_MS * 1_000_000, time.monotonic_ns())
        for _ in range(round(seconds * 1000 / LOOP_MS)):
            sleep_until(cadence.next_ns)
            woke_ns = time.monotonic_ns()
            image.snapshot()
            played.cycle()
            done_ns = time.monotonic_ns()
            late_us.append((woke_ns - cadence.next_ns) / 1000)
            done_us.append((done_ns - cadence.next_ns) / 1000)
            cadence.advance(done_ns)
        pipe.send((late_us, done_us))


def ready_peer(folder: Path) -> Path:
    """Return the folder in which npm has put the server, once."""
    if not (folder / "node_modules" / "node-opcua").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PINNED]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise SystemExit("the server needs node and npm; install them and run again") from None
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")
    return folder


@contextlib.contextmanager
def server(folder: Path, scratch: Path) -> Iterator[str]:
    """Run the server on a free port and the last core; yield its url."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("opcua_server.cjs")
    arguments = [str(folder.resolve()), str(port), str(VARIABLES), str(PERIOD_MS), str(scratch)]
    process = subprocess.Popen(
        ["node", str(script), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(scratch)},
        text=True,
    )
    # it stands for another machine: it must take no time from those who are measured
    os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    os.setpriority(os.PRIO_PROCESS, process.pid, 19)
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "ready\n":
            if not line:
                raise SystemExit("the server did not start")
        yield f"opc.tcp://127.0.0.1:{port}/bench"
    finally:
        process.terminate()
        process.wait(10.0)
        if process.stdout is not None:
            process.stdout.close()


def throughput(url: str, path: Path) -> dict[str, dict[str, float]]:
    """Let the sides take turns; return the median of each figure."""
    rounds: dict[str, list[dict[str, float]]] = {OURS: [], PEER: []}
    for _ in range(ROUNDS):
        for name, work in ((OURS, ours), (PEER, peer)):
            with child(work, url, path) as pipe:
                pipe.send("measure")
                rounds[name].append(pipe.recv())
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in rounds.items()
    }


def lateness(url: str, path: Path, priority: int | None) -> dict[str, dict[str, float]]:
    """Return how late the loop is without and with a host that takes all changes; empty when refused."""
    late: dict[str, list[float]] = {"without": [], "with": []}
    done: dict[str, list[float]] = {"without": [], "with": []}
    with child(loop, priority, path) as pipe:
        for _ in range(LOOP_ROUNDS if pipe.recv() is None else 0):
            for name in late:
                late_us, done_us = turn(pipe, url if name == "with" else "", path)
                late[name] += late_us
                done[name] += done_us
    return {
        name: {
            "p50_us": quantile(late[name], 0.5),
            "p99_us": quantile(late[name], 0.99),
            "max_us": max(late[name]),
            "done_p99_us": quantile(done[name], 0.99),
        }
        for name in late
        if late[name]
    }


def turn(pipe: Connection, url: str, path: Path) -> tuple[list[float], list[float]]:
    """Let the loop run for one turn, beside a host when there is a url."""
    with contextlib.ExitStack() as stack:
        if url:
            host = stack.enter_context(child(ours, url, path))
            host.send("measure")
            time.sleep(SETTLE_S)
        pipe.send(LOOP_S)
        found: tuple[list[float], list[float]] = pipe.recv()
        if url:
            host.recv()
        return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--peers", type=Path, default=Path("build/peers"), help="where npm puts the server")
    given = parser.parse_args()
    folder = ready_peer(given.peers / "node-opcua")
    made = product()
    with tempfile.TemporaryDirectory() as scratch, server(folder, Path(scratch)) as url:
        path = Path(scratch) / "image"
        info = DeviceInfo("bench", "opcua", 0, VARIABLES)
        SharedImage.create(path, "bench", points_of(made, "bench", "bench"), (info,), 1)
        sides = throughput(url, path)
        late = {name: lateness(url, path, priority) for name, priority in PRIORITIES.items()}
    ratio = sides[PEER]["cpu_us"] / sides[OURS]["cpu_us"]
    more_ms = {n: (one["with"]["p99_us"] - one["without"]["p99_us"]) / 1000 for n, one in late.items() if one}
    data = {
        "benchmark": "opcua",
        "offered_per_s": OFFERED,
        "sides": sides,
        "ours": sides[OURS]["cpu_us"],
        "peer": sides[PEER]["cpu_us"],
        "ratio": ratio,
        "lateness": late,
        "p99_more_ms": more_ms,
    }
    rows: list[Row] = [
        (n, *side.values(), sides[PEER]["cpu_us"] / side["cpu_us"]) for n, side in sides.items()
    ]
    titles = "side", "taken /s", "made /s", "share", "CPU us each", "CPU %", "reported lost", "CPU ratio"
    remarks = f"median of {ROUNDS} rounds of {SECONDS:g} s, {OFFERED} changes/s offered"
    for name, one in late.items():
        for with_host, found in one.items():
            figures = ", ".join(f"{key[:-3]} {value:.0f}" for key, value in found.items())
            remarks += f"\nloop of {LOOP_MS} ms, {name}, {with_host} host: {figures} us"
    remarks += "".join(f"\n{name}: p99 {more:+.2f} ms with the host" for name, more in more_ms.items())
    report(given.json, data, titles, rows, remarks)


if __name__ == "__main__":
    main()
