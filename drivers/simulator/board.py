"""The board that the simulator's processes share, and the trace of what the devices have shown.

Two memory-mapped files in one work directory. ``board`` is a vector of named float64 slots; every slot has
one writer and is aligned, so a read is always one whole value. ``trace`` is a ring of rows, one per step of
the plant, each holding exactly what the devices show from then until the next row.
"""

import mmap
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.02
"""Step of the plant, and so the time resolution of the trace."""
TRACE_ROWS = 100_000
"""33 minutes."""

SHOWN: dict[str, tuple[str, ...]] = {
    "pcs-1": (
        *("state", "fault_word", "p_kw", "q_kvar", "dc_v", "dc_a", "igbt_degc", "heartbeat"),
        *("e_discharged_kwh", "e_charged_kwh", "frequency_hz"),
        *("p_set_kw", "q_set_kvar", "controller_heartbeat", "dead_man_s", "remote"),
    ),
    "bms-1": (
        *("state", "alarm_word", "alarm_level", "dc_v", "dc_a", "soc", "soh", "charge_limit_a"),
        *("discharge_limit_a", "cell_v_max", "cell_v_min", "cell_degc_max", "cell_degc_min"),
        *("insulation_kohm", "heartbeat", "contactor", "e_charged_kwh", "e_discharged_kwh"),
    ),
    "meter-1": ("v_l1", "p_kw", "q_kvar", "frequency_hz", "e_import_kwh", "e_export_kwh"),
    "pv-1": ("p_kw", "q_kvar", "e_export_kwh", "state", "irradiance_w_m2", "heartbeat", "p_limit_ratio"),
    "truth": ("load_kw", "pv_kw", "battery_kw", "grid_kw", "grid_kvar", "soc", "utc_s"),
}
"""What each device shows, in the gateway's units and signs, vendor codes as they are; written by the plant.
The rows of the trace have the same columns. ``truth`` is what really is, without meters and rounding."""

ORDERS = {
    "command/p_set_kw": 0.0,
    "command/q_set_kvar": 0.0,
    "command/p_seq": 0.0,
    "command/code": 0.0,
    "command/seq": 0.0,
    "command/alive_s": 0.0,
    "command/heartbeat": 0.0,
    "command/dead_man_s": 5.0,
    "command/remote": 1.0,
    "command/pv_limit": 1.0,
}
"""What controllers have written, with monotonic times; written by the devices."""

FAULTS = {
    **{f"{device}/silent": 0.0 for device in ("pcs-1", "bms-1", "meter-1", "pv-1")},
    **{f"{device}/late_s": 0.0 for device in ("pcs-1", "bms-1", "meter-1")},
    **{f"{device}/freeze": 0.0 for device in ("pcs-1", "bms-1", "meter-1", "pv-1")},
    **{
        f"wire-{device}/{what}": 0.0 for device in ("bms-1", "meter-1") for what in ("cut", "drop", "corrupt")
    },
    **{f"wire-{device}/delay_s": 0.0 for device in ("bms-1", "meter-1")},
    "pcs-1/local": 0.0,
    "pcs-1/trip": 0.0,
    "pcs-1/ignore": 0.0,
    "pcs-1/invert": 0.0,
    "bms-1/alarm_level": 0.0,
    "bms-1/limit_factor": 1.0,
    "bms-1/insulation_kohm": 2000.0,
    "site/load_kw": float("nan"),
    "site/load_extra_kw": 0.0,
    "site/pv_kw": float("nan"),
    "site/ambient_degc": 25.0,
    "site/frequency_offset_hz": 0.0,
}
"""Switches for tests and demonstrations, with their healthy values; written by ``fault``.

silent 1: requests are neither carried out nor answered (pv-1: the whole process hangs) · late_s: answers come
so much later · freeze 1: the heartbeat stands still, 2: every value stands still · local 1: switched to local
on site · ignore 1: setpoints are taken and shown, but the power stays as it is · invert 1: they are followed
with the wrong sign · cut 1: nothing passes · drop, corrupt: share of bytes lost or changed · site/load_kw,
site/pv_kw: replaces the recorded load and the sky's PV (nan: do not)."""

