"""Counts how often and how far the site was outside what it must keep, as the plant itself sees it.

Rule for import, export and transformer: the mean over 1 s is beyond the limit by more than 1 kW (kVA). The
site is judged by its real power at every step, not by its meter. SOC counts at once, PCS apparent power and
the current above the BMS limit as 1 s means (the BMS itself allows a short excess).
"""

from collections import deque
from dataclasses import dataclass, field

from drivers.simulator.board import KINDS
from models.plant import S_MAX_KVA, Plant

TOLERANCE = 1.0
SOC_TOLERANCE = 0.001
MEAN_S = 1.0
CURRENT_SHARE, CURRENT_A = 0.05, 3.0
"""A current may exceed the BMS limit by 5 % and 3 A: quantisation and PCS accuracy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the site must keep; powers are not negative."""

    import_kw: float = 360.0
    export_kw: float = 0.0
    transformer_kva: float = 400.0
    soc_min: float = 0.04
    soc_max: float = 0.97


@dataclass(slots=True)
class Tally:
    """One kind of violation so far."""

    count: int = 0
    """Times it began."""
    seconds: float = 0.0
    worst: float = 0.0
    """Largest excess beyond the limit itself."""
    _now: bool = False

    def see(self, excess: float, tolerance: float, dt_s: float) -> None:
        """Judge one step: ``excess`` beyond the limit, negative inside."""
        over = excess > tolerance
        self.count += over and not self._now
        self._now = over
        if over:
            self.seconds += dt_s
            self.worst = max(self.worst, excess)


@dataclass(slots=True)
class Mean:
    """Mean of the last ``size`` values."""

    size: int
    _values: deque[float] = field(default_factory=deque)
    _sum: float = 0.0

    def __call__(self, value: float) -> float:
        """Add a value and return the mean; before it is full, of what there is."""
        self._values.append(value)
        self._sum += value
        if len(self._values) > self.size:
            self._sum -= self._values.popleft()
        return self._sum / len(self._values)


class Judge:
    """Watches the plant; ``tallies`` by kind."""

    def __init__(self, limits: Limits, dt_s: float) -> None:
        """Nothing has been seen yet."""
        self.tallies = {kind: Tally() for kind in KINDS}
        self._limits, self._dt_s = limits, dt_s
        size = max(1, round(MEAN_S / dt_s))
        self._grid_kw, self._grid_kva, self._pcs_kva, self._over_a = (Mean(size) for _ in range(4))

    def see(self, plant: Plant) -> None:
        """Judge the plant after one step."""
        limits, battery, pcs = self._limits, plant.battery, plant.pcs
        grid_kw = self._grid_kw(plant.grid_kw)
        allowed = battery.discharge_limit_a if battery.current_a > 0.0 else battery.charge_limit_a
        over_a = abs(battery.current_a) - allowed * (1.0 + CURRENT_SHARE)
        excess = {
            "export": (-grid_kw - limits.export_kw, TOLERANCE),
            "import": (grid_kw - limits.import_kw, TOLERANCE),
            "transformer": (self._grid_kva(plant.grid_kva) - limits.transformer_kva, TOLERANCE),
            "soc_low": (limits.soc_min - battery.soc, SOC_TOLERANCE),
            "soc_high": (battery.soc - limits.soc_max, SOC_TOLERANCE),
            "pcs": (self._pcs_kva((pcs.p_kw**2 + pcs.q_kvar**2) ** 0.5) - S_MAX_KVA, TOLERANCE),
            "bms_current": (self._over_a(over_a), CURRENT_A),
        }
        for kind, (beyond, tolerance) in excess.items():
            self.tallies[kind].see(beyond, tolerance, self._dt_s)
