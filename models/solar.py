"""Clear-sky PV power of a place, and a synthetic cloud process.

Clear sky: Haurwitz (1945/46) global horizontal irradiance, GHI = 1098 cos(z) exp(-0.057/cos(z)) W/m2, with
the sun's place from Spencer's (1971) series for declination and equation of time. No tilt, no horizon, no
temperature: a plant of kWp x performance ratio on the flat. Good to a few per cent on clear days.

The clouds are SYNTHETIC: a seeded two-state process with smooth edges. The licence of the measured cloud
data at hand could not be verified, so none is used or imitated.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

LATITUDE_DEG = 31.5
LONGITUDE_DEG = 120.3
"""The demo site, in the Yangtze delta."""
PERFORMANCE_RATIO = 0.82
"""AC energy per nameplate and irradiation; typical of commercial roofs."""
STANDARD_W_PER_M2 = 1000.0

CLEAR_S = 240.0
"""Mean length of a clear spell."""
CLOUDY_S = 90.0
"""Mean length of a cloud."""
EDGE_S = 8.0
"""Time constant of a cloud's edge as seen by the whole plant."""
CLOUD_RANGE = (0.25, 0.75)
"""Share of the clear-sky power that is left under a cloud."""


def zenith_cosine(
    utc_s: float, latitude_deg: float = LATITUDE_DEG, longitude_deg: float = LONGITUDE_DEG
) -> float:
    """Return the cosine of the sun's zenith angle, negative below the horizon.

    Args:
        utc_s: POSIX time.
        latitude_deg: north +.
        longitude_deg: east +.
    """
    utc = datetime.fromtimestamp(utc_s, UTC)
    hours = utc.hour + utc.minute / 60.0 + (utc.second + utc.microsecond * 1e-6) / 3600.0
    day_angle = 2.0 * math.pi * (utc.timetuple().tm_yday - 1 + (hours - 12.0) / 24.0) / 365.0
    declination = _declination_rad(day_angle)
    solar_hours = hours + longitude_deg / 15.0 + _equation_of_time_min(day_angle) / 60.0
    hour_angle = math.radians(15.0 * (solar_hours - 12.0))
    latitude = math.radians(latitude_deg)
    level = math.sin(latitude) * math.sin(declination)
    return level + math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)


def _declination_rad(day_angle: float) -> float:
    """Return the sun's declination (Spencer 1971), rad."""
    a = day_angle
    first = 0.006918 - 0.399912 * math.cos(a) + 0.070257 * math.sin(a)
    second = -0.006758 * math.cos(2 * a) + 0.000907 * math.sin(2 * a)
    return first + second - 0.002697 * math.cos(3 * a) + 0.00148 * math.sin(3 * a)


def _equation_of_time_min(day_angle: float) -> float:
    """Return apparent minus mean solar time (Spencer 1971), min."""
    a = day_angle
    first = 0.000075 + 0.001868 * math.cos(a) - 0.032077 * math.sin(a)
    return 229.18 * (first - 0.014615 * math.cos(2 * a) - 0.040849 * math.sin(2 * a))


def clear_sky_w_per_m2(zenith_cos: float) -> float:
    """Return the Haurwitz clear-sky global horizontal irradiance."""
    if zenith_cos <= 0.0:
        return 0.0
    return 1098.0 * zenith_cos * math.exp(-0.057 / zenith_cos)


def pv_kw(irradiance_w_per_m2: float, peak_kw: float) -> float:
    """Return the AC power of ``peak_kw`` (kWp) under this irradiance."""
    return peak_kw * PERFORMANCE_RATIO * irradiance_w_per_m2 / STANDARD_W_PER_M2


@dataclass(slots=True)
class Clouds:
    """Share of the clear-sky irradiance that gets through: spells of exponential length, smooth edges."""

    random: np.random.Generator
    share: float = 1.0
    _goal: float = field(default=1.0, repr=False)
    _left_s: float = field(default=0.0, repr=False)

    def step(self, dt_s: float) -> float:
        """Advance by ``dt_s`` and return the share, 0..1."""
        self._left_s -= dt_s
        if self._left_s <= 0.0:
            clear = self._goal < 1.0
            self._goal = 1.0 if clear else float(self.random.uniform(*CLOUD_RANGE))
            self._left_s = float(self.random.exponential(CLEAR_S if clear else CLOUDY_S))
        self.share += (self._goal - self.share) * (1.0 - math.exp(-dt_s / EDGE_S))
        return self.share
