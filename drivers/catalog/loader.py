"""From a catalog file to a checked Product, and to the points that a device of that product has."""

import difflib
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.catalog import fit
from drivers.catalog.product import (
    ALL_BITS,
    By,
    LinkSpec,
    PointSpec,
    Product,
    Register,
    Rule,
    SetRow,
    Step,
    TextSpec,
    WriteSpec,
)
from drivers.catalog.schema import Place, PointRow, ProductFile, Table
from drivers.catalog.schema import SetRow as SetTable
from drivers.catalog.schema import Step as StepTable
from drivers.catalog.schema import Write as WriteTable
from models.errors import ConfigError, Problem
from models.point import AlarmLevel, Point, Role, RunState

FOLDER = Path(__file__).parent
UNKNOWN_KEY, MISSING_KEY, WRONG_VALUE, UNREADABLE = "CAT-001", "CAT-002", "CAT-003", "CAT-005"
NAMES: dict[str, type[RunState] | type[AlarmLevel]] = {
    Role.STATE: RunState,
    Role.ALARM_LEVEL: AlarmLevel,
}
INF = float("inf")


def known_products() -> tuple[str, ...]:
    """Return the keys of all products of the catalog."""
    return tuple(
        sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.toml"))
    )


@lru_cache(maxsize=64)
def load_product(key: str, variant: str = "") -> Product:
    """Return a product in one of its variants.

    Args:
        key: ``vendor/product`` of the catalog, or the path of a file that ends with ``.toml``.
        variant: one of its variants; empty when it has none.

    Raises:
        ConfigError: every problem of its file, for a file outside the catalog also what its lint calls an
            error; or a variant is missing or unknown.
    """
    if key.endswith(".toml"):
        return _own(read_product(Path(key), key, variant))
    if key not in known_products():
        known = ", ".join(known_products())
        raise ConfigError([Problem(UNREADABLE, key, "there is no such product", f"Known: {known}")])
    return read_product(FOLDER / f"{key}.toml", key, variant)


def _own(product: Product) -> Product:
    """Return a product that only its site has looked at, held to what the catalog's tests ask of others."""
    from drivers.catalog.lint import lint

    if errors := [problem for problem in lint(product) if problem.severity == "error"]:
        raise ConfigError(errors)
    return product


def read_product(path: Path, key: str, variant: str = "") -> Product:
    """Return the product of one file; raise ConfigError with every problem of it."""
    file = read_file(path, key)
    if variant not in (file.variants or [""]):
        what = f"variant {variant!r} is not one of its variants" if variant else "it has several variants"
        raise ConfigError(
            [Problem(WRONG_VALUE, key, what, f"Name one: {', '.join(file.variants) or 'none'}")]
        )
    return _product(file, key, variant)


def read_file(path: Path, key: str) -> ProductFile:
    """Return the checked tables of one file; raise ConfigError with every problem of it."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(UNREADABLE, str(path), str(error), "Correct the file")]) from error
    try:
        file = ProductFile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            [_problem(key, data, dict(one)) for one in error.errors(include_url=False)]
        ) from error
    if problems := fit.check(file, key):
        raise ConfigError(problems)
    return file


def points_of(product: Product, device_name: str, units: str | Mapping[str, str]) -> tuple[Point, ...]:
    """Return the points of a device of this product, in the order of the catalog file.

    A driver's index into its slice of the image is the position in this tuple.

    Args:
        product: from the catalog.
        device_name: of the site file.
        units: the unit of the site that it serves, or the unit of each part; a part that serves none has
            points of unit "".
    """
    return tuple(
        Point(
            f"{device_name}/{spec.name}",
            device_name,
            units if isinstance(units, str) else units.get(spec.part, ""),
            spec.role,
            spec.symbol,
            spec.max_age_s,
        )
        for spec in product.points
    )


def _problem(key: str, data: Any, error: dict[str, Any]) -> Problem:
    """Return what pydantic found, with its place in the words of the file."""
    where, kind, last = error["loc"], error["type"], str(error["loc"][-1])
    place = f"{key}: {_place(data, where)}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(last, _keys(where[:-1]), 1)
        do = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_keys(where[:-1]))}"
        return Problem(UNKNOWN_KEY, place, f"{last!r} means nothing here", do)
    if kind == "missing":
        return Problem(MISSING_KEY, place, f"{last} is missing", "Add it")
    known = str(error.get("ctx", {}).get("expected", ""))
    near = difflib.get_close_matches(
        str(error["input"]), known.replace("'", "").replace(" or ", ", ").split(", "), 1
    )
    do = f"Did you mean {near[0]!r}?" if near else "Correct it"
    return Problem(WRONG_VALUE, place, f"{str(error['input'])[:80]!r}: {error['msg']}", do)


def _place(data: Any, where: tuple[str | int, ...]) -> str:
    """Return ``points[3] (p_kw) scale``: the path without pydantic's own words, with the name of the row."""
    text = ""
    for step in where:
        if isinstance(step, int) and isinstance(data, list) and step < len(data):
            data = data[step]
            name = data.get("name") if isinstance(data, dict) else None
            text += f"[{step}]" + (f" ({name})" if name else "")
        elif isinstance(data, dict) and step in data:
            data = data[step]
            text += f" {step}"
    return (text if where[-1:] == () or text.endswith(str(where[-1])) else f"{text} {where[-1]}").strip()


