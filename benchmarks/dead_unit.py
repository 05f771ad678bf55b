"""Eight meters on one serial line, one dies: how much less often are the other seven read?

The line takes the time that its bytes take (see rtu.py); the meters are those of the catalog, read as the
controller reads them: at 19,200 baud more than the line can carry, at 115,200 a third of it. Measured: how
often the fast points of the seven are refreshed while all eight answer, and while one is dead, after the
first time that it was waited for. Goal: at most 10 % less.
"""

import multiprocessing
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, report, wants_json
from benchmarks.rtu import Device, run
from cython_ext.registers import crc16
from drivers.catalog.loader import load_product, points_of
from drivers.driver import Counters
from drivers.modbus.build import open_devices
from drivers.modbus.spec import ModbusSpec

PRODUCT = "eastron/sdm630"
BAUDS = (19_200, 115_200)
UNITS = range(1, 9)
DEAD = 8
ALIVE_S, FIRST_S, DEAD_S = 12.0, 3.0, 24.0
GOAL = 0.9


def serve(ready: Connection, path: str, baud: int, dead: Any) -> None:
    """Answer every read with zeros, save to the unit that is dead."""

    def answer(request: bytes) -> bytes:
        if request[0] == dead.value:
            return b""
        size = 2 * int.from_bytes(request[4:6], "big")
        body = request[:2] + bytes((size,)) + bytes(size)
        return body + crc16(body).to_bytes(2, "little")

    run([Device(Path(path), baud, answer)], ready)


class CountingSink:
    """Keeps when a point was refreshed."""

    def __init__(self, point: int) -> None:
        self._point = point
        self.at_ns: list[int] = []

    def put(self, index: Any, value: Any, quality: Any, t_ns: int) -> None:
        """See :class:`drivers.driver.Sink`."""
        if self._point in index and quality[np.nonzero(index == self._point)[0][0]]:
            self.at_ns.append(t_ns)

    def count(self, counters: Counters) -> None:
        """Not looked at."""


def window(sinks: list[CountingSink], since_ns: int, until_ns: int) -> dict[str, float]:
    """Return refreshes a second and the longest time without one, of the worst of the units."""
    inside = [[t for t in sink.at_ns if since_ns <= t < until_ns] for sink in sinks]
    span_s = (until_ns - since_ns) / 1e9
    gaps = [np.diff([since_ns, *times, until_ns]).max() / 1e9 for times in inside]
    return {"per_s": min(len(times) for times in inside) / span_s, "longest_s": float(max(gaps))}


def measure(path: str, baud: int, dead: Any) -> dict[str, dict[str, float]]:
    """Read all units, let one die, and return what the other seven were refreshed in both times."""
    product = load_product(PRODUCT)
    fast = min(range(len(product.points)), key=lambda i: product.points[i].period_s)
    assert len(points_of(product, "m", "u")) > fast
    sinks = {unit: CountingSink(fast) for unit in UNITS}
    specs = [
        ModbusSpec(f"m{unit}", f"u{unit}", PRODUCT, f"rtu://{path}?baud={baud}", unit, None, sinks[unit])
        for unit in UNITS
    ]
    devices = open_devices(specs, lambda *event: None)
    others = [sink for unit, sink in sinks.items() if unit != DEAD]
    for device in devices:
        device.start()
    try:
        time.sleep(FIRST_S)
        start_ns = time.monotonic_ns()
        time.sleep(ALIVE_S)
        dead.value = DEAD
        died_ns = time.monotonic_ns()
        time.sleep(FIRST_S + DEAD_S)
        end_ns = time.monotonic_ns()
    finally:
        for device in devices:
            device.stop()
    first_ns = died_ns + round(FIRST_S * 1e9)
    return {
        "all answer": window(others, start_ns, died_ns),
        "first seconds": window(others, died_ns, first_ns),
        "one dead": window(others, first_ns, end_ns),
    }


def with_line(baud: int) -> dict[str, dict[str, float]]:
    """Measure on a line of that speed."""
    context = multiprocessing.get_context("spawn")
    dead = context.RawValue("i", 0)
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = f"{folder}/line"
        wire = context.Process(target=serve, args=(there, path, baud, dead), daemon=True)
        wire.start()
        stack.callback(wire.join)
        stack.callback(wire.terminate)
        here.recv()
        return measure(path, baud, dead)


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    found = {baud: with_line(baud) for baud in BAUDS}
    ratios = {
        str(baud): times["one dead"]["per_s"] / times["all answer"]["per_s"] for baud, times in found.items()
    }
    rows: list[Row] = [
        (f"{baud} {name}", *side.values(), ratios[str(baud)] if name == "one dead" else "")
        for baud, times in found.items()
        for name, side in times.items()
    ]
    data = {"benchmark": "dead_unit", "bauds": found, "ratios": ratios, "goal": GOAL}
    remarks = f"worst of the seven; goal: refreshed {GOAL} times as often as before, or more often"
    report(as_json, data, ("baud, time", "refreshes/s", "longest s", "ratio"), rows, remarks)


if __name__ == "__main__":
    main()
