"""Gives the SunSpec points of a simulated product their registers: one chain of models for each unit id."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from drivers.simulator.sunspec import DEFINITIONS, Map, Model

Row = Mapping[str, Any]
BASE = 40_000
POWERS = {"W": 1, "Wh": 3, "A": -1, "V": -1, "Hz": -2}
"""Decimal exponent of a unit in these devices; others have two decimals."""
TYPES: dict[str, tuple[str, int]] = {
    "int16": ("i16", 0x8000),
    "int32": ("i32", 0x8000_0000),
    "uint16": ("u16", 0xFFFF),
    "uint32": ("u32", 0xFFFF_FFFF),
    "uint64": ("u64", 0xFFFF_FFFF_FFFF_FFFF),
    "acc32": ("u32", 0),
    "acc64": ("u64", 0),
    "enum16": ("u16", 0xFFFF),
    "bitfield16": ("u16", 0xFFFF),
    "float32": ("f32", 0x7FC0_0000),
}
"""Type of SunSpec: that of the catalog, and its «not implemented»."""


class Units:
    """The models that a product refers to, by unit id."""

    def __init__(self, rows: Sequence[Row], unit_id: int, manufacturer: str) -> None:
        """Choose for each reference the first alternative that the file names."""
        self._own = unit_id
        self._models: dict[int, dict[int, int]] = {}
        for row in rows:
            model, path = _split(row)
            groups = int(path[0]) if len(path) > 1 else 0
            models = self._models.setdefault(row.get("unit_id", unit_id), {})
            models[model] = max(models.get(model, 0), groups)
        self._maps = {unit: self._map(models, manufacturer) for unit, models in self._models.items()}

    def _map(self, models: Mapping[int, int], manufacturer: str) -> Map:
        common = Model(1, {"Mn": manufacturer or "simulated", "Md": "simulated", "SN": "1"})
        return Map(
            [common, *(Model(number, _values(number, groups)) for number, groups in models.items())], BASE
        )

    def words(self) -> dict[int, list[int]]:
        """Return the registers from BASE on, by unit id."""
        return {unit: chain.words for unit, chain in self._maps.items()}

    def plain(self, row: Row) -> dict[str, Any]:
        """Return the row of a point as if the file gave its registers."""
        model, path = _split(row)
        unit = row.get("unit_id", self._own)
        position = 1 + list(self._models[unit]).index(model)
        group = _group(model)
        if len(path) > 1:
            group = group["groups"][0]
            where = f"{group['name']}[{int(path[0]) - 1}].{path[-1]}"
        else:
            where = path[-1]
        point = [*next(p for p in group["points"] if p[0] == path[-1]), "", ""]
        kind, missing = TYPES[point[1]]
        factor, symbol = point[3], point[4]
        scale = row.get("scale", 1.0) * (10.0 ** POWERS.get(symbol, -2) if factor else 1.0)
        other = {key: value for key, value in row.items() if key != "sunspec"}
        return {**other, "fn": 3, "address": self._maps[unit].address(where, position), "type": kind,
                "scale": scale, "na": missing}  # fmt: skip


def _split(row: Row) -> tuple[int, list[str]]:
    reference = row["sunspec"] if isinstance(row["sunspec"], str) else row["sunspec"][0]
    model, *path = reference.split(":")
    return int(model), path


def _group(model: int) -> dict[str, Any]:
    group: dict[str, Any] = json.loads((DEFINITIONS / f"{model}.json").read_text("utf-8"))["group"]
    return group


def _values(model: int, groups: int) -> dict[str, Any]:
    """Return zero for every point, and the scale factors."""
    group = _group(model)
    values: dict[str, Any] = dict(_zeros(group["points"]))
    for sub in group.get("groups", [])[:1] if groups else ():
        values[sub["name"]] = [dict(_zeros(sub["points"])) for _ in range(groups)]
        values |= {name: power for name, power in _factors(sub["points"]).items() if name in values}
    return values | _factors(group["points"])


def _zeros(points: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    return [(p[0], 0) for p in points if p[1] not in ("pad", "string", "count")]


def _factors(points: Sequence[Sequence[Any]]) -> dict[str, int]:
    """Return the scale factors that points name, by the unit of the first of them."""
    powers: dict[str, int] = {}
    for _, _, _, factor, symbol, *_ in ([*point, "", ""] for point in points):
        if isinstance(factor, str) and factor:
            powers.setdefault(factor, POWERS.get(symbol, -2))
    return powers