KINDS = ("export", "import", "transformer", "soc_low", "soc_high", "pcs", "bms_current")
VIOLATIONS = {f"{kind}/{what}": 0.0 for kind in KINDS for what in ("count", "seconds", "worst")}

_TRACE_COUNT = "trace/count"
COLUMNS = tuple(f"{device}/{point}" for device, points in SHOWN.items() for point in points)
DEFAULTS = {
    **dict.fromkeys(COLUMNS, 0.0), **ORDERS, **{f"fault/{k}": v for k, v in FAULTS.items()},
    **{f"violation/{k}": v for k, v in VIOLATIONS.items()}, _TRACE_COUNT: 0.0,
}  # fmt: skip
SLOT = {name: index for index, name in enumerate(DEFAULTS)}
ROW = np.dtype([("t_ns", "<i8"), ("value", "<f8", (len(COLUMNS),))])
TRACE = np.dtype([("t_ns", "<i8"), *((name, "<f8") for name in COLUMNS)])
"""The same row with one named field per column."""


class Board:
    """The shared slots, by name."""

    def __init__(self, directory: Path) -> None:
        """Map the existing board."""
        self.values: NDArray[np.float64] = np.frombuffer(_map(directory / "board", len(SLOT) * 8), np.float64)

    def __getitem__(self, name: str) -> float:
        return float(self.values[SLOT[name]])

    def __setitem__(self, name: str, value: float) -> None:
        self.values[SLOT[name]] = value

    def fault(self, name: str) -> float:
        """Return the position of a fault switch."""
        return float(self.values[SLOT[f"fault/{name}"]])


class Trace:
    """The ring of rows; one writer, any number of readers."""

    def __init__(self, directory: Path, board: Board) -> None:
        """Map the existing ring."""
        self._board = board
        self._rows: NDArray[Any] = np.frombuffer(_map(directory / "trace", TRACE_ROWS * ROW.itemsize), ROW)
        self._t_ns, self._value = self._rows["t_ns"], self._rows["value"]
        self._count = int(board[_TRACE_COUNT])

    def append(self, t_ns: int, values: NDArray[np.float64]) -> None:
        """Store one row: ``values`` (columns,) shown from ``t_ns`` on."""
        place = self._count % TRACE_ROWS
        self._t_ns[place] = t_ns
        self._value[place] = values
        self._count += 1
        self._board[_TRACE_COUNT] = self._count

    def read(self) -> NDArray[Any]:
        """Return a copy of all rows in the order of time, dtype TRACE."""
        count = int(self._board[_TRACE_COUNT])
        if count < TRACE_ROWS:
            return self._rows[:count].copy().view(TRACE)
        place = count % TRACE_ROWS
        # The row that may be overwritten right now is the oldest one: leave it out.
        return np.concatenate((self._rows[place + 1 :], self._rows[:place])).view(TRACE)


def create(directory: Path) -> Board:
    """Make both files with healthy defaults if they are not there, and return the board."""
    directory.mkdir(parents=True, exist_ok=True)
    trace, board = directory / "trace", directory / "board"
    if not board.exists():
        with trace.open("wb") as file:
            file.truncate(TRACE_ROWS * ROW.itemsize)
        new = directory / f"board.{os.getpid()}"
        new.write_bytes(np.array(list(DEFAULTS.values()), np.float64).tobytes())
        new.rename(board)
    return Board(directory)


def wait_for(directory: Path, wait_s: float = 10.0) -> Board:
    """Return the board as soon as it is there.

    Raises:
        FileNotFoundError: it did not come in ``wait_s``.
    """
    deadline = time.monotonic() + wait_s
    while not (directory / "board").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return Board(directory)


def _map(path: Path, size: int) -> mmap.mmap:
    """Map a file for reading and writing."""
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)
