"""From a vendor's register table in CSV to a catalog file.

Nothing is taken in silence: what a row was taken for stands in the file, what could not be understood is
listed with its line, and every role is a proposal that a person must confirm.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.catalog.lint import NOT_NEGATIVE, SYMBOLS, WORDS
from drivers.catalog.words import RANGES, UNITS, column_of, function_of, roles_of, type_of
from models.point import Role

REFERENCE = {"0": 1, "1": 2, "3": 4, "4": 3}
"""First digit of a five or six digit reference number like 40001: the function that reads it."""
SIGNS = {
    Role.P_KW: ": check that import (discharge) is positive",
    Role.DC_A: ": check that discharge is positive",
}
WRITE_ONLY = ("w", "wo", "write", "write only", "只写", "写")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line of the table that is not in the file, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A catalog file made from a table."""

    text: str
    points: int
    roles: tuple[tuple[str, Role, str], ...]
    """Point, proposed role, and the vendor's name that led to it."""
    rejected: tuple[Rejected, ...]
    statements: tuple[str, ...]
    """What was assumed for the whole table."""


@dataclass(frozen=True, slots=True)
class About:
    """What the table itself does not say."""

    vendor: str
    product: str
    kind: str
    source: str
    base: int = 0
    """Number of the first register in the table: 0 or 1."""
    plain: bool = False
    """Numbers like 40001 are plain addresses, no references."""


@dataclass(slots=True)
class _Row:
    """One understood line."""

    line: int
    title: str
    fn: int
    address: int
    type: str
    registers: int
    keys: dict[str, str] = field(default_factory=dict)
    name: str = ""
    role: Role = Role.OTHER


class _Bad(Exception):
    """The line cannot be understood."""


def import_csv(text: str, about: About) -> Imported:
    """Return the catalog file for a register table.

    Args:
        text: the table, with its titles in the first line that has an address column.
        about: what the table does not say.

    Raises:
        ValueError: there is no line with titles for address, name and type.
    """
    lines = list(csv.reader(io.StringIO(text), delimiter=_delimiter(text)))
    start, columns = _titles(lines)
    table = [
        (number, {column: line[i].strip() for column, i in columns.items() if i < len(line)})
        for number, line in enumerate(lines[start + 1 :], start + 2)
        if any(cell.strip() for cell in line)
    ]
    reference = (
        not about.plain and "register" not in columns and _references([c["address"] for _, c in table])
    )
    rows: list[_Row] = []
    rejected: list[Rejected] = []
    for number, cells in table:
        try:
            row = _row(number, cells, about.base, reference)
            _free(row, rows)
        except _Bad as bad:
            rejected.append(Rejected(number, str(bad)))
        else:
            rows.append(row)
    _name(rows)
    said = _statements(columns, about, reference, rows)
    return Imported(
        _file(rows, about, said),
        sum(row.type != "text" for row in rows),
        tuple((row.name, row.role, row.title) for row in rows if row.role != Role.OTHER),
        tuple(rejected),
        tuple(said),
    )


def _delimiter(text: str) -> str:
    first = text.lstrip("\ufeff").splitlines()[0] if text.strip() else ""
    return max(",;\t|", key=first.count)


def _titles(lines: Sequence[Sequence[str]]) -> tuple[int, dict[str, int]]:
    for number, line in enumerate(lines):
        columns: dict[str, int] = {}
        for i, title in enumerate(line):
            column = column_of(title.lstrip("\ufeff"))
            if column:
                columns.setdefault(column, i)
        if "address" in columns and "name" in columns:
            if "type" not in columns:
                raise ValueError(f"line {number + 1}: there is no column for the data type")
            return number, columns
    raise ValueError("there is no line with titles for address and name")


def _references(addresses: Sequence[str]) -> bool:
    """Whether all addresses are numbers like 30001 or 400001."""
    wanted = [text for text in addresses if text]
    return bool(wanted) and all(re.fullmatch(r"[34]\d{4,5}([-~–]\d+)?", text) for text in wanted)


