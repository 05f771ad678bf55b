"""Driver host: the process of one device whose library is heavy, ``python -m edge.controller.host``.

It opens the shared image that the controller has made, runs one driver that writes its own slice of it, and
dies with the controller, which starts it again when it dies alone.
"""

import logging
import os
import signal
import threading
from pathlib import Path

import click

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import Product
from drivers.driver import Nameplate
from drivers.opcua import OpcUa
from drivers.opcua_security import Link, Security
from edge.config import SiteConfig, loads
from edge.config_tables import DeviceTable
from edge.controller.mail import SharedMail, path_of
from edge.events import Events
from edge.image import SharedImage
from edge.launch import die_with_parent
from models.errors import ConfigError, Problem

SECONDS_MAY_PASS = 1.0
HOST_NICE = 5
"""A host gives way to the control loop, which must not wake late because a host decodes."""


def open_driver(config_path: Path, run_dir: Path, name: str) -> OpcUa:
    """Build the driver of one device on its slice of the running site's image, and on its setpoints.

    Raises:
        ConfigError: the site has no such device, or its image is of another configuration.
        StoreError: there is no image, or no setpoints for a device that takes some.
        BusyError: another host runs the device.
    """
    config = loads(config_path.read_text("utf-8-sig"), config_path, check_files=False)
    device = next((device for device in config.devices if device.name == name), None)
    if device is None:
        known = ", ".join(device.name for device in config.devices)
        raise ConfigError([Problem("HOST-001", name, "there is no such device", f"Known: {known}")])
    product = load_product(device.product, device.variant)
    points = points_of(product, device.name, device.unit)
    image = SharedImage.open(run_dir / "image", writable=True)
    if tuple(point for point in image.points if point.device == name) != points:
        what = "the running image is of another configuration"
        raise ConfigError([Problem("HOST-002", name, what, "Restart the controller")])
    return OpcUa(
        device.name,
        Link(device.link, _security(device)),
        product,
        points,
        image.slice(device.name),
        nameplate=_nameplate(config, device, product),
        mail=SharedMail(path_of(run_dir, name)) if product.write else None,
        on_event=Events(run_dir / "events.jsonl", f"host {name}").emit,
    )


def _security(device: DeviceTable) -> Security:
    return Security(
        device.security,
        device.cert_file,
        device.key_file,
        device.server_cert_file,
        device.username,
        device.password_file,
    )


def _nameplate(config: SiteConfig, device: DeviceTable, product: Product) -> Nameplate | None:
    """Return what the unit that takes the setpoints may be asked for; None when the device takes none."""
    taker = device.served_by(product.write.part) if product.write else None
    return next((Nameplate(b.p_min_kw, b.p_max_kw) for b in config.batteries if b.name == taker), None)


def run(config_path: Path, run_dir: Path, name: str, parent: int) -> None:
    """Run the driver until SIGTERM, until ``parent`` is gone, or until the driver has died."""
    die_with_parent()
    os.nice(HOST_NICE)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # the driver counts and reports by itself
    driver = open_driver(config_path, run_dir, name)
    driver.start()
    # The parent may have died before it was asked to take us with it, so its number is looked at as well.
    while os.getppid() == parent and driver.alive and not stop.wait(SECONDS_MAY_PASS):
        pass
    driver.stop()


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--run-dir", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--device", required=True)
def main(config: Path, run_dir: Path, device: str) -> None:
    """Host the driver of one device."""
    run(config, run_dir, device, os.getppid())


if __name__ == "__main__":
    main()
