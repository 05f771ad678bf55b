"""The register codec against its specification in plain Python."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext.registers import KINDS, WORDS, Row, Table, crc16, encode

FORMATS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
WRITABLE = [KINDS.index(name) for name in ("u16", "i16", "u32", "i32", "f32", "f64")]
LIMITS = {"u16": (0, 65_535), "i16": (-32_768, 32_767), "u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1)}


def twin_value(row: Row, block: bytes) -> float:
    """The specification of one field: its value, or NaN when it is BAD."""
    name = KINDS[row.kind]
    if name == "bit":
        if row.at >= 8 * len(block):
            return math.nan
        real = float(block[row.at // 8] >> (row.at % 8) & 1)
    else:
        words = [block[i : i + 2] for i in range(row.at, row.at + 2 * WORDS[row.kind], 2)]
        if row.at + 2 * WORDS[row.kind] > len(block):
            return math.nan
        words = words[::-1] if row.low_word_first else words
        data = b"".join(word[::-1] if row.byte_swap else word for word in words)
        pattern = int.from_bytes(data, "big")
        if pattern in (row.na if isinstance(row.na, tuple) else (row.na,)):
            return math.nan
        if name.startswith("u"):
            real = float((pattern & row.mask) >> row.shift)
        else:
            real = float(struct.unpack(">" + FORMATS[name], data)[0])
    if row.codes:
        real = row.codes.get(real, math.nan)
    real = real * row.scale + row.add
    return real if math.isfinite(real) and row.lo <= real <= row.hi else math.nan


def decode(rows: list[Row], block: bytes) -> tuple[list[float], list[int], int]:
    value, quality = np.full(len(rows), 7.0), np.full(len(rows), 7, np.uint8)
    good = Table(rows).decode(block, value, quality)
    return value.tolist(), quality.tolist(), good


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-15, abs_tol=1e-300)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    kind = draw(st.integers(0, len(KINDS) - 1))
    unsigned = KINDS[kind].startswith("u")
    patterns = st.sampled_from([0, 0xFFFF, 0x8000, 0xFFFF_FFFF, 0x8000_0000, 0x7FC0_0000])
    numbers = st.sampled_from([0, 1, 255, 32_768, 65_535, -1, -32_768, 2**32 - 1]) | st.integers(-300, 70_000)
    meanings = st.dictionaries(numbers, st.integers(-5, 5).map(float), min_size=1, max_size=9)
    ends = sorted([draw(st.floats(-1e6, 1e6)), draw(st.floats(-1e6, 1e6))])
    lo, hi = ends if draw(st.booleans()) else (-math.inf, math.inf)
    return Row(
        kind=kind,
        at=draw(st.integers(0, 40)),
        low_word_first=draw(st.booleans()),
        byte_swap=draw(st.booleans()),
        mask=draw(st.integers(1, 2**64 - 1)) if unsigned and draw(st.booleans()) else 2**64 - 1,
        shift=draw(st.integers(0, 63)) if unsigned else 0,
        na=draw(st.just(-1) | patterns | st.lists(patterns, max_size=3).map(tuple)),
        scale=draw(st.sampled_from([1.0, 0.1, -0.1, 0.001, 10.0, -1.0])),
        add=draw(st.sampled_from([0.0, -40.0, 0.5])),
        lo=lo,
        hi=hi,
        codes=draw(st.just({}) | meanings),
    )


SPECIAL = b"\xff\xff\x80\x00\x7f\xc0\x00\x00\x00\x00\x7f\xf0\x7f\x80\x00\x00"
blocks = st.one_of(st.binary(max_size=48), st.lists(st.sampled_from(list(SPECIAL)), max_size=48).map(bytes))


@given(st.lists(rows(), max_size=12), blocks)
def test_the_kernel_is_its_twin(fields: list[Row], block: bytes) -> None:
    value, quality, good = decode(fields, block)
    wanted = [twin_value(row, block) for row in fields]
    assert all(same(a, b) for a, b in zip(value, wanted, strict=True)), (value, wanted)
    assert quality == [0 if math.isnan(x) else 3 for x in wanted]
    assert good == quality.count(3)


CASES = [
    # kind, bytes, options, value, why
    ("u16", "FFFF", {}, 65_535.0, "without a sentinel every pattern is a value"),
    ("u16", "FFFF", {"na": 0xFFFF}, None, "not available"),
    ("i16", "8000", {"na": 0x8000}, None, "not available, signed"),
    ("u16", "FFFE", {"na": (0xFFFF, 0xFFFE)}, None, "several patterns can say so"),
    ("u16", "FFFD", {"na": (0xFFFF, 0xFFFE)}, 65_533.0, "and the others are values"),
    ("u16", "0003", {"codes": {3: 7.0, 1: 2.0}}, 7.0, "a code means something else"),
    ("u16", "0002", {"codes": {3: 7.0, 1: 2.0}}, None, "a code that nobody knows"),
    ("u16", "0030", {"codes": {3: 7.0}, "mask": 0xF0, "shift": 4}, 7.0, "the code is a bit field"),
    ("i16", "FFFF", {"codes": {-1: 0.5}, "scale": 10.0}, 5.0, "the scale is that of the meaning"),
    ("bit", "04", {"at": 2, "codes": {1: 3.0}}, 3.0, "a coil has a meaning too"),
    ("i16", "FF38", {"scale": -0.1}, 20.0, "the sign convention is part of the scale"),
    ("u32", "0001 0000", {}, 65_536.0, "high word first"),
    ("u32", "0001 0000", {"low_word_first": True}, 1.0, "low word first"),
    ("u16", "3412", {"byte_swap": True}, 0x1234 * 1.0, "bytes exchanged"),
    ("u16", "00F0", {"mask": 0xF0, "shift": 4}, 15.0, "a bit field"),
    ("f32", "42C8 0000", {}, 100.0, "float"),
    ("f32", "0000 42C8", {"low_word_first": True}, 100.0, "float, low word first"),
    ("f32", "7FC0 0000", {}, None, "not a number"),
    ("f32", "7F80 0000", {}, None, "infinite"),
    ("f64", "4059 0000 0000 0000", {}, 100.0, "double"),
    ("i64", "FFFF FFFF FFFF FFFF", {}, -1.0, "negative, 64 bits"),
    ("u64", "FFFF FFFF FFFF FFFF", {}, 2.0**64, "as near as a float can be"),
    ("u16", "0065", {"lo": 0.0, "hi": 100.0}, None, "above its range"),
    ("i16", "FFFF", {"lo": 0.0, "hi": 100.0}, None, "below its range"),
    ("u16", "0064", {"lo": 0.0, "hi": 100.0}, 100.0, "the end of the range belongs to it"),
    ("u16", "0000", {"add": -40.0}, -40.0, "an offset"),
    ("u32", "0001", {}, None, "half a value is no value"),
    ("bit", "04", {"at": 2}, 1.0, "a coil"),
    ("bit", "04", {"at": 8}, None, "a coil that did not come"),
]


@pytest.mark.parametrize(("kind", "data", "options", "wanted", "why"), CASES)
def test_what_registers_mean(kind, data, options, wanted, why) -> None:
    value, quality, _ = decode([Row(**{"kind": KINDS.index(kind), "at": 0, **options})], bytes.fromhex(data))
    assert (value[0] == wanted) if wanted is not None else math.isnan(value[0])
    assert quality == [3 if wanted is not None else 0]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Row(9, 0), "there is no such kind"),
        (Row(1, -1), "before the block"),
        (Row(2, 0, mask=1), "a mask of a signed integer"),
        (Row(1, 0, shift=64), "shifted out"),
    ],
)
def test_a_row_that_cannot_be_is_refused(row: Row, why: str) -> None:
    with pytest.raises(ValueError):
        Table([row])


def test_buffers_of_the_wrong_length_are_refused() -> None:
    table = Table([Row(1, 0), Row(1, 2)])
    with pytest.raises(ValueError):
        table.decode(bytes(4), np.zeros(1), np.zeros(2, np.uint8))
    with pytest.raises(ValueError):
        table.decode(bytes(4), np.zeros(2), np.zeros(3, np.uint8))


def twin_encode(value: float, kind: int, scale: float) -> Fraction | None:
    """The specification of an integer setpoint: rounded towards zero, or None when it does not fit."""
    steps = value / scale
    near = round(steps)
    whole = near if abs(steps - near) <= 1e-6 else math.trunc(steps)
    lo, hi = LIMITS[KINDS[kind]]
    return Fraction(whole) if lo <= whole <= hi else None


@given(
    st.sampled_from(WRITABLE),
    st.floats(-1e6, 1e6) | st.integers(-40_000, 70_000).map(lambda n: n / 10),
    st.sampled_from([0.1, 1.0, -0.1, 0.01, 10.0]),
    st.booleans(),
    st.booleans(),
)
def test_a_setpoint_comes_back_and_never_asks_for_more(kind, value, scale, low_word_first, byte_swap) -> None:
    wanted = twin_encode(value, kind, scale) if KINDS[kind] in LIMITS else None
    if KINDS[kind] in LIMITS and wanted is None:
        with pytest.raises(ValueError):
            encode(value, kind, scale, low_word_first, byte_swap)
        return
    data = encode(value, kind, scale, low_word_first, byte_swap)
    assert len(data) == 2 * WORDS[kind]
    (back,), _, _ = decode([Row(kind, 0, low_word_first, byte_swap, scale=scale)], data)
    if wanted is not None:
        assert back == float(wanted) * scale
    assert abs(back) <= abs(value) * (1 + 1e-12) + 1.1e-6 * abs(scale)
    assert back == 0.0 or math.copysign(1.0, back) == math.copysign(1.0, value)
    assert abs(back - value) <= abs(scale) + abs(value) * 1e-6


@pytest.mark.parametrize(
    ("value", "scale", "kind", "data"),
    [
        (0.3, 0.1, "i16", "0003"),  # 2.9999999999999996 steps is three
        (50.09, 0.1, "i16", "01F4"),
        (-50.09, 0.1, "i16", "FE0C"),
        (-0.09, 0.1, "i16", "0000"),
        (110.0, 0.1, "i16", "044C"),
        (0.1, 1.0, "f32", "3DCC CCCC"),  # one below the nearest, which is above 0.1
    ],
)
def test_rounding_is_towards_zero(value, scale, kind, data) -> None:
    assert encode(value, KINDS.index(kind), scale) == bytes.fromhex(data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_what_no_register_holds_is_refused(value: float) -> None:
    for name in ("i16", "u32", "f32"):
        with pytest.raises(ValueError):
            encode(value, KINDS.index(name))


@pytest.mark.parametrize(("kind", "scale"), [("bit", 1.0), ("u64", 1.0), ("i64", 1.0), ("i16", 0.0)])
def test_what_cannot_be_written_is_refused(kind: str, scale: float) -> None:
    with pytest.raises(ValueError):
        encode(1.0, KINDS.index(kind), scale)


def twin_crc(data: bytes) -> int:
    """Modbus over serial line V1.02, 6.2.2, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


@given(st.binary(max_size=300))
def test_the_crc_is_its_twin(data: bytes) -> None:
    assert crc16(data) == twin_crc(data)


def test_the_crc_of_the_specification() -> None:
    assert crc16(b"\x02\x07") == 0x1241
