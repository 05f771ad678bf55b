"""From specifications to devices: one thread and one open request per line."""

from collections.abc import Iterator, Sequence

from drivers.catalog.loader import load_product
from drivers.catalog.product import LinkSpec, PointSpec, Product, Register, TextSpec
from drivers.driver import Driver
from drivers.modbus.device import ModbusDevice, Search
from drivers.modbus.event import OnEvent
from drivers.modbus.line import Endpoint, parse_url
from drivers.modbus.link import Link, RtuLink, Station, TcpLink, link_to
from drivers.modbus.plan import cost_on
from drivers.modbus.poller import LinkPoller
from drivers.modbus.spec import ModbusSpec
from models.errors import ConfigError, Problem

RTU_UNITS = range(1, 248)
TCP_UNITS = range(256)


def open_devices(specs: Sequence[ModbusSpec], on_event: OnEvent) -> list[Driver]:
    """Build the devices; nothing is opened and no thread runs before their ``start``.

    Raises:
        ConfigError: a url, unit number or product cannot be used.
    """
    lines: dict[str, tuple[Endpoint, Link, LinkPoller]] = {}
    devices: list[Driver] = []
    for spec in specs:
        endpoint = parse_url(spec.url)
        if endpoint.name not in lines:
            lines[endpoint.name] = _line(endpoint)
        known, link, poller = lines[endpoint.name]
        if known != endpoint:
            raise _problem(spec, f"{endpoint.name} is used with two settings", "Give both the same link")
        devices.append(_device(spec, link, poller, on_event))
    return devices


def _line(endpoint: Endpoint) -> tuple[Endpoint, Link, LinkPoller]:
    link = link_to(endpoint)
    return endpoint, link, LinkPoller(link)


def _device(spec: ModbusSpec, link: Link, poller: LinkPoller, on_event: OnEvent) -> Driver:
    product = load_product(spec.product, spec.variant)
    if product.protocol == "dlt645" and isinstance(link, RtuLink):
        return _meter(spec, link, poller, on_event)
    units = TCP_UNITS if isinstance(link, TcpLink) else RTU_UNITS
    if product.protocol not in ("modbus", "sunspec"):
        raise _problem(spec, f"{spec.product} speaks {product.protocol}", "Use a product of this line")
    if spec.unit_id not in units:
        raise _problem(spec, f"unit number {spec.unit_id} cannot be", f"Use {units[0]} to {units[-1]}")
    for unit_id in {spec.unit_id, *_others(product)}:
        link.stations.setdefault(unit_id, _station(product.link))
    return ModbusDevice(spec, product, poller, on_event, cost_on(link.line.endpoint), _search(spec, product))


def _others(product: Product) -> Iterator[int]:
    """Yield the unit ids beside its own under which a device is read or written."""
    places: list[PointSpec | TextSpec | Register] = [*product.points, *product.texts]
    places += [step.write for step in product.prepare]
    if write := product.write:
        places += [row.register for row in (*write.rows, *write.release)]
        places += [write.heartbeat] if write.heartbeat else []
    yield from (place.unit_id for place in places if place.unit_id is not None)


def _meter(spec: ModbusSpec, link: RtuLink, poller: LinkPoller, on_event: OnEvent) -> Driver:
    """Return a DL/T 645 meter on the line; most sites need no such code."""
    from drivers.dlt645.build import Dlt645Spec, dlt645_device

    meter = Dlt645Spec(
        spec.name, spec.units, spec.product, spec.address, spec.sink, spec.ct_ratio, spec.vt_ratio
    )
    return dlt645_device(meter, link, poller, on_event)


def _search(spec: ModbusSpec, product: Product) -> Search | None:
    """Return how to find the points of a product with SunSpec references; most sites need no such code."""
    if not any(point.sunspec for point in product.points):
        return None
    from drivers.sunspec.connect import connect

    return lambda: connect(product, spec.unit_id)


def _station(link: LinkSpec) -> Station:
    return Station(link.timeout_min_s, link.timeout_max_s, link.gap_s)


def _problem(spec: ModbusSpec, what: str, do: str) -> ConfigError:
    return ConfigError([Problem("DRV-102", spec.name, what, do)])
