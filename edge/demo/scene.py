"""The demo on its stage: broker, simulated plant, fleet, controller and services, all real processes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_link.broker import Broker
from drivers.simulator.site import SimulatedSite
from edge.cli.facts import gather
from edge.cli.init import FLEET_KEY, SITE_KEYS, demo_text, write_site
from edge.cli.up import gateway_processes
from edge.config import SiteConfig, load
from edge.launch import Launcher, Process
from models.errors import StoreError, YunchuError

SITE = "demo"
TENANT = "demo"
"""As in the demo's site file."""
READY_S = 60.0
LOOK_S = 0.2
SOC_START = 0.55

Step = tuple[str, str, Callable[[], None]]


class Scene:
    """Everything the demo runs, in one folder; nothing outside it and nothing beyond loopback."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Prepare the stage; nothing runs yet."""
        self.folder = folder
        self.run_dir = folder / "run"
        self.db = folder / "fleet" / "fleet.db"
        self.config_path = folder / "site" / "site.toml"
        for part in (self.run_dir, self.db.parent, self.config_path.parent, folder / "plant"):
            part.mkdir(parents=True, exist_ok=True)
        self.broker = Broker(folder / "broker")
        self.plant = SimulatedSite(folder / "plant", soc=SOC_START, seed=seed)
        self._write_site()
        self.launcher = Launcher(self._processes(), folder)

    @property
    def config(self) -> SiteConfig:
        """The configuration of the site."""
        return load(self.config_path)

    def steps(self) -> tuple[Step, ...]:
        """Return what has to be done before the curtain rises: (English, Chinese, do it)."""
        return (
            ("message broker", "消息代理", self.broker.start),
            ("plant and its devices", "对象与设备", self.plant.start),
            ("fleet, controller, services", "云端、控制器、服务", self.launcher.start),
            ("devices, plan and link", "设备、计划与上行链路", self.wait_ready),
        )

    def close(self) -> None:
        """Take everything down."""
        self.launcher.stop()
        self.plant.stop()
        self.broker.stop()

    def facts(self) -> dict[str, Any] | None:
        """Return the state of the site, None before there is one."""
        try:
            return gather(self.run_dir)
        except StoreError:
            return None

    def wait_ready(self) -> None:
        """Wait until the site runs, follows a plan, and the fleet has confirmed a report.

        Raises:
            YunchuError: it did not get there; the message says what was missing.
        """
        deadline = time.monotonic() + READY_S
        missing = ["the controller"]
        while time.monotonic() < deadline:
            missing = self.missing()
            if not missing:
                return
            time.sleep(LOOK_S)
        raise YunchuError(
            f"not ready within {READY_S:.0f} s: {', '.join(missing)}; logs are in {self.folder}"
        )

    def missing(self) -> list[str]:
        """Return what does not work yet."""
        facts = self.facts()
        if facts is None or facts["decision"] is None:
            return ["the controller"]
        link = facts["link"] or {}
        parts = {
            "a healthy site": facts["state"] == "running",
            "a plan": facts["decision"]["winner"] == "plan",
            "power at the PCS": facts["decision"]["hi_kw"] > facts["decision"]["lo_kw"],
            "a confirmed report": link.get("confirmed", 0) > 0,
        }
        return [what for what, there in parts.items() if not there]

    def fleet(self, *words: str) -> subprocess.Popen[str]:
        """Start ``fleet WORDS --json`` beside the demo."""
        command = [sys.executable, "-m", "aggregator", *words, "--db", str(self.db), "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def received(self) -> int:
        """Return how many different reports the fleet has stored."""
        with self.fleet("sites", SITE) as asked:
            out = asked.communicate(timeout=30)[0]
        return int(json.loads(out)["data"]["sites"][0]["received"])

    def _write_site(self) -> None:
        """Write configuration, tariff, load file and keys, as ``edge init --demo`` does."""
        text = demo_text(self.plant.endpoints, f"mqtt://127.0.0.1:{self.broker.port}")
        write_site(self.config_path.parent, text, SITE)

    def _processes(self) -> tuple[Process, ...]:
        broker = f"mqtt://127.0.0.1:{self.broker.port}"
        folder = self.config_path.parent
        keys = ("--key", str(folder / FLEET_KEY), "--site-keys", str(folder / SITE_KEYS))
        serve = (
            sys.executable,
            "-m",
            "aggregator",
            "serve",
            "--db",
            str(self.db),
            "--broker",
            broker,
            "--tenant",
            TENANT,
            *keys,
        )
        return (Process("fleet", serve), *gateway_processes(self.config_path, self.run_dir))
