"""Block reads for 20 real register lists: the planner, what people wrote by hand, and the proven optimum.

The optimum comes from another method: an integer programme over every block there can be (HiGHS). Nothing is
measured here but counted; it repeats exactly.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from drivers.catalog.product import PointSpec
from drivers.modbus.line import Endpoint
from drivers.modbus.plan import TCP, Cost, cost_on, plan_reads, width
from models.point import Role

LISTS = Path(__file__).with_name("register_lists.toml")
MAX_GAP, MAX_REGISTERS = 8, 125
TYPES = {1: "u16", 2: "u32", 4: "u64"}
SERIAL = cost_on(Endpoint(path="serial", baud=9600))


@dataclass(frozen=True)
class Listed:
    """One register list."""

    name: str
    points: tuple[PointSpec, ...]
    hand: tuple[tuple[int, int, int], ...]
    """Blocks that the source reads, as function, address, registers."""
    max_gap: int

    def at_once(self) -> tuple[PointSpec, ...]:
        """Return the points with one period for all."""
        return tuple(_point(p.fn, p.address, width(p), 1.0) for p in self.points)

    def by_hand(self) -> int:
        """Return how many requests the source sends: its blocks, and one for each register beside them."""
        alone = [
            p
            for p in self.points
            if not any(
                f == p.fn and a <= p.address and p.address + width(p) <= a + n for f, a, n in self.hand
            )
        ]
        return len(self.hand) + len(alone)


def _point(fn: int, address: int, registers: int, period_s: float) -> PointSpec:
    return PointSpec("p", Role.OTHER, "", period_s, 2 * period_s, fn, address, TYPES[registers])


def lists() -> list[Listed]:
    """Read the lists; where somebody reads across a larger gap than MAX_GAP, so may the planner."""
    found = []
    for entry in tomllib.loads(LISTS.read_text())["list"]:
        points = tuple(_point(*row) for row in entry["rows"])
        hand = tuple((fn, address, count) for fn, address, count in entry.get("hand", ()))
        gap = max([MAX_GAP, *(_largest_gap(block, points) for block in hand)])
        found.append(Listed(entry["name"], points, hand, gap))
    return found


def _largest_gap(block: tuple[int, int, int], points: Sequence[PointSpec]) -> int:
    fn, first, count = block
    wanted = {a for p in points if p.fn == fn for a in range(p.address, p.address + width(p))}
    gap = largest = 0
    for register in range(first, first + count):
        gap = 0 if register in wanted else gap + 1
        largest = max(largest, gap)
    return largest


def paid(points: Sequence[PointSpec], max_gap: int, cost: Cost) -> tuple[float, int]:
    """Return the load of the planner's blocks and how many they are."""
    reads = plan_reads(points, max_gap, MAX_REGISTERS, cost=cost)
    return sum(cost.of(read.fn, read.count) / read.period_s for read in reads), len(reads)


def optimum(points: Sequence[PointSpec], max_gap: int, cost: Cost) -> float:
    """Return the least load that any blocks can have, proven by branch and bound."""
    prices: list[float] = []
    rows: list[int] = []
    columns: list[int] = []
    for fn in {p.fn for p in points}:
        mine = [p for p in points if p.fn == fn]
        wanted = {a for p in mine for a in range(p.address, p.address + width(p))}
        for first in {p.address for p in mine}:
            gap, end = 0, first
            while end - first < MAX_REGISTERS and gap <= max_gap:
                gap = 0 if end in wanted else gap + 1
                end += 1
                if not any(p.address + width(p) == end for p in mine):
                    continue
                for period_s in {p.period_s for p in mine}:
                    inside = [
                        i
                        for i, p in enumerate(points)
                        if p.fn == fn
                        and first <= p.address
                        and p.address + width(p) <= end
                        and period_s <= p.period_s
                    ]
                    rows += inside
                    columns += [len(prices)] * len(inside)
                    prices.append(cost.of(fn, end - first) / period_s)
    cover = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(points), len(prices)))
    found = milp(
        prices,
        integrality=np.ones(len(prices)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(cover, 1, np.inf),
        options={"mip_rel_gap": 0.0},
    )
    if not found.success:
        raise SystemExit(f"no proof: {found.message}")
    return float(found.fun)


def compare() -> list[dict[str, float | str]]:
    """Return for each list the requests of one scan of everything, and the load with periods."""
    found: list[dict[str, float | str]] = []
    for listed in lists():
        count = Cost(1.0, 0.0)
        row: dict[str, float | str] = {
            "name": listed.name,
            "points": len(listed.points),
            "by_hand": listed.by_hand(),
            "planner": paid(listed.at_once(), listed.max_gap, count)[1],
            "optimum": round(optimum(listed.at_once(), listed.max_gap, count)),
        }
        for line, cost in (("tcp", TCP), ("9600_baud", SERIAL)):
            ours, best = (
                paid(listed.points, listed.max_gap, cost)[0],
                optimum(listed.points, listed.max_gap, cost),
            )
            row[f"{line}_load"], row[f"{line}_over_optimum"] = ours, ours / best
        found.append(row)
    return found
