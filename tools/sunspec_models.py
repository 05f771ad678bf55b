"""Make drivers/sunspec/models/*.json from the official SunSpec model definitions that pysunspec2 carries.

    python tools/sunspec_models.py

Only what a reader needs is kept: name, type, size, scale factor, unit, access of the points, and the groups.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sunspec2

MODELS = (
    1, *range(101, 104), *range(111, 114), *range(120, 125), 160, *range(201, 205), *range(211, 215),
    *range(701, 716), *range(801, 810),
)  # fmt: skip
SOURCE = Path(sunspec2.__file__).parent / "models" / "json"
TARGET = Path(__file__).parents[1] / "drivers" / "sunspec" / "models"
NOTICE = (
    "Derived from the SunSpec Alliance information model definitions (Apache License 2.0) as in pysunspec2 "
    f"{version('pysunspec2')}; shortened: row = name, type, registers, scale factor, unit, access"
)


def row(point: dict[str, Any]) -> list[Any]:
    """Return name, type, registers, scale factor, unit, access; without what is empty at the end."""
    cells = [point["name"], point["type"], point["size"]]
    cells += [point.get("sf") or "", point.get("units") or "", "RW" if point.get("access") == "RW" else ""]
    while cells[-1] == "":
        cells.pop()
    return cells


def group_text(group: dict[str, Any], indent: str) -> str:
    """Return a group as JSON, one line per point."""
    inner = indent + " "
    head = [f'"name": {json.dumps(group["name"])}']
    if group.get("count") is not None:
        head.append(f'"count": {json.dumps(group["count"])}')
    rows = f",\n{inner} ".join(json.dumps(row(point), ensure_ascii=False) for point in group["points"])
    parts = [*head, f'"points": [\n{inner} {rows}]']
    if group.get("groups"):
        groups = f",\n{inner} ".join(group_text(sub, inner + " ") for sub in group["groups"])
        parts.append(f'"groups": [\n{inner} {groups}]')
    return "{" + f",\n{inner}".join(parts) + "}"


def main() -> None:
    """Write one file per model."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for number in MODELS:
        definition = json.loads((SOURCE / f"model_{number}.json").read_text(encoding="utf-8"))
        group = group_text(definition["group"], "")
        text = f'{{"source": {json.dumps(NOTICE)},\n"id": {number},\n"group": {group}}}\n'
        json.loads(text)
        (TARGET / f"{number}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