def _row(line: int, cells: dict[str, str], base: int, reference: bool) -> _Row:
    title = cells.get("name", "")
    if not title:
        raise _Bad("it has no name")
    if cells.get("access", "").lower() in WRITE_ONLY:
        raise _Bad("it is only written; points are what is read")
    fn, address = _place(cells, base, reference)
    kind = type_of(cells.get("type", ""))
    if not kind:
        raise _Bad(f"data type {cells.get('type', '')!r} is not known")
    if (fn in (1, 2)) != (kind == "bit"):
        raise _Bad(f"function {fn} does not read {kind}")
    if kind == "text":
        registers = _count(cells)
        return _Row(line, title, fn, address, kind, registers)
    row = _Row(line, title, fn, address, kind, WORDS[kind])
    _meaning(row, cells)
    return row


def _place(cells: dict[str, str], base: int, reference: bool) -> tuple[int, int]:
    text = cells.get("address", "").replace(" ", "")
    if reference:
        fn = REFERENCE[text[0]]
        address = int(re.split("[-~–]", text)[0][1:]) - 1
    else:
        fn = function_of(cells["register"]) if cells.get("register") else 3
        address = _integer(text) - base
    if not fn:
        raise _Bad(f"register kind {cells['register']!r} is not known")
    if not 0 <= address <= 65_535:
        raise _Bad(f"address {text!r} leads to {address}, which is none")
    return fn, address


def _integer(text: str) -> int:
    hexadecimal = re.fullmatch(r"(?:0[xX]|\$|H)([0-9A-Fa-f]+)|([0-9A-Fa-f]+)[hH]", text)
    if hexadecimal:
        return int(hexadecimal[1] or hexadecimal[2], 16)
    first = re.match(r"\d+", text)  # "100-101" and "100~101" begin at 100
    if first and re.fullmatch(r"\d+([-~–]\d+)?", text):
        return int(first[0])
    raise _Bad(f"address {text!r} is no number")


def _count(cells: dict[str, str]) -> int:
    found = re.search(r"\d+", cells.get("count", "") or re.sub(r"\D+", "", cells.get("type", "")))
    if not found or not 1 <= int(found[0]) <= 125:
        raise _Bad("it does not say how many registers the text has")
    return int(found[0])


def _meaning(row: _Row, cells: dict[str, str]) -> None:
    unit = cells.get("unit", "")
    symbol, factor = UNITS.get(unit.lower(), (unit[:12] if unit.isprintable() else "", 1.0))
    scale = _scale(cells) * factor
    if symbol:
        row.keys["symbol"] = json.dumps(symbol, ensure_ascii=False)
    if scale != 1.0:
        row.keys["scale"] = f"{scale:.12g}"
    order = cells.get("order", "").lower()
    if re.search(r"low|little|cdab|dcba|低", order) and row.registers > 1:
        row.keys["word_order"] = '"low_first"'
    row.role = _role(row, symbol)
    if row.role in RANGES:
        low, high = RANGES[row.role]
        if row.type.startswith("u") and low < 0 and row.role not in NOT_NEGATIVE:
            low = 0.0
        row.keys["range"] = f"[{low:g}, {high:g}]".replace("e+09", "e9")
    poll = _poll(row.role, symbol, cells)
    if poll:
        row.keys["poll"] = json.dumps(poll)


def _scale(cells: dict[str, str]) -> float:
    for column, power in (("scale", 1), ("gain", -1)):
        text = cells.get(column, "").replace("×", "").replace("*", "")
        if not text or text in ("-", "/", "无"):
            continue
        parts = re.match(r"\s*(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*(?:/\s*(\d+(?:\.\d+)?))?", text)
        if not parts or not float(parts[1]):
            raise _Bad(f"{column} {text!r} is no number")
        value = float(parts[1]) / (float(parts[2]) if parts[2] else 1.0)
        return value if power > 0 else 1.0 / value
    return 1.0


