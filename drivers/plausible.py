"""How believable are registers, if they were those of a product: for devices that do not say what they are.

A grid frequency of 50 Hz, a voltage of 230 V and a float of ordinary size are rarely seen where they are not
meant; a zero, or an integer without limits, says next to nothing. The weights are judgement, not measurement.
"""

import math
from dataclasses import dataclass, replace

from drivers.catalog.product import PointSpec, Product
from drivers.modbus.block import Block
from drivers.modbus.plan import plan_reads
from models.point import Quality, Role

WEIGHT = {Role.FREQUENCY_HZ: 4.0, Role.V_V: 3.0}
FLOAT, CODE, BOUNDED, FREE = 2.0, 1.5, 1.0, 0.1
"""Weight of a float, of a code that must be in a table, of an integer with a range, and of one without."""
ZERO = 0.15
"""What is left of the weight when the value is 0."""
REFUSED = 3.0
"""Weight against a product whose registers the device refuses."""
DOUBT = 2.0
"""Added below the line, so that few registers never look like certainty."""
FLOATS = (1e-3, 1e7)
"""Size of floats that engineers write; integers read as float lie far outside."""
HERTZ, VOLTS = (45.0, 65.0), (50.0, 1000.0)
SAME, BARE = 2, 0.3
"""A block with so few different bytes tells little; what is left of it."""
FEW = 3
"""Points with a role that are enough to judge by."""
SHOWN = (Role.FREQUENCY_HZ, Role.V_V, Role.SOC, Role.P_KW, Role.DC_V)
"""Values that convince a person."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a product; add up what several reads bring."""

    speaks: float = 0.0
    most: float = 0.0
    """What would have spoken for it if all were believable."""
    good: int = 0
    seen: int = 0
    shown: tuple[str, ...] = ()

    def __add__(self, other: "Evidence") -> "Evidence":
        return Evidence(
            self.speaks + other.speaks,
            self.most + other.most,
            self.good + other.good,
            self.seen + other.seen,
            self.shown + other.shown,
        )

    @property
    def part(self) -> float:
        """0 (nothing) to nearly 1 (very much that is believable)."""
        return self.speaks / (self.most + DOUBT)

    @property
    def why(self) -> tuple[str, str]:
        """In words, English and Chinese."""
        values = f" ({', '.join(self.shown[:3])})" if self.shown else ""
        return (
            f"{self.good} of {self.seen} registers are believable{values}",
            f"{self.seen} 个寄存器中有 {self.good} 个数值可信{values}",
        )


def against() -> Evidence:
    """Return what a refused read means."""
    return Evidence(most=REFUSED)


class Registers:
    """The registers of one product, in blocks that can be read and weighed."""

    def __init__(self, product: Product) -> None:
        """Plan the reads of the points that mean something, or of all when those are few."""
        link = product.link
        everything = [replace(spec, period_s=1.0) for spec in product.points if spec.fn]
        meant = [spec for spec in everything if spec.role is not Role.OTHER]
        self._specs = meant if len(meant) >= FEW else everything
        reads = plan_reads(self._specs, link.max_gap, link.max_registers, link.holes)
        blocks = (Block(read, self._specs, link.unit_id) for read in reads)
        self.blocks = sorted(blocks, key=lambda block: -sum(map(weight, self._of(block))))
        """The one that tells most first."""

    def _of(self, block: Block) -> list[PointSpec]:
        return [self._specs[i] for i in block.read.points]

    def weigh(self, block: Block, data: bytes) -> Evidence:
        """Return what the data of a read say about the product."""
        block.decode(data)
        specs = self._of(block)
        values = [
            float(value) if quality == Quality.GOOD else math.nan
            for value, quality in zip(block.value, block.quality, strict=True)
        ]
        speaks = list(map(_speaks, specs, values))
        shown = [
            f"{value:.4g} {spec.symbol or spec.name}"
            for spec, value, part in zip(specs, values, speaks, strict=True)
            if spec.role in SHOWN and part >= weight(spec) > FREE
        ]
        return Evidence(
            sum(speaks) * (1.0 if len(set(data)) > SAME else BARE),
            sum(map(weight, specs)),
            sum(part > 0.0 for part in speaks),
            len(specs),
            tuple(shown),
        )


def weight(spec: PointSpec) -> float:
    """Return how much a believable value of that point says."""
    if spec.by:
        return FREE
    if spec.role in WEIGHT:
        return WEIGHT[spec.role]
    if spec.type in ("f32", "f64"):
        return FLOAT
    if spec.map:
        return CODE
    return BOUNDED if math.isfinite(spec.lo) and math.isfinite(spec.hi) else FREE


def _speaks(spec: PointSpec, value: float) -> float:
    """Return what a value says for the product; NaN (not usable) says nothing."""
    if math.isnan(value):
        return 0.0
    if value == 0.0:
        return ZERO * weight(spec)
    if spec.role is Role.FREQUENCY_HZ:
        least, most = HERTZ
    elif spec.role is Role.V_V:
        least, most = VOLTS
    else:
        least, most = FLOATS if spec.type in ("f32", "f64") else (0.0, math.inf)
    return weight(spec) if least <= abs(value) <= most else 0.0
