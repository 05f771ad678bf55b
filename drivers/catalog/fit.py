"""What must fit together in a catalog file, beyond each key by itself."""

from collections import Counter
from typing import Any, get_args

from drivers.catalog import fit_write
from drivers.catalog.fit_write import PLACES, Found, past_the_end
from drivers.catalog.product import Derivation
from drivers.catalog.schema import Place, PointRow, ProductFile, Step, Table, TextRow
from models.errors import Problem
from models.point import AlarmLevel, Role, RunState

CONTRADICTION = "CAT-004"
NAMED = {Role.STATE: RunState, Role.ALARM_LEVEL: AlarmLevel}
DERIVED = (("sum", 2), ("product", 2), ("ratio", 2), ("worst", 1))
"""Derivations, and from how many points at least."""
ALARMS = ("bit", "u16", "u32")
"""Types whose every pattern a number of the image keeps, with bits that can be told apart."""


DAY_S = 86_400


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
        keep(f"texts[{i}] ({text.name})", _text(file, text))
    for i, rule in enumerate(file.identity):
        if sum(value is not None for _, value in rule) != 1:
            keep(f"identity[{i}]", iter([("", "a rule has exactly one key", "Write several rules")]))
    if file.write:
        keep("[write]", _write(file))
    for i, step in enumerate(file.prepare):
        keep(f"prepare[{i}] ({step.name})", _step(file, step))
    return found


def _text(file: ProductFile, text: TextRow) -> Found:
    places = [name for name in ("fn", "sunspec", "node", "di") if getattr(text, name)]
    if len(places) != 1:
        yield "", "it must lie at exactly one place", "Correct it"
    elif places[0] not in PLACES[file.protocol]:
        yield places[0], f"a product that speaks {file.protocol} has none", "Correct protocol or text"
    yield from past_the_end(text.address, text.registers)


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
    yield from _alarms(row)
    names = NAMED.get(Role(row.role))
    if names and not row.map and not row.worst:
        yield "map", f"role {row.role} needs a map of the vendor's codes", "Add it"
    for code, word in row.map.items():
        if isinstance(word, str) and (names is None or word not in names.__members__):
            known = ", ".join(names.__members__) if names else "only numbers"
            yield f"map {code}", f"{word!r} is not known for role {row.role}", f"Known: {known}"
        if not isinstance(word, str) and names is not None:
            yield f"map {code}", f"role {row.role} wants names", f"Known: {', '.join(names.__members__)}"


def _alarms(row: PointRow) -> Found:
    """The word of the vendor must come through as it is: a changed one would show other alarms, or none."""
    if not row.alarm_bits and not row.alarm_codes:
        return
    if row.alarm_bits and row.alarm_codes:
        yield "alarm_bits", "a word has either bits or codes", "Keep one"
    if row.type is not None and row.type not in ALARMS:
        yield "type", f"alarms of {row.type} cannot be told apart", "Use u16 or u32; a wider word is several"
    changed = row.scale != 1.0 or row.add or row.scale_by or row.sign_by or row.map
    if changed or (row.alarm_bits and row.na):
        yield "alarm_bits", "an alarm word is taken as it was read", "Remove scale, add, map, sign_by, na"


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
    else:
        yield from past_the_end(row.address, size := fit_write.width(row.type))
        if any(pattern >> (16 * size) for pattern in row.na):
            yield "na", f"a pattern is beyond {row.type}", "Correct it"


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
    refreshes = 2 * (len(write.rows) + bool(write.heartbeat)) * DAY_S / write.refresh_s
    if write.max_writes_per_day is not None and write.max_writes_per_day < refreshes:
        what = f"the refresh alone needs half of {refreshes:.0f}, so that power could hardly be raised again"
        yield "max_writes_per_day", what, "Refresh less often, or allow more"
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
    yield from fit_write.setpoint(write)
    if any(isinstance(row.value, str) for row in write.release):
        yield "release", "it has no setpoint to write", "Write constants"
    for name, rows in (("set", write.rows), ("release", write.release)):
        for i, row in enumerate(rows):
            yield from _under(f"{name}[{i}]", _written(file, row, *fit_write.values(row)))
    if write.heartbeat is not None:
        yield from _under("heartbeat", _written(file, write.heartbeat))
        yield from _under("heartbeat", fit_write.heartbeat(write.heartbeat))


def _under(where: str, found: Found) -> Found:
    return ((f"{where} {key}".rstrip(), what, do) for key, what, do in found)


def _written(file: ProductFile, row: Place, *holds: float) -> Found:
    yield from fit_write.register(file, row, *holds)
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
    yield from _under("write", _written(file, step.write, step.value))
