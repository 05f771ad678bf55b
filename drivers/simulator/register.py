"""The register maps that the simulated Modbus devices serve, and how a value becomes registers.

This is the devices' side, written from the vendors' point of view and on purpose not shared with the
catalogue of the drivers: two independent readings of one map find each other's mistakes.
"""

import math
import struct
from dataclasses import dataclass

from drivers.simulator.board import Board


@dataclass(frozen=True, slots=True)
class Register:
    """One value in a device's map."""

    address: int
    kind: str
    """u16, i16, u32 (high word first), u32le (low word first) or f32 (high word first)."""
    point: str
    """Name on the board."""
    step: float = 1.0
    """Value of one count; for f32 the factor to the device's unit."""
    sign: int = 1
    """-1 where the vendor counts the other way round than the board."""


_PACK = {"u16": ">H", "i16": ">h", "u32": ">I", "u32le": ">I", "f32": ">f"}
_RANGE = {
    "u16": (0, 0xFFFE),
    "i16": (-0x7FFF, 0x7FFF),
    "u32": (0, 0xFFFF_FFFE),
    "u32le": (0, 0xFFFF_FFFE),
}
_MISSING = {"u16": 0xFFFF, "i16": -0x8000, "u32": 0xFFFF_FFFF, "u32le": 0xFFFF_FFFF}

PCS = (
    Register(100, "u16", "pcs-1/state"),
    Register(101, "u16", "pcs-1/fault_word"),
    Register(102, "i16", "pcs-1/p_kw", 0.1),
    Register(103, "i16", "pcs-1/q_kvar", 0.1),
    Register(104, "u16", "pcs-1/dc_v", 0.1),
    Register(105, "i16", "pcs-1/dc_a", 0.1),
    Register(106, "i16", "pcs-1/igbt_degc", 0.1),
    Register(107, "u16", "pcs-1/heartbeat"),
    Register(108, "u32", "pcs-1/e_discharged_kwh", 0.1),
    Register(110, "u32", "pcs-1/e_charged_kwh", 0.1),
    Register(112, "u16", "pcs-1/frequency_hz", 0.01),
)
"""Holding registers that only read; 200-205 are written and live in ``pcs``."""

PCS_SETTINGS = (
    Register(200, "i16", "pcs-1/p_set_kw", 0.1),
    Register(201, "i16", "pcs-1/q_set_kvar", 0.1),
    Register(202, "u16", "command/code"),
    Register(203, "u16", "pcs-1/controller_heartbeat"),
    Register(204, "u16", "pcs-1/dead_man_s"),
    Register(205, "u16", "pcs-1/remote"),
)

BMS = (
    Register(0, "u16", "bms-1/state"),
    Register(1, "u16", "bms-1/alarm_word"),
    Register(2, "u16", "bms-1/alarm_level"),
    Register(3, "u16", "bms-1/dc_v", 0.1),
    Register(4, "i16", "bms-1/dc_a", 0.1, -1),
    Register(5, "u16", "bms-1/soc", 0.001),
    Register(6, "u16", "bms-1/soh", 0.001),
    Register(7, "u16", "bms-1/charge_limit_a", 0.1),
    Register(8, "u16", "bms-1/discharge_limit_a", 0.1),
    Register(9, "u16", "bms-1/cell_v_max", 0.001),
    Register(10, "u16", "bms-1/cell_v_min", 0.001),
    Register(11, "i16", "bms-1/cell_degc_max", 0.1),
    Register(12, "i16", "bms-1/cell_degc_min", 0.1),
    Register(13, "u16", "bms-1/insulation_kohm"),
    Register(14, "u16", "bms-1/heartbeat"),
    Register(15, "u16", "bms-1/contactor"),
    Register(16, "u32le", "bms-1/e_charged_kwh", 0.1),
    Register(18, "u32le", "bms-1/e_discharged_kwh", 0.1),
)

METER = (
    Register(0, "f32", "meter-1/v_l1"),
    Register(52, "f32", "meter-1/p_kw", 0.001),
    Register(60, "f32", "meter-1/q_kvar", 0.001),
    Register(70, "f32", "meter-1/frequency_hz"),
    Register(72, "f32", "meter-1/e_import_kwh"),
    Register(74, "f32", "meter-1/e_export_kwh"),
)
METER_SIZE = 382
"""Addresses 0..381; what is not in METER reads 0.0."""


def encode(register: Register, value: float) -> list[int]:
    """Return the registers of a value; nan becomes the device's «not available», the ends clip."""
    if register.kind == "f32":
        packed = struct.pack(">f", register.sign * value / register.step)
    elif math.isnan(value):
        packed = struct.pack(_PACK[register.kind], _MISSING[register.kind])
    else:
        low, high = _RANGE[register.kind]
        count = register.sign * round(value / register.step)
        packed = struct.pack(_PACK[register.kind], min(max(count, low), high))
    words = [int.from_bytes(packed[i : i + 2], "big") for i in range(0, len(packed), 2)]
    return words[::-1] if register.kind == "u32le" else words


def signed(word: int) -> int:
    """Return a register as i16."""
    return word - 0x10000 if word >= 0x8000 else word


def fill(registers: list[int], first: int, table: tuple[Register, ...], board: Board) -> None:
    """Bring ``registers``, of which [0] has the address ``first``, up to what the board shows now."""
    for register in table:
        words = encode(register, board[register.point])
        place = register.address - first
        registers[place : place + len(words)] = words
