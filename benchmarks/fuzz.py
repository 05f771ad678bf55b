"""Mutated Modbus replies over real sockets and serial lines: how many wrong values does a master believe?

A peer in a process of its own answers every function truthfully and harms every second reply: lost, late,
split, cut, doubled, glued to an older one, noise, turned bits, exceptions (late ones and storms), other unit,
other function, other length, other transaction. What it holds depends on unit, function, address and on the
number of the request, so a value that does not belong to the open request is recognised. A write that is
reported as done must have been carried out. Exit code 1 when our side believes anything wrong, or a peer's
side nothing: then the harness would prove nothing.

``ours`` is drivers/modbus; ``pymodbus`` its synchronous client, without retries, reads only. Small timeouts,
so that many failures fit into minutes: a machine that stalls makes more replies late, which makes it harder.
"""

import argparse
import logging
import multiprocessing
import random
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fuzz_content import WRITES, answer
from benchmarks.fuzz_peer import EPOCH, EXECUTED, FRAMINGS, LAST, MUTATED, SEEN, serve
from benchmarks.measure import Row, report
from drivers.modbus import frames, pdu
from drivers.modbus.frames import Request
from drivers.modbus.line import LineLost, parse_url
from drivers.modbus.link import Link, Station, link_to
from models.errors import DriverError

UNITS = (1, 2, 3, 4)
BAUD = 230_400
TIMEOUT_S = 0.002
PEER_TIMEOUT_S = 0.005
TLS_TIMEOUT_S = 0.02
"""Its time for the handshake too."""
SAME_SHAPE = 0.6
"""Share of requests that look like the one before, so that an older reply could be taken for theirs."""
JOBS = 2
ANOTHER = 20
"""Draws of a request before one is taken that the link will hold back."""


@dataclass
class Tally:
    """What became of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong_by_trick: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    mutated: int = 0

    def add(self, other: "Tally") -> None:
        """Add those of another line."""
        self.outcomes += other.outcomes
        self.wrong_by_trick += other.wrong_by_trick
        self.seen += other.seen
        self.mutated += other.mutated


@dataclass
class Bench:
    """One line with its mutating peer."""

    framing: str
    url: str
    tricks: list[str]
    shared: Any
    """See fuzz_peer.EPOCH and what follows."""

    def next_epoch(self) -> int:
        """Begin a request."""
        self.shared[EPOCH] += 1
        return int(self.shared[EPOCH])

    def trick(self) -> str:
        """Return what was done to the newest reply."""
        last = self.shared[LAST]
        return self.tricks[last - 1] if last else "nothing"


@contextmanager
def bench(framing: str, seed: int, slow_s: float) -> Iterator[Bench]:
    """Run a mutating peer; it ends with the block."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        shared = context.RawArray("q", 8)
        here, there = context.Pipe()
        arguments = (there, framing, seed, slow_s, shared, folder)
        process = context.Process(target=serve, args=arguments, daemon=True)
        process.start()
        try:
            if not here.poll(30.0):
                raise SystemExit("the mutating peer does not start")
            where, tricks = here.recv()
            url = {
                "tcp": f"tcp://127.0.0.1:{where}",
                "rtu": f"rtu://{where}?baud={BAUD}",
                "rtu+tcp": f"rtu+tcp://127.0.0.1:{where}?baud={BAUD}",
                "tls": f"tls://127.0.0.1:{where}?ca={folder}/ca.pem",
            }[framing]
            yield Bench(framing, url, tricks, shared)
        finally:
            process.terminate()
            process.join()
            process.close()
            here.close()
            there.close()


