"""From a power to registers: every way in which products take a setpoint."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog.product import Register, SetRow
from drivers.modbus.setting import Setting


def nothing(name: str) -> float:
    return math.nan


def pdus(rows, p_kw: float, value_of=nothing) -> list[tuple[int, int, bytes]]:
    """Return unit, address and data of each write, read from the bytes."""
    result = []
    for request in Setting(1, rows, value_of).requests(p_kw):
        fn, address = struct.unpack_from(">BH", request.pdu)
        result.append((request.unit, address, request.pdu[3:] if fn == 6 else request.pdu[6:]))
    return result


def row(value: str, fn: int = 6, address: int = 1, **more) -> SetRow:
    per, by_sign = more.pop("per", ""), more.pop("by_sign", (0.0, 0.0, 0.0))
    constant = more.pop("constant", 0.0)
    return SetRow(Register(fn, address, **more), value, constant, by_sign, per)


CASES = [
    ("signed", [row("p_kw", type="i16", scale=0.1)], -12.34, [(1, 1, struct.pack(">h", -123))]),
    (
        "the other sign convention",
        [row("p_kw", type="i16", scale=-0.001)],
        1.5,
        [(1, 1, struct.pack(">h", -1500))],
    ),
    ("charge power of a charge", [row("charge_kw", scale=0.01)], -2.0, [(1, 1, struct.pack(">H", 200))]),
    ("charge power of a discharge", [row("charge_kw", scale=0.01)], 2.0, [(1, 1, struct.pack(">H", 0))]),
    ("discharge power of a charge", [row("discharge_kw")], -2.0, [(1, 1, struct.pack(">H", 0))]),
    (
        "mode, direction and magnitude, in this order",
        [
            row("constant", address=5, constant=2.0),
            row("by_sign", address=6, by_sign=(0xAA, 0xCC, 0xBB)),
            row("magnitude_kw", address=7, scale=0.001),
        ],
        -3.0,
        [(1, 5, b"\0\2"), (1, 6, b"\0\xaa"), (1, 7, struct.pack(">H", 3000))],
    ),
    ("no direction", [row("by_sign", by_sign=(1, 0, 2))], 0.0, [(1, 1, b"\0\0")]),
    ("discharge", [row("by_sign", by_sign=(1, 0, 2))], 0.1, [(1, 1, b"\0\2")]),
    (
        "neighbours of function 16 are one write",
        [row("charge_kw", 16, 10, type="u32"), row("discharge_kw", 16, 12, type="i32", low_word_first=True)],
        -7.0,
        [(1, 10, struct.pack(">I", 7) + struct.pack(">I", 0))],
    ),
    (
        "not over a gap",
        [row("charge_kw", 16, 10), row("charge_kw", 16, 12)],
        -7.0,
        [(1, 10, b"\0\7"), (1, 12, b"\0\7")],
    ),
    ("on another unit", [row("p_kw", type="i16", unit_id=9)], 3.0, [(9, 1, b"\0\3")]),
    ("a float", [row("p_kw", 16, type="f32")], 1.5, [(1, 1, struct.pack(">f", 1.5))]),
]


@pytest.mark.parametrize(("why", "rows", "p_kw", "expected"), CASES, ids=[case[0] for case in CASES])
def test_what_is_written(why, rows, p_kw, expected) -> None:
    assert pdus(rows, p_kw) == expected


def test_a_ratio_of_a_point_and_a_scale_factor_of_another() -> None:
    rows = [row("discharge_kw", 16, type="u16", per="max_kw", scale=0.01, power_of_ten="sf")]
    values = {"max_kw": 50.0, "sf": -2.0}
    assert pdus(rows, 10.0, values.__getitem__) == [(1, 1, struct.pack(">H", 2000))]


@pytest.mark.parametrize("missing", ["max_kw", "sf"])
@pytest.mark.parametrize("value", [math.nan, 0.0, -5.0])
def test_what_depends_on_an_unknown_point_is_not_written(missing: str, value: float) -> None:
    rows = [row("discharge_kw", per="max_kw", scale=0.01, power_of_ten="sf")]
    values = {"max_kw": 50.0, "sf": 0.0, missing: value}
    if missing == "sf" and not math.isnan(value):
        return
    with pytest.raises(ValueError, match=missing):
        pdus(rows, 10.0, values.__getitem__)


@pytest.mark.parametrize("exponent", [400.0, -400.0, 11.0, -11.0, math.inf])
def test_an_exponent_that_no_device_means_is_not_known(exponent: float) -> None:
    rows = [row("p_kw", type="i16", power_of_ten="sf")]
    with pytest.raises(ValueError, match="sf is not known"):
        pdus(rows, 10.0, {"sf": exponent}.__getitem__)


def test_what_the_register_cannot_hold_is_not_written() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pdus([row("magnitude_kw", scale=0.001)], 70.0)


@given(st.floats(-600.0, 600.0), st.sampled_from([0.1, 0.01, -0.1, 0.05]))
def test_a_register_never_holds_more_than_was_asked_for(p_kw: float, scale: float) -> None:
    try:
        ((_, _, data),) = pdus([row("p_kw", type="i16", scale=scale)], p_kw)
    except ValueError:
        assert abs(p_kw / scale) > 32_767
        return
    written = struct.unpack(">h", data)[0] * scale
    assert abs(written) <= abs(p_kw) + 1e-6
    assert abs(p_kw) - abs(written) < abs(scale) + 1e-6
