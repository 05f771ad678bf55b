"""What a field verb means: a device of the site file, or a link, a unit and a product named outright."""

import getpass
import os
from dataclasses import dataclass
from pathlib import Path

from drivers.catalog.loader import load_product
from drivers.catalog.product import Product
from drivers.driver import Nameplate
from edge.config import SiteConfig, loads
from edge.config_tables import DeviceTable
from models.errors import ConfigError, Problem

REGISTERS = ("modbus", "sunspec")


@dataclass(frozen=True, slots=True)
class Target:
    """One device."""

    name: str
    link: str
    unit_id: int
    product: Product | None
    run_dir: Path | None = None
    """Of its site."""
    nameplate: Nameplate | None = None
    """None: it takes no setpoint of the site, or nothing is known of it."""
    batteries: int = 0
    """Batteries of its site."""


def device_of(path: Path, name: str, run_dir: Path | None) -> Target:
    """Return a device of a site file; ConfigError when the file is wrong or has no such device."""
    site = loads(path.read_text("utf-8-sig"), path, check_files=False)
    device = next((device for device in site.devices if device.name == name), None)
    if device is None:
        known = ", ".join(device.name for device in site.devices)
        raise ConfigError([Problem("FLD-001", name, "there is no such device", f"Known: {known}")])
    product = load_product(device.product, device.variant)
    if product.protocol not in REGISTERS:
        what = f"it speaks {product.protocol}, which has no registers"
        raise ConfigError([Problem("FLD-002", name, what, f"Use `edge points '{name}/*'`")])
    return Target(
        name,
        device.link,
        device.station(product.link.unit_id),
        product,
        run_dir or site.run_dir,
        _nameplate(site, device, product),
        len(site.batteries),
    )


def named(link: str, unit_id: int | None, key: str, variant: str, run_dir: Path | None) -> Target:
    """Return what was named outright; ConfigError when the product is unknown."""
    product = load_product(key, variant) if key else None
    unit = unit_id if unit_id is not None else product.link.unit_id if product else 1
    return Target(link, link, unit, product, run_dir)


def _nameplate(site: SiteConfig, device: DeviceTable, product: Product) -> Nameplate | None:
    taker = device.served_by(product.write.part) if product.write else None
    return next((Nameplate(b.p_min_kw, b.p_max_kw) for b in site.batteries if b.name == taker), None)


def who() -> str:
    """Return who asks, for the record: the user, and who that was before sudo."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a number without a name
        name = str(os.getuid())
    before = os.environ.get("SUDO_USER")
    return f"{before} as {name}" if before and before != name else name
