"""The driver host as a real process: it fills its slice of the image and does not outlive the controller."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers.catalog.loader import load_product
from drivers.catalog.product import Register, SetRow, WriteSpec
from drivers.driver import Nameplate
from drivers.opcua import OpcUa
from edge.cli.init import demo_text
from edge.config import loads
from edge.config_tables import DeviceTable
from edge.controller import host
from edge.controller.build import build
from edge.controller.host import open_driver
from edge.controller.mail import HostedDriver
from edge.events import tail
from edge.image import SharedImage
from edge.target import _nameplate as target_nameplate
from models.errors import ConfigError, StoreError
from models.point import Quality
from models.proposal import Setpoint
from tests.drivers.opcua_server import Plant, until


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    plant = Plant("urn:yunchu:simulator:pv")
    plant.start()
    yield plant
    plant.stop()
    plant.close()


@pytest.fixture
def config(tmp_path: Path, plant: Plant) -> Path:
    """A site file whose inverter is the server of this test; a host needs no other file."""
    text = demo_text()
    link = next(device.link for device in loads(text, check_files=False).devices if device.name == "pv-1")
    path = tmp_path / "site.toml"
    path.write_text(text.replace(link, plant.url))
    return path


@pytest.fixture
def image(config: Path, tmp_path: Path) -> SharedImage:
    plant = build(loads(config.read_text(), config, check_files=False))
    return SharedImage.create(tmp_path / "image", "demo", plant.site.points, plant.devices, 1)


def command(config: Path) -> list[str]:
    base = [sys.executable, "-m", "edge.controller.host", "--config", str(config)]
    return [*base, "--run-dir", str(config.parent), "--device", "pv-1"]


def quality(image: SharedImage) -> Quality:
    at = next(at for at, point in enumerate(image.points) if point.name == "pv-1/p_kw")
    return image.snapshot().reading(at).quality


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_it_fills_its_slice_and_stops_when_asked(config: Path, image: SharedImage) -> None:
    host = subprocess.Popen(command(config))
    try:
        until(lambda: quality(image) is Quality.GOOD, 20.0)
        assert image.counters("pv-1").online
    finally:
        host.terminate()
        assert host.wait(10.0) == 0
    assert quality(image) is Quality.STALE


def test_it_dies_with_its_parent(config: Path, image: SharedImage) -> None:
    start = f"print(subprocess.Popen({command(config)!r}).pid, flush=True)"
    code = f"import subprocess, time; {start}; time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    host = int(parent.stdout.readline())
    until(lambda: quality(image) is Quality.GOOD, 20.0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        until(lambda: not alive(host))
    finally:
        if alive(host):
            os.kill(host, signal.SIGKILL)


def test_a_wrong_device_and_a_foreign_image_are_refused(
    config: Path, image: SharedImage, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no such device"):
        open_driver(config, tmp_path, "pv-9")
    with pytest.raises(StoreError):
        open_driver(config, tmp_path / "elsewhere", "pv-1")
    SharedImage.create(tmp_path / "image", "demo", image.points[:5], image.devices[:1], 1)
    with pytest.raises(ConfigError, match="another configuration"):
        open_driver(config, tmp_path, "pv-1")


def test_a_host_whose_driver_has_died_ends_so_that_it_is_started_again(
    config: Path, image: SharedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(_: OpcUa) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(OpcUa, "_forever", fault)
    monkeypatch.setattr("edge.controller.host.die_with_parent", lambda: None)
    monkeypatch.setattr("edge.controller.host.signal.signal", lambda *_: None)
    monkeypatch.setattr("edge.controller.host.os.nice", lambda _: 0)
    ended = threading.Event()

    def work() -> None:
        host.run(config, config.parent, "pv-1", os.getppid())
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    assert ended.wait(20.0)


@pytest.mark.parametrize("nameplate_of", [host._nameplate, target_nameplate], ids=["host", "target"])
@pytest.mark.parametrize(
    ("why", "unit", "part", "expected"),
    [
        ("the part that takes it, not the first", {"rack": "big", "pcs": "small"}, "pcs", 50.0),
        ("whichever stands first", {"pcs": "small", "rack": "big"}, "rack", 500.0),
        ("no parts", "big", "", 500.0),
        ("the part serves nothing", {"rack": "big"}, "pcs", None),
        ("it takes none", "big", None, None),
    ],
)
def test_the_door_has_the_nameplate_of_the_unit_that_is_set(
    nameplate_of, why: str, unit, part: str | None, expected: float | None
) -> None:
    batteries = [
        SimpleNamespace(name="big", p_min_kw=-500.0, p_max_kw=500.0),
        SimpleNamespace(name="small", p_min_kw=-50.0, p_max_kw=50.0),
    ]
    product = load_product("yunchu/pcs100")
    write = None if part is None or product.write is None else replace(product.write, part=part)
    device = DeviceTable(name="d", unit=unit, product="x/y", link="opc.tcp://h:1/")
    site, product = SimpleNamespace(batteries=batteries), replace(product, write=write)
    found = nameplate_of(site, device, product)
    assert found == (None if expected is None else Nameplate(-expected, expected))


def test_a_setpoint_crosses_from_the_controller_into_the_server(
    config: Path, image: SharedImage, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offered in shared memory, written by the host, and handed back when nobody renews it."""
    power = Register(node=("Battery", "Power"))
    release = (SetRow(power, "constant", -1.0),)
    write = WriteSpec(rows=(SetRow(power, "p_kw"),), refresh_s=1.0, release=release)
    load = host.load_product
    monkeypatch.setattr(host, "load_product", lambda *args: replace(load(*args), write=write))
    monkeypatch.setattr(host, "_nameplate", lambda *_: Nameplate(-10.0, 10.0))
    controller = HostedDriver("pv-1", (), config.parent, "pv-1")
    driver = open_driver(config, config.parent, "pv-1")
    driver.start()
    controller.offer(Setpoint("pv-1", 4.5, time.monotonic_ns() + 1_000_000_000))
    until(lambda: plant.read("Power") == 4.5)
    controller.offer(Setpoint("pv-1", 99.0, time.monotonic_ns() + 1_000_000_000))
    until(lambda: image.counters("pv-1").door_refused == 1)
    until(lambda: plant.read("Power") == -1.0)
    driver.stop()
    codes = [event["code"] for event in tail(config.parent / "events.jsonl", 9)]
    assert codes == ["DRV-001", "DRV-008", "DRV-013"]
