"""What is wrong or doubtful in a product of the catalog beyond what the loader refuses.

An error means: with this file a wrong value could be used, or a device controlled that must not be. A warning
means: look at it again.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from drivers.catalog.product import PointSpec, Product
from drivers.modbus.busload import line_device, load_of
from drivers.modbus.line import parse_url
from models.errors import Problem
from models.point import Role

LINT = "CAT-006"
SYMBOLS: dict[Role, tuple[str, ...]] = {
    Role.P_KW: ("kW",),
    Role.Q_KVAR: ("kvar",),
    Role.P_SET_KW: ("kW",),
    Role.SOC: ("",),
    Role.SOH: ("",),
    Role.DC_V: ("V",),
    Role.DC_A: ("A",),
    Role.CHARGE_LIMIT_A: ("A",),
    Role.DISCHARGE_LIMIT_A: ("A",),
    Role.CELL_V_MAX: ("V",),
    Role.CELL_V_MIN: ("V",),
    Role.CELL_DEGC_MAX: ("degC",),
    Role.CELL_DEGC_MIN: ("degC",),
    Role.E_IMPORT_KWH: ("kWh",),
    Role.E_EXPORT_KWH: ("kWh",),
    Role.E_CHARGED_KWH: ("kWh",),
    Role.E_DISCHARGED_KWH: ("kWh",),
    Role.FREQUENCY_HZ: ("Hz",),
    Role.V_V: ("V",),
}
"""The unit that a role speaks; roles that are not here have none."""
SIGNED = (Role.P_KW, Role.DC_A, Role.P_SET_KW)
TWO_WAY = ("grid", "battery", "meter", "pcs")
"""Parts, or kinds of a product without parts, whose power has a sign."""
NOT_NEGATIVE = (Role.CHARGE_LIMIT_A, Role.DISCHARGE_LIMIT_A)
ALARM = re.compile(r"(^|_)(alarms?|faults?|errors?|warnings?|prealarm)(_|$)")
CODE = re.compile(r"_(id|time|count|s)$|^last_")
"""Names with an alarm in them that are no alarm words."""
WORDS = {"bit": 1, "u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
BUSY = 0.8
"""Share of a serial line that one device may take at its default baud rate."""


def lint(product: Product) -> list[Problem]:
    """Return everything that is wrong or doubtful, errors first."""
    found: list[Problem] = []
    for severity, where, what, do in _all(product):
        found.append(Problem(LINT, f"{product.key}: {where}", what, do, severity))
    return sorted(found, key=lambda problem: problem.severity != "error")


Finding = tuple[str, str, str, str]


def _all(product: Product) -> Iterator[Finding]:
    yield from _origin(product)
    for spec in product.points:
        yield from _role(spec)
        yield from _bounds(product, spec)
    yield from _overlaps(product)
    yield from _holes(product)
    yield from _alarms(product)
    yield from _written(product)
    yield from _texts(product)
    yield from _load(product)


def _origin(product: Product) -> Iterator[Finding]:
    if not any(source.strip() for source in product.source):
        yield "error", "source", "nobody knows where the map is from", "Name the document or project"
    if not product.tested_on.strip():
        yield "error", "tested_on", "it does not say on what it was tested", "Say so, also when it is nothing"
    for key, text in (("vendor", product.vendor), ("product", product.product), ("note", product.note)):
        if not text.isprintable():
            yield "error", key, "it holds characters that cannot be printed", "Remove them"


def _role(spec: PointSpec) -> Iterator[Finding]:
    where = f"points {spec.name}"
    known = SYMBOLS.get(spec.role)
    if known is not None and spec.symbol not in known:
        yield (
            "error",
            where,
            f"role {spec.role} is in {known[0] or 'no unit'}, not {spec.symbol!r}",
            "Scale it",
        )
    if not spec.name.isprintable() or not spec.symbol.isprintable():
        yield "error", where, "it holds characters that cannot be printed", "Remove them"
    for text in spec.alarm_texts.values():
        if not text or not text.isprintable():
            yield "error", where, f"alarm text {text!r} cannot be printed", "Correct it"


def _bounds(product: Product, spec: PointSpec) -> Iterator[Finding]:
    where = f"points {spec.name}"
    if spec.role in SYMBOLS and not (spec.lo > float("-inf") and spec.hi < float("inf")):
        yield "error", where, f"role {spec.role} without a range", "Say what is believable"
    if (
        spec.role in SIGNED
        and spec.fn
        and not spec.by
        and spec.type.startswith("u")
        and spec.lo < 0 < spec.hi
    ):
        yield (
            "error",
            where,
            "an unsigned register cannot say in which direction",
            "Add sign_by, or correct the range",
        )
    if spec.role == Role.P_KW and two_way(product, spec) and not spec.lo < 0 < spec.hi:
        what = "its power flows both ways, but the range allows one sign only"
        yield "error", where, what, "Correct range, scale or sign_by"
    if spec.role in NOT_NEGATIVE and spec.lo < 0:
        yield "error", where, f"{spec.role} is never negative", "Correct the range"
    if spec.role == Role.SOC and (spec.lo < 0 or spec.hi > 1.2):
        yield "error", where, f"soc from {spec.lo:g} to {spec.hi:g} is no ratio", "Scale it to 0..1"


def two_way(product: Product, spec: PointSpec) -> bool:
    """Whether the power of a point is that of something that both takes and gives."""
    return (spec.part or product.kind) in TWO_WAY


def _overlaps(product: Product) -> Iterator[Finding]:
    rows = sorted(
        ((unit_of(spec), spec.fn, spec.address, WORDS[spec.type]), i)
        for i, spec in enumerate(product.points)
        if spec.fn
    )
    for ((unit, fn, first, size), i), ((unit_2, fn_2, second, size_2), k) in pairwise(rows):
        one, other = product.points[i], product.points[k]
        if (unit, fn) != (unit_2, fn_2) or second >= first + size:
            continue
        names = f"points {one.name}, {other.name}"
        if (first, size) != (second, size_2) or one.type != other.type:
            yield "error", names, f"they read the same register {second} in two ways", "Correct one of them"
        elif (one.mask, one.shift) == (other.mask, other.shift):
            yield "error", names, f"both are register {first}", "Keep one"


def unit_of(spec: PointSpec) -> int:
    """Return the unit id of a point; -1 is the device's own."""
    return -1 if spec.unit_id is None else spec.unit_id


