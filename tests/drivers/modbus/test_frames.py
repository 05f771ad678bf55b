"""Requests on the wire, and which replies are believed."""

import pytest

from drivers.modbus import frames
from models.errors import BadReply, NoReply, Refused

READ = frames.read(17, 3, 0x6B, 3)

ENCODED = [
    # request, PDU of the specification's own examples (Modbus application protocol V1.1b3, chapter 6)
    (frames.read(1, 1, 0x13, 0x13), "01 0013 0013"),
    (frames.read(1, 2, 0xC4, 0x16), "02 00C4 0016"),
    (frames.read(1, 3, 0x6B, 3), "03 006B 0003"),
    (frames.read(1, 4, 8, 1), "04 0008 0001"),
    (frames.write_register(1, 1, b"\x00\x03"), "06 0001 0003"),
    (frames.write_registers(1, 1, b"\x00\x0a\x01\x02"), "10 0001 0002 04 000A 0102"),
]


@pytest.mark.parametrize(("request_", "pdu"), ENCODED)
def test_the_request_is_the_one_of_the_specification(request_: frames.Request, pdu: str) -> None:
    assert request_.pdu == bytes.fromhex(pdu)


ACCEPTED = [
    (frames.read(1, 1, 0x13, 0x13), "01 03 CD6B05", "CD6B05"),
    (READ, "03 06 022B00000064", "022B00000064"),
    (frames.read(1, 4, 8, 1), "04 02 000A", "000A"),
    (frames.write_register(1, 1, b"\x00\x03"), "06 0001 0003", ""),
    (frames.write_registers(1, 1, b"\x00\x0a\x01\x02"), "10 0001 0002", ""),
]


@pytest.mark.parametrize(("request_", "reply", "data"), ACCEPTED)
def test_the_right_reply_is_believed(request_: frames.Request, reply: str, data: str) -> None:
    assert frames.payload(request_, bytes.fromhex(reply)) == bytes.fromhex(data)


REJECTED = [
    # request, reply, why it proves nothing
    (READ, "", "nothing"),
    (READ, "03", "only a function code"),
    (READ, "04 06 022B00000064", "another function"),
    (READ, "03 04 022B0000", "fewer registers than asked"),
    (READ, "03 08 022B000000640000", "more registers than asked"),
    (READ, "03 06 022B000000", "shorter than it says"),
    (READ, "03 06 022B0000006400", "longer than it says"),
    (READ, "84 02", "an exception of another function"),
    (READ, "83", "an exception without a code"),
    (READ, "83 02 00", "an exception with something behind"),
    (frames.write_register(1, 1, b"\x00\x03"), "06 0002 0003", "another address"),
    (frames.write_register(1, 1, b"\x00\x03"), "06 0001 0004", "another value"),
    (frames.write_registers(1, 1, b"\x00\x0a\x01\x02"), "10 0001 0001", "fewer registers written"),
]


@pytest.mark.parametrize(("request_", "reply", "why"), REJECTED)
def test_anything_else_is_not_believed(request_: frames.Request, reply: str, why: str) -> None:
    with pytest.raises(BadReply):
        frames.payload(request_, bytes.fromhex(reply))


def test_an_exception_is_a_refusal_but_a_gateways_silence_is_no_reply() -> None:
    with pytest.raises(Refused, match="illegal address"):
        frames.payload(READ, b"\x83\x02")
    for code in frames.GATEWAY_SILENT:
        with pytest.raises(NoReply):
            frames.payload(READ, bytes((0x83, code)))


IMPOSSIBLE = [(3, 0, 0), (3, 0, 126), (3, 65_535, 2), (3, -1, 1), (1, 0, 2001), (5, 0, 1), (16, 0, 1)]


@pytest.mark.parametrize(("fn", "address", "count"), IMPOSSIBLE)
def test_what_the_protocol_cannot_carry_is_not_built(fn: int, address: int, count: int) -> None:
    with pytest.raises(ValueError):
        frames.read(1, fn, address, count)


def test_writes_of_the_wrong_size_are_not_built() -> None:
    for build in (
        lambda: frames.write_register(1, 0, b"\x00\x01\x02\x03"),
        lambda: frames.write_registers(1, 0, b"\x00"),
        lambda: frames.write_registers(1, 0, bytes(2 * 124)),
    ):
        with pytest.raises(ValueError):
            build()


def test_the_serial_frame_carries_the_crc_low_byte_first() -> None:
    assert frames.read(1, 3, 0, 10).serial_frame() == bytes.fromhex("01 03 0000 000A C5CD")


def test_a_serial_reply_needs_its_crc_its_unit_and_enough_bytes(bench) -> None:
    request = frames.read(1, 3, 0, 1)
    good = bench.rtu_wrap(1, bytes.fromhex("03 02 1234"))
    assert request.serial_payload(good) == b"\x12\x34"
    for bad in (good[:-1] + b"\x00", bench.rtu_wrap(2, good[1:-2]), good[:4], b""):
        with pytest.raises(BadReply):
            request.serial_payload(bad)


def test_a_tcp_frame_begins_with_a_believable_header() -> None:
    frame = frames.tcp_frame(0x1234, frames.read(5, 3, 0, 1))
    assert frame == bytes.fromhex("1234 0000 0006 05 03 0000 0001")
    assert frames.tcp_header(frame) == (0x1234, 5, 12)
    for bad in ("1234 0001 0006 05", "1234 0000 0001 05", "1234 0000 00FF 05"):
        with pytest.raises(BadReply):
            frames.tcp_header(bytes.fromhex(bad))
