"""Physics of a site: PCS, PV inverter, load, meter and transformer around the battery of ``models.battery``.

Pure: time enters as the step ``dt_s``, randomness and weather come in as inputs. The simulator steps it
every 20 ms, the digital twin may take longer steps. It is the plant, not the controller: it does what it is
told and trips by its own protection when told something wrong.

Signs: battery discharge +, grid import +, PV generation +, load +; grid = load + losses - pv - battery.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from models.battery import Battery
from models.units import S_PER_H


class PcsState(IntEnum):
    """Run state as this PCS reports it."""

    OFF = 0
    STANDBY = 1
    STARTING = 2
    RUNNING = 3
    STOPPING = 4
    FAULT = 5


class Command(IntEnum):
    """What can be asked of the PCS."""

    START = 1
    STOP = 2
    RESET = 3


P_MAX_KW = 110.0
"""Hardware limit of the setpoint; the nameplate of the unit is 100 kW."""
S_MAX_KVA = 110.0
DEAD_TIME_S = 0.06
"""From setpoint to first reaction: communication board to power stage."""
LAG_S = 0.1
"""First-order response of the current loop and its filter; with the dead time 50-500 ms in all."""
RAMP_KW_PER_S = 400.0
START_S = 2.0
STOPPED_KW = 1.0
"""STOPPING ends below this."""
TRIP_FACTOR, TRIP_A, TRIP_S = 1.3, 20.0, 1.0
"""The PCS trips when the DC current stays above factor x BMS limit + A for so long."""
FAULT_BMS_LIMIT, FAULT_DC_LOST, FAULT_EXTERNAL = 1, 2, 4
"""Bits of the fault word."""
PV_LAG_S = 0.5
PV_START_KW = 0.3
AUXILIARY_KW = 0.6
"""Cabinet cooling, controls, lighting."""
TRANSFORMER_LOSS_KW = 0.9
"""No-load loss of a 400 kVA transformer; load loss is left out."""
METER_REFRESH_S = 0.2
METER_STEP_KW = 0.01
"""The meter resolves 10 W and 10 var behind its current transformers."""
VOLTAGE_V, SOURCE_OHM = 231.0, 0.02
"""Phase voltage without load, and the resistance of the feeder up to the meter."""


@dataclass(slots=True)
class Order:
    """What the controller's registers in the PCS say."""

    p_set_kw: float = 0.0
    q_set_kvar: float = 0.0
    seq: int = 0
    """Counts writes of p_set."""
    command: int = 0
    command_seq: int = 0
    """Counts writes of the command."""
    deadman_s: float = 5.0
    remote: bool = True


@dataclass(slots=True)
class Inputs:
    """Everything from outside that acts on the plant during one step."""

    load_kw: float = 0.0
    load_kvar: float = 0.0
    pv_available_kw: float = 0.0
    pv_limit: float = 1.0
    """Active power limit of the PV inverter as a share of its nameplate."""
    order: Order = field(default_factory=Order)
    silence_s: float = 0.0
    """Since the controller last wrote p_set or its heartbeat."""
    ambient_degc: float = 25.0
    bms_limit_factor: float = 1.0
    bms_alarm_level: int = 0
    pcs_trip: bool = False


def pcs_loss_kw(p_kw: float) -> float:
    """Return the conversion loss at AC power ``p_kw``: no-load, linear and square part, 98.2 % at 100 kW."""
    power = abs(p_kw)
    return 0.35 + 0.008 * power + 0.00007 * power * power


