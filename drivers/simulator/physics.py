"""The process that is the plant: steps the physics in real time and shows the result on the board.

It reads what controllers have ordered and which faults are switched on, and writes everything else: what the
devices show, the truth, the trace and the violations. Steps are on absolute deadlines; after a stall all
missed steps are made up for, because physics does not wait.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from drivers.simulator.board import COLUMNS, KINDS, SHOWN, SLOT, STEP_S, Board, Trace, create
from drivers.simulator.load import KVAR_PER_KW, Variation, load_at, read_year
from drivers.simulator.violation import Judge, Limits
from models.battery import Battery
from models.plant import Inputs, Order, PcsState, Plant
from models.solar import Clouds, clear_sky_w_per_m2, pv_kw, zenith_cosine

FREQUENCY_HZ, FREQUENCY_NOISE_HZ, FREQUENCY_NOISE_S = 50.0, 0.02, 20.0
SLOW_S = 1.0
"""The recorded load and the sun are looked up so often."""
OFFLINE, READY, RUN, FAULT = 0, 1, 2, 3
"""State codes of the BMS."""
PV_STANDBY, PV_RUNNING = 1, 3
_STARTS = {device: COLUMNS.index(f"{device}/{points[0]}") for device, points in SHOWN.items()}
_PART = {device: slice(start, start + len(SHOWN[device])) for device, start in _STARTS.items()}
"""Where each device's values lie in a row."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How the simulated site starts."""

    soc: float = 0.5
    seed: int = 1
    utc_s: float | None = None
    """POSIX time of the site's clock at the start; the real clock when None."""
    limits: Limits = field(default_factory=Limits)


class Weather:
    """Load, sky and grid frequency: what comes from outside, as one seeded process."""

    def __init__(self, seed: int) -> None:
        """Seed each source on its own, so that one does not shift the others."""
        load, sky, grid = (np.random.default_rng((seed, part)) for part in range(3))
        self._year = read_year()
        self._variation, self._clouds, self._grid = Variation(load), Clouds(sky), grid
        self._base_kw = self._clear_w_per_m2 = 0.0
        self._next_s = -np.inf
        self.load_kw = self.irradiance_w_per_m2 = self._drift_hz = 0.0
        self.frequency_hz = FREQUENCY_HZ

    def step(self, utc_s: float, dt_s: float) -> None:
        """Advance to ``utc_s``."""
        if utc_s >= self._next_s:
            self._next_s = utc_s + SLOW_S
            self._base_kw = load_at(self._year, utc_s)
            self._clear_w_per_m2 = clear_sky_w_per_m2(zenith_cosine(utc_s))
        self.load_kw = self._base_kw + self._variation.step(self._base_kw, dt_s)
        self.irradiance_w_per_m2 = self._clear_w_per_m2 * self._clouds.step(dt_s)
        kick = FREQUENCY_NOISE_HZ * (2.0 * dt_s / FREQUENCY_NOISE_S) ** 0.5
        self._drift_hz += (
            kick * float(self._grid.standard_normal()) - self._drift_hz * dt_s / FREQUENCY_NOISE_S
        )
        self.frequency_hz = FREQUENCY_HZ + self._drift_hz


