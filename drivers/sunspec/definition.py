"""The model definitions: which points a SunSpec model has, in which order, with which types.

``models/*.json`` is made by tools/sunspec_models.py from the official ones (SunSpec Alliance, Apache-2.0).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "models"
HEADER = 2
"""Registers of a model before its length begins to count: ID and L."""

TYPES: dict[str, tuple[str, int]] = {
    "int16": ("i16", 0x8000),
    "uint16": ("u16", 0xFFFF),
    "count": ("u16", 0xFFFF),
    "acc16": ("u16", 0),
    "enum16": ("u16", 0xFFFF),
    "bitfield16": ("u16", 0xFFFF),
    "sunssf": ("i16", 0x8000),
    "int32": ("i32", 0x8000_0000),
    "uint32": ("u32", 0xFFFF_FFFF),
    "acc32": ("u32", 0),
    "enum32": ("u32", 0xFFFF_FFFF),
    "bitfield32": ("u32", 0xFFFF_FFFF),
    "float32": ("f32", 0x7FC0_0000),
    "int64": ("i64", 0x8000_0000_0000_0000),
    "uint64": ("u64", 0xFFFF_FFFF_FFFF_FFFF),
    "acc64": ("u64", 0),
    "float64": ("f64", 0x7FF8_0000_0000_0000),
}
"""Register type, and the pattern that says "not implemented" (SunSpec Device Information Model, types).

An accumulator that stands at 0 is "not accumulated": a meter that never counted shows nothing, not zero.
"""


@dataclass(frozen=True, slots=True)
class PointDef:
    """One point of a model."""

    name: str
    type: str
    """SunSpec's own name of the type."""
    registers: int
    scale_factor: str = ""
    """Name of the point with the decimal exponent; empty for none."""
    unit: str = ""
    access: str = ""
    """``RW`` when it can be written."""


@dataclass(frozen=True, slots=True)
class GroupDef:
    """Points that follow each other, then the groups inside; the whole may repeat."""

    name: str
    points: tuple[PointDef, ...]
    groups: tuple["GroupDef", ...]
    count: int | str | None
    """How often it repeats: not (None), as often as a point of the model says, or (0) to the model's end."""

    def place(self, name: str) -> tuple[int, PointDef] | None:
        """Return registers before the point ``name`` of this very group, and the point."""
        at = 0
        for point in self.points:
            if point.name == name:
                return at, point
            at += point.registers
        return None

    @property
    def fixed(self) -> int:
        """Registers of its own points."""
        return sum(point.registers for point in self.points)


@cache
def definition(model: int) -> GroupDef | None:
    """Return the definition of a model, or None when there is none here."""
    path = FOLDER / f"{model}.json"
    return _group(json.loads(path.read_text(encoding="utf-8"))["group"]) if path.is_file() else None


def count_points(group: GroupDef) -> tuple[str, ...]:
    """Return the names of the points of the model's top that say how often the groups inside repeat."""
    names: dict[str, None] = {}
    for sub in group.groups:
        names.update(dict.fromkeys([sub.count] if isinstance(sub.count, str) else []))
        names.update(dict.fromkeys(count_points(sub)))
    return tuple(names)


def _group(data: dict[str, Any]) -> GroupDef:
    return GroupDef(
        data["name"],
        tuple(PointDef(*row) for row in data["points"]),
        tuple(map(_group, data.get("groups", ()))),
        data.get("count"),
    )