@dataclass(slots=True)
class Pcs:
    """The converter. ``dt_s`` is fixed because the dead time is a line of that many steps."""

    dt_s: float
    state: PcsState = PcsState.RUNNING
    p_kw: float = 0.0
    q_kvar: float = 0.0
    p_set_kw: float = 0.0
    """The setpoint in force: what was written, or 0 after the dead-man timer."""
    fault_word: int = 0
    igbt_degc: float = 25.0
    charged_kwh: float = 0.0
    """AC energy since the start."""
    discharged_kwh: float = 0.0
    _line: deque[float] = field(init=False, repr=False)
    _ramped_kw: float = field(default=0.0, repr=False)
    _expired_seq: int = field(default=-1, repr=False)
    _command_seq: int = field(default=0, repr=False)
    _starting_s: float = field(default=0.0, repr=False)
    _over_s: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        """Fill the dead time with zeros."""
        steps = max(1, round(DEAD_TIME_S / self.dt_s))
        self._line = deque([0.0] * steps, maxlen=steps)

    @property
    def p_dc_kw(self) -> float:
        """Power taken from the battery, discharge +."""
        if self.state in (PcsState.RUNNING, PcsState.STOPPING):
            return self.p_kw + pcs_loss_kw(self.p_kw)
        return 0.0

    def step(self, order: Order, silence_s: float) -> None:
        """Follow the order for one step."""
        if order.command_seq != self._command_seq:
            self._command_seq = order.command_seq
            self._command(order.command)
        self.p_set_kw = self._setpoint(order, silence_s)
        self._advance()
        target = self.p_set_kw if self.state is PcsState.RUNNING else 0.0
        delayed = self._line[0]
        self._line.append(target)
        self._follow(delayed, order.q_set_kvar)
        self._account()

    def protect(self, battery: Battery, trip: bool) -> None:
        """Trip on a lost DC side, a current far above the BMS limit, or an external cause."""
        limit = battery.discharge_limit_a if battery.current_a > 0.0 else battery.charge_limit_a
        over = abs(battery.current_a) > TRIP_FACTOR * limit + TRIP_A
        self._over_s = self._over_s + self.dt_s if over else 0.0
        word = FAULT_BMS_LIMIT * (self._over_s >= TRIP_S) | FAULT_EXTERNAL * trip
        if not battery.contactor and self.state in (PcsState.RUNNING, PcsState.STARTING):
            word |= FAULT_DC_LOST
        if word:
            self.fault_word |= word
            self.state = PcsState.FAULT
            self.p_kw = self.q_kvar = self._ramped_kw = 0.0

    def _setpoint(self, order: Order, silence_s: float) -> float:
        """Return the setpoint in force; after the dead-man time it is 0 until p_set is written anew."""
        if silence_s > order.deadman_s:
            self._expired_seq = order.seq
        if order.seq == self._expired_seq or not order.remote:
            return 0.0
        return min(max(order.p_set_kw, -P_MAX_KW), P_MAX_KW)

    def _command(self, command: int) -> None:
        """Act on a new command where the state allows it."""
        if command == Command.START and self.state in (PcsState.OFF, PcsState.STANDBY):
            self.state, self._starting_s = PcsState.STARTING, 0.0
        elif command == Command.STOP and self.state in (PcsState.STARTING, PcsState.RUNNING):
            self.state = PcsState.STOPPING
        elif command == Command.RESET and self.state is PcsState.FAULT:
            self.state, self.fault_word = PcsState.STANDBY, 0

    def _advance(self) -> None:
        """Move on from the states that end by themselves."""
        if self.state is PcsState.STARTING:
            self._starting_s += self.dt_s
            if self._starting_s >= START_S:
                self.state = PcsState.RUNNING
        elif self.state is PcsState.STOPPING and abs(self.p_kw) < STOPPED_KW:
            self.state, self.p_kw, self.q_kvar, self._ramped_kw = PcsState.STANDBY, 0.0, 0.0, 0.0

    def _follow(self, target_kw: float, q_set_kvar: float) -> None:
        """Ramp, lag and the kVA circle; active power goes first."""
        if self.state not in (PcsState.RUNNING, PcsState.STOPPING):
            return
        rise = RAMP_KW_PER_S * self.dt_s
        self._ramped_kw += min(max(target_kw - self._ramped_kw, -rise), rise)
        share = 1.0 - math.exp(-self.dt_s / LAG_S)
        self.p_kw += (self._ramped_kw - self.p_kw) * share
        room = math.sqrt(max(S_MAX_KVA**2 - self.p_kw**2, 0.0))
        goal = min(max(q_set_kvar, -room), room) if self.state is PcsState.RUNNING else 0.0
        self.q_kvar = min(max(self.q_kvar + (goal - self.q_kvar) * share, -room), room)

    def _account(self) -> None:
        """Count energy and warm the power stage."""
        energy = self.p_kw * self.dt_s / S_PER_H
        self.discharged_kwh += max(energy, 0.0)
        self.charged_kwh += max(-energy, 0.0)
        self.igbt_degc += (30.0 + 0.35 * abs(self.p_kw) - self.igbt_degc) * self.dt_s / 60.0


