"""Who is on a line, or on a network: one cheap read per unit, then :mod:`drivers.identify` for who answered.

Any proven reply and any exception shows that somebody is there. Only read functions go out. A scan opens the
line for itself, so nobody else may hold it; the caller sees to that.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from drivers.catalog.loader import FOLDER, known_products, load_product, read_file
from drivers.catalog.product import Product
from drivers.dlt645.frames import read_address
from drivers.identify import Identity, identify
from drivers.modbus import frames
from drivers.modbus.frames import READ_HOLDING, READ_INPUT_REGISTERS, RTU_EXCEPTION
from drivers.modbus.line import LineLost, parse_url
from drivers.modbus.link import Link, Station, link_to
from drivers.talk import Direct, hold
from models.errors import BadReply, ConfigError, DriverError, NoReply, Refused

PROBE = 0x0300
"""Where it is asked whether anybody is there, twice on serial lines: a device made with libmodbus that has
heard a request to another unit takes what follows for that unit's reply, and at lower addresses stays out of
step."""
QUIET_S = 0.15
"""Longest wait for a unit of which nothing is known; ids without anybody cost this each."""
TCP_WAIT_S = 0.4
METER_S = 0.6
"""DL/T 645-2007 gives a meter 500 ms to begin to answer."""
TALK_S = 1.0
"""Longest wait for a reply of a unit that is there."""
CONNECT_S = 0.5
CONNECTS, HOSTS = 64, 8
"""Connections tried, and hosts asked, at the same time."""
ODD_UNITS = (173, 219)
"""Nobody has these; who answers on them answers on all."""
OVERHEAD_S = 0.012
"""Of a request on a serial line besides bytes and waiting: silence, and what the USB adapter takes."""

Step = Callable[[str], None]
"""Told what is looked at next, once for each unit of work."""


@dataclass(frozen=True, slots=True)
class Found:
    """One unit that answers."""

    link: str
    """For the site file."""
    identity: Identity
    any_unit: bool = False
    """Whether it answers on every unit id."""


class Meter(NamedTuple):
    """A DL/T 645 meter."""

    link: str
    address: str
    """12 digits."""


class _Quick(Station):
    """A unit of which nothing is known: nobody waits for its late reply, which names it anyway."""

    @property
    def drain_ns(self) -> int:
        return 0


def first_variant(key: str) -> Product:
    """Return a product of the catalog or of a file, in the first of its variants; raise ConfigError."""
    path = Path(key) if key.endswith(".toml") else FOLDER / f"{key}.toml"
    return load_product(key, (read_file(path, key).variants or [""])[0])


@cache
def candidates() -> tuple[Product, ...]:
    """Return what a device may be: every product that speaks Modbus, in its first variant."""
    found = []
    for key in known_products():
        try:
            product = first_variant(key)
        except ConfigError:  # a file that cannot be used is the catalog's business, not the scan's
            continue
        if product.protocol in ("modbus", "sunspec"):
            found.append(product)
    return tuple(found)


def factory_units(products: Iterable[Product]) -> list[int]:
    """Return the unit ids that products have from the factory, 1 first."""
    return [1, *sorted({product.link.unit_id for product in products} - {1})]


def serial_links(path: str, bauds: Sequence[int], parities: Sequence[str]) -> list[str]:
    """Return the urls of a port in all settings, in the given order; a serial server has but one.

    Without parity most devices have one stop bit, though the standard says two (V1.02, 2.5.1).
    """
    if "://" in path:
        return [path]
    return [f"rtu://{path}?baud={baud}&parity={parity}" for parity in parities for baud in bauds]


def estimate_s(links: Sequence[str], ids: Sequence[int]) -> float:
    """Return how long a serial scan takes at most when nobody answers."""
    seconds = 0.0
    for link in links:
        endpoint = parse_url(link)
        wire_s = (8 + RTU_EXCEPTION + 2) * endpoint.byte_ns / 1e9
        seconds += 2 * len(ids) * (wire_s + QUIET_S + OVERHEAD_S)
    return seconds


def scan_serial(
    links: Sequence[str], ids: Sequence[int], products: Sequence[Product], step: Step
) -> list[Found]:
    """Try the settings one after another; the first with an answer is that of the line.

    Raises:
        LineLost: the port cannot be opened, for instance because another program holds it.
    """
    for url in links:
        link = link_to(parse_url(url))
        link.open()
        try:
            units = [unit for unit in ids if _there(link, unit, QUIET_S, url, step)]
            if units:
                return [Found(url, _identify(link, unit, products)) for unit in units]
        finally:
            link.close()
    return []


def scan_meters(path: str, bauds: Sequence[int], step: Step) -> list[Meter]:
    """Ask for the only DL/T 645 meter on a serial line; several answer at once, which nobody understands.

    Raises:
        LineLost: the port cannot be opened.
        BadReply: something answers that is no single meter.
    """
    for baud in bauds:
        url = f"dlt645://{path}?baud={baud}"
        link = link_to(parse_url(url))
        link.open()
        try:
            step(url)
            if address := _meter_address(link):
                return [Meter(url, address)]
        finally:
            link.close()
    return []


def _meter_address(link: Link) -> str:
    """Return the address of the meter, empty when nobody answers."""
    asking = read_address()
    request = next(asking)
    link.stations[request.unit] = _Quick(METER_S, METER_S)
    try:
        asking.send(link.ask(request))
    except NoReply:
        return ""
    except StopIteration as end:
        return str(end.value)
    return ""


def open_hosts(places: Sequence[tuple[str, int]], step: Step) -> list[tuple[str, int]]:
    """Return which hosts and ports take a connection."""

    def takes(place: tuple[str, int]) -> bool:
        try:
            socket.create_connection(place, CONNECT_S).close()
        except OSError:
            return False
        finally:
            step(f"{place[0]}:{place[1]}")
        return True

    with ThreadPoolExecutor(CONNECTS) as pool:
        return [place for place, taken in zip(places, pool.map(takes, places), strict=True) if taken]


def scan_hosts(
    places: Sequence[tuple[str, int]], ids: Sequence[int], products: Sequence[Product], step: Step
) -> list[Found]:
    """Ask the units behind every open port; several hosts at the same time, one request each."""

    def ask(place: tuple[str, int]) -> list[Found]:
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        return _scan_host(f"tcp://{host}:{place[1]}", ids, products, step)

    with ThreadPoolExecutor(HOSTS) as pool:
        return [found for several in pool.map(ask, places) for found in several]


def _scan_host(url: str, ids: Sequence[int], products: Sequence[Product], step: Step) -> list[Found]:
    link = link_to(parse_url(url))
    try:
        link.open()
        units = [unit for unit in ids if _there(link, unit, TCP_WAIT_S, url, step)]
        everywhere = len(units) > 1 and all(_there(link, unit, TCP_WAIT_S, url) for unit in ODD_UNITS)
        if everywhere:
            units = units[:1]
        return [Found(url, _identify(link, unit, products), everywhere) for unit in units]
    except LineLost:
        return []
    finally:
        link.close()


def _there(link: Link, unit: int, wait_s: float, url: str, step: Step = lambda _: None) -> bool:
    """Whether somebody answers on a unit id; asked again when the answer was broken."""
    step(f"{url} {unit}")
    link.stations[unit] = _Quick(wait_s, wait_s)
    ask = Direct(link)
    for fn in (READ_HOLDING, READ_INPUT_REGISTERS):
        try:
            ask(frames.read(unit, fn, PROBE, 1))
        except (Refused, BadReply) as error:
            if isinstance(error, Refused):
                return True
            continue  # an answer that came late to the one before, or a wrong parity: once more
        except LineLost:
            raise
        except DriverError:
            if not link.line.endpoint.serial_frames:
                return False
            continue  # a device made with libmodbus took it for another's reply: once more
        return True
    return False


def _identify(link: Link, unit: int, products: Sequence[Product]) -> Identity:
    for number in {
        unit,
        *(rule.unit_id for p in products for rule in p.identity if rule.unit_id is not None),
    }:
        link.stations[number] = Station(QUIET_S, TALK_S)
    return hold(identify(unit, products), Direct(link, QUIET_S, TALK_S))


def parse_numbers(text: str, least: int, most: int) -> list[int]:
    """Read "1-32,100" as numbers in that order; raise ValueError for anything else, or outside the limits."""
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last if dash else first)
        if not least <= low <= high <= most:
            raise ValueError(f"{part} is not within {least} to {most}")
        found |= dict.fromkeys(range(low, high + 1))
    return list(found)