class Simulation:
    """Plant, weather and judge on one board; ``step`` is one turn."""

    def __init__(self, board: Board, trace: Trace, setup: Setup) -> None:
        """Start at rest."""
        self.plant = Plant(STEP_S, Battery(soc=setup.soc))
        self._board, self._trace, self._weather = board, trace, Weather(setup.seed)
        self._judge = Judge(setup.limits, STEP_S)
        self._order, self._inputs = Order(), Inputs()
        self._shown = np.zeros(len(COLUMNS))
        self._counter = dict.fromkeys(SHOWN, 0)
        self._run_s = 0.0

    def step(self, mono_s: float, utc_s: float) -> None:
        """Advance physics by one step to ``mono_s`` (CLOCK_MONOTONIC) and ``utc_s``."""
        self._run_s += STEP_S
        self._weather.step(utc_s, STEP_S)
        self._read(mono_s)
        self.plant.step(self._inputs)
        self._judge.see(self.plant)
        self._compose(utc_s)

    def show(self) -> None:
        """Put the newest state on the trace and then on the board."""
        values = self._board.values
        self._trace.append(time.monotonic_ns(), self._shown)
        values[: len(COLUMNS)] = self._shown
        for kind in KINDS:
            tally, first = self._judge.tallies[kind], SLOT[f"violation/{kind}/count"]
            values[first : first + 3] = tally.count, tally.seconds, tally.worst

    def _read(self, mono_s: float) -> None:
        """Take the orders and the faults from the board."""
        board, order, inputs = self._board, self._order, self._inputs
        fault = board.fault
        order.seq, order.p_set_kw = int(board["command/p_seq"]), board["command/p_set_kw"]
        order.q_set_kvar = board["command/q_set_kvar"]
        order.command_seq, order.command = int(board["command/seq"]), int(board["command/code"])
        order.deadman_s = board["command/dead_man_s"]
        order.remote = board["command/remote"] == 1.0 and not fault("pcs-1/local")
        inputs.order, inputs.silence_s = order, mono_s - board["command/alive_s"]
        base_kw, sky_kw = fault("site/load_kw"), fault("site/pv_kw")
        load_kw = self._weather.load_kw if np.isnan(base_kw) else base_kw
        inputs.load_kw = load_kw + fault("site/load_extra_kw")
        inputs.load_kvar = inputs.load_kw * KVAR_PER_KW
        natural_kw = pv_kw(self._weather.irradiance_w_per_m2, self.plant.pv_peak_kw)
        inputs.pv_available_kw = natural_kw if np.isnan(sky_kw) else sky_kw
        inputs.pv_limit = board["command/pv_limit"]
        inputs.ambient_degc = fault("site/ambient_degc")
        inputs.bms_limit_factor = fault("bms-1/limit_factor")
        inputs.bms_alarm_level = int(fault("bms-1/alarm_level"))
        inputs.pcs_trip = fault("pcs-1/trip") != 0.0

    def _compose(self, utc_s: float) -> None:
        """Work out what every device shows now; a frozen device keeps what it had."""
        plant = self.plant
        grid = plant.grid_kw, plant.grid_kvar
        truth = (plant.load_kw, plant.pv_kw, plant.pcs.p_kw, *grid, plant.battery.soc, utc_s)
        frequency = self._weather.frequency_hz + self._board.fault("site/frequency_offset_hz")
        new = {
            "pcs-1": self._pcs(frequency),
            "bms-1": self._bms(),
            "meter-1": self._meter(frequency),
            "pv-1": self._pv(),
            "truth": truth,
        }
        for device, values in new.items():
            if device == "truth" or self._board.fault(f"{device}/freeze") < 2.0:
                self._shown[_PART[device]] = values

    def _heartbeat(self, device: str) -> int:
        """Return the device's 16-bit counter of seconds; it stands still while frozen."""
        if not self._board.fault(f"{device}/freeze"):
            self._counter[device] = int(self._run_s) & 0xFFFF
        return self._counter[device]

    def _pcs(self, frequency_hz: float) -> tuple[float, ...]:
        pcs, battery, board = self.plant.pcs, self.plant.battery, self._board
        voltage = battery.voltage_v if battery.contactor else 0.0
        measured = pcs.state, pcs.fault_word, pcs.p_kw, pcs.q_kvar, voltage, battery.current_a, pcs.igbt_degc
        counted = self._heartbeat("pcs-1"), pcs.discharged_kwh, pcs.charged_kwh, frequency_hz
        kept = board["command/heartbeat"], board["command/dead_man_s"], float(self._order.remote)
        return (*measured, *counted, pcs.p_set_kw, self._order.q_set_kvar, *kept)

    def _bms(self) -> tuple[float, ...]:
        b, board = self.plant.battery, self._board
        running = self.plant.pcs.state in (PcsState.RUNNING, PcsState.STOPPING)
        state = FAULT if b.latched else RUN if running and b.contactor else READY
        level = b.alarm_word, b.alarm_level
        cells = b.cell_v_max, b.cell_v_min, b.cell_degc_max, b.cell_degc_min
        limits = b.charge_limit_a, b.discharge_limit_a
        rest = board.fault("bms-1/insulation_kohm"), self._heartbeat("bms-1"), float(b.contactor)
        energy = b.charged_kwh, b.discharged_kwh
        return (state, *level, b.voltage_v, b.current_a, b.soc, b.soh, *limits, *cells, *rest, *energy)

    def _meter(self, frequency_hz: float) -> tuple[float, ...]:
        m = self.plant.meter
        self._heartbeat("meter-1")
        return (m.v_v, m.p_kw, m.q_kvar, round(frequency_hz, 2), m.import_kwh, m.export_kwh)

    def _pv(self) -> tuple[float, ...]:
        plant, limit = self.plant, self._board["command/pv_limit"]
        state = PV_RUNNING if plant.pv_running else PV_STANDBY
        sky = self._weather.irradiance_w_per_m2
        return (plant.pv_kw, 0.0, plant.pv_kwh, state, sky, self._heartbeat("pv-1"), limit)


def run(directory: Path, setup: Setup) -> None:
    """Step for ever."""
    board = create(directory)
    simulation = Simulation(board, Trace(directory, board), setup)
    start_s, clock_s = time.monotonic(), time.time() if setup.utc_s is None else setup.utc_s
    step = 0
    while True:
        now_s = time.monotonic()
        while start_s + step * STEP_S <= now_s:
            run_s = step * STEP_S
            simulation.step(start_s + run_s, clock_s + run_s)
            step += 1
        simulation.show()
        time.sleep(max(0.0, start_s + step * STEP_S - time.monotonic()))
