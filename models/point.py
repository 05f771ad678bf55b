"""Points, readings and the image: what the site knows, and how well it knows it.

A Point is a named, typed, scaled value of a device. Its Role says what it means to control, whatever the
vendor calls it. The Image holds one reading per point as parallel arrays; it never holds a reading
without a quality and a receive time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray


class Quality(IntEnum):
    """How far a value can be trusted; only GOOD may move power."""

    BAD = 0
    """Never read, refused, out of range, or the link is down."""
    STALE = 1
    """It was good once, but is older than the point's maximum age."""
    UNCERTAIN = 2
    """The device itself doubts it."""
    GOOD = 3


class Role(StrEnum):
    """What a point means to control. Signs: battery discharge +, grid import +, PV and load +."""

    P_KW = "p_kw"
    Q_KVAR = "q_kvar"
    P_SET_KW = "p_set_kw"
    """The setpoint that the device itself reports (read back)."""
    SOC = "soc"
    SOH = "soh"
    DC_V = "dc_v"
    DC_A = "dc_a"
    """Battery current, discharge +."""
    CHARGE_LIMIT_A = "charge_limit_a"
    """What the BMS allows now, DC, not negative."""
    DISCHARGE_LIMIT_A = "discharge_limit_a"
    CHARGE_LIMIT_KW = "charge_limit_kw"
    """What a device that knows no amperes allows now, not negative."""
    DISCHARGE_LIMIT_KW = "discharge_limit_kw"
    CELL_V_MAX = "cell_v_max"
    CELL_V_MIN = "cell_v_min"
    CELL_DEGC_MAX = "cell_degc_max"
    CELL_DEGC_MIN = "cell_degc_min"
    ALARM_LEVEL = "alarm_level"
    """Normalised severity, see :class:`AlarmLevel`."""
    STATE = "state"
    """Normalised run state, see :class:`RunState`."""
    HEARTBEAT = "heartbeat"
    """A counter of the device: alive means that it changes."""
    E_IMPORT_KWH = "e_import_kwh"
    E_EXPORT_KWH = "e_export_kwh"
    E_CHARGED_KWH = "e_charged_kwh"
    E_DISCHARGED_KWH = "e_discharged_kwh"
    FREQUENCY_HZ = "frequency_hz"
    V_V = "v_v"
    OTHER = "other"
    """Kept and shown, but means nothing to control."""


class AlarmLevel(IntEnum):
    """Severity of a device alarm after the driver has mapped the vendor's own levels."""

    NONE = 0
    INFO = 1
    WARN = 2
    DERATE = 3
    STOP = 4
    TRIP = 5


class RunState(IntEnum):
    """Run state of a PCS or BMS after the driver has mapped the vendor's own codes."""

    UNKNOWN = 0
    OFF = 1
    STANDBY = 2
    STARTING = 3
    RUNNING = 4
    STOPPING = 5
    FAULT = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one device."""

    name: str
    """``device/point``, unique in the site, for instance ``pcs-1/p_kw``."""
    device: str
    unit: str
    """The unit (battery, meter, …) of the site that this device serves."""
    role: Role
    symbol: str
    """Physical unit to show: kW, V, degC, or empty for ratios and counts."""
    max_age_s: float
    """Older than this is STALE."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value with its quality and the monotonic time at which it was received."""

    value: float
    quality: Quality
    t_ns: int

    @property
    def good(self) -> bool:
        """Whether control may rely on it."""
        return self.quality is Quality.GOOD


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """All readings of one cycle; three arrays of shape (P,), in the order of the site's points."""

    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    t_ns: NDArray[np.int64]
    """CLOCK_MONOTONIC at receipt, 0 when never."""

    @classmethod
    def empty(cls, size: int) -> "Image":
        """Build an image in which nothing has been read yet."""
        return cls(np.full(size, np.nan), np.zeros(size, np.uint8), np.zeros(size, np.int64))

    def reading(self, index: int) -> Reading:
        """Return the reading at ``index``."""
        return Reading(float(self.value[index]), Quality(int(self.quality[index])), int(self.t_ns[index]))

    def aged(self, max_age_ns: NDArray[np.int64], now_ns: int) -> "Image":
        """Return the same image with everything too old, from the future or not finite taken down.

        Args:
            max_age_ns: (P,) [ns] largest age at which a point still counts.
            now_ns: monotonic time of the cycle.
        """
        age_ns = now_ns - self.t_ns
        quality = self.quality.copy()
        wrong_age = (age_ns > max_age_ns) | (age_ns < -FUTURE_NS)
        quality[wrong_age & (quality >= Quality.UNCERTAIN)] = Quality.STALE
        quality[~np.isfinite(self.value) | (self.t_ns <= 0) | (self.quality > Quality.GOOD)] = Quality.BAD
        return Image(self.value, quality, self.t_ns)


FUTURE_NS = 1_000_000_000
"""A reading may come in between the start of a cycle and its snapshot; one from further ahead is nonsense."""

BAD_READING = Reading(float("nan"), Quality.BAD, 0)


def find(image: Image, points: Mapping[Role, int], role: Role) -> Reading:
    """Return the reading that plays ``role`` among ``points``, or a BAD one when there is none."""
    index = points.get(role)
    return BAD_READING if index is None else image.reading(index)
