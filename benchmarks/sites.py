"""The demo site with more batteries, played cycle by cycle with readings that change as real ones do.

Readings step by the resolution of the registers: powers are noisy, charge and energy drift, counters count,
the rest stands still. Seeded, so that every run sees the same.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.cycle import Inputs, Now, Outcome, run_cycle
from control.state import State, initial
from edge.cli.init import demo_text
from edge.config import loads
from edge.controller.build import Plant, build
from models.point import Image, Quality, Role, RunState
from models.proposal import Request, Source
from models.units import NS_PER_MS

CYCLE_NS = 100 * NS_PER_MS
START_UTC_MS = 1_750_000_000_000
BATTERY = """
[[battery]]
name = "battery-{n}"
p_max_kw = 100.0
p_min_kw = -100.0
s_max_kva = 110.0
capacity_kwh = 215.0
soc_min = 0.10
soc_max = 0.95
eff_charge = 0.95
eff_discharge = 0.95
wear_cny_per_kwh = 0.05

[[device]]
name = "pcs-{n}"
unit = "battery-{n}"
product = "yunchu/pcs100"
link = "tcp://127.0.0.{n}:15020"
unit_id = 1

[[device]]
name = "bms-{n}"
unit = "battery-{n}"
product = "yunchu/bms215"
link = "rtu:///dev/tty-{n}?baud=19200&parity=N&stop=1"
unit_id = 1
"""
BASE = {
    "meter-1/p_kw": 120.0,
    "pv-1/p_kw": 20.0,
    "p_kw": 0.0,
    "q_kvar": 5.0,
    "dc_v": 790.0,
    "soc": 0.5,
    "soh": 0.98,
    "charge_limit_a": 140.0,
    "discharge_limit_a": 140.0,
    "cell_v_max": 3.31,
    "cell_v_min": 3.28,
    "cell_degc": 25.0,
    "igbt": 40.0,
    "v_l1": 230.0,
    "frequency": 50.0,
    "alarm_level": 0.0,
    "state": float(RunState.RUNNING),
    "p_set": 0.0,
}
"""Value to begin with by how the point's name begins; every other point begins with 1."""
NOISE = {"p_kw": 0.5, "q_kvar": 0.2, "dc_v": 0.2, "dc_a": 0.3, "frequency_hz": 0.01, "v_l1": 0.1}
DRIFT = {"soc": 2e-5, "e_": 0.003, "igbt": 0.01, "cell_degc": 0.003, "irradiance": 0.3, "cell_v": 5e-5}
STEP = {"meter-1/": 0.01, "pv-1/": 0.001, "so": 0.001, "frequency": 0.01, "cell_v": 0.001}
"""Resolution; 0.1 where nothing is said."""
WISH = Inputs((Request(Source.PLAN, -40.0, 2**62, 1),))


def site_text(batteries: int) -> str:
    """Return the configuration of the demo with so many batteries."""
    return demo_text() + "".join(BATTERY.format(n=n) for n in range(2, batteries + 1))


def plant(batteries: int) -> Plant:
    """Return the site with so many batteries; its devices are never opened."""
    return build(loads(site_text(batteries), check_files=False))


def _by_name(table: dict[str, float], name: str, other: float) -> float:
    point = name.split("/")[1]
    return next(
        (v for start, v in table.items() if (name if "/" in start else point).startswith(start)), other
    )


@dataclass
class Played:
    """A site that runs without devices: its readings are made here."""

    plant: Plant
    now_ns: int = 1_000_000 * CYCLE_NS
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def __post_init__(self) -> None:
        """Find out once how each point moves."""
        points = self.plant.site.points
        names = [point.name for point in points]
        self.state: State = initial(self.plant.site, [0.0] * len(self.plant.site.batteries))
        self._true = np.array([_by_name(BASE, name, 1.0) for name in names])
        self._noise = np.array([_by_name(NOISE, name, 0.0) for name in names])
        self._drift = np.array([_by_name(DRIFT, name, 0.0) for name in names])
        self._step = np.array([_by_name(STEP, name, 0.1) for name in names])
        self._beats = np.array([point.role is Role.HEARTBEAT for point in points])
        self._good = np.full(len(points), Quality.GOOD, np.uint8)
        self._ages_ns = np.zeros(len(points), np.int64)
        for number, device in enumerate(self.plant.devices):
            self._ages_ns[device.first : device.first + device.count] = (number + 1) * NS_PER_MS

    def image(self) -> Image:
        """Return the readings of this moment; the points of one device came in one reply."""
        self._true += self._drift
        value: NDArray[Any] = self._true + self._noise * self.random.standard_normal(len(self._true))
        value = np.round(value / self._step) * self._step
        value[self._beats] = self.now_ns // 1_000_000_000 % 65_536
        return Image(value, self._good.copy(), self.now_ns - self._ages_ns)

    def next(self) -> tuple[Image, Now]:
        """Go on by one period; return what its cycle is given."""
        self.now_ns += CYCLE_NS
        return self.image(), Now(self.now_ns, START_UTC_MS + self.now_ns // NS_PER_MS)

    def cycle(self) -> Outcome:
        """Run the next cycle."""
        image, now = self.next()
        outcome = run_cycle(self.plant.site, image, self.state, now, WISH)
        self.state = outcome.state
        return outcome
