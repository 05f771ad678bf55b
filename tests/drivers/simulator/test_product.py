"""The simulated device of any product: what it shows, what it refuses, what was written to it."""

import os
import select
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

from drivers.catalog.loader import FOLDER
from drivers.simulator.encoding import Coding, pattern, pattern_words, raw_pattern, raw_value, text_words
from drivers.simulator.product import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ProductDevice, Refusal
from drivers.simulator.product_server import ProductServer

FILE = """
points = [
  { name = "exponent", fn = 3, address = 0, type = "i16" },
  { name = "p_kw", fn = 3, address = 1, type = "i32", word_order = "low_first", scale = 0.001, scale_by = { point = "exponent", how = "power_of_ten" } },
  { name = "direction", fn = 4, address = 0, type = "u16" },
  { name = "signed_kw", fn = 4, address = 1, type = "u16", scale = 0.1, sign_by = { point = "direction", minus = [0, 2] }, na = ["0xFFFF", "0x8000"] },
  { name = "flags", fn = 4, address = 2, type = "u16", mask = "0x0F0", shift = 4 },
  { name = "door", fn = 2, address = 7, type = "bit" },
  { name = "other_unit", fn = 4, address = 3, type = "f32", byte_swap = true, unit_id = 9, add = 5.0 },
  { name = "both", sum = ["p_kw", "signed_kw"] },
  { name = "far", node = ["A"] },
]
[[texts]]
name = "serial"
fn = 3
address = 100
registers = 4
[[identity]]
text = { fn = 3, address = 110, registers = 3, starts = "ABC" }
[[identity]]
register = { fn = 3, address = 120, type = "u32", is = ["0x12345678"] }
[link]
unit_id = 4
max_gap = 2
max_registers = 10
holes = [{ fn = 3, first = 3, last = 3 }]
[write]
set = [{ fn = 16, address = 200, type = "u32", value = "p_kw" }]
"""  # noqa: E501  an inline table of TOML is one line


@pytest.fixture
def device(tmp_path: Path) -> ProductDevice:
    path = tmp_path / "x.toml"
    path.write_text(FILE)
    return ProductDevice(path)


@pytest.mark.parametrize(
    ("type_", "raw", "words"),
    [
        ("u16", 65_535, [0xFFFF]),
        ("i16", -2, [0xFFFE]),
        ("u32", 0x1234_5678, [0x1234, 0x5678]),
        ("i64", -1, [0xFFFF] * 4),
        ("f32", 1.5, [0x3FC0, 0]),
        ("f64", 1.5, [0x3FF8, 0, 0, 0]),
    ],
)
def test_encoding(type_: str, raw: float, words: list[int]) -> None:
    coding = Coding(type_)
    assert pattern_words(raw_pattern(raw, coding), coding) == words
    low = Coding(type_, low_first=True)
    assert pattern_words(raw_pattern(raw, low), low) == words[::-1]
    assert raw_value(pattern(words[::-1], low), low) == raw


@pytest.mark.parametrize(
    ("type_", "raw"), [("u16", -1), ("i16", 40_000), ("u32", 2**32), ("u16", float("nan")), ("f32", 1e300)]
)
def test_what_does_not_fit_is_refused(type_: str, raw: float) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        raw_pattern(raw, Coding(type_))


def test_texts_are_filled_up() -> None:
    assert text_words("ABC", 3) == [0x4142, 0x4300, 0]
    assert text_words("AB", 1, byte_swap=True) == [0x4241]


def test_values_in_the_units_of_the_catalog(device: ProductDevice) -> None:
    device.put("exponent", -1)
    device.put("p_kw", -1.5)
    assert device.read(4, 3, 0, 3) == [0xFFFF, 0xC568, 0xFFFF], "-15000 counts of 0.1 W, low word first"
    assert device.shown("p_kw") == pytest.approx(-1.5)
    device.put("signed_kw", -20.0)
    assert device.read(4, 4, 0, 2) == [0, 200]
    device.put("signed_kw", 20.0)
    assert device.read(4, 4, 0, 2) == [1, 200]
    device.put_missing("signed_kw", 1)
    assert device.read(4, 4, 1, 1) == [0x8000]
    device.put("door", 1)
    assert device.read(4, 2, 7, 1) == [1]
    device.put("other_unit", 6.0)
    assert device.read(9, 4, 3, 2) == [0x803F, 0]


