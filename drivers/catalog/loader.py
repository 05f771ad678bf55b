"""From a catalog file to a checked Product, and to the points that a device of that product has."""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from cython_ext.registers import KINDS
from drivers.catalog.product import LinkSpec, PointSpec, Product, Register, Step, WriteSpec
from drivers.catalog.reader import CONTRADICTION, UNREADABLE, Reader
from models.errors import ConfigError, Problem
from models.point import AlarmLevel, Point, Role, RunState

FOLDER = Path(__file__).parent
PROTOCOLS = ("modbus", "opcua")
WORD_ORDERS = ("high_first", "low_first")
WRITTEN = ("u16", "i16", "u32", "i32", "f32", "f64")
NAMES: dict[Role, type[RunState] | type[AlarmLevel]] = {Role.STATE: RunState, Role.ALARM_LEVEL: AlarmLevel}
LINK = LinkSpec()
INF = float("inf")
ALL_BITS = 0xFFFF_FFFF_FFFF_FFFF


def known_products() -> tuple[str, ...]:
    """Return the keys of all products of the catalog."""
    return tuple(
        sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.toml"))
    )


@lru_cache(maxsize=64)
def load_product(key: str) -> Product:
    """Return the product ``vendor/product``; raise ConfigError with every problem of its file."""
    if key not in known_products():
        known = ", ".join(known_products())
        raise ConfigError([Problem(UNREADABLE, key, "there is no such product", f"Known: {known}")])
    return read_product(FOLDER / f"{key}.toml", key)


