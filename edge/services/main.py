"""The services process: planner, recorder and uplink, each in a thread; the controller does not need them.

A service that fails is started again after a pause; it never takes the others down.
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from edge.config import SiteConfig, load
from edge.controller.build import site_of
from edge.events import Events
from edge.places import make_run_dir

RESTART_S = 2.0
IMAGE_WAIT_S = 0.2

Service = Callable[[threading.Event], None]


def services_of(config: SiteConfig, run_dir: Path) -> dict[str, Service]:
    """Return the services of the site by name."""

    def planner(stop: threading.Event) -> None:
        from edge.services.planner import PlannerConfig, run_planner

        settings = PlannerConfig(
            run_dir=run_dir,
            state_dir=config.state_dir,
            site=site_of(config),
            tariff=config.tariff_file,
            load_csv=config.load_csv,
            load_csv_zone=config.load_csv_zone,
            wear_cny_per_kwh=tuple(battery.wear_cny_per_kwh for battery in config.batteries),
        )
        run_planner(settings, stop)

    def recorder(stop: threading.Event) -> None:
        from edge.services.recorder import run_recorder

        run_recorder(run_dir, config.state_dir, stop)

    def uplink(stop: threading.Event) -> None:
        from edge.services.uplink import run_uplink

        run_uplink(config, run_dir, stop)

    services: dict[str, Service] = {"recorder": recorder, "planner": planner}
    if config.fleet:
        services["uplink"] = uplink
    return services


def keep(name: str, service: Service, events: Events, stop: threading.Event) -> None:
    """Run one service until ``stop``, starting it again when it fails."""
    while not stop.is_set():
        try:
            service(stop)
        except Exception:  # noqa: BLE001 - a service must not take the others down; the event says what it was
            events.emit("SERVICE_FAILED", name, traceback.format_exc(limit=6))
            stop.wait(RESTART_S)


def run(path: Path, given_run_dir: Path | None) -> int:
    """Run all services of the site until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: the configuration cannot be used.
        StoreError: the run folder is not ours.
    """
    config = load(path)
    run_dir = given_run_dir or config.run_dir
    make_run_dir(run_dir)
    config.state_dir.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not (run_dir / "image").exists() and not stop.is_set():
        time.sleep(IMAGE_WAIT_S)
    events = Events(run_dir / "events.jsonl", "services")
    threads = [
        threading.Thread(target=keep, args=(name, service, events, stop), name=name)
        for name, service in services_of(config, run_dir).items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0
