"""Values become registers as the vendors' maps say."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.board import SLOT, Board
from drivers.simulator.register import BMS, METER, PCS, PCS_SETTINGS, Register, encode, fill, signed

ALL = (*PCS, *PCS_SETTINGS, *BMS, *METER)


@pytest.mark.parametrize(
    ("kind", "step", "sign", "value", "words", "why"),
    [
        ("u16", 0.1, 1, 780.04, [7800], "rounded to the step"),
        ("i16", 0.1, 1, -12.3, [0xFF85], "two's complement"),
        ("i16", 0.1, -1, 12.3, [0xFF85], "the vendor counts charging as positive"),
        ("u32", 0.1, 1, 7000.1, [1, 4465], "high word first"),
        ("u32le", 0.1, 1, 7000.1, [4465, 1], "low word first"),
        ("f32", 0.001, 1, 123.45, [0x47F1, 0x1D00], "kW on the board, W in the register"),
        ("u16", 1.0, 1, math.nan, [0xFFFF], "not available"),
        ("i16", 1.0, 1, math.nan, [0x8000], "not available, signed"),
        ("u16", 1.0, 1, 1e9, [0xFFFE], "clips below the «not available» code"),
        ("u16", 1.0, 1, -5.0, [0], "clips at zero"),
        ("i16", 0.1, 1, -1e9, [0x8001], "clips above the «not available» code"),
    ],
)
def test_encode(kind: str, step: float, sign: int, value: float, words: list[int], why: str) -> None:
    assert encode(Register(0, kind, "x", step, sign), value) == words, why


@given(st.integers(-32768, 32767))
def test_signed_undoes_twos_complement(number: int) -> None:
    assert signed(number & 0xFFFF) == number


@given(value=st.floats(-3000.0, 3000.0), register=st.sampled_from([r for r in ALL if r.kind == "i16"]))
def test_i16_round_trip_is_within_half_a_step(value: float, register: Register) -> None:
    word = signed(encode(register, value)[0]) * register.sign
    assert abs(word * register.step - value) <= register.step / 2 + 1e-9


@pytest.mark.parametrize("register", ALL, ids=lambda r: f"{r.point}@{r.address}")
def test_every_register_has_its_slot(register: Register) -> None:
    assert register.point in SLOT


@pytest.mark.parametrize("table", [PCS, PCS_SETTINGS, BMS, METER])
def test_registers_do_not_overlap(table: tuple[Register, ...]) -> None:
    taken = [r.address + i for r in table for i in range(len(encode(r, 0.0)))]
    assert len(taken) == len(set(taken))


def test_fill_places_values_by_address(board: Board) -> None:
    board["pcs-1/p_kw"], board["pcs-1/e_charged_kwh"] = -3.0, 6553.7
    registers = [9] * 14
    fill(registers, 100, PCS, board)
    assert signed(registers[2]) == -30
    assert registers[10:12] == [1, 1]
    assert registers[13] == 9, "nothing is written beyond the table"


def test_meter_floats_are_ieee_high_word_first(board: Board) -> None:
    board["meter-1/p_kw"] = 61.5
    registers = [0] * 102
    fill(registers, 0, METER, board)
    assert struct.unpack(">f", struct.pack(">HH", *registers[52:54]))[0] == 61500.0