def test_a_masked_value_leaves_the_other_bits_alone(device: ProductDevice) -> None:
    device.space(4)[2] = 0xFFFF
    device.put("flags", 3)
    assert device.read(4, 4, 2, 1) == [0xFF3F]
    assert device.shown("flags") == 3
    with pytest.raises(ValueError, match="mask"):
        device.put("flags", 16)


@pytest.mark.parametrize(("name", "why"), [("both", "derived"), ("far", "OPC UA")])
def test_what_has_no_register_says_so(device: ProductDevice, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        device.put(name, 1.0)


def test_it_answers_what_it_is_recognised_by(device: ProductDevice) -> None:
    assert device.read(4, 3, 110, 3) == [0x4142, 0x4300, 0]
    assert device.read(4, 3, 120, 2) == [0x1234, 0x5678]


@pytest.mark.parametrize(
    ("unit", "fn", "address", "count", "code", "why"),
    [
        (4, 3, 3, 1, ILLEGAL_ADDRESS, "a hole"),
        (4, 3, 0, 4, ILLEGAL_ADDRESS, "a hole in it"),
        (4, 3, 104, 3, ILLEGAL_ADDRESS, "three registers that are not there"),
        (4, 3, 100, 11, ILLEGAL_VALUE, "too many"),
        (4, 1, 0, 1, ILLEGAL_ADDRESS, "no coils"),
        (9, 3, 0, 1, ILLEGAL_ADDRESS, "nothing of that kind on that unit"),
    ],
)
def test_reads_that_are_refused(
    device: ProductDevice, unit: int, fn: int, address: int, count: int, code: int, why: str
) -> None:
    with pytest.raises(Refusal) as caught:
        device.read(unit, fn, address, count)
    assert caught.value.code == code, why


def test_writes_are_kept_and_shown(device: ProductDevice) -> None:
    device.write(4, 16, 200, [1, 2])
    assert device.read(4, 3, 200, 2) == [1, 2]
    assert [(w.unit_id, w.fn, w.address, w.words) for w in device.written] == [(4, 16, 200, (1, 2))]
    with pytest.raises(Refusal):
        device.write(4, 6, 999, [1])


def test_over_a_socket(device: ProductDevice) -> None:
    device.put("signed_kw", 12.5)
    with ProductServer(device) as server, ModbusTcpClient("127.0.0.1", port=server.port, timeout=2) as client:
        assert client.read_input_registers(1, count=1, device_id=4).registers == [125]
        assert client.read_discrete_inputs(7, count=1, device_id=4).bits[0] is False
        assert client.read_holding_registers(3, count=1, device_id=4).exception_code == ILLEGAL_ADDRESS
        assert not client.write_registers(200, [7, 8], device_id=4).isError()
    assert device.written[-1].words == (7, 8)


@pytest.fixture
def line() -> Iterator[tuple[str, str]]:
    """Two ends of a serial line."""
    pairs = [os.openpty(), os.openpty()]
    for _, end in pairs:
        tty.setraw(end)
    (one, _), (other, _) = pairs
    stop, told = os.pipe()

    def carry() -> None:
        while True:
            ready, _, _ = select.select([one, other, stop], [], [])
            if stop in ready:
                return
            for source in ready:
                os.write(other if source == one else one, os.read(source, 256))

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    yield os.ttyname(pairs[0][1]), os.ttyname(pairs[1][1])
    os.write(told, b"x")
    thread.join()
    for fd in (*pairs[0], *pairs[1], stop, told):
        os.close(fd)


def test_on_a_serial_line(device: ProductDevice, line: tuple[str, str]) -> None:
    device.put("signed_kw", 12.5)
    with (
        ProductServer(device, tty=line[0]) as server,
        ModbusSerialClient(line[1], baudrate=19200, timeout=2) as client,
    ):
        assert server.url == f"rtu://{line[0]}?baud=19200"
        assert client.read_input_registers(1, count=1, device_id=4).registers == [125]
        assert client.read_input_registers(3, count=2, device_id=9).registers == [0, 0]


def test_sunspec_points_have_registers_too() -> None:
    device = ProductDevice(FOLDER / "fronius" / "gen24.toml")
    device.put("battery_charging_kw", -3.0)
    row = device.rows["battery_charging_kw"]
    assert device.read(1, 3, 40_000, 2) == [0x5375, 0x6E53], "SunS"
    assert device.read(1, 3, row["address"], 1) == [300], "3 kW in counts of 10 W"
    assert device.unit_ids == {1, 200}
