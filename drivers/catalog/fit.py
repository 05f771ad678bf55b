"""What must fit together in a catalog file, beyond each key by itself."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

from drivers.catalog.product import Derivation
from drivers.catalog.schema import Place, PointRow, ProductFile, Step, Table
from models.errors import Problem
from models.point import AlarmLevel, Role, RunState

CONTRADICTION = "CAT-004"
WRITTEN = ("u16", "i16", "u32", "i32", "f32", "f64")
NAMED = {Role.STATE: RunState, Role.ALARM_LEVEL: AlarmLevel}
DERIVED = (("sum", 2), ("product", 2), ("ratio", 2), ("worst", 1))
"""Derivations, and from how many points at least."""
PLACES = {"modbus": ("fn", "sunspec"), "sunspec": ("fn", "sunspec"), "opcua": ("node",), "dlt645": ("di",)}
"""Which keys say where a value of a protocol lies."""
Found = Iterator[tuple[str, str, str]]
"""Key, what is wrong, what to do."""


def table_in(annotation: Any) -> type[Table] | None:
    """Return the table type inside ``X``, ``X | None`` or ``list[X]``."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next((found for part in get_args(annotation) if (found := table_in(part))), None)


def derivation(row: PointRow) -> tuple[Derivation, tuple[str, ...]]:
    """Return how the point is derived, and from which points."""
    for kind, _ in DERIVED:
        if of := getattr(row, kind):
            return kind, tuple(of)  # type: ignore[return-value]  # literal
    return "", ()


def check(file: ProductFile, key: str) -> list[Problem]:
    """Return everything that does not fit together."""
    found: list[Problem] = []

    def keep(where: str, problems: Found) -> None:
        found.extend(Problem(CONTRADICTION, f"{key}: {where} {k}".rstrip(), w, d) for k, w, d in problems)

    keep("", _names(file))
    keep("[link]", _link(file))
    for i, row in enumerate(file.points):
        keep(f"points[{i}] ({row.name})", _point(file, row, [p.name for p in file.points[:i]]))
    for i, text in enumerate(file.texts):
        if sum((text.fn is not None, bool(text.sunspec), bool(text.node), bool(text.di))) != 1:
            keep(f"texts[{i}] ({text.name})", iter([("", "it must lie at exactly one place", "Correct it")]))
    for i, rule in enumerate(file.identity):
        if sum(value is not None for _, value in rule) != 1:
            keep(f"identity[{i}]", iter([("", "a rule has exactly one key", "Write several rules")]))
    if file.write:
        keep("[write]", _write(file))
    for i, step in enumerate(file.prepare):
        keep(f"prepare[{i}] ({step.name})", _step(file, step))
    return found


def _names(file: ProductFile) -> Found:
    for name, count in Counter(row.name for row in file.points).items():
        if count > 1:
            yield "points", f"point name {name!r} is there more than once", "Rename one"
    for (part, role), count in Counter((row.part, row.role) for row in file.points).items():
        if count > 1 and role != Role.OTHER:
            yield "points", f"role {role} is there {count} times in {part or 'the product'}", "Keep one"
    if any(row.part for row in file.points) and not all(row.part for row in file.points):
        lost = next(row.name for row in file.points if not row.part)
        yield "points", f"{lost!r} belongs to no part, others do", "Give every point a part"


def _link(file: ProductFile) -> Found:
    if file.link.timeout_min_s > file.link.timeout_max_s:
        yield "timeout_min_s", "it is above timeout_max_s", "Correct one of them"
    for hole in file.link.holes:
        if hole.first > hole.last:
            yield "holes", f"{hole.first} is after {hole.last}", "Correct it"
    if any((row.node or row.sunspec) and file.protocol == "opcua" for row in file.points):
        named = all(row.node and row.node[0].startswith("nsu=") for row in file.points if row.node)
        if not file.link.namespace and not named:
            yield "namespace", "browse paths need the URI of their namespace", "Add it"


def _point(file: ProductFile, row: PointRow, before: list[str]) -> Found:
    kinds = [kind for kind, _ in DERIVED if getattr(row, kind)]
    places = [name for name in ("fn", "sunspec", "node", "di") if getattr(row, name)]
    if len(kinds) + len(places) != 1:
        yield (
            "",
            f"it lies at {places or 'no place'} and is derived by {kinds or 'nothing'}",
            "Keep exactly one",
        )
    elif places and places[0] not in PLACES[file.protocol]:
        yield places[0], f"a product that speaks {file.protocol} has none", "Correct protocol or point"
    yield from _coding(row)
    yield from _scaling(file, row)
    for kind, least in DERIVED:
        of = getattr(row, kind)
        if of and (len(of) < least or (kind in ("ratio",) and len(of) != 2)):
            yield kind, f"{len(of)} points are not what it needs", "Correct it"
        if of and (row.scale_by or row.sign_by):
            yield kind, "it follows from other points already", "Let those depend on scale_by or sign_by"
        for name in of:
            if name not in before:
                yield kind, f"{name!r} is no point that stands before this one", "Name one that does"
    poll = getattr(file.poll, row.poll)
    if poll.max_age_s < poll.period_s:
        yield "poll", "older than max_age_s before it is read again", "Make max_age_s the longer"


