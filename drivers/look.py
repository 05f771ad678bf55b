"""Read points of a product once and show all that a person wants: value, quality, raw registers, why not."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cython_ext.registers import KINDS, WORDS, Row, Table
from drivers.catalog.product import PointSpec, Product
from drivers.driver import Counters
from drivers.modbus.block import Block
from drivers.modbus.plan import TCP, width
from drivers.modbus.polled import NOT_THERE, Polled
from drivers.sunspec.connect import connect
from drivers.talk import Talk
from models.errors import DriverError, Refused
from models.point import Quality


@dataclass(slots=True)
class Shown:
    """One point as it was read."""

    spec: PointSpec
    value: float = math.nan
    good: bool = False
    raw: bytes = b""
    """Its registers as they came; empty when they did not, or when it is derived."""
    t_ns: int = 0
    """Monotonic time of receipt; 0 when nothing came."""
    trouble: str = ""


@dataclass(slots=True)
class _Sheet:
    """Where the readings go; implements ``drivers.driver.Sink``."""

    shown: list[Shown] = field(default_factory=list)

    def put(
        self, index: NDArray[np.intp], value: NDArray[np.float64], quality: NDArray[np.uint8], t_ns: int
    ) -> None:
        for i, v, q in zip(index, value, quality, strict=True):
            one = self.shown[i]
            one.value, one.good, one.t_ns = float(v), int(q) == Quality.GOOD, t_ns

    def count(self, counters: Counters) -> None:
        """Nobody counts."""


def resolved(product: Product, unit_id: int) -> Talk[tuple[Product, tuple[PointSpec, ...]]]:
    """Return the product with the registers of this device, and further points that are needed to read it.

    Raises:
        DriverError: it describes itself, and could not be asked for that.
    """
    if not any(point.sunspec for point in product.points):
        return product, ()
    found = yield from connect(product, unit_id)
    return found.product, found.hidden


def read_points(
    product: Product, hidden: Sequence[PointSpec], unit_id: int, wanted: set[str]
) -> Talk[list[Shown]]:
    """Read the wanted points of a resolved product; what cannot be read says why.

    Args:
        product: see :func:`resolved`.
        hidden: further points.
        unit_id: of the device.
        wanted: names; empty for all.
    """
    specs = _needed((*product.points, *hidden), wanted or {spec.name for spec in product.points})
    sheet = _Sheet([Shown(spec) for spec in specs])
    polled = Polled(specs, len(specs), product.link, unit_id, sheet, TCP)
    done: list[Block] = []
    while block := next((one for one in polled.blocks if one not in done), None):
        answer = yield block.request
        now_ns = time.monotonic_ns()
        if isinstance(answer, Refused) and answer.code in NOT_THERE and len(block.read.points) > 1:
            polled.refused(block, answer, now_ns)
            if block not in polled.blocks:
                continue
        done.append(block)
        if isinstance(answer, DriverError):
            for i in block.read.points:
                sheet.shown[i].trouble = str(answer)
            continue
        for i in block.read.points:
            sheet.shown[i].raw = _raw(block, specs[i], answer)
        polled.take(block, answer, now_ns)
    yield from _again(polled, specs)
    names = wanted or {spec.name for spec in product.points}
    for one in sheet.shown:
        if not one.spec.fn and not one.spec.derivation:
            one.trouble = one.trouble or "the device does not have it"
    return [one for one in sheet.shown if one.spec.name in names]


def _again(polled: Polled, specs: Sequence[PointSpec]) -> Talk[None]:
    """Read once more what changes other values: those count when it is the same before and after them."""
    changing = {by.point for spec in specs for by in spec.by}
    for block in polled.blocks:
        if any(specs[i].name in changing for i in block.read.points):
            answer = yield block.request
            if not isinstance(answer, DriverError):
                polled.take(block, answer, time.monotonic_ns())


def _needed(specs: Sequence[PointSpec], names: set[str]) -> list[PointSpec]:
    """Return the named points and all that they depend on, in their order."""
    found, todo = set[str](), set(names)
    by_name = {spec.name: spec for spec in specs}
    while todo:
        found |= todo
        todo = {
            other for name in todo for other in (*by_name[name].of, *(by.point for by in by_name[name].by))
        } - found
    return [spec for spec in specs if spec.name in found]


def _raw(block: Block, spec: PointSpec, data: bytes) -> bytes:
    first = spec.address - block.read.address
    if spec.type == "bit":
        return bytes((data[first // 8] >> first % 8 & 1,))
    return data[2 * first : 2 * (first + width(spec))]


def decode(data: bytes, kind: str, low_word_first: bool = False, byte_swap: bool = False) -> list[float]:
    """Return registers (or bits) as numbers of one type, one after another; NaN for what is none."""
    words = WORDS[KINDS.index(kind)]
    step = 2 * words if words else 1
    count = len(data) // step if words else 8 * len(data)
    table = Table(
        [
            Row(KINDS.index(kind), k * step, low_word_first, byte_swap, lo=-math.inf, hi=math.inf)
            for k in range(count)
        ]
    )
    value, quality = np.full(count, np.nan), np.zeros(count, np.uint8)
    table.decode(data, value, quality)
    return [float(one) for one in value]