@dataclass(slots=True)
class Meter:
    """A meter that shows, every refresh, the mean since the last one, in its own resolution."""

    p_kw: float = 0.0
    q_kvar: float = 0.0
    v_v: float = VOLTAGE_V
    import_kwh: float = 0.0
    export_kwh: float = 0.0
    _p_sum: float = field(default=0.0, repr=False)
    _q_sum: float = field(default=0.0, repr=False)
    _time_s: float = field(default=0.0, repr=False)
    _import_kwh: float = field(default=0.0, repr=False)
    _export_kwh: float = field(default=0.0, repr=False)

    def step(self, p_kw: float, q_kvar: float, dt_s: float) -> None:
        """Measure one step; energy resolves 0.01 kWh."""
        self._p_sum += p_kw * dt_s
        self._q_sum += q_kvar * dt_s
        self._time_s += dt_s
        self._import_kwh += max(p_kw, 0.0) * dt_s / S_PER_H
        self._export_kwh += max(-p_kw, 0.0) * dt_s / S_PER_H
        if self._time_s < METER_REFRESH_S - dt_s / 2.0:
            return
        self.p_kw = _quantise(self._p_sum / self._time_s, METER_STEP_KW)
        self.q_kvar = _quantise(self._q_sum / self._time_s, METER_STEP_KW)
        self.v_v = _quantise(VOLTAGE_V - SOURCE_OHM * self.p_kw / (3.0 * VOLTAGE_V) * 1000.0, 0.1)
        self.import_kwh = _quantise(self._import_kwh, 0.01)
        self.export_kwh = _quantise(self._export_kwh, 0.01)
        self._p_sum = self._q_sum = self._time_s = 0.0


def _quantise(value: float, step: float) -> float:
    """Return ``value`` in whole steps."""
    return round(value / step) * step


@dataclass(slots=True)
class Plant:
    """The whole site. After each ``step`` its parts hold the new truth."""

    dt_s: float = 0.02
    battery: Battery = field(default_factory=Battery)
    pv_peak_kw: float = 60.0
    pcs: Pcs = field(init=False)
    meter: Meter = field(default_factory=Meter)
    pv_kw: float = 0.0
    pv_kwh: float = 0.0
    load_kw: float = 0.0
    grid_kw: float = 0.0
    grid_kvar: float = 0.0
    _reset_seq: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        """Build the PCS with the plant's step."""
        self.pcs = Pcs(self.dt_s)

    @property
    def grid_kva(self) -> float:
        """Apparent power through the transformer."""
        return math.hypot(self.grid_kw, self.grid_kvar)

    @property
    def pv_running(self) -> bool:
        """Whether the PV inverter feeds in."""
        return self.pv_kw > 0.0

    def step(self, inputs: Inputs) -> None:
        """Advance everything by ``dt_s``."""
        order = inputs.order
        self.pcs.step(order, inputs.silence_s)
        self.battery.step(
            self.pcs.p_dc_kw, self.dt_s, inputs.ambient_degc, inputs.bms_limit_factor, inputs.bms_alarm_level
        )
        self._reset(order)
        self.pcs.protect(self.battery, inputs.pcs_trip)
        self._step_pv(inputs)
        self.load_kw = inputs.load_kw
        self.grid_kw = inputs.load_kw + AUXILIARY_KW + TRANSFORMER_LOSS_KW - self.pv_kw - self.pcs.p_kw
        self.grid_kvar = inputs.load_kvar - self.pcs.q_kvar
        self.meter.step(self.grid_kw, self.grid_kvar, self.dt_s)

    def _reset(self, order: Order) -> None:
        """A fault reset of the PCS also asks the BMS to close its contactor again."""
        if order.command_seq != self._reset_seq:
            self._reset_seq = order.command_seq
            if order.command == Command.RESET:
                self.battery.reset()

    def _step_pv(self, inputs: Inputs) -> None:
        """Follow the sun and the curtailment limit; below PV_START_KW the inverter sleeps."""
        goal = min(inputs.pv_available_kw, inputs.pv_limit * self.pv_peak_kw)
        if goal < PV_START_KW:
            self.pv_kw = 0.0
            return
        self.pv_kw += (goal - self.pv_kw) * (1.0 - math.exp(-self.dt_s / PV_LAG_S))
        self.pv_kwh += self.pv_kw * self.dt_s / S_PER_H
