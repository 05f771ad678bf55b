"""How late a periodic loop wakes: our sleep_until (clock_nanosleep, absolute) and asyncio.sleep.

Measured: time from the deadline to the first statement after the sleep, and CPU per wake, for periods of 100
and 10 ms; the sides take turns of 2 s and have absolute deadlines, with the default scheduler and, where it
is allowed, with SCHED_FIFO. Not measured: a loop with work and threads beside it, a PREEMPT_RT kernel.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.measure import quantile, report, wants_json
from edge.controller.deadline import Cadence, settle, sleep_until

TURN_S = 2.0
SECONDS = {False: 10.0, True: 4.0}
"""Of each side and period, by whether SCHED_FIFO is on."""
PERIODS_MS = (100, 10)
PRIORITY = 50
OURS, PEER = "sleep_until", "asyncio.sleep"


@dataclass
class Side:
    """The lateness of one side."""

    late_us: list[float] = field(default_factory=list)
    cpu_ns: int = 0

    def summary(self) -> dict[str, float]:
        return {
            "p50_us": quantile(self.late_us, 0.5),
            "p99_us": quantile(self.late_us, 0.99),
            "max_us": max(self.late_us),
            "cpu_us": self.cpu_ns / 1000 / len(self.late_us),
        }


def ours(period_ns: int, late_us: list[float]) -> None:
    """Wake by ``sleep_until`` for one turn."""
    cadence = Cadence(period_ns, time.monotonic_ns())
    for _ in range(round(TURN_S * 1e9 / period_ns)):
        sleep_until(cadence.next_ns)
        now_ns = time.monotonic_ns()
        late_us.append((now_ns - cadence.next_ns) / 1000)
        cadence.advance(now_ns)


def peer(period_ns: int, late_us: list[float]) -> None:
    """Wake by ``asyncio.sleep`` for one turn."""

    async def turn() -> None:
        cadence = Cadence(period_ns, time.monotonic_ns())
        for _ in range(round(TURN_S * 1e9 / period_ns)):
            await asyncio.sleep((cadence.next_ns - time.monotonic_ns()) / 1e9)
            now_ns = time.monotonic_ns()
            late_us.append((now_ns - cadence.next_ns) / 1000)
            cadence.advance(now_ns)

    asyncio.run(turn())


def measure(period_ms: int, seconds: float) -> dict[str, dict[str, float]]:
    """Let the sides take turns."""
    sides: dict[str, tuple[Side, Callable[[int, list[float]], None]]] = {
        OURS: (Side(), ours),
        PEER: (Side(), peer),
    }
    for _ in range(round(seconds / TURN_S)):
        for side, turn in sides.values():
            start_ns = time.thread_time_ns()
            turn(period_ms * 1_000_000, side.late_us)
            side.cpu_ns += time.thread_time_ns() - start_ns
    return {name: side.summary() for name, (side, _) in sides.items()}


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    data: dict[str, object] = {"benchmark": "lateness"}
    rows: list[tuple[str | float, ...]] = []
    remark = settle(None)
    for fifo in (False, True):
        remark = settle(PRIORITY) if fifo else None
        if remark:
            break
        for period_ms in PERIODS_MS:
            found = measure(period_ms, SECONDS[fifo])
            name = f"{period_ms} ms" + (" FIFO" if fifo else "")
            ratios = {key: found[PEER][key] / found[OURS][key] for key in found[OURS]}
            data[name] = {"sides": found, "ratios": ratios}
            rows += [(f"{name} {side}", *found[side].values()) for side in (OURS, PEER)]
            rows.append((f"{name} ratio", *ratios.values()))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    data["fifo_refused"] = remark
    titles = "loop", "p50 us", "p99", "max", "CPU us"
    remarks = f"{SECONDS[False]:g} s each, FIFO {SECONDS[True]:g} s each, in turns of {TURN_S:g} s"
    report(as_json, data, titles, rows, remarks + (f"; {remark}" if remark else ""))


if __name__ == "__main__":
    main()
