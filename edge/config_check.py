"""What must fit together in a site file, beyond each key by itself.

The rules see every value that is valid by itself and None for the others, so that one mistake does not hide
another; and they keep silent where a problem reported already is the cause: one mistake is told once.
"""

import os
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
SERVES = {"battery": ("pcs", "bms", "battery"), "meter": ("meter", "grid"), "pv": ("pv",)}
"""Parts of a product, or kinds of one without parts, that may serve a unit: they count power as it does."""
ONLY_FOR = {
    "dlt645": ("ct_ratio", "vt_ratio"),
    "opcua": ("security", "cert_file", "key_file", "server_cert_file", "username", "password_file"),
}
"""Keys of a device that mean something in one protocol alone."""
LOOPBACK = ("localhost", "ip6-localhost", "::1", "0.0.0.0")


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
                yield from self._meaningless(where, device, product)
                yield from self._on_loss((*where, "on_loss"), device, product)
                yield from self._transport((*where, "link"), device.link, product)
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

    def _meaningless(self, where: Where, device: Any, product: Product) -> Found:
        for protocol, keys in ONLY_FOR.items():
            for key in keys:
                usual = type(device).model_fields[key].default
                if product.protocol != protocol and getattr(device, key) not in (None, usual):
                    fill = {"key": key, "product": product.key, "protocol": product.protocol}
                    yield (*where, key), self.say("only_for", **fill, meant=protocol)

    def _on_loss(self, where: Where, device: Any, product: Product) -> Found:
        wish, write, wrong = device.on_loss, product.write, ""
        if product.protocol == "opcua":
            wrong = "opcua"
        elif write is None or device.served_by(write.part) is None:
            wrong = "none"
        elif (wish == "release" and not write.release) or (wish == "device" and write.expires_s is None):
            wrong = wish
        if wish is not None and wrong:
            yield where, self.say(f"on_loss_{wrong}", product=product.key)

    def _transport(self, where: Where, link: str | None, product: Product) -> Found:
        scheme, known = (link or "").split("://")[0], product.link.transports
        serial = scheme in ("dlt645", "rtu+tcp") and "rtu" in known
        if (
            link is not None
            and known
            and scheme not in known
            and not serial
            and _is_link(link, product.protocol)
        ):
            yield where, self.say("transport", product=product.key, known=", ".join(known), scheme=scheme)

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
        owner: dict[tuple[str, int | str], str] = {}
        settings: dict[str, Endpoint] = {}
        for where, device in self.sound.of("device"):
            line = _line(device.link or "")
            if line is None:
                continue
            name, unit_id = _same(line), self._station(where, device)
            told = next((key for key in ("unit_id", "address") if key in device.model_fields_set), "link")
            other = device.name if unit_id is None else owner.setdefault((name, unit_id), device.name)
            if other != device.name:
                fill = {"unit_id": unit_id, "line": line.name, "other": other}
                yield (*where, told), self.say("unit_id", **fill)
            if line.serial_frames and isinstance(unit_id, int) and not 1 <= unit_id <= 247:
                yield (*where, told), self.say("unit_id_serial", unit_id=unit_id)
            known = settings.setdefault(name, line)
            if known != line and (other == device.name or known.name == line.name):
                yield (*where, "link"), self.say("line", line=line.name)

    def _station(self, where: Where, device: Any) -> int | str | None:
        """Return what the device answers to on its line, None while that cannot be judged."""
        product = self.products.get((device.product, device.variant or ""))
        if device.unit_id is not None or not isinstance(product, Product) or product.protocol == "dlt645":
            own: int | str | None = device.address or device.unit_id
            return own
        return None if where in self.sound.broken else product.link.unit_id

    def completeness(self) -> Found:
        """Each unit has every part that it needs, once; silent while a device cannot be judged."""
        lost = any(where[0] == "device" for where in self.sound.broken)
        if lost or any(name not in self.units for device in self.all_devices for name in device.units):
            return
        mixed: set[str] = set()
        for where, device in self.sound.of("device"):
            for name, wrong in self._misfits(device, self.products[device.product, device.variant or ""]):
                mixed.add(name)
                yield (*where, "unit"), wrong
        for where, name in self.sound.names:
            if where[0] in UNITS and name not in mixed:
                yield from self._complete((*where, "name"), name, str(where[0]))

    def _misfits(self, device: Any, product: Product | ConfigError) -> Iterator[tuple[str, Problem]]:
        """Yield units that the device cannot serve; nothing while its parts are not named as they must."""
        serves = device.unit if isinstance(device.unit, dict) else {"": device.unit}
        if isinstance(product, ConfigError) or not set(serves) <= set(product.parts or [""]):
            return
        before: set[str] = set()
        for part, name in serves.items():
            kind = self.units[name]
            if (part or product.kind) not in SERVES[kind]:
                fill = {"what": part or product.kind, "product": product.key, "name": name, "kind": kind}
                yield name, self.say("not_its_kind", **fill, known=", ".join(SERVES[kind]))
            elif name in before:
                yield name, self.say("parts_of_one", name=name)
            before.add(name)

    def _complete(self, where: Where, name: str, kind: str) -> Found:
        serving = [(place, device) for place, device in self.sound.of("device") if name in device.units]
        products = [self.products[device.product, device.variant or ""] for _, device in serving]
        if any(isinstance(product, ConfigError) for product in products):
            return
        given = [_parts(p, d.unit, name, kind) for (_, d), p in zip(serving, products, strict=True)]
        count = Counter(part for parts in given for part in parts)
        if kind == "battery" and self._unguarded(name, [device for _, device in serving]):
            yield where, self.say("no_alarms", name=name)
        if wrong := [part for part in PARTS[kind] if count[part] != 1]:
            for part in wrong:
                rule = "part_twice" if count[part] else "part_missing"
                yield where, self.say(rule, part=part, name=name, count=count[part])
            return
        for (place, device), parts in zip(serving, given, strict=True):
            if not parts:
                fill = {"product": device.product, "name": name, "parts": ", ".join(PARTS[kind])}
                yield (*place, "unit"), self.say("gives_nothing", **fill)

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
        line = parse_url(link if link.isprintable() else "")
    except ConfigError:
        return None
    return line if line.port or line.path else None


def _same(line: Endpoint) -> str:
    """Return one name for a line however it is written; names of other hosts are not looked up."""
    if line.path:
        return os.path.realpath(line.path)
    host = line.host.lower()
    return f"{'127.0.0.1' if host in LOOPBACK else host}:{line.port}"


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
