"""A run folder as a controller leaves it: image, ring and events of the demo site, made by the real cycle."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from control.cycle import Inputs, Now, run_cycle
from control.state import State, initial
from drivers.driver import Counters
from edge.cli.init import demo_text
from edge.config import loads
from edge.controller.build import Plant, build
from edge.controller.loop import PACK_TIMING, ring_dtype
from edge.image import SharedImage
from edge.ring import Ring
from models.point import Quality, RunState
from models.proposal import Request

HEALTHY = {
    "pcs-1/state": RunState.RUNNING,
    "pcs-1/p_kw": 0.0,
    "pcs-1/q_kvar": 0.0,
    "pcs-1/p_set_kw": 0.0,
    "bms-1/state": RunState.RUNNING,
    "bms-1/alarm_level": 0.0,
    "bms-1/dc_v": 790.0,
    "bms-1/soc": 0.5,
    "bms-1/soh": 0.98,
    "bms-1/charge_limit_a": 140.0,
    "bms-1/discharge_limit_a": 140.0,
    "meter-1/p_kw": 120.0,
    "meter-1/q_kvar": 30.0,
    "pv-1/p_kw": 20.0,
}
"""What a healthy site shows; every other point reads 1."""
CYCLE_NS = 100_000_000


@dataclass
class RunFolder:
    """One site whose controller may be played cycle by cycle."""

    path: Path
    plant: Plant
    image: SharedImage
    ring: Ring
    state: State

    def read(self, changes: Mapping[str, float], t_ns: int, beat: float) -> None:
        """Let every device answer at ``t_ns``; a value of nan reads as BAD."""
        for device in self.plant.devices:
            points = self.plant.site.points[device.first : device.first + device.count]
            shown = {**HEALTHY, **changes}
            value = np.array(
                [beat if p.name.endswith("heartbeat") else shown.get(p.name, 1.0) for p in points]
            )
            quality = np.where(np.isnan(value), Quality.BAD, Quality.GOOD).astype(np.uint8)
            part = self.image.slice(device.name)
            part.put(np.arange(device.count), value, quality, t_ns)
            part.count(Counters(polls=int(beat), online=True))

    def play(
        self,
        cycles: int,
        changes: Mapping[str, float] | None = None,
        requests: tuple[Request, ...] = (),
        end_ns: int | None = None,
    ) -> None:
        """Run cycles that end now; readings are fresh in each, heartbeats move once a second."""
        last_ns = time.monotonic_ns() if end_ns is None else end_ns
        for left in range(cycles - 1, -1, -1):
            now_ns = last_ns - left * CYCLE_NS
            self.read(changes or {}, now_ns, float(self.state.cycle // 10))
            now = Now(now_ns, time.time_ns() // 1_000_000 - left * 100)
            outcome = run_cycle(self.plant.site, self.image.snapshot(), self.state, now, Inputs(requests))
            self.state = outcome.state
            self.ring.append(outcome.record + PACK_TIMING(200_000, 900_000, 0))


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[[], RunFolder]:
    """Return a maker of run folders."""

    def make() -> RunFolder:
        path = tmp_path / "run"
        path.mkdir()
        text = demo_text()
        plant = build(loads(text, check_files=False))
        image = SharedImage.create(
            path / "image", "demo", plant.site.points, plant.devices, time.time_ns() // 1_000_000, tmp_path
        )
        meta = {"site_toml": text, "version": "test", "site": "demo"}
        ring = Ring.create(path / "ring", ring_dtype(plant.site), 400, meta)
        return RunFolder(path, plant, image, ring, initial(plant.site, (0.0,), 1))

    return make
