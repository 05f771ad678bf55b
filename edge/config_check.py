"""What must fit together in a site file, beyond each key by itself.

The rules see every value that is valid by itself and None for the others, so that one mistake does not hide
another; and they keep silent where a problem reported already is the cause: one mistake is told once.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drivers.catalog.loader import known_products, load_product
from drivers.catalog.product import Product
from drivers.modbus.line import Endpoint, parse_url
from edge.config_text import problem
from edge.suggest import nearest
from models.errors import ConfigError, Problem

Where = tuple[str | int, ...]
Found = Iterator[tuple[Where, Problem]]
"""Key path and problem. A path that ends with KEY means the key, any other one the value."""
KEY = "(key)"
UNITS = ("battery", "meter", "pv")
FILES = (
    ("tariff", "file"),
    ("forecast", "load_csv"),
    ("fleet", "site_key"),
    ("fleet", "fleet_keys"),
    ("fleet", "password_file"),
    ("fleet", "ca_file"),
    ("fleet", "cert_file"),
    ("fleet", "key_file"),
    ("device", "cert_file"),
    ("device", "key_file"),
    ("device", "server_cert_file"),
    ("device", "password_file"),
)
PAIRS = (("cert_file", "key_file"), ("key_file", "cert_file"), ("username", "password_file"))
PROTOCOLS = ("modbus", "sunspec", "dlt645", "opcua")
PARTS = {"battery": ("BMS", "PCS"), "meter": ("meter",), "pv": ("PV",)}
"""What the devices of a unit must be together; each part exactly once."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What of a file is valid by itself."""

    tables: list[tuple[Where, Any]]
    """Tables of :mod:`edge.config_tables` with their key paths; None stands for what is missing or wrong."""
    names: list[tuple[Where, str]]
    """Names of units and devices, also of those with other mistakes."""
    broken: list[Where]
    """Tables with a mistake."""
    folder: Path

    def path(self, value: Path | str | None) -> Path | None:
        """Return a path of the file from where it starts; in a table with a mistake it is still a text."""
        return None if value is None else self.folder / value

    def of(self, name: str) -> list[tuple[Where, Any]]:
        """Return the tables of this name."""
        return [(where, table) for where, table in self.tables if where[0] == name]


def check(sound: Sound, check_files: bool, language: str) -> Found:
    """Yield everything that does not fit together."""
    rules = _Rules(sound, language)
    yield from rules.names()
    yield from rules.site()
    yield from rules.batteries()
    yield from rules.devices()
    yield from rules.lines()
    yield from rules.completeness()
    yield from rules.fleet()
    if check_files:
        yield from rules.files()


