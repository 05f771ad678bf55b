"""Turn a product whose points are SunSpec references into an ordinary Modbus product, for one device.

What the device does not have is never guessed: such a point keeps its place, but has no register (``fn`` 0),
so it stays BAD. Scale factors become hidden points that are polled like any other: devices change them.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

from drivers.catalog.product import By, PointSpec, Product, Register, SetRow, Step, TextSpec, WriteSpec
from drivers.modbus import frames
from drivers.modbus.frames import MAX_REGISTERS, READ_HOLDING, WRITE_REGISTER, WRITE_REGISTERS, Request
from drivers.sunspec.definition import HEADER, TYPES, count_points, definition
from drivers.sunspec.reference import STRING, Absent, Counts, Place, locate, split
from drivers.sunspec.walk import Chain, ModelAt, ask, discover
from models.errors import DriverError, Refused
from models.point import Role

FACTOR_MAX = 10
"""A scale factor lies within ±10 (SunSpec Device Information Model, sunssf); outside is BAD."""
WRITE_FACTOR_PERIOD_S, WRITE_FACTOR_AGE_S = 1.0, 5.0
"""How the scale factor of a written register is polled: the normal class."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A product as one device has it."""

    product: Product
    """Ordinary Modbus: the points in the same order, the texts that are there, the writes.

    The headers of the models are holes, so that no read goes over the end of a model. Inside a model all can
    be read: when the whole product is SunSpec, any gap is allowed there, so that a value and its scale factor
    can come in one read; else a new factor could meet an old value.
    """
    hidden: tuple[PointSpec, ...]
    """Scale factors; the points name them in ``by``, the written registers in ``power_of_ten``."""
    chains: dict[int, Chain]
    """What was found, by unit id; the device's own texts are in ``texts`` of its chain."""
    trouble: tuple[str, ...]
    """What the device does not have, and why; for people."""
    lost: tuple[int, ...] = ()
    """Other units than the own one that did not answer: their points are BAD until somebody connects anew."""


def connect(product: Product, unit_id: int) -> Generator[Request, bytes | DriverError, Resolved]:
    """Walk every unit that the product speaks of, and resolve all its references.

    Another unit than the device's own, say the meter behind an inverter, takes only its own points with it
    when it does not answer.

    Raises:
        NoReply, BadReply, Refused: see :func:`drivers.sunspec.walk.discover`.
        ValueError: a reference of the product is not one, see :func:`drivers.sunspec.reference.check`.
    """
    units = {unit_id if place.unit_id is None else place.unit_id: None for place in _places(product)}
    chains: dict[int, Chain] = {}
    counts: dict[tuple[int, int], Counts] = {}
    lost: dict[int, DriverError] = {}
    for unit in units or {unit_id: None}:
        try:
            chain = yield from discover(unit)
            for at in chain.models:
                if at.id in _models(product):
                    counts[unit, at.address] = yield from _counts(unit, at)
        except DriverError as error:
            lost[unit] = error
            if unit == unit_id or len(lost) == len(units):
                raise
        else:
            chains[unit] = chain
    return _Resolver(product, unit_id, chains, counts, lost).resolve()


def _places(product: Product) -> list[PointSpec | TextSpec | Register]:
    """Return everything of a product that lies behind a SunSpec reference."""
    write = product.write
    rows = (*write.rows, *write.release) if write else ()
    registers = [*(row.register for row in rows), *(step.write for step in product.prepare)]
    if write and write.heartbeat:
        registers.append(write.heartbeat)
    places: list[PointSpec | TextSpec | Register] = [*product.points, *product.texts, *registers]
    return [place for place in places if place.sunspec]


def _models(product: Product) -> set[int]:
    """Return the numbers of the models whose repeating groups the product speaks of."""
    references = {reference for place in _places(product) for reference in _listed(place.sunspec)}
    return {model for model, path in map(split, references) if len(path) > 1}


def _listed(references: str | tuple[str, ...]) -> tuple[str, ...]:
    return (references,) if isinstance(references, str) else references


def _counts(unit_id: int, at: ModelAt) -> Generator[Request, bytes | DriverError, Counts]:
    """Read how often the groups of a model repeat; what the device does not tell is left out."""
    counts: dict[str, int] = {}
    group = definition(at.id)
    for name in count_points(group) if group else ():
        found = group.place(name) if group else None
        if found is None or found[0] >= HEADER + at.length:
            continue
        try:
            data = yield from ask(frames.read(unit_id, READ_HOLDING, at.address + found[0], 1))
        except Refused:
            continue
        value = int.from_bytes(data, "big")
        if value != TYPES[found[1].type][1]:
            counts[name] = value
    return counts


