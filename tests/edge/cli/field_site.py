"""A site whose converter is served as in a running controller, with its sockets, in the test's process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.driver import Nameplate
from drivers.modbus.build import open_devices
from drivers.modbus.spec import ModbusSpec
from drivers.scan import first_variant
from drivers.simulator.product import ProductDevice
from drivers.simulator.product_server import ProductServer
from edge.cli.init import demo_text
from edge.config import loads
from edge.controller.build import Plant, build
from edge.controller.door import FieldDoor
from edge.events import Events, tail
from edge.image import SharedImage
from edge.mailbox import FIELD_SOCKET, Held, Mailbox
from tests.drivers.fake_line import liven, simulated


@dataclass
class FieldSite:
    """What a test of a field verb needs."""

    config: Path
    run_dir: Path
    pcs: ProductDevice
    server: ProductServer
    plant: Plant
    held: Held

    def events(self) -> list[str]:
        """Return code and text of the newest events."""
        return [f"{event['code']} {event['what']}" for event in tail(self.run_dir / "events.jsonl", 20)]


@contextmanager
def site(folder: Path, *, running: bool) -> Iterator[FieldSite]:
    """Serve the demo's converter on TCP; with ``running`` a controller's drivers and sockets too."""
    pcs = simulated("yunchu/pcs100")
    liven(pcs, first_variant("yunchu/pcs100"))
    run_dir = folder / "run"
    run_dir.mkdir()
    with ProductServer(pcs) as server:
        config = folder / "site.toml"
        config.write_text(demo_text({"pcs-1": server.url}))
        plant = build(loads(config.read_text(), config, check_files=False))
        one = FieldSite(config, run_dir, pcs, server, plant, Held(-100.0, 100.0))
        if running:
            with _controller(one, folder):
                yield one
        else:
            yield one


@contextmanager
def _controller(one: FieldSite, folder: Path) -> Iterator[None]:
    site, events = one.plant.site, Events(one.run_dir / "events.jsonl", "controller")
    image = SharedImage.create(one.run_dir / "image", site.name, site.points, one.plant.devices, 1, folder)
    nameplate, sink = Nameplate(-100.0, 100.0), image.slice("pcs-1")
    spec = ModbusSpec("pcs-1", "battery-1", "yunchu/pcs100", one.server.url, 1, nameplate, sink)
    drivers = open_devices([spec], events.emit)
    doors = [
        Mailbox(one.run_dir / "control.sock", one.held, events.emit),
        Mailbox(one.run_dir / FIELD_SOCKET, FieldDoor(site.name, drivers, events.emit), events.emit),
    ]
    drivers[0].start()
    for door in doors:
        door.start()
    try:
        yield
    finally:
        for door in doors:
            door.stop()
        drivers[0].stop()