class _Rules:
    def __init__(self, sound: Sound, language: str) -> None:
        self.sound = sound
        self.language = language
        self.all_devices = [device for _, device in sound.of("device")]

    def say(self, rule: str, /, **fill: object) -> Problem:
        return problem(self.language, rule, **fill)

    @cached_property
    def units(self) -> dict[str, str]:
        """Kind of each unit by its name."""
        return {name: str(where[0]) for where, name in self.sound.names if where[0] in UNITS}

    @cached_property
    def products(self) -> dict[tuple[str, str], Product | ConfigError]:
        """Each product that is named, or why it cannot be used."""
        return {
            (device.product, device.variant or ""): _product(device.product, device.variant or "")
            for device in self.all_devices
            if device.product
        }

    def names(self) -> Found:
        for kinds in (UNITS, ("device",)):
            seen: set[str] = set()
            for where, name in self.sound.names:
                if where[0] not in kinds:
                    continue
                if name in seen:
                    yield (*where, "name"), self.say("name_taken", name=name)
                seen.add(name)

    def site(self) -> Found:
        for where, site in self.sound.of("site"):
            if site.time_zone is not None and not _is_zone(site.time_zone):
                yield (*where, "time_zone"), self.say("time_zone", name=site.time_zone)
        for where, limits in self.sound.of("limits"):
            limit, kva, margin = limits.import_kw, limits.transformer_kva, limits.margin_kw
            if _above(limit, kva):
                yield (*where, "import_kw"), self.say("transformer", limit=limit, kva=kva)
            if _above(margin, limit) or (margin is not None and margin == limit):
                yield (*where, "margin_kw"), self.say("margin", margin=margin, limit=limit)

    def batteries(self) -> Found:
        for where, battery in self.sound.of("battery"):
            low, high, limit = battery.soc_min, battery.soc_max, battery.s_max_kva
            if _above(low, high) or (low is not None and low == high):
                yield (*where, "soc_min"), self.say("soc_order", low=low, high=high)
            for key in ("p_max_kw", "p_min_kw"):
                value = getattr(battery, key)
                if value is not None and _above(abs(value), limit):
                    yield (*where, key), self.say("apparent", key=key, value=value, limit=limit)

    def devices(self) -> Found:
        for where, device in self.sound.of("device"):
            for name in device.units:
                if name is not None and name not in self.units:
                    yield (*where, "unit"), self._guess("no_unit", name=name, known=self.units)
            product = self.products.get((device.product, device.variant or ""))
            if isinstance(product, ConfigError):
                yield (*where, "product"), self._bad_product(device.product, product)
            elif product is not None:
                yield from self._parts_named((*where, "unit"), device.unit, product)
            protocols = (product.protocol,) if isinstance(product, Product) else PROTOCOLS
            if device.link is not None and not any(_is_link(device.link, one) for one in protocols):
                yield (*where, "link"), self.say(f"link_{protocols[0]}", link=device.link)
            if isinstance(product, Product) and (product.protocol == "dlt645") != bool(device.address):
                yield (*where, "product"), self.say("address", product=device.product)

    def _parts_named(self, where: Where, unit: object, product: Product) -> Found:
        """A product with parts says which of them serves which unit; one without has nothing to say."""
        named = list(unit) if isinstance(unit, dict) else []
        wrong = [part for part in named if part not in product.parts]
        if unit is not None and (wrong or bool(product.parts) != bool(named)):
            yield where, self.say("parts", product=product.key, parts=", ".join(product.parts) or "-")

    def _bad_product(self, key: str, error: ConfigError) -> Problem:
        if key in known_products() or key.endswith(".toml"):
            return self.say("product_wrong", key=key, error=error.problems[0])
        return self._guess("product", key=key, known=known_products())

    def _guess(self, rule: str, /, known: Any, **wrong: str) -> Problem:
        if guess := nearest(next(iter(wrong.values())), known):
            return self.say(f"{rule}_near", guess=guess, **wrong)
        return self.say(rule, known=", ".join(known), **wrong)

    def lines(self) -> Found:
        """Devices on one line have different unit ids and the same serial settings."""
        owner: dict[tuple[str, int], str] = {}
        settings: dict[str, Endpoint] = {}
        for where, device in self.sound.of("device"):
            line = _line(device.link or "")
            if line is None:
                continue
            other = owner.setdefault((line.name, device.unit_id), device.name)
            if other != device.name and device.unit_id is not None:
                key = "unit_id" if "unit_id" in device.model_fields_set else "link"
                fill = {"unit_id": device.unit_id, "line": line.name, "other": other}
                yield (*where, key), self.say("unit_id", **fill)
            if line.path and device.unit_id is not None and not 1 <= device.unit_id <= 247:
                yield (*where, "unit_id"), self.say("unit_id_serial", unit_id=device.unit_id)
            if settings.setdefault(line.name, line) != line:
                yield (*where, "link"), self.say("line", line=line.name)

    def completeness(self) -> Found:
        """Each unit has every part that it needs, once; silent while a device cannot be judged."""
        lost = any(where[0] == "device" for where in self.sound.broken)
        if lost or any(name not in self.units for device in self.all_devices for name in device.units):
            return
        for where, name in self.sound.names:
            kind = str(where[0])
            serving = [device for device in self.all_devices if name in device.units]
            products = [self.products[device.product, device.variant or ""] for device in serving]
            if kind not in UNITS or any(isinstance(product, ConfigError) for product in products):
                continue
            count = Counter(
                part
                for device, product in zip(serving, products, strict=True)
                for part in _parts(product, device.unit, name, kind)
            )
            if kind == "battery" and self._unguarded(name, serving):
                yield (*where, "name"), self.say("no_alarms", name=name)
            for part in PARTS[kind]:
                if count[part] != 1:
                    rule = "part_twice" if count[part] else "part_missing"
                    yield (*where, "name"), self.say(rule, part=part, name=name, count=count[part])

    def _unguarded(self, name: str, serving: list[Any]) -> bool:
        """Whether nothing reports alarms of a battery, and nobody has accepted that."""
        accepted = any(
            battery.name == name and battery.without_alarms for _, battery in self.sound.of("battery")
        )
        products = [self.products[device.product, device.variant or ""] for device in serving]
        return not accepted and not any(
            point.role.value == "alarm_level"
            for product in products
            if isinstance(product, Product)
            for point in product.points
        )

    def fleet(self) -> Found:
        for where, fleet in self.sound.of("fleet"):
            if fleet.broker is not None and not _is_broker(fleet.broker):
                yield (*where, "broker"), self.say("broker", broker=fleet.broker)
            elif fleet.broker is not None and fleet.broker.startswith("mqtts") and fleet.ca_file is None:
                yield (*where, "broker"), self.say("mqtts")
            for key, other in PAIRS:
                if getattr(fleet, key) is not None and getattr(fleet, other) is None:
                    yield (*where, key, KEY), self.say("needs", key=key, other=other)

    def files(self) -> Found:
        for name, key in FILES:
            for where, table in self.sound.of(name):
                path = self.sound.path(getattr(table, key))
                if path is not None and not path.is_file():
                    yield (*where, key), self.say("no_file", path=str(path))
                elif path is not None and name == "tariff":
                    yield from self._tariff((*where, key), path)

    def _tariff(self, where: Where, path: Path) -> Found:
        from models.tariff_file import parse_tariff

        try:
            parse_tariff(path.read_text("utf-8"), str(path))
        except ConfigError as error:
            for found in error.problems:
                yield where, found
        except (OSError, UnicodeDecodeError) as error:
            yield where, self.say("bad_file", path=str(path), error=error)


