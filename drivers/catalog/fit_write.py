"""What must fit together in what a catalog file writes: direction, place, values that the register holds."""

import math
from collections.abc import Iterator

from cython_ext.registers import KINDS, WORDS, encode
from drivers.catalog.schema import BySign, Place, ProductFile, SetRow, Write

WRITTEN = ("u16", "i16", "u32", "i32", "f32", "f64")
PLACES = {"modbus": ("fn", "sunspec"), "sunspec": ("fn", "sunspec"), "opcua": ("node",), "dlt645": ("di",)}
"""Which keys say where a value of a protocol lies."""
WAYS = ({"p_kw"}, {"charge_kw", "discharge_kw"}, {"magnitude_kw"})
"""How a power is told; a magnitude also needs a code for its direction."""
COUNTING = ("u16", "u32")
ADDRESSES = 65_536
EXACT = 1e-6
"""Part of a count by which a constant may miss a whole one, for scales such as 0.1."""
Found = Iterator[tuple[str, str, str]]
"""Key, what is wrong, what to do."""


def past_the_end(address: int | None, registers: int) -> Found:
    """Yield a problem when the registers do not all exist."""
    if address is not None and address + registers > ADDRESSES:
        yield "address", f"{registers} registers from {address} go past the last register", "Correct it"


def width(kind: str) -> int:
    """Return how many registers, or bits, a type takes."""
    return max(1, WORDS[KINDS.index(kind)])


def setpoint(write: Write) -> Found:
    """Yield what could send a power the wrong way, or to a register that something else is written to."""
    told = {row.value for row in write.rows if isinstance(row.value, str)}
    turns = any(
        isinstance(row.value, BySign) and row.value.charge != row.value.discharge for row in write.rows
    )
    if not told:
        yield "set", "none of the rows takes the power", 'Give one the value "p_kw", "magnitude_kw", …'
    elif told not in WAYS or ("magnitude_kw" in told and not turns):
        do = (
            'Write "p_kw", or "charge_kw" and "discharge_kw", or "magnitude_kw" and codes for both directions'
        )
        yield "set", "it does not say once which way the power goes", do
    for i, row in enumerate(write.rows):
        for other in write.rows[:i]:
            power = isinstance(row.value, str) or isinstance(other.value, str)
            if power and not _cells(row).isdisjoint(_cells(other)):
                yield f"set[{i}]", "the register of the power is written twice", "Keep one"


def _cells(row: Place) -> set[object]:
    if row.fn is None or row.address is None:
        return {(reference, row.instance) for reference in row.sunspec} or {tuple(row.node)}
    return {(row.unit_id, row.address + i) for i in range(width(row.type or "u16"))}


def values(row: SetRow) -> tuple[float, ...]:
    """Return what a row may write, for a power one count of each direction that it can have."""
    if isinstance(row.value, BySign):
        return float(row.value.charge), float(row.value.zero), float(row.value.discharge)
    if isinstance(row.value, int | float):
        return (float(row.value),)
    step = abs(next(iter(row.scale.values())) if isinstance(row.scale, dict) else row.scale)
    return (-step, step) if row.value == "p_kw" else (step,)


def register(file: ProductFile, row: Place, *holds: float) -> Found:
    """Yield what is wrong with the place that is written, and whatever of ``holds`` it cannot hold."""
    places = [name for name in ("fn", "sunspec", "node") if getattr(row, name)]
    if len(places) != 1:
        yield "", "it must lie at exactly one place", "Give fn and address, sunspec, or node"
    elif places[0] not in PLACES[file.protocol]:
        yield places[0], f"a product that speaks {file.protocol} has none", "Correct protocol or place"
    elif row.fn is not None:
        yield from _modbus(row, holds)
    if row.scale_by is not None and row.scale_by.how != "power_of_ten":
        yield "scale_by", 'what is written can only be scaled by how = "power_of_ten"', "Correct it"
    if row.unit_id == 0:
        yield "unit_id", "unit 0 means every device of the line, and none answers", "Name one"


def _modbus(row: Place, holds: tuple[float, ...]) -> Found:
    kind = row.type or "u16"
    if row.address is None:
        yield "address", "address is missing", "Add it"
    if row.fn not in (6, 16) or kind not in WRITTEN or (row.fn == 6 and not kind.endswith("16")):
        yield "fn", f"function {row.fn} does not write {kind}", "6 writes 16 bits, 16 any"
        return
    yield from past_the_end(row.address, width(kind))
    for scale in row.scale.values() if isinstance(row.scale, dict) else [row.scale]:
        # While the exponent is not known, the sign is all that can be judged.
        counts = [math.copysign(scale, v) if row.scale_by and v else v for v in holds]
        if wrong := [value for value in counts if scale and not _fits(value, kind, scale)]:
            yield "type", f"{wrong[0]:g} with scale {scale:g} does not fit into {kind}", "Correct them"
            return


def _fits(value: float, kind: str, scale: float) -> bool:
    try:
        encode(value, KINDS.index(kind), scale)
    except ValueError:
        return False
    counts = value / scale
    return kind.startswith("f") or abs(counts - round(counts)) <= EXACT * max(1.0, abs(counts))


def heartbeat(row: Place) -> Found:
    """Yield what keeps a register from counting up."""
    if row.scale != 1.0 or row.scale_by or (row.fn is not None and (row.type or "u16") not in COUNTING):
        yield "", "a heartbeat counts in u16 or u32, as it is", "Correct type and scale"