def read_product(path: Path, key: str) -> Product:
    """Return the product of one file; raise ConfigError with every problem of it."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(UNREADABLE, str(path), str(error), "Correct the file")]) from error
    problems: list[Problem] = []
    product = _product(table, key, problems)
    if problems:
        raise ConfigError(problems)
    return product


def points_of(product: Product | str, device_name: str, unit: str) -> tuple[Point, ...]:
    """Return the points of a device of this product, in the order of the catalog file.

    A driver's index into its slice of the image is the position in this tuple.
    """
    found = load_product(product) if isinstance(product, str) else product
    return tuple(
        Point(f"{device_name}/{spec.name}", device_name, unit, spec.role, spec.symbol, spec.max_age_s)
        for spec in found.points
    )


def _product(table: dict[str, Any], key: str, problems: list[Problem]) -> Product:
    file = Reader(table, f"{key}:", problems)
    protocol = file.text("protocol", among=PROTOCOLS)
    points = tuple(
        _point(Reader(row, f"{key}: points[{i}]", problems), protocol)
        for i, row in enumerate(file.items("points"))
    )
    _unique([spec.name for spec in points], "point name", f"{key}: points", problems)
    product = Product(
        key=key,
        vendor=file.text("vendor"),
        product=file.text("product"),
        protocol=protocol,
        source=file.text("source"),
        tested_on=file.text("tested_on", "nothing"),
        link=_link(Reader(table["link"] if file.has("link") else {}, f"{key}: [link]", problems)),
        points=points,
        write=_write(Reader(table["write"], f"{key}: [write]", problems)) if file.has("write") else None,
        prepare=tuple(
            _step(Reader(row, f"{key}: prepare[{i}]", problems), points)
            for i, row in enumerate(file.items("prepare"))
        ),
    )
    if not points:
        file.wrong("points", "a product without points", "Add one line for each point")
    file.close()
    return product


def _unique(names: list[str], kind: str, where: str, problems: list[Problem]) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(
            Problem(CONTRADICTION, where, f"{kind} {name!r} is there more than once", "Rename one")
        )


def _link(row: Reader) -> LinkSpec:
    link = LinkSpec(
        row.number("timeout_min_s", 0.001, 60.0, LINK.timeout_min_s),
        row.number("timeout_max_s", 0.001, 60.0, LINK.timeout_max_s),
        row.whole("max_gap", 0, 125, LINK.max_gap),
        row.whole("max_registers", 4, 125, LINK.max_registers),
        row.text("namespace", ""),
    )
    if link.timeout_min_s > link.timeout_max_s:
        row.wrong("timeout_min_s", "it is above timeout_max_s", "Correct one of them", CONTRADICTION)
    row.close()
    return link


def _point(row: Reader, protocol: str) -> PointSpec:
    name = row.text("name")
    row.where = f"{row.where} ({name})"
    word = row.text("role", "other", list(Role))
    role = Role(word) if word in list(Role) else Role.OTHER
    modbus = protocol != "opcua"
    lo, hi = _range(row)
    kind = row.text("type", among=KINDS) if modbus else "f64"
    integer = kind[:1] == "u" and modbus
    spec = PointSpec(
        name=name,
        role=role,
        symbol=row.text("symbol", ""),
        period_s=row.number("period_s", 0.01, 86_400.0),
        max_age_s=row.number("max_age_s", 0.01, 864_000.0),
        fn=row.whole("fn", 1, 4) if modbus else 0,
        address=row.whole("address", 0, 65_535) if modbus else 0,
        type=kind,
        scale=row.number("scale", -1e12, 1e12, 1.0),
        add=row.number("add", -1e12, 1e12, 0.0),
        low_word_first=modbus and row.text("word_order", "high_first", WORD_ORDERS) == "low_first",
        byte_swap=modbus and row.flag("byte_swap", False),
        mask=row.whole("mask", 1, ALL_BITS, ALL_BITS) if integer else ALL_BITS,
        shift=row.whole("shift", 0, 63, 0) if integer else 0,
        na=row.whole("na", 0, ALL_BITS) if modbus and row.has("na") else -1,
        lo=lo,
        hi=hi,
        map=_map(row, role),
        node=() if modbus else _node(row),
    )
    _consistent(row, spec, modbus)
    row.close()
    return spec


def _consistent(row: Reader, spec: PointSpec, modbus: bool) -> None:
    if spec.scale == 0.0:
        row.wrong("scale", "a scale of 0 makes every value 0", "Correct it", CONTRADICTION)
    if modbus and (spec.fn in (1, 2)) != (spec.type == "bit"):
        row.wrong(
            "fn", f"function {spec.fn} does not read {spec.type}", "bit goes with 1 and 2", CONTRADICTION
        )
    if spec.max_age_s < spec.period_s:
        row.wrong("max_age_s", "older than this before it is read again", "Make it the longer", CONTRADICTION)
    if spec.role in NAMES and not spec.map:
        row.wrong("map", f"role {spec.role} needs a map of the vendor's codes", "Add it", CONTRADICTION)


def _range(row: Reader) -> tuple[float, float]:
    ends = row.items("range") if row.has("range") else [-INF, INF]
    if len(ends) == 2 and all(isinstance(end, int | float) for end in ends) and ends[0] < ends[1]:
        return float(ends[0]), float(ends[1])
    row.wrong("range", f"{ends!r} is not [lowest, highest]", "Correct it")
    return -INF, INF


def _node(row: Reader) -> tuple[str, ...]:
    path = row.items("node")
    if not path or not all(isinstance(name, str) and name for name in path):
        row.wrong("node", f"{path!r} is not a browse path", 'Write ["Object", "Variable"]')
        return ()
    return tuple(path)


def _map(row: Reader, role: Role) -> dict[int, float]:
    result: dict[int, float] = {}
    if not row.has("map"):
        return result
    inner = Reader(row.table["map"], f"{row.where} map", row.problems)
    names = NAMES.get(role)
    for code in inner.table:
        try:
            number = int(code, 0)
        except ValueError:
            inner.wrong(code, "a code is an integer", "Correct it")
            continue
        if names is None:
            result[number] = inner.number(code, -1e12, 1e12)
        else:
            word = inner.text(code, among=names.__members__)
            result[number] = float(names.__members__.get(word, 0))
    return result


def _register(row: Reader) -> Register:
    register = Register(
        row.whole("fn", 6, 16),
        row.whole("address", 0, 65_535),
        row.text("type", "u16", WRITTEN),
        row.number("scale", -1e12, 1e12, 1.0),
        row.text("word_order", "high_first", WORD_ORDERS) == "low_first",
        row.flag("byte_swap", False),
    )
    if register.fn not in (6, 16) or (register.fn == 6 and not register.type.endswith("16")):
        row.wrong("fn", f"function {register.fn} does not write {register.type}", "Use 16", CONTRADICTION)
    if register.scale == 0.0:
        row.wrong("scale", "a scale of 0 cannot be inverted", "Correct it", CONTRADICTION)
    row.close()
    return register


def _nested(row: Reader, key: str) -> Reader:
    if not row.has(key):
        row.wrong(key, f"{key} is missing", "Add it")
    return Reader(row.table.get(key, {}), f"{row.where} {key}", row.problems)


def _write(row: Reader) -> WriteSpec:
    write = WriteSpec(
        _register(_nested(row, "p_set")),
        row.number("refresh_s", 0.05, 60.0),
        _register(_nested(row, "heartbeat")) if row.has("heartbeat") else None,
    )
    row.close()
    return write


def _step(row: Reader, points: tuple[PointSpec, ...]) -> Step:
    when = _nested(row, "when")
    point = when.text("point", among=[spec.name for spec in points])
    negate = when.has("not")
    if negate == when.has("is"):
        when.wrong("", "give either is = [ … ] or not = [ … ]", "Correct it", CONTRADICTION)
    role = next((spec.role for spec in points if spec.name == point), Role.OTHER)
    step = Step(
        name=row.text("name"),
        write=_register(_nested(row, "write")),
        value=row.number("value", -1e12, 1e12),
        point=point,
        among=frozenset(_value(when, word, role) for word in when.items("not" if negate else "is")),
        negate=negate,
        again_s=row.number("again_s", 0.5, 3600.0, 2.0),
    )
    when.close()
    row.close()
    return step


def _value(row: Reader, word: object, role: Role) -> float:
    names = NAMES.get(role)
    if names is not None and isinstance(word, str) and word in names.__members__:
        return float(names.__members__[word])
    if isinstance(word, int | float) and not isinstance(word, bool):
        return float(word)
    row.wrong("", f"{word!r} is not a value of that point", "Use a number or a state name")
    return 0.0
