"""The load of the simulated site: a recorded year of a metal-processing plant, with a fast variation on top.

The year is real (examples/data/README.md). It is played by the site's civil clock: the same month, day and
time of the recorded civil clock, shifted by up to three days to the same day of the week, linear between the
quarter hours. The variation is SYNTHETIC and seeded: an Ornstein-Uhlenbeck noise of 2 % with 5 s, and motors
of 5-15 kW that start every 90 s on average and run 10-60 s.
"""

import gzip
import math
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

FILE = "load_metalworking_de_2018_15min.csv.gz"
RECORDED = ZoneInfo("Europe/Berlin")
SITE = ZoneInfo("Asia/Shanghai")
YEAR = 2018
START_UTC_S = 1514761200
"""2017-12-31T23:00Z: the first row."""
ROW_S = 900

NOISE = 0.02
NOISE_S = 5.0
MOTOR_EVERY_S = 90.0
MOTOR_KW = (5.0, 15.0)
MOTOR_RUN_S = (10.0, 60.0)
POWER_FACTOR = 0.95
KVAR_PER_KW = math.tan(math.acos(POWER_FACTOR))


def read_year() -> NDArray[np.float64]:
    """Return the recorded load (35040,) [kW], rows of 15 min from START_UTC_S."""
    packed = (resources.files("examples") / "data" / FILE).read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")[1:-1]
    return np.array([line.rsplit(",", 1)[1] for line in lines], np.float64)


def recorded_day(day: date) -> date:
    """Return the recorded day that stands for ``day``: the nearest one with the same day of the week."""
    same = date(YEAR, day.month, min(day.day, 28) if day.month == 2 else day.day)
    shift = (day.weekday() - same.weekday() + 3) % 7 - 3
    found = same + timedelta(days=shift)
    if found.year < YEAR:
        return found + timedelta(days=7)
    return found if found.year == YEAR else found - timedelta(days=7)


def load_at(year: NDArray[np.float64], utc_s: float) -> float:
    """Return the recorded load [kW] for the site's civil time at ``utc_s``."""
    local = datetime.fromtimestamp(utc_s, SITE)
    then = datetime.combine(recorded_day(local.date()), local.time(), RECORDED)
    place = min(max((then.timestamp() - START_UTC_S) / ROW_S, 0.0), len(year) - 1.0)
    row = min(int(place), len(year) - 2)
    return float(year[row] + (place - row) * (year[row + 1] - year[row]))


@dataclass(slots=True)
class Variation:
    """The fast part; ``step`` gives what is added to the recorded load."""

    random: np.random.Generator
    share: float = 0.0
    """Ornstein-Uhlenbeck state, relative to the load."""
    _motors: list[tuple[float, float]] = field(default_factory=list)
    """Time left [s] and power [kW] of each running motor."""

    def step(self, load_kw: float, dt_s: float) -> float:
        """Advance by ``dt_s`` and return the difference to ``load_kw``."""
        keep = math.exp(-dt_s / NOISE_S)
        kick = NOISE * math.sqrt(1.0 - keep * keep)
        self.share = self.share * keep + kick * float(self.random.standard_normal())
        self._motors = [(left - dt_s, kw) for left, kw in self._motors if left > dt_s]
        if self.random.random() < dt_s / MOTOR_EVERY_S:
            run_s = float(self.random.uniform(*MOTOR_RUN_S))
            self._motors.append((run_s, float(self.random.uniform(*MOTOR_KW))))
        return self.share * load_kw + sum(kw for _, kw in self._motors)
