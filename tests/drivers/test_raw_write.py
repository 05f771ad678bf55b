"""A write by hand is exactly what was asked for, can be taken back, and never goes beyond the nameplate."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.driver import Nameplate
from drivers.raw_write import RawWrite, check, overwritten, raw, to_point
from drivers.scan import first_variant
from models.errors import DoorRefused

PCS = first_variant("yunchu/pcs100")
SUNGROW = first_variant("sungrow/sh_hybrid")
PLATE = Nameplate(-100.0, 80.0)
DEAD_MAN = next(point for point in PCS.points if point.name == "dead_man_s")
P_SET = next(point for point in PCS.points if point.name == "p_set_kw")


def test_a_point_is_written_in_its_units() -> None:
    assert to_point(DEAD_MAN, 1, 5.0) == RawWrite(1, 6, 204, b"\0\5")
    assert to_point(P_SET, 3, -12.5) == RawWrite(3, 6, 200, (-125).to_bytes(2, "big", signed=True))
    wide = replace(DEAD_MAN, type="f32", low_word_first=True)
    assert to_point(wide, 1, 50.0) == RawWrite(1, 16, 204, b"\0\0\x42\x48")
    assert to_point(replace(DEAD_MAN, fn=1, type="bit"), 1, 1.0) == RawWrite(1, 5, 204, b"\1")
    assert to_point(replace(DEAD_MAN, add=100.0, scale=2.0), 1, 110.0).data == b"\0\5"


@pytest.mark.parametrize(
    ("why", "point", "value"),
    [
        ("an input register", replace(DEAD_MAN, fn=4), 1.0),
        ("a part of a register", replace(DEAD_MAN, shift=4), 1.0),
        ("a part of a register", replace(DEAD_MAN, mask=0xFF), 1.0),
        ("outside the range", P_SET, 151.0),
        ("does not fit", DEAD_MAN, 70_000.0),
        ("no number", P_SET, float("nan")),
    ],
)
def test_what_cannot_be_written(why: str, point: object, value: float) -> None:
    with pytest.raises(ValueError):
        to_point(point, 1, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fn", "kind", "value"), [(6, "u32", 1.0), (6, "bit", 1.0), (5, "bit", 2.0), (16, "u16", -1.0)]
)
def test_raw_values_that_cannot_be(fn: int, kind: str, value: float) -> None:
    with pytest.raises(ValueError):
        raw((1, fn, 10), kind, value)


@given(st.binary(min_size=1, max_size=60), st.sampled_from([5, 6, 16]))
def test_what_was_seen_can_be_written_back(seen: bytes, fn: int) -> None:
    size = 1 if fn == 5 else 2 if fn == 6 else 2 * len(seen)
    old = (seen * 2)[:size].ljust(size, b"\0")
    write = RawWrite(1, fn, 10, bytes(size))
    back = write.back(old)
    assert back.look == write.look
    assert back.data == (bytes((old[0] & 1,)) if fn == 5 else old)
    assert back.request.pdu[0] == fn


@given(st.integers(-32_768, 32_767))
def test_no_power_beyond_the_nameplate_gets_through(number: int) -> None:
    write = raw((1, 6, 200), "i16", float(number))
    inside = -100.0 <= number * 0.1 <= 80.0
    try:
        check(write, PCS, 1, PLATE)
    except DoorRefused:
        assert not inside
    else:
        assert inside


@pytest.mark.parametrize(
    ("why", "write", "allowed"),
    [
        (
            "a magnitude that one direction allows may be the other one",
            raw((1, 6, 13_051), "u16", 90_00.0),
            False,
        ),
        ("it does", raw((1, 6, 13_051), "u16", 3_000.0), True),
        ("another register", raw((1, 6, 13_100), "u16", 1.0), True),
        ("another unit", raw((9, 6, 13_051), "u16", 60_000.0), True),
        ("only part of it is hit", raw((1, 16, 13_050), "u32", 1.0), False),
    ],
)
def test_magnitudes_and_parts(why: str, write: RawWrite, allowed: bool) -> None:
    plate = Nameplate(-4.0, 10.0)
    if allowed:
        check(write, SUNGROW, 1, plate)
    else:
        with pytest.raises(DoorRefused):
            check(write, SUNGROW, 1, plate)


def test_without_a_nameplate_no_setpoint_without_a_product_no_opinion() -> None:
    with pytest.raises(DoorRefused, match="not known"):
        check(raw((1, 6, 200), "i16", 0.0), PCS, 1, None)
    check(raw((1, 6, 200), "i16", 0.0), None, 1, None)


def test_who_would_write_there_again() -> None:
    assert "fall to zero" in overwritten(raw((1, 6, 204), "u16", 5.0), PCS, 1)
    assert overwritten(raw((1, 6, 210), "u16", 5.0), PCS, 1) == ""
    assert overwritten(raw((2, 6, 204), "u16", 5.0), PCS, 1) == ""
