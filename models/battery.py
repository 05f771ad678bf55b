"""Physics of one LFP battery with its BMS: voltage under load, charge, heat, limits, alarms, contactor.

Pure: the caller gives the time step, nothing here knows a clock. Shared by the simulator and the digital
twin. The numbers describe a typical 280 Ah LFP cabinet (240 cells in series, 215 kWh); they are generic
values from open literature and public BMS tables, not those of one product. Current and power: discharge +.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from models.units import S_PER_H, W_PER_KW

CELLS = 240
CAPACITY_AH = 280.0
NOMINAL_CELL_V = 3.2
CAPACITY_KWH = CELLS * CAPACITY_AH * NOMINAL_CELL_V / W_PER_KW
"""215.04 kWh."""
LIMIT_A = 140.0
"""Largest current that the BMS allows, both ways (C/2)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Piecewise-linear function, constant outside its ends."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, x: float) -> float:
        """Return the value at ``x``."""
        if x <= self.x[0]:
            return self.y[0]
        if x >= self.x[-1]:
            return self.y[-1]
        i = bisect_right(self.x, x)
        share = (x - self.x[i - 1]) / (self.x[i] - self.x[i - 1])
        return self.y[i - 1] + share * (self.y[i] - self.y[i - 1])


OCV_V = Curve(
    (0.0, 0.02, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 0.95, 0.98, 1.0),
    (2.60, 2.92, 3.09, 3.20, 3.250, 3.280, 3.295, 3.300, 3.310, 3.325, 3.333, 3.340, 3.355, 3.42, 3.55),
)
"""Open-circuit voltage of one LFP cell over SOC at 25 degC, V: the usual flat curve."""

CHARGE_BY_SOC = Curve((0.95, 0.97, 0.98, 0.99, 1.0), (1.0, 0.6, 0.4, 0.2, 0.0))
"""Share of LIMIT_A; the shape of public LFP tables (full to 95 %, 60 % at 97 %, 20 % at 99 %)."""
DISCHARGE_BY_SOC = Curve((0.02, 0.05, 0.10), (0.0, 0.5, 1.0))
CHARGE_BY_CELL_V = Curve((3.45, 3.54, 3.58), (1.0, 0.08, 0.0))
DISCHARGE_BY_CELL_V = Curve((2.90, 3.10), (0.0, 1.0))
CHARGE_BY_DEGC = Curve((0.0, 5.0, 15.0, 45.0, 55.0), (0.0, 0.1, 1.0, 1.0, 0.0))
DISCHARGE_BY_DEGC = Curve((-20.0, 0.0, 50.0, 60.0), (0.3, 1.0, 1.0, 0.0))
LIMIT_RISE_A_PER_S = 2.0
"""Limits fall at once but rise slowly, so that voltage sag and limit do not chase each other."""

ALARM_STEPS = (
    (3.50, 3.58, 3.65),
    (-2.95, -2.85, -2.70),
    (45.0, 52.0, 58.0),
    (0.0, 10.0, 20.0),
)
"""Levels 1 hint, 2 derate, 3 stop for V max, -V min, degC max, -degC min (three-level practice)."""

R0_OHM = 0.085
"""Pack ohmic resistance with bus bars: 0.35 mOhm a cell."""
R1_OHM = 0.040
TAU_S = 30.0
"""Polarisation branch (1-RC model)."""
COULOMB_EFFICIENCY = 0.998
"""Of charging; discharging takes exactly what flows."""
HEAT_J_PER_K = 1.3e6
"""240 cells of 5.4 kg at 1 kJ/kgK."""
COOLING_W_PER_K = 250.0
SOC_SPREAD = 0.004
"""The fullest and the emptiest cell differ from the mean by this."""
OVER_CURRENT_A = 7.0
"""Above 1.1 x limit + this is over-current: level 2 after 2 s, level 3 after 10 s."""
CONTACTOR_DELAY_S = 1.0
"""From level 3 to the open contactor: time for the PCS to come down."""