def _role(row: _Row, symbol: str) -> Role:
    """Return the likeliest role whose unit fits; unsigned registers have no direction, so no signed role."""
    for role in roles_of(row.title):
        unsigned = row.type.startswith("u") and role in (Role.P_KW, Role.DC_A)
        if symbol in SYMBOLS[role] and not unsigned:
            return role
    return Role.OTHER


def _poll(role: Role, symbol: str, cells: dict[str, str]) -> str:
    if re.search(r"w|写", cells.get("access", "").lower()):
        return "rare"
    if symbol in ("kWh", "kvarh"):
        return "slow"
    return "fast" if role in (Role.P_KW, Role.Q_KVAR, Role.DC_A) else ""


def _free(row: _Row, rows: Sequence[_Row]) -> None:
    for other in rows:
        apart = row.address >= other.address + other.registers or other.address >= row.address + row.registers
        if other.fn == row.fn and not apart:
            raise _Bad(f"its registers are those of line {other.line}")


def _name(rows: Sequence[_Row]) -> None:
    """Give every row a name that is allowed and alone; a role once."""
    taken: set[str] = set()
    roles: set[Role] = set()
    for row in rows:
        if row.role in roles:
            row.role = Role.OTHER
        if row.role != Role.OTHER:
            roles.add(row.role)
        plain = re.sub(r"[^a-z0-9]+", "_", row.title.lower()).strip("_") if row.title.isascii() else ""
        name = str(row.role) if row.role != Role.OTHER else plain[:56]
        if not re.match(r"[a-z]", name):
            name = f"r{row.fn}_{row.address}"
        row.name = name if name not in taken else f"{name}_{row.address}"
        taken.add(row.name)


def _statements(columns: dict[str, int], about: About, reference: bool, rows: Sequence[_Row]) -> list[str]:
    said = []
    if reference:
        said.append(
            "numbers like 40001 were taken as references: 40001 is holding register 0, 30001 input register 0"
        )
    elif about.base:
        said.append("the table counts registers from 1: every address is one less on the wire")
    else:
        said.append("addresses were taken as they are on the wire, from 0")
    if "register" not in columns and not reference:
        said.append("the table does not say which function reads: 3 (holding registers) was taken")
    if "order" not in columns and any(row.registers > 1 and row.type != "text" for row in rows):
        said.append("the table does not say the word order: the high word first was taken")
    if not columns.keys() & {"scale", "gain"}:
        said.append("the table has no scale: every count is 1 unit")
    return said


def _file(rows: Sequence[_Row], about: About, said: Sequence[str]) -> str:
    note = (
        "Made from the vendor's table; not yet reviewed. "
        + ". ".join(s[0].upper() + s[1:] for s in said)
        + "."
    )
    head = {
        "vendor": about.vendor,
        "product": about.product,
        "kind": about.kind,
        "protocol": "modbus",
        "source": [about.source],
        "tested_on": "nothing",
        "note": note,
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    lines += ["", "points = ["]
    for row in rows:
        if row.type != "text":
            if row.role != Role.OTHER:
                sign = SIGNS.get(row.role, "")
                lines.append(
                    f"  # review: role {row.role} is proposed for «{row.title}», line {row.line}{sign}"
                )
            elif row.name != row.title.lower():
                lines.append(f"  # «{row.title}», line {row.line}")
            lines.append(_point(row))
    lines += ["]", "", "[link]", "max_gap = 0"]
    for row in rows:
        if row.type == "text":
            lines += ["", "[[texts]]", f'name = "{row.name}"', f"fn = {row.fn}", f"address = {row.address}"]
            lines.append(f"registers = {row.registers}")
    return "\n".join(lines) + "\n"


def _point(row: _Row) -> str:
    keys = {"name": f'"{row.name}"'}
    if row.role != Role.OTHER:
        keys["role"] = f'"{row.role}"'
    for key in ("poll", "symbol"):
        if key in row.keys:
            keys[key] = row.keys[key]
    keys |= {"fn": str(row.fn), "address": str(row.address), "type": f'"{row.type}"'}
    keys |= {key: value for key, value in row.keys.items() if key not in keys}
    return "  { " + ", ".join(f"{key} = {value}" for key, value in keys.items()) + " },"