class _Resolver:
    """Resolves one product on what was found; collects the scale factors that are needed."""

    def __init__(
        self,
        product: Product,
        unit_id: int,
        chains: dict[int, Chain],
        counts: dict[tuple[int, int], Counts],
        lost: dict[int, DriverError],
    ) -> None:
        self._product, self._unit_id, self._chains, self._counts = product, unit_id, chains, counts
        self._lost = lost
        self._hidden: dict[str, PointSpec] = {}
        self._trouble = [f"unit {unit}: {chain.trouble}" for unit, chain in chains.items() if chain.trouble]

    def resolve(self) -> Resolved:
        product = self._product
        points = tuple(map(self._point, product.points))
        texts = tuple(text for text in map(self._text, product.texts) if text is not None)
        write, prepare = self._written()
        holes = (*product.link.holes, *self._holes(points))
        gap = MAX_REGISTERS if product.protocol == "sunspec" else product.link.max_gap
        link = replace(product.link, max_gap=gap, holes=holes)
        plain = replace(product, points=points, texts=texts, write=write, prepare=prepare, link=link)
        hidden, trouble = tuple(self._hidden.values()), tuple(self._trouble)
        return Resolved(plain, hidden, self._chains, trouble, tuple(self._lost))

    def _holes(self, points: tuple[PointSpec, ...]) -> list[tuple[int, int, int]]:
        """Return the headers of the models, except those that a point of this or another unit needs."""
        polled = (*points, *self._hidden.values())
        wanted = {at for point in polled if point.fn == READ_HOLDING for at in _registers(point)}
        headers = sorted({at.address for chain in self._chains.values() for at in chain.models})
        free = [first for first in headers if wanted.isdisjoint(range(first, first + HEADER))]
        return [(READ_HOLDING, first, first + HEADER - 1) for first in free]

    def _find(self, references: tuple[str, ...], unit: int, instance: int) -> tuple[int, Place]:
        """Return the model's address, and the place in it, of the first reference that the device has."""
        if unit in self._lost:
            raise Absent(f"unit {unit} does not answer: {self._lost[unit]}")
        reasons = []
        for reference in references:
            model, path = split(reference)
            at = self._chains[unit].find(model, instance)
            if at is None:
                reasons.append(f"no model {model}" + (f" number {instance}" if instance > 1 else ""))
                continue
            try:
                return at.address, locate(model, at.length, self._counts.get((unit, at.address), {}), path)
            except Absent as absent:
                reasons.append(str(absent))
        raise Absent("; ".join(reasons))

    def _unit(self, unit_id: int | None) -> int:
        return self._unit_id if unit_id is None else unit_id

    def _point(self, spec: PointSpec) -> PointSpec:
        if not spec.sunspec:
            return spec
        unit = self._unit(spec.unit_id)
        try:
            address, place = self._find(spec.sunspec, unit, spec.instance)
            kind, na = _coded(place)
        except Absent as absent:
            self._trouble.append(f"{spec.name}: {absent}")
            return replace(spec, sunspec=(), fn=0)
        by = spec.by
        if place.scale_factor_at is not None:
            factor = self._factor(unit, address + place.scale_factor_at, spec.period_s, spec.max_age_s)
            by = (By(factor, "power_of_ten"), *by)
        where = address + place.at
        return replace(spec, sunspec=(), fn=READ_HOLDING, address=where, type=kind, na=(na, *spec.na), by=by)

    def _factor(self, unit: int, address: int, period_s: float, max_age_s: float) -> str:
        """Return the name of the hidden point of a scale factor, polled as often as its fastest user."""
        name = f"sf_{unit}_{address}"
        known = self._hidden.get(name)
        if known and known.period_s <= period_s:
            return name
        self._hidden[name] = PointSpec(
            name=name,
            role=Role.OTHER,
            symbol="",
            period_s=period_s,
            max_age_s=max_age_s,
            fn=READ_HOLDING,
            address=address,
            type=TYPES["sunssf"][0],
            na=(TYPES["sunssf"][1],),
            lo=-FACTOR_MAX,
            hi=FACTOR_MAX,
            unit_id=None if unit == self._unit_id else unit,
        )
        return name

    def _text(self, spec: TextSpec) -> TextSpec | None:
        if not spec.sunspec:
            return spec
        try:
            address, place = self._find((spec.sunspec,), self._unit(spec.unit_id), 1)
        except Absent as absent:
            self._trouble.append(f"{spec.name}: {absent}")
            return None
        if place.point.type != STRING:
            raise ValueError(f"{spec.sunspec} is no text")
        where = address + place.at
        return replace(spec, sunspec="", fn=READ_HOLDING, address=where, registers=place.point.registers)

    def _written(self) -> tuple[WriteSpec | None, tuple[Step, ...]]:
        """Return what is written; all of it must be there: half a sequence leaves the device in between."""
        write = self._product.write
        try:
            prepare = tuple(replace(step, write=self._register(step.write)) for step in self._product.prepare)
            if write is None:
                return None, prepare
            heartbeat = write.heartbeat and self._register(write.heartbeat)
            rows, release = self._rows(write.rows), self._rows(write.release)
        except Absent as absent:
            self._trouble.append(f"nothing can be written: {absent}")
            return None, ()
        return replace(write, rows=rows, release=release, heartbeat=heartbeat), prepare

    def _rows(self, rows: tuple[SetRow, ...]) -> tuple[SetRow, ...]:
        return tuple(replace(row, register=self._register(row.register)) for row in rows)

    def _register(self, register: Register) -> Register:
        if not register.sunspec:
            return register
        unit = self._unit(register.unit_id)
        address, place = self._find(register.sunspec, unit, register.instance)
        kind, _ = _coded(place)
        if place.point.access != "RW":
            raise ValueError(f"{' '.join(register.sunspec)} cannot be written")
        factor = ""
        if place.scale_factor_at is not None:
            at = address + place.scale_factor_at
            factor = self._factor(unit, at, WRITE_FACTOR_PERIOD_S, WRITE_FACTOR_AGE_S)
        fn = (
            WRITE_REGISTER
            if register.fn == WRITE_REGISTER and place.point.registers == 1
            else WRITE_REGISTERS
        )
        where = address + place.at
        return replace(register, sunspec=(), fn=fn, address=where, type=kind, power_of_ten=factor)


def _registers(point: PointSpec) -> range:
    """Return the addresses that a value lies in; the types end with their bits."""
    return range(point.address, point.address + int(point.type[1:]) // 16)


def _coded(place: Place) -> tuple[str, int]:
    """Return register type and "not implemented" pattern; ValueError for what is no number."""
    if place.point.type not in TYPES:
        raise ValueError(f"{place.point.name} is of type {place.point.type}, not a number")
    return TYPES[place.point.type]