def _holes(product: Product) -> Iterator[Finding]:
    for fn, first, last in product.link.holes:
        for spec in product.points:
            if spec.fn == fn and first < spec.address + WORDS[spec.type] and spec.address <= last:
                where = f"points {spec.name}"
                yield "error", where, f"it lies in the hole {first} to {last}", "Correct hole or point"


def _alarms(product: Product) -> Iterator[Finding]:
    level = any(spec.role == Role.ALARM_LEVEL for spec in product.points)
    worst = {name for spec in product.points if spec.derivation == "worst" for name in spec.of}
    for spec in product.points:
        word = ALARM.search(spec.name) and not CODE.search(spec.name) and spec.role != Role.ALARM_LEVEL
        if not word or spec.symbol or spec.derivation:
            continue
        if product.write is not None and not (spec.alarm_levels or spec.map) and not level:
            what = "an alarm that nobody understands, on a product that takes setpoints"
            yield "error", f"points {spec.name}", what, "Map it with alarm_bits or alarm_codes"
        elif not (spec.alarm_levels or spec.map):
            yield (
                "warning",
                f"points {spec.name}",
                "its alarms have no levels",
                "Map them when they are known",
            )
        elif spec.alarm_levels and spec.name not in worst:
            yield (
                "warning",
                f"points {spec.name}",
                "no alarm_level is made of it",
                "Add a point with worst = [ … ]",
            )
    if product.write is not None and not level:
        yield (
            "warning",
            "points",
            "it takes setpoints but shows no alarm level",
            "Add its alarms when they are known",
        )


def _written(product: Product) -> Iterator[Finding]:
    write = product.write
    if write is None:
        return
    part = [spec for spec in product.points if spec.part == write.part]
    if not any(spec.role == Role.P_KW for spec in part):
        yield (
            "error",
            "[write]",
            "it takes setpoints but shows no power",
            "Give the power of that part its role",
        )
    kw = [write.clamp_charge, write.clamp_discharge, *(row.per for row in write.rows)]
    for spec in product.points:
        if spec.name in kw and spec.symbol != "kW":
            yield "error", f"points {spec.name}", f"power is held against it, not {spec.symbol!r}", "Scale it"
    if not write.readback:
        yield (
            "warning",
            "[write]",
            "nothing shows what was written",
            "Name a readback point when there is one",
        )
    if write.expires_s is None:
        what = "the device has no dead-man time of its own: when the gateway dies the last setpoint stays"
        yield "warning", "[write]", what, "Add expires_s when it has one"
    elif write.refresh_s > write.expires_s / 2:
        what = f"sent again every {write.refresh_s:g} s, one loss is too much for {write.expires_s:g} s"
        yield "error", "[write] refresh_s", what, "Make it at most half of expires_s"
    back = next((spec for spec in product.points if spec.name == write.readback), None)
    if back is not None and back.period_s > write.refresh_s * 2:
        yield (
            "warning",
            "[write] readback",
            f"{back.name} is read only every {back.period_s:g} s",
            "Read it faster",
        )


def _texts(product: Product) -> Iterator[Finding]:
    for text in product.texts:
        if not text.name.isprintable() or not text.name:
            yield "error", f"texts {text.name!r}", "its name cannot be printed", "Correct it"
    for rule in product.identity:
        if not (rule.starts + rule.contains + rule.model).isprintable():
            yield "error", "identity", "it holds characters that cannot be printed", "Correct it"


def _load(product: Product) -> Iterator[Finding]:
    link = product.link
    if "rtu" not in link.transports:
        return
    line = parse_url(f"rtu:///dev/null?baud={link.baud}&parity={link.parity}&stop={link.stop}")
    try:
        load = load_of([line_device(product.key, product, line)], line)
    except ValueError as error:  # points in holes: said above
        yield "error", "[poll]", str(error), "Correct hole or point"
        return
    what = f"its points take {load.utilisation:.0%} of a line of {link.baud} baud"
    if load.late:
        late = ", ".join(name for _, name in load.late[:3])
        yield "error", "[poll]", f"{what} and become too old: {late}", "Make the periods longer"
    elif load.utilisation > BUSY:
        yield "warning", "[poll]", what, "Leave room for others"
