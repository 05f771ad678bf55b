"""What the benchmarks share: alternating rounds, middle and tail values, one table or one JSON object.

Sides take turns (A, B, A, B, …) in one run, so that a busy machine disturbs all of them alike; what counts is
the ratio of their medians. CPU time is that of the calling thread, kernel included.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Sequence[str | float | int]


@dataclass
class Rounds:
    """Time per operation of one side, one value a round."""

    cpu_us: list[float] = field(default_factory=list)
    wall_us: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object], count: int) -> None:
        """Do ``work`` ``count`` times and keep the time that one took on average."""
        wall_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        for _ in range(count):
            work()
        cpu_ns, wall_ns = time.thread_time_ns() - cpu_ns, time.monotonic_ns() - wall_ns
        self.cpu_us.append(cpu_ns / count / 1000)
        self.wall_us.append(wall_ns / count / 1000)

    def summary(self) -> dict[str, float]:
        """Return median and worst round, us per operation."""
        return {
            "cpu_us": statistics.median(self.cpu_us),
            "cpu_worst_us": max(self.cpu_us),
            "wall_us": statistics.median(self.wall_us),
            "wall_worst_us": max(self.wall_us),
        }


def alternate(
    sides: Mapping[str, Callable[[], object]], rounds: int, count: int
) -> dict[str, dict[str, float]]:
    """Run the sides in turn; return the summary of each. One round to warm up is not counted."""
    found = {name: Rounds() for name in sides}
    for work in sides.values():
        Rounds().run(work, count)
    for _ in range(rounds):
        for name, work in sides.items():
            found[name].run(work, count)
    return {name: side.summary() for name, side in found.items()}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0..1) of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def wants_json(description: str | None) -> bool:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return bool(parser.parse_args().json)


def report(as_json: bool, data: Mapping[str, Any], titles: Row, rows: Sequence[Row], remarks: str) -> None:
    """Print one JSON object, or a plain table with remarks below it."""
    if as_json:
        sys.stdout.write(json.dumps(data, allow_nan=False) + "\n")
        return
    cells = [[_text(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join((first.strip().ljust(widths[0]), *rest)).rstrip() + "\n")
    sys.stdout.write(f"{remarks}\n")


def _text(cell: str | float | int) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