def _keys(where: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the table at ``where`` may have."""
    model: type[Table] = ProductFile
    for step in where:
        field = next((f for n, f in model.model_fields.items() if step in (n, f.alias)), None)
        found = fit.table_in(field.annotation) if field is not None else None
        model = found or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _product(file: ProductFile, key: str, variant: str) -> Product:
    link = file.link.model_dump(exclude={"holes", "transports"})
    return Product(
        key=key,
        vendor=file.vendor,
        product=file.product,
        kind=file.kind,
        protocol=file.protocol,
        source=tuple(file.source),
        tested_on=file.tested_on,
        note=file.note,
        variants=tuple(file.variants),
        link=LinkSpec(
            **link,
            holes=tuple((hole.fn, hole.first, hole.last) for hole in file.link.holes),
            transports=tuple(file.link.transports),
        ),
        points=tuple(_point(row, file, variant) for row in file.points),
        texts=tuple(
            TextSpec(
                row.name,
                row.fn or 0,
                row.address or 0,
                row.registers,
                row.byte_swap,
                row.unit_id,
                row.sunspec,
                tuple(row.node),
                row.di,
            )
            for row in file.texts
        ),
        identity=tuple(_rule(name, rule) for row in file.identity for name, rule in row if rule is not None),
        write=_write(file.write, variant) if file.write else None,
        prepare=tuple(_step(row, file, variant) for row in file.prepare),
    )


def _of(choice: Any, variant: str) -> Any:
    return choice[variant] if isinstance(choice, dict) else choice


def _point(row: PointRow, file: ProductFile, variant: str) -> PointSpec:
    poll = getattr(file.poll, row.poll)
    derivation, of = fit.derivation(row)
    alarms = row.alarm_bits or row.alarm_codes
    lo, hi = row.range or (-INF, INF)
    by = [By(row.scale_by.point, row.scale_by.how)] if row.scale_by else []
    by += [By(row.sign_by.point, "sign", tuple(row.sign_by.minus))] if row.sign_by else []
    return PointSpec(
        name=row.name,
        role=Role(row.role),
        symbol=row.symbol,
        period_s=poll.period_s,
        max_age_s=poll.max_age_s,
        fn=row.fn or 0,
        address=row.address or 0,
        type=row.type or "f64",
        scale=_of(row.scale, variant),
        add=row.add,
        low_word_first=_of(row.word_order, variant) == "low_first",
        byte_swap=row.byte_swap,
        mask=ALL_BITS if row.mask is None else row.mask,
        shift=row.shift,
        na=tuple(row.na),
        lo=lo,
        hi=hi,
        map={code: value_of(word, row.role) for code, word in row.map.items()},
        node=tuple(row.node),
        part=row.part or "",
        unit_id=row.unit_id,
        sunspec=tuple(row.sunspec),
        instance=row.instance,
        di=row.di,
        by=tuple(by),
        derivation=derivation,
        of=of,
        alarm_levels={code: AlarmLevel[level] for code, (level, _) in alarms.items()},
        alarm_texts={code: text for code, (_, text) in alarms.items()},
        alarm_by_bit=bool(row.alarm_bits),
    )


def value_of(word: str | float, role: str) -> float:
    """Return a number, or the number of a state or level by its name; KeyError when there is no such name."""
    return float(NAMES[role][word]) if isinstance(word, str) else float(word)


def _register(row: Place, variant: str) -> Register:
    return Register(
        fn=row.fn or 0,
        address=row.address or 0,
        type=row.type or "u16",
        scale=_of(row.scale, variant),
        low_word_first=_of(row.word_order, variant) == "low_first",
        byte_swap=row.byte_swap,
        unit_id=row.unit_id,
        sunspec=tuple(row.sunspec),
        instance=row.instance,
        node=tuple(row.node),
        power_of_ten=row.scale_by.point if row.scale_by else "",
    )


def _set_row(row: SetTable, variant: str) -> SetRow:
    register, per = _register(row, variant), row.per or ""
    if isinstance(row.value, str):
        return SetRow(register, row.value, per=per)
    if isinstance(row.value, int | float):
        return SetRow(register, "constant", float(row.value))
    value = row.value
    return SetRow(
        register, "by_sign", by_sign=(float(value.charge), float(value.zero), float(value.discharge))
    )


def _write(table: WriteTable, variant: str) -> WriteSpec:
    return WriteSpec(
        rows=tuple(_set_row(row, variant) for row in table.rows),
        refresh_s=table.refresh_s,
        part=table.part or "",
        expires_s=table.expires_s,
        heartbeat=_register(table.heartbeat, variant) if table.heartbeat else None,
        readback=table.readback or "",
        clamp_charge=table.clamp.charge or "",
        clamp_discharge=table.clamp.discharge or "",
        dead_band_kw=table.dead_band_kw,
        max_writes_per_day=table.max_writes_per_day or 0,
        release=tuple(_set_row(row, variant) for row in table.release),
    )


def _step(row: StepTable, file: ProductFile, variant: str) -> Step:
    role = next(point.role for point in file.points if point.name == row.when.point)
    words = row.when.among or row.when.none_of
    return Step(
        row.name,
        _register(row.write, variant),
        row.value,
        row.when.point,
        frozenset(value_of(word, role) for word in words),
        not row.when.among,
        row.again_s,
    )


def _rule(name: str, rule: Any) -> Rule:
    data = rule.model_dump()
    if name == "sunspec":
        return Rule("sunspec", starts=data["manufacturer"], model=data["model"])
    if name == "device_id":
        return Rule("device_id", contains=data["vendor"], model=data["product"])
    among = tuple(data.pop("among", ()))
    how = "text" if name == "text" else "register"
    return Rule(how, among=among, **data)  # type: ignore[arg-type]  # literal
