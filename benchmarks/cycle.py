"""CPU time and memory of one control cycle for 1, 4, 16 and 64 batteries, its record included.

Measured: ``run_cycle`` from the image to setpoints and packed record, with changing readings and a plan in
force, the collector set as in the controller; sizes take turns cycle by cycle. Not measured: the copy of the
shared image, the hand-over to drivers, other threads. There is no peer: what counts is the share of the
period, and how the cost grows with the batteries.
"""

import gc
import sys
import time
import tracemalloc

from benchmarks.measure import Row, quantile, report, wants_json
from benchmarks.sites import CYCLE_NS, WISH, Played, plant
from control.cycle import run_cycle
from edge.controller.deadline import settle

BATTERIES = (1, 4, 16, 64)
CYCLES = 1500
WARM = 40
"""Cycles until every device is trusted."""
MEMORY_CYCLES = 100


def one(site: Played) -> float:
    """Run a cycle; return its CPU time in us."""
    image, now = site.next()
    start_ns = time.thread_time_ns()
    outcome = run_cycle(site.plant.site, image, site.state, now, WISH)
    cpu_ns = time.thread_time_ns() - start_ns
    site.state = outcome.state
    return cpu_ns / 1000


def blocks_kept(site: Played) -> float:
    """Return the memory blocks that a cycle leaves behind, on average: 0 unless something grows."""
    site.cycle()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(MEMORY_CYCLES):
        site.cycle()
    gc.collect()
    return (sys.getallocatedblocks() - before) / MEMORY_CYCLES


def peak_kib(site: Played) -> float:
    """Return the most memory that a cycle holds at once, its results included."""
    image, now = site.next()
    tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    outcome = run_cycle(site.plant.site, image, site.state, now, WISH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    site.state = outcome.state
    return (peak - before) / 1024


def measure(sites: dict[int, Played]) -> dict[int, dict[str, float]]:
    """Return the figures of each site."""
    cpu: dict[int, list[float]] = {batteries: [] for batteries in sites}
    for number in range(WARM + CYCLES):
        for batteries, site in sites.items():
            cpu_us = one(site)
            if number >= WARM:
                cpu[batteries].append(cpu_us)
    period_us = CYCLE_NS / 1000
    return {
        batteries: {
            "points": len(site.plant.site.points),
            "p50_us": quantile(cpu[batteries], 0.5),
            "p99_us": quantile(cpu[batteries], 0.99),
            "max_us": max(cpu[batteries]),
            "p50_share_of_period": quantile(cpu[batteries], 0.5) / period_us,
            "ratio_to_one_battery": quantile(cpu[batteries], 0.5) / quantile(cpu[1], 0.5),
            "record_bytes": len(site.cycle().record),
            "blocks_kept": blocks_kept(site),
            "peak_kib": peak_kib(site),
        }
        for batteries, site in sites.items()
    }


def main() -> None:
    """Measure and report."""
    as_json = wants_json(__doc__)
    sites = {batteries: Played(plant(batteries)) for batteries in BATTERIES}
    settle(None)
    found = measure(sites)
    for site in sites.values():
        outcome = site.cycle()
        if not any(setpoint.p_kw for setpoint in outcome.setpoints):
            raise SystemExit("the cycle asks nothing of the batteries: this measures the wrong thing")
    rows: list[Row] = [
        (
            batteries,
            int(row["points"]),
            *(round(row[name]) for name in ("p50_us", "p99_us", "max_us")),
            f"{row['p50_share_of_period']:.2%}",
            row["ratio_to_one_battery"],
            int(row["record_bytes"]),
            row["peak_kib"],
            row["blocks_kept"],
        )
        for batteries, row in found.items()
    ]
    titles = (
        "batteries",
        "points",
        "p50 us",
        "p99",
        "max",
        "of 100 ms",
        "ratio",
        "record B",
        "peak KiB",
        "kept",
    )
    remarks = (
        f"CPU of {CYCLES} cycles each; ratio to one battery; kept = memory blocks left behind by a cycle"
    )
    report(as_json, {"benchmark": "cycle", "batteries": found}, titles, rows, remarks)


if __name__ == "__main__":
    main()