def _above(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one > other


def _product(key: str, variant: str) -> Product | ConfigError:
    try:
        return load_product(key, variant)
    except ConfigError as error:
        return error


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_url(text: str, *schemes: str) -> bool:
    """Tell whether it is scheme://host:port without user or password: those do not belong into a URL."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname and parts.port) and parts.username is None
    except ValueError:
        return False


def _is_link(link: str, protocol: str) -> bool:
    if protocol == "opcua":
        return _is_url(link, "opc.tcp")
    return _line(link) is not None and link.startswith("dlt645:") == (protocol == "dlt645")


def _is_broker(url: str) -> bool:
    return _is_url(url, "mqtt", "mqtts") and urlsplit(url).path in ("", "/")


def _line(link: str) -> Endpoint | None:
    """Return the Modbus endpoint of a link, or None when it is none."""
    try:
        line = parse_url(link)
    except ConfigError:
        return None
    return line if line.port or line.path else None


def _parts(product: Any, serves: str | dict[str, str], unit: str, kind: str) -> set[str]:
    """Return what a device of this product is to a unit of this kind."""
    mine = {""} if isinstance(serves, str) else {part for part, name in serves.items() if name == unit}
    roles = {point.role.value for point in product.points if point.part in mine}
    if kind != "battery":
        return set(PARTS[kind]) if "p_kw" in roles else set()
    limited = any({f"charge_limit_{way}", f"discharge_limit_{way}"} <= roles for way in ("a", "kw"))
    found = {"BMS"} if limited and "soc" in roles else set()
    return found | (
        {"PCS"} if product.write is not None and product.write.part in mine and "p_kw" in roles else set()
    )
