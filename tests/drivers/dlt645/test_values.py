"""What the identifiers hold, digit by digit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645 import values
from drivers.simulator.dlt645 import coded
from models.errors import BadReply

NUMBERS = [
    ("02010100", "1423", 231.4, "a voltage has one decimal"),
    ("02030000", "563412", 12.3456, "power from the grid is +"),
    ("02030000", "563492", -12.3456, "the top bit is the sign"),
    ("02030000", "000000", 0.0, "nothing"),
    ("02030000", "000080", 0.0, "there is no minus zero"),
    ("02030000", "9999f9", -79.9999, "the lowest power"),
    ("02020300", "9999f9", -799.999, "a current against the usual direction"),
    ("02060000", "8789", -0.987, "a power factor"),
    ("02800002", "9849", 49.98, "the frequency"),
    ("00010000", "99999999", 999999.99, "the largest energy: its top digit is no sign"),
    ("00000000", "00000080", 0.0, "combined energy can be negative"),
    ("01010000", "0921431513040526", 43.2109, "the demand without its time"),
    ("04000409", "003200", 3200.0, "impulses for a kWh"),
    ("0202FF00", "452301", 12.345, "an item of a block"),
]


@pytest.mark.parametrize(("di", "raw", "value", "why"), NUMBERS, ids=[row[3] for row in NUMBERS])
def test_numbers(di: str, raw: str, value: float, why: str) -> None:
    found = values.find(di)
    assert found is not None
    number = values.number(found[0], bytes.fromhex(raw))
    assert number == value
    assert math.copysign(1.0, number) == math.copysign(1.0, value)


@pytest.mark.parametrize(
    ("di", "raw"),
    [("02010100", "0a23"), ("02010100", "a023"), ("02010100", "14ff"), ("02030000", "56a412"),
     ("02030000", "5634fa"), ("02800002", "98cd"), ("01010000", "00000a1513040526"),
     ("00010000", "000000a0")],
)  # fmt: skip
def test_what_is_no_digit_is_no_number(di: str, raw: str) -> None:
    found = values.find(di)
    assert found is not None
    with pytest.raises(BadReply, match="digit"):
        values.number(found[0], bytes.fromhex(raw))


def test_all_digits_f_is_a_quantity_that_the_meter_does_not_have() -> None:
    for di, width in (("02010200", 2), ("02030200", 3), ("01010000", 8)):
        found = values.find(di)
        assert found is not None
        assert math.isnan(values.number(found[0], b"\xff" * width))


RANGES = [
    ("0201", "XXX.X", 0, 9999),
    ("0202", "XXX.XXX", -799_999, 799_999),
    ("0203", "XX.XXXX", -799_999, 799_999),
    ("0206", "X.XXX", -1000, 1000),
]


@given(st.sampled_from(RANGES), st.data())
def test_every_number_survives(row: tuple[str, str, int, int], data: st.DataObject) -> None:
    start, form, lowest, highest = row
    value = data.draw(st.integers(lowest, highest)) / 10.0 ** len(form.partition(".")[2])
    found = values.find(f"{start}0100")
    assert found is not None
    assert values.number(found[0], coded(form, value)) == value


TEXTS = [
    ("04000101", "01040526", "2026-05-04", "date, without the day of the week"),
    ("04000102", "593023", "23:30:59", "time"),
    ("04000401", "785634120000", "000012345678", "address"),
    ("04000404", b"V022\0\0".hex(), "220V", "rated voltage, last character first"),
    ("01010000", "0921431513040526", "43.2109 kW at 2026-05-04 13:15", "demand"),
    ("01010000", "0000000000000000", "0.0000 kW at no time", "no demand yet"),
    ("0201FF00", "142309239822", "231.4 V, 230.9 V, 229.8 V", "three voltages"),
    ("02060000", "0010", "1.000", "a ratio has no unit"),
    ("04CC0100", "010203", "030201", "what is not in the table is shown in digits"),
]


@pytest.mark.parametrize(("di", "raw", "shown", "why"), TEXTS, ids=[row[3] for row in TEXTS])
def test_texts(di: str, raw: str, shown: str, why: str) -> None:
    assert values.text(di, bytes.fromhex(raw)) == shown


@pytest.mark.parametrize(
    ("di", "raw"),
    [("04000101", "01041326"), ("04000101", "013a0526"), ("04000102", "593024"), ("04000102", "5930"),
     ("01010000", "0921431513043126"), ("04000401", "7856341200a0"), ("0201FF00", "1423092398")],
)  # fmt: skip
def test_what_cannot_be_is_no_text(di: str, raw: str) -> None:
    with pytest.raises(BadReply):
        values.text(di, bytes.fromhex(raw))


def test_no_identifier_is_in_two_groups() -> None:
    seen = [
        group.member(number, back)
        for group in values.GROUPS
        for number in group.numbers
        for back in range(group.history + 1)
    ]
    assert len(seen) == len(set(seen))
    for di in seen:
        found = values.find(di.lower())
        assert found is not None
        assert found[0].member(found[1])[:6] == di[:6]


@pytest.mark.parametrize(
    ("di", "sizes"),
    [("02030000", [3]), ("0203FF00", [3, 6, 9, 12]), ("0201FF00", [2, 4, 6]), ("01010000", [8]),
     ("0001000C", [4]),     ("0001000D", None), ("02010000", None), ("0280FF02", None), ("FFFFFFFF", None)],
)  # fmt: skip
def test_how_long_a_value_is(di: str, sizes: list[int] | None) -> None:
    found = values.sizes(di)
    assert (found if found is None else list(found)) == sizes