def _coding(row: PointRow) -> Found:
    if row.fn is not None:
        yield from _register_read(row)
    if (row.mask is not None or row.shift) and row.type not in ("u16", "u32", "u64"):
        yield "mask", f"bits of {row.type} cannot be picked", "Use an unsigned type"
    if row.range and row.range[0] >= row.range[1]:
        yield "range", f"{list(row.range)} is not [lowest, highest]", "Correct it"
    if row.alarm_bits and row.alarm_codes:
        yield "alarm_bits", "a word has either bits or codes", "Keep one"
    names = NAMED.get(Role(row.role))
    if names and not row.map and not row.worst:
        yield "map", f"role {row.role} needs a map of the vendor's codes", "Add it"
    for code, word in row.map.items():
        if isinstance(word, str) and (names is None or word not in names.__members__):
            known = ", ".join(names.__members__) if names else "only numbers"
            yield f"map {code}", f"{word!r} is not known for role {row.role}", f"Known: {known}"
        if not isinstance(word, str) and names is not None:
            yield f"map {code}", f"role {row.role} wants names", f"Known: {', '.join(names.__members__)}"


def _register_read(row: PointRow) -> Found:
    if row.address is None:
        yield "address", "address is missing", "Add it"
    if row.type is None:
        yield "type", "type is missing", "Add it"
    elif row.fn not in (1, 2, 3, 4) or (row.fn in (1, 2)) != (row.type == "bit"):
        yield (
            "fn",
            f"function {row.fn} does not read {row.type}",
            "bit goes with 1 and 2, the rest with 3 and 4",
        )


def _scaling(file: ProductFile, row: Place) -> Found:
    scales = list(row.scale.values()) if isinstance(row.scale, dict) else [row.scale]
    if 0.0 in scales:
        yield "scale", "a scale of 0 makes every value 0", "Correct it"
    for key, choice in (("scale", row.scale), ("word_order", row.word_order)):
        if isinstance(choice, dict) and set(choice) != set(file.variants):
            yield key, f"{sorted(choice)} are not the variants {sorted(file.variants)}", "Name each once"
    others = [("scale_by", row.scale_by)] + ([("sign_by", row.sign_by)] if isinstance(row, PointRow) else [])
    for key, other in others:
        if other is not None:
            yield from _plain(file, key, other.point)


def _plain(file: ProductFile, key: str, name: str) -> Found:
    """What changes another value must itself depend on nothing."""
    row = next((point for point in file.points if point.name == name), None)
    if row is None:
        yield key, f"there is no point {name!r}", "Add it, or name another"
    elif row.scale_by or row.sign_by or derivation(row)[0]:
        yield key, f"{name!r} itself depends on other points", "Name a plain point"


def _write(file: ProductFile) -> Found:
    write = file.write
    assert write is not None
    names = [row.name for row in file.points]
    if write.expires_s is not None and write.refresh_s >= write.expires_s:
        yield "refresh_s", "the device drops the setpoint before it is sent again", "Make it shorter"
    for key, name in (
        ("readback", write.readback),
        ("clamp charge", write.clamp.charge),
        ("clamp discharge", write.clamp.discharge),
        *((f"set[{i}] per", row.per) for i, row in enumerate(write.rows)),
    ):
        if name is not None and name not in names:
            yield key, f"there is no point {name!r}", "Add it, or name another"
    if any(point.part for point in file.points) and write.part not in {point.part for point in file.points}:
        yield "part", f"{write.part!r} is no part of the product", "Say which part takes the setpoint"
    if all(not isinstance(row.value, str) for row in write.rows):
        yield "set", "none of the rows takes the power", 'Give one the value "p_kw", "magnitude_kw", …'
    if any(isinstance(row.value, str) for row in write.release):
        yield "release", "it has no setpoint to write", "Write constants"
    for i, row in enumerate((*write.rows, *write.release)):
        for key, what, do in _register_written(file, row):
            yield f"set[{i}] {key}", what, do
    if write.heartbeat is not None:
        for key, what, do in _register_written(file, write.heartbeat):
            yield f"heartbeat {key}", what, do


def _register_written(file: ProductFile, row: Place) -> Found:
    if sum((row.fn is not None, bool(row.sunspec), bool(row.node))) != 1:
        yield "", "it must lie at exactly one place", "Give fn and address, sunspec, or node"
    elif row.fn is not None:
        kind = row.type or "u16"
        if row.address is None:
            yield "address", "address is missing", "Add it"
        if row.fn not in (6, 16) or kind not in WRITTEN or (row.fn == 6 and not kind.endswith("16")):
            yield "fn", f"function {row.fn} does not write {kind}", "6 writes 16 bits, 16 any"
    yield from _scaling(file, row)


def _step(file: ProductFile, step: Step) -> Found:
    point = next((row for row in file.points if row.name == step.when.point), None)
    if point is None:
        yield "when", f"there is no point {step.when.point!r}", "Add it, or name another"
    if bool(step.when.among) == bool(step.when.none_of):
        yield "when", "give either is = [ … ] or not = [ … ]", "Correct it"
    names = NAMED.get(Role(point.role)) if point else None
    for word in (*step.when.among, *step.when.none_of):
        if isinstance(word, str) and (names is None or word not in names.__members__):
            yield "when", f"{word!r} is not a value of that point", "Use a number or a state name"
    for key, what, do in _register_written(file, step.write):
        yield f"write {key}", what, do
