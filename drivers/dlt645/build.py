"""From a specification to a meter on a line that is there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import PointSpec
from drivers.dlt645 import values
from drivers.dlt645.device import Dlt645Device, Poller
from drivers.dlt645.frames import is_address
from drivers.driver import Sink
from drivers.modbus.event import OnEvent
from drivers.modbus.link import RtuLink, Station
from models.errors import ConfigError, Problem

MAX_RATIO = 1e5


@dataclass(frozen=True, slots=True)
class Dlt645Spec:
    """One meter to be opened."""

    name: str
    units: str | Mapping[str, str]
    """The unit of the site that it serves, or the unit of each part."""
    product: str
    """Key in the catalog, for instance ``dlt645/three_phase``."""
    address: str
    """Meter address, 12 digits as printed on the meter, with leading zeros."""
    sink: Sink
    """Its slice of the image, in the order of ``points_of(product, name, units)``."""
    ct_ratio: float = 1.0
    """Primary by secondary current of the transformers before the meter: 40.0 for 200 A / 5 A."""
    vt_ratio: float = 1.0
    """Primary by secondary voltage."""


def dlt645_device(spec: Dlt645Spec, link: RtuLink, poller: Poller, on_event: OnEvent) -> Dlt645Device:
    """Build a meter; nothing is opened and no thread runs before its ``start``.

    Raises:
        ConfigError: address or product cannot be used.
    """
    product = load_product(spec.product)
    if not (0.0 < spec.ct_ratio <= MAX_RATIO and 0.0 < spec.vt_ratio <= MAX_RATIO):
        raise _problem(
            spec, f"ratios {spec.ct_ratio} and {spec.vt_ratio} cannot be", "Give primary / secondary"
        )
    if product.protocol != "dlt645":
        raise _problem(spec, f"{spec.product} speaks {product.protocol}", "Use a DL/T 645 product")
    if not is_address(spec.address):
        do = 'Write the 12 digits on the meter, with leading zeros, for instance "000012345678"'
        raise _problem(spec, f"{spec.address!r} is no meter address", do)
    times = product.link
    link.stations.setdefault(spec.address, Station(times.timeout_min_s, times.timeout_max_s, times.gap_s))
    points = points_of(product, spec.name, spec.units)
    product = replace(product, points=tuple(_primary(point, spec) for point in product.points))
    try:
        return Dlt645Device(spec.name, product, points, spec.address, spec.sink, poller, on_event)
    except ValueError as error:
        raise _problem(spec, f"{spec.product}: {error}", "Correct the product file") from error


def _primary(point: PointSpec, spec: Dlt645Spec) -> PointSpec:
    """Return a point as it is on the primary side of the transformers before the meter."""
    factor = values.primary_factor(point.di, spec.ct_ratio, spec.vt_ratio)
    return replace(
        point, scale=factor * point.scale, add=factor * point.add, lo=factor * point.lo, hi=factor * point.hi
    )


def _problem(spec: Dlt645Spec, what: str, do: str) -> ConfigError:
    return ConfigError([Problem("DRV-102", spec.name, what, do)])
