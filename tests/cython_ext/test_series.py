"""The packing kernels: lossless to the bit, and byte for byte what a plain Python twin writes."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cython_ext import series

MASK = (1 << 64) - 1
integers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)
floats = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40)
registers = st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=40)
scales = st.sampled_from(series.SCALES)


def twin_integers(values: list[int]) -> bytes:
    """Pack integers the slow way."""
    out, before = bytearray(), 0
    for value in values:
        delta = (value - before) & MASK
        before = value
        delta = ((delta << 1) & MASK) ^ (MASK if delta >> 63 else 0)
        while delta >= 0x80:
            out.append(delta & 0x7F | 0x80)
            delta >>= 7
        out.append(delta)
    return bytes(out)


def twin_patterns(patterns: list[int]) -> bytes:
    """Pack bit patterns the slow way."""
    head, body, before = bytearray(), bytearray(), 0
    for pattern in patterns:
        change = (pattern ^ before).to_bytes(8, "little")
        before = pattern
        kept = change.strip(b"\0")
        below = len(change) - len(change.lstrip(b"\0")) if kept else 0
        head.append(below << 4 | len(kept))
        body += kept
    return bytes(head + body)


def bits(values: NDArray[np.float64]) -> list[int]:
    """Return the bit patterns, so that NaN equals NaN and -0.0 differs from 0.0."""
    return [int(pattern) for pattern in np.asarray(values).view(np.uint64)]


@given(integers)
def test_integers_come_back_and_equal_the_twin(values: list[int]) -> None:
    packed = series.pack_integers(np.array(values, np.int64))
    assert packed == twin_integers(values)
    assert series.unpack_integers(packed, len(values)).tolist() == values


@given(floats, scales)
def test_any_floats_come_back_bit_for_bit(values: list[float], scale: float) -> None:
    column = np.array(values, np.float64)
    assert bits(series.unpack(series.pack(column, scale), len(values))) == bits(column)


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=40))
def test_any_bit_pattern_comes_back(patterns: list[int]) -> None:
    column = np.array(patterns, np.uint64).view(np.float64)
    assert bits(series.unpack(series.pack(column, 1.0), len(patterns))) == patterns


@given(registers, scales)
def test_scaled_registers_take_the_integer_route_and_equal_the_twin(raw: list[int], scale: float) -> None:
    packed = series.pack(np.array(raw, np.float64) * scale, scale)
    assert packed == struct.pack("<Bd", 0, scale) + twin_integers(raw)


@given(registers, scales)
def test_divided_registers_take_an_integer_route(raw: list[int], scale: float) -> None:
    column = np.array(raw, np.float64) / round(1 / scale)
    packed = series.pack(column, scale)
    assert packed[0] in (0, 1)
    assert packed[9:] == twin_integers(raw)
    assert bits(series.unpack(packed, len(raw))) == bits(column)


@given(
    st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=40), st.sampled_from([1.0, 0.001])
)
def test_scaled_singles_come_back(values: list[float], scale: float) -> None:
    column = np.array(values, np.float64) * scale
    packed = series.pack(column, scale)
    assert bits(series.unpack(packed, len(values))) == bits(column)


@given(st.lists(st.floats(), min_size=1, max_size=40))
def test_the_raw_route_equals_the_twin(values: list[float]) -> None:
    column = np.array([*values, math.inf], np.float64)  # infinity fits no other route
    assert series.pack(column, 1.0) == struct.pack("<Bd", 3, 1.0) + twin_patterns(bits(column))


@pytest.mark.parametrize(
    ("says", "values", "scale", "route"),
    [
        ("whole numbers need the step 1", [0.0, 1.0, 70000.0], 1.0, 0),
        ("tenths as a register times 0.1", [3 * 0.1, 7 * 0.1], 0.1, 0),
        ("tenths as a division", [0.3, 0.7], 0.1, 1),
        ("watts as float32, shown in kW", [float(np.float32(12345.67)) * 0.001], 1.0, 3),
        ("the same with the right scale", [float(np.float32(12345.67)) * 0.001], 0.001, 2),
        ("minus zero is not zero", [-0.0, 1.0], 1.0, 2),
        ("not a number", [math.nan, 1.0], 1.0, 3),
    ],
)
def test_routes(says: str, values: list[float], scale: float, route: int) -> None:
    column = np.array(values)
    packed = series.pack(column, scale)
    assert packed[0] == route, says
    assert bits(series.unpack(packed, len(values))) == bits(column), says


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 2.0], 1.0),
        ([0.1 * 3, 2.0], 0.1),
        ([0.3, 2.0], 0.1),
        ([0.01 * 7], 0.01),
        ([float(np.float32(0.1)) * 0.001, float(np.float32(7e5 / 3)) * 0.001], 0.001),
        ([math.pi], 1.0),
        ([], 1.0),
    ],
)
def test_best_scale_finds_the_step(values: list[float], scale: float) -> None:
    assert series.best_scale(np.array(values, np.float64)) == scale


def test_a_quiet_column_costs_a_byte_per_value() -> None:
    column = 50.0 + np.cumsum(np.random.default_rng(1).integers(-3, 4, 600)) * 1.0
    assert len(series.pack(column * 0.1, 0.1)) <= 9 + 600 + 2


@given(st.binary(max_size=60), st.integers(0, 20))
def test_garbage_is_refused_or_decoded_but_never_read_beyond(data: bytes, size: int) -> None:
    for unpack in (series.unpack, series.unpack_integers):
        try:
            assert len(unpack(data, size)) == size
        except ValueError:
            pass


@pytest.mark.parametrize("cut", [1, 5])
def test_a_short_column_is_refused(cut: int) -> None:
    packed = series.pack(np.array([math.pi, math.e]), 1.0)
    with pytest.raises(ValueError, match="column"):
        series.unpack(packed[:-cut], 2)
    with pytest.raises(ValueError, match="column"):
        series.unpack_integers(series.pack_integers(np.array([1, 300], np.int64))[:-1], 2)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        series.pack(np.array([1.0]), scale)
