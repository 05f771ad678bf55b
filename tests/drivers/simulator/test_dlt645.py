"""The simulated DL/T 645 meter answers as the standard says, and misbehaves as it is told."""

import os
import time
import tty

import pytest

from drivers.simulator.dlt645 import Bus, Chunks, Meter, coded, framed

REQUEST = bytes.fromhex("fefefefe686101000000006811043333343314" + "16")
REPLY = bytes.fromhex("6861010000000068910833333433593333338a16")
"""A reading of 0.26 kWh, as printed in a public description of the protocol."""


def meter() -> Meter:
    return Meter("000000000161", {"00010000": 0.26, "02010100": 100.1, "02030000": -1.5})


def said(chunks: Chunks) -> bytes:
    return b"".join(chunk for _, chunk in chunks)


def test_a_printed_example_is_answered_as_printed() -> None:
    (answer,) = meter().hear(REQUEST, 0.0)
    assert answer == (0.02, b"\xfe" * 4 + REPLY)


@pytest.mark.parametrize(
    ("form", "value", "data"),
    [("XXX.X", 231.4, "1423"), ("XX.XXXX", -12.3456, "563492"), ("XXXXXX.XX", 0.26, "26000000"),
     ("X.XXX", -1.0, "0090"), ("XXXXXX", 3200.0, "003200")],
)  # fmt: skip
def test_numbers_are_coded_in_the_formats_of_the_standard(form: str, value: float, data: str) -> None:
    assert coded(form, value).hex() == data


def test_what_does_not_fit_its_format_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        coded("XXX.X", 1000.0)


def test_bytes_of_others_and_broken_frames_do_no_harm() -> None:
    one = meter()
    broken = REQUEST[:-2] + b"\x00\x16"
    for noise in (b"\x01\x04\x00\x00\x00\x02\x71\xcb", b"\x68" * 9, broken, REPLY):
        assert said(one.hear(noise, 0.0)) == b""
    assert said(one.hear(REQUEST, 1.0)) == b"\xfe" * 4 + REPLY, "a pause ends what looked like a beginning"
    for byte in REQUEST[:-1]:
        assert one.hear(bytes((byte,)), 1.1) == []
    assert said(one.hear(REQUEST[-1:], 1.1)), "byte by byte"
    one.hear(REQUEST[:-1], 1.2)
    assert not one.hear(REQUEST[-1:], 2.2), "too long a pause within the frame"


def test_it_answers_to_its_address_and_to_wildcards_alone() -> None:
    one = meter()
    for address, answers in (
        ("610100000000", True),
        ("6101aaaaaaaa", True),
        ("a" * 12, True),
        ("620100000000", False),
    ):
        request = framed(bytes.fromhex(address), 0x11, bytes.fromhex("00000100"))
        assert bool(one.hear(request, 0.0)) == answers
    assert said(one.hear(framed(b"\xaa" * 6, 0x13, b""), 0.0)).endswith(
        framed(bytes.fromhex("610100000000"), 0x93, bytes.fromhex("610100000000"))
    )


def test_what_it_does_not_have_it_refuses_and_what_is_no_read_it_ignores() -> None:
    one, own = meter(), bytes.fromhex("610100000000")
    one.wake = 0
    assert said(one.hear(framed(own, 0x11, bytes.fromhex("00000003")), 0.0)) == framed(own, 0xD1, b"\x02")
    one.refuse = 0x40
    assert said(one.hear(REQUEST, 0.0)) == framed(own, 0xD1, b"\x40")
    assert one.hear(framed(own, 0x14, bytes(16)), 0.0) == [], "a write"
    assert one.hear(framed(own, 0x11, bytes(3)), 0.0) == []


def test_faults() -> None:
    healthy = said(meter().hear(REQUEST, 0.0))
    for fault in ("corrupt", "wrong_address", "wrong_di"):
        one = meter()
        setattr(one, fault, True)
        spoilt = said(one.hear(REQUEST, 0.0))
        assert len(spoilt) == len(healthy) and spoilt != healthy
    one = meter()
    one.late_s = 0.5
    assert one.hear(REQUEST, 0.0)[0][0] == pytest.approx(0.52)
    one.silent = True
    assert one.hear(REQUEST, 0.0) == []


def test_several_stations_share_a_file_descriptor() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(slave, False)
    other = Meter("000000000162", {"00010000": 1.0})
    bus = Bus(master, [meter(), other])
    bus.start()
    try:
        got, deadline = b"", time.monotonic() + 5.0
        os.write(slave, REQUEST)
        while len(got) < len(REPLY) + 4 and time.monotonic() < deadline:
            try:
                got += os.read(slave, 100)
            except BlockingIOError:
                time.sleep(0.002)
        assert got == b"\xfe" * 4 + REPLY
        assert other.asked == []
    finally:
        bus.close()
        os.close(master)
        os.close(slave)
