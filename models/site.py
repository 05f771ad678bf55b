"""The site as control sees it: its units, their nameplates, its contract limits, and where its points are.

Static: built once from the configuration, never changed while the controller runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.point import Point, Role


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery unit: a BMS and a PCS behind one AC connection."""

    name: str
    p_max_kw: float
    """Nameplate discharge power at the AC terminals."""
    p_min_kw: float
    """Nameplate charge power at the AC terminals, negative."""
    s_max_kva: float
    capacity_kwh: float
    soc_min: float
    soc_max: float
    eff_charge: float
    """AC to cell, 0..1."""
    eff_discharge: float
    """Cell to AC, 0..1."""
    points: Mapping[Role, int]
    """Index into the image by role; BMS roles and PCS roles in one table."""
    bms_points: Mapping[Role, int]
    """Roles that both devices have (state, heartbeat, alarm_level) as the BMS reports them."""
    without_alarms: bool = False
    """Nothing reports alarms of the battery, and the site accepts that; else it is never moved."""


@dataclass(frozen=True, slots=True)
class Meter:
    """The meter at the grid connection point, import positive."""

    name: str
    points: Mapping[Role, int]
    delay_s: float
    """Age of a value when it is received: the meter's own refresh and the time on the wire."""


@dataclass(frozen=True, slots=True)
class Pv:
    """A PV unit; measured, and at most curtailed."""

    name: str
    p_max_kw: float
    points: Mapping[Role, int]


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """Contract and equipment limits at the grid connection point; powers are not negative."""

    import_kw: float
    export_kw: float
    transformer_kva: float
    ramp_kw_per_s: float
    """Largest change of the site's battery power per second when nothing is being violated."""
    margin_kw: float
    """Guard band kept from the import, export and transformer limits."""


@dataclass(frozen=True, slots=True)
class Site:
    """One grid connection point with its units and contract limits."""

    name: str
    batteries: tuple[Battery, ...]
    meter: Meter
    pvs: tuple[Pv, ...]
    limits: SiteLimits
    points: tuple[Point, ...]
    cycle_s: float = 0.1
    max_age_ns: NDArray[np.int64] = field(init=False, compare=False, repr=False)
    """(P,) [ns], from ``points``."""

    def __post_init__(self) -> None:
        """Derive the age limits once."""
        ages = np.array([round(point.max_age_s * 1e9) for point in self.points], np.int64)
        object.__setattr__(self, "max_age_ns", ages)