@dataclass(slots=True)
class Battery:
    """State of the pack; ``step`` is the only thing that changes it."""

    soc: float = 0.5
    degc: float = 25.0
    soh: float = 0.98
    contactor: bool = True
    current_a: float = 0.0
    rc_v: float = 0.0
    """Voltage over the polarisation branch, discharge +."""
    charged_kwh: float = 0.0
    """DC energy since the start."""
    discharged_kwh: float = 0.0
    charge_limit_a: float = LIMIT_A
    discharge_limit_a: float = LIMIT_A
    alarm_word: int = 0
    alarm_level: int = 0
    """0 none, 1 hint, 2 derate, 3 stop."""
    latched: bool = False
    """The contactor opened on level 3 and waits for a reset."""
    _over_s: float = field(default=0.0, repr=False)
    _stop_s: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        """Start with the limits that belong to the state of charge."""
        self.charge_limit_a, self.discharge_limit_a = self._limits()

    @property
    def emf_v(self) -> float:
        """Voltage behind the ohmic resistance."""
        return CELLS * OCV_V(self.soc) - self.rc_v

    @property
    def voltage_v(self) -> float:
        """Terminal voltage now."""
        return self.emf_v - self.current_a * R0_OHM

    @property
    def cell_v_max(self) -> float:
        """Highest cell voltage."""
        return OCV_V(self.soc + SOC_SPREAD) - self._drop_v()

    @property
    def cell_v_min(self) -> float:
        """Lowest cell voltage."""
        return OCV_V(self.soc - SOC_SPREAD) - self._drop_v()

    @property
    def cell_degc_max(self) -> float:
        """Hottest cell: the core of the middle module."""
        return self.degc + 1.5

    @property
    def cell_degc_min(self) -> float:
        """Coldest cell, next to the coolant inlet."""
        return self.degc - 1.0

    @property
    def stored_kwh(self) -> float:
        """Chemical energy above empty: the integral of OCV over the charge that is left."""
        return CAPACITY_AH * CELLS * _ocv_integral(self.soc) / W_PER_KW

    def current_for(self, p_dc_kw: float) -> float:
        """Return the current [A] at which the terminals give ``p_dc_kw``; at most the maximum-power current.

        Solves p = i (emf - i R0), the smaller root.
        """
        emf, watts = self.emf_v, p_dc_kw * W_PER_KW
        root = emf * emf - 4.0 * R0_OHM * watts
        return (emf - math.sqrt(max(root, 0.0))) / (2.0 * R0_OHM)

    def step(
        self,
        p_dc_kw: float,
        dt_s: float,
        ambient_degc: float = 25.0,
        limit_factor: float = 1.0,
        level: int = 0,
    ) -> None:
        """Carry ``p_dc_kw`` for ``dt_s`` and then let the BMS look at the result.

        Args:
            p_dc_kw: power at the DC terminals, discharge +.
            dt_s: time step; 20 ms in the simulator, up to seconds in the twin.
            ambient_degc: coolant temperature.
            limit_factor: fault injection: share of the limits that the BMS still gives.
            level: fault injection: the alarm level is at least this.
        """
        self.current_a = self._possible(self.current_for(p_dc_kw), dt_s) if self.contactor else 0.0
        self._count(dt_s)
        self._warm(dt_s, ambient_degc)
        decay = math.exp(-dt_s / TAU_S)
        self.rc_v = self.rc_v * decay + self.current_a * R1_OHM * (1.0 - decay)
        self._supervise(dt_s, limit_factor, level)

    def reset(self) -> None:
        """Close the contactor again if nothing is above level 1."""
        if self.alarm_level <= 1:
            self.latched, self.contactor = False, True

    def _possible(self, current_a: float, dt_s: float) -> float:
        """Return the current that neither empties nor overfills the pack within ``dt_s``."""
        whole_a = CAPACITY_AH * S_PER_H / dt_s
        least = -(1.0 - self.soc) * whole_a / COULOMB_EFFICIENCY
        return min(max(current_a, least), self.soc * whole_a)

    def _drop_v(self) -> float:
        """Voltage per cell that the current takes."""
        return (self.rc_v + self.current_a * R0_OHM) / CELLS

    def _count(self, dt_s: float) -> None:
        """Count charge and energy."""
        ampere_hours = self.current_a * dt_s / S_PER_H
        kilowatt_hours = self.voltage_v * ampere_hours / W_PER_KW
        if ampere_hours >= 0.0:
            self.discharged_kwh += kilowatt_hours
            self.soc -= ampere_hours / CAPACITY_AH
        else:
            self.charged_kwh -= kilowatt_hours
            self.soc -= ampere_hours * COULOMB_EFFICIENCY / CAPACITY_AH
        self.soc = min(max(self.soc, 0.0), 1.0)

    def _warm(self, dt_s: float, ambient_degc: float) -> None:
        """Move the one thermal node: Joule heat in, coolant out."""
        heat_w = self.current_a * (self.current_a * R0_OHM + self.rc_v)
        self.degc += (heat_w - COOLING_W_PER_K * (self.degc - ambient_degc)) * dt_s / HEAT_J_PER_K

    def _limits(self) -> tuple[float, float]:
        """Return the charge and discharge limits [A] of the present state, before slew and alarms."""
        charge = min(
            CHARGE_BY_SOC(self.soc),
            CHARGE_BY_CELL_V(self.cell_v_max),
            CHARGE_BY_DEGC(self.cell_degc_max),
            CHARGE_BY_DEGC(self.cell_degc_min),
        )
        discharge = min(
            DISCHARGE_BY_SOC(self.soc),
            DISCHARGE_BY_CELL_V(self.cell_v_min),
            DISCHARGE_BY_DEGC(self.cell_degc_max),
            DISCHARGE_BY_DEGC(self.cell_degc_min),
        )
        return LIMIT_A * charge, LIMIT_A * discharge

    def _over_current_level(self, dt_s: float) -> int:
        """Return the level that the excess over the BMS's own limits has reached."""
        limit = self.discharge_limit_a if self.current_a > 0.0 else self.charge_limit_a
        over = abs(self.current_a) > 1.1 * limit + OVER_CURRENT_A
        self._over_s = self._over_s + dt_s if over else 0.0
        return 3 if self._over_s >= 10.0 else 2 if self._over_s >= 2.0 else 0

    def _supervise(self, dt_s: float, limit_factor: float, level: int) -> None:
        """Set alarms, limits and the contactor."""
        looks = (self.cell_v_max, -self.cell_v_min, self.cell_degc_max, -self.cell_degc_min)
        levels = [bisect_right(steps, x) for steps, x in zip(ALARM_STEPS, looks, strict=True)]
        levels.append(self._over_current_level(dt_s))
        self.alarm_word = sum(1 << bit for bit, found in enumerate(levels) if found)
        self.alarm_level = max(level, *levels)
        share = limit_factor * (1.0, 1.0, 0.5, 0.0)[self.alarm_level] * self.contactor
        rise = LIMIT_RISE_A_PER_S * dt_s
        charge, discharge = self._limits()
        self.charge_limit_a = min(charge * share, self.charge_limit_a + rise)
        self.discharge_limit_a = min(discharge * share, self.discharge_limit_a + rise)
        self._stop_s = self._stop_s + dt_s if self.alarm_level >= 3 else 0.0
        if self._stop_s >= CONTACTOR_DELAY_S:
            self.latched, self.contactor = True, False


def _ocv_integral(soc: float) -> float:
    """Return the integral of OCV_V from 0 to ``soc``, V (trapezia between the knots are exact)."""
    knots = [x for x in OCV_V.x if x < soc] + [soc]
    return sum((high - low) * (OCV_V(low) + OCV_V(high)) / 2.0 for low, high in pairwise(knots))
