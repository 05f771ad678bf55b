"""The controller process from start to stop: configuration, lock, image, drivers, takeover, loop."""

import signal
import threading
import time
from pathlib import Path

from edge.config import load
from edge.controller.build import build
from edge.controller.deadline import notify, settle
from edge.controller.door import FieldDoor
from edge.controller.hosts import Hosts
from edge.controller.lock import SiteLock
from edge.controller.loop import RING_S, Loop, ring_dtype
from edge.controller.takeover import take_over
from edge.events import Events
from edge.image import SharedImage
from edge.mailbox import FIELD_SOCKET, Held, Mailbox
from edge.places import make_run_dir
from edge.ring import Ring
from edge.version import VERSION
from models.units import NS_PER_MS


def run(path: Path, given_run_dir: Path | None) -> int:
    """Run the site until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: the configuration cannot be used.
        BusyError: another controller runs this site.
        StoreError: the run folder is not ours.
    """
    config = load(path)
    run_dir = given_run_dir or config.run_dir
    make_run_dir(run_dir)
    config.state_dir.mkdir(parents=True, exist_ok=True)
    locks = [SiteLock(folder) for folder in (run_dir, config.state_dir)]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    events = Events(run_dir / "events.jsonl", "controller")
    plant = build(config)
    site = plant.site
    epoch_ms = time.time_ns() // NS_PER_MS
    image = SharedImage.create(
        run_dir / "image", site.name, site.points, plant.devices, epoch_ms, config.state_dir
    )
    drivers = plant.open(image, events, run_dir)
    hosts = Hosts(path, run_dir, plant.hosted, events)
    for driver in drivers:
        driver.start()
    hosts.start()
    meta = {"site_toml": config.text, "version": VERSION, "site": site.name}
    ring = Ring.create(run_dir / "ring", ring_dtype(site), round(RING_S / site.cycle_s), meta)
    state = take_over(site, image, ring, stop)
    held = Held(sum(b.p_min_kw for b in site.batteries), sum(b.p_max_kw for b in site.batteries))
    mailbox = Mailbox(run_dir / "control.sock", held, events.emit)
    desk = FieldDoor(site.name, drivers, events.emit)
    doors = (mailbox, Mailbox(run_dir / FIELD_SOCKET, desk, events.emit))
    for door in doors:
        door.start()
    loop = Loop(site, image, ring, plant.takers(drivers), held, events)
    if remark := settle(config.fifo_priority):
        events.emit("NO_REALTIME", "controller", remark)
    events.emit("STARTED", "controller", f"version {VERSION}, {len(site.points)} points")
    notify("READY=1")
    done = loop.run(state, stop)
    notify("STOPPING=1")
    events.emit("STOPPED", "controller", "asked to stop" if done else "gave up after repeated faults")
    for door in doors:
        door.stop()
    hosts.stop()
    for driver in drivers:
        driver.stop()
    for lock in locks:
        lock.release()
    return 0 if done else 1