def build(rng: random.Random, unit: int, fn: int, count: int) -> Request:
    """Return a request of that function and size at any address."""
    address = rng.randrange(60_000)
    words = rng.randbytes(2 * count)
    return {
        5: lambda: frames.write_coil(unit, address, bool(count % 2)),
        6: lambda: frames.write_register(unit, address, words[:2]),
        8: lambda: pdu.diagnose(unit, 0, words[:2]),
        15: lambda: frames.write_coils(unit, address, [bool(byte & 1) for byte in words]),
        16: lambda: frames.write_registers(unit, address, words),
        17: lambda: pdu.report_server_id(unit),
        22: lambda: pdu.mask_register(unit, address, words[0], words[-1]),
        23: lambda: pdu.write_and_read(unit, address, count, address + 7, words),
        43: lambda: pdu.device_id(unit),
    }.get(fn, lambda: frames.read(unit, fn, address, 16 * count if fn < 3 else count))()


FUNCTIONS = (1, 2, 3, 3, 3, 4, 4, 5, 6, 8, 15, 16, 17, 22, 23, 43)


def draw(rng: random.Random, before: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return unit, function and count of the next request, often those of the one before."""
    if rng.random() < SAME_SHAPE:
        return before
    return rng.choice(UNITS), rng.choice(FUNCTIONS), rng.randint(2, 12)


def right(bench: Bench, request: Request, epoch: int, data: bytes) -> bool:
    """Whether the data is what was asked for, and a write was carried out."""
    truth = answer(request.unit, request.pdu, epoch)[len(request.head) :]
    return data == truth and (request.pdu[0] not in WRITES or bench.shared[EXECUTED] == epoch)


def opened(link: Link) -> None:
    """Open it, however often that is refused."""
    while True:
        try:
            return link.open()
        except LineLost:
            time.sleep(0.001)


def our_side(bench: Bench, transactions: int, rng: random.Random) -> Tally:
    """Ask until so many replies were harmed."""
    tally, form = Tally(), (1, 3, 4)
    link = link_to(parse_url(bench.url))
    for unit in UNITS:
        link.stations[unit] = Station(TIMEOUT_S, 2 * TIMEOUT_S)
    opened(link)
    while bench.shared[MUTATED] < transactions:
        for _ in range(ANOTHER):
            form = draw(rng, form)
            request = build(rng, *form)
            if not link.ambiguous(request, time.monotonic_ns()):
                break
            form = (rng.choice(UNITS), *form[1:])
        epoch = bench.next_epoch()
        try:
            data = link.ask(request)
        except LineLost:
            tally.outcomes["line lost"] += 1
            opened(link)
        except DriverError as error:
            tally.outcomes[type(error).__name__] += 1
        else:
            count(tally, bench, right(bench, request, epoch, data))
    link.close()
    return tally


def count(tally: Tally, bench: Bench, was_right: bool) -> None:
    """Count what was believed."""
    tally.outcomes["right" if was_right else "WRONG"] += 1
    if not was_right:
        tally.wrong_by_trick[bench.trick()] += 1


def pymodbus_client(bench: Bench) -> Any:
    """Return pymodbus' synchronous client for the line."""
    from pymodbus.client import ModbusSerialClient, ModbusTcpClient, ModbusTlsClient
    from pymodbus.framer import FramerType

    endpoint = parse_url(bench.url)
    common: dict[str, Any] = {"timeout": PEER_TIMEOUT_S, "retries": 0}
    if bench.framing == "rtu":
        return ModbusSerialClient(endpoint.path, baudrate=endpoint.baud, **common)
    common["port"] = endpoint.port
    if bench.framing == "tls":
        context = ssl.create_default_context(cafile=endpoint.ca)
        context.check_hostname = False  # its synchronous client gives no host name to check
        common["timeout"] = TLS_TIMEOUT_S
        return ModbusTlsClient(endpoint.host, sslctx=context, **common)
    framer = FramerType.RTU if bench.framing == "rtu+tcp" else FramerType.SOCKET
    return ModbusTcpClient(endpoint.host, framer=framer, **common)


def pymodbus_side(bench: Bench, transactions: int, rng: random.Random) -> Tally:
    """Read bits and registers until so many replies were harmed."""
    from pymodbus.exceptions import ModbusException

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    client, tally, form = pymodbus_client(bench), Tally(), (1, 3, 4)
    readers: dict[int, Callable[..., Any]] = {
        1: client.read_coils,
        2: client.read_discrete_inputs,
        3: client.read_holding_registers,
        4: client.read_input_registers,
    }
    while bench.shared[MUTATED] < transactions:
        form = draw(rng, form)
        unit, fn, size = form = form if form[1] in readers else (form[0], rng.choice((1, 2, 3, 4)), form[2])
        address, size = rng.randrange(60_000), 16 * size if fn < 3 else size
        epoch = bench.next_epoch()
        try:
            reply = readers[fn](address, count=size, device_id=unit)
        except (ModbusException, OSError, ValueError, IndexError) as error:
            tally.outcomes[type(error).__name__] += 1
            continue
        if reply.isError():
            tally.outcomes["Refused"] += 1
            continue
        truth = answer(unit, frames.read(unit, fn, address, size).pdu, epoch)[2:]
        count(tally, bench, said(reply, fn) == truth)
    client.close()
    return tally


def said(reply: Any, fn: int) -> bytes:
    """Return the data of pymodbus' reply as it was on the wire."""
    if fn < 3:
        bits = sum(bool(bit) << i for i, bit in enumerate(reply.bits))
        return bits.to_bytes((len(reply.bits) + 7) // 8, "little")
    return b"".join(word.to_bytes(2, "big") for word in reply.registers)


SIDES = {"ours": our_side, "pymodbus": pymodbus_side}


def line(framing: str, client: str, transactions: int, seed: int) -> Tally:
    """Run one line until ``transactions`` replies were harmed."""
    slow_s = 2 * TIMEOUT_S if client == "ours" else PEER_TIMEOUT_S
    with bench(framing, seed, slow_s) as here:
        tally = SIDES[client](here, transactions, random.Random(seed))
        tally.seen, tally.mutated = here.shared[SEEN], here.shared[MUTATED]
    return tally


def run(framing: str, client: str, transactions: int, seed: int, jobs: int = 1) -> Tally:
    """Run several lines at once, each in a process of its own, ``transactions`` harmed replies in all."""
    share = -(-transactions // jobs)
    if jobs == 1:
        return line(framing, client, share, seed)
    total = Tally()
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        results = []
        for job in range(jobs):
            here, there = context.Pipe()
            arguments = there, framing, client, share, seed + 1000 * job
            process = context.Process(target=_job, args=arguments)
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            results.append(here)
        for result in results:
            total.add(result.recv())
    return total


def _job(result: Any, *arguments: Any) -> None:
    result.send(line(*arguments))


def main() -> None:
    """Run what the command line says and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transactions", type=int, default=100_000, help="harmed replies per framing")
    parser.add_argument("--framing", choices=FRAMINGS, action="append", help="default: all")
    parser.add_argument("--client", choices=tuple(SIDES), action="append", help="default: both")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--jobs", type=int, default=JOBS, help="lines at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args()
    data: list[dict[str, Any]] = []
    for framing in args.framing or FRAMINGS:
        for client in args.client or SIDES:
            start = time.monotonic()
            tally = run(framing, client, args.transactions, args.seed, args.jobs)
            found = {
                "framing": framing,
                "client": client,
                "transactions": tally.seen,
                "mutated": tally.mutated,
                "wrong": tally.outcomes["WRONG"],
                "outcomes": dict(tally.outcomes),
                "wrong_by_trick": dict(tally.wrong_by_trick),
                "wall_s": time.monotonic() - start,
            }
            data.append(found)
    titles = ("framing", "client", "transactions", "mutated", "right", "wrong", "wall s")
    rows: list[Row] = [
        (
            *(d[key] for key in ("framing", "client", "transactions", "mutated")),
            d["outcomes"].get("right", 0),
            d["wrong"],
            d["wall_s"],
        )
        for d in data
    ]
    result = {"benchmark": "fuzz", "seed": args.seed, "runs": data}
    report(args.json, result, titles, rows, f"seed {args.seed}; goal: ours 0 wrong, the peer's more than 0")
    failed = any((d["wrong"] == 0) != (d["client"] == "ours") for d in data)
    sys.exit(failed)


if __name__ == "__main__":
    main()
