"""Every function that we can ask and libmodbus can answer, up to the longest frames, on TCP and serially."""

import contextlib
import random
import struct
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from drivers.modbus import frames, pdu
from drivers.modbus.line import parse_url
from drivers.modbus.link import Link, Station, link_to
from hil_tests.peers.rig import BAUD, Program, until
from models.errors import NoReply, Refused

SIZE = 3000
RANDOM = random.Random()


@pytest.fixture(params=["tcp", "rtu"])
def both(
    request: pytest.FixtureRequest, peer: Callable[..., Program], wire: tuple[str, str], stack: ExitStack
) -> tuple[Program, Link]:
    """libmodbus, and our link to it."""
    if request.param == "rtu":
        master, end = wire
        device, url = peer("server", "rtu", end, BAUD, 1, SIZE), f"rtu://{master}?baud={BAUD}"
    else:
        device = peer("server", "tcp", 0, SIZE)
        url = f"tcp://127.0.0.1:{device.said}"
    link = link_to(parse_url(url))
    link.stations[1] = Station(0.8, 0.8)
    link.open()
    stack.callback(link.close)
    return device, link


def packed(words: list[int]) -> bytes:
    return struct.pack(f">{len(words)}H", *words)


def some(count: int, most: int = 0xFFFF) -> list[int]:
    return [RANDOM.randint(0, most) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 124, 125])
def test_registers_are_read(both: tuple[Program, Link], count: int) -> None:
    device, link = both
    held, shown = some(count), some(count)
    device.tell(f"h 1000 {' '.join(map(str, held))}")
    device.tell(f"i 1000 {' '.join(map(str, shown))}")
    assert link.ask(frames.read(1, 3, 1000, count)) == packed(held)
    assert link.ask(frames.read(1, 4, 1000, count)) == packed(shown)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_bits_are_read(both: tuple[Program, Link], count: int) -> None:
    device, link = both
    for fn, kind in ((1, "c"), (2, "d")):
        bits = some(count, 1)
        device.tell(f"{kind} 20 {' '.join(map(str, bits))}")
        found = int.from_bytes(link.ask(frames.read(1, fn, 20, count)), "little")
        assert [found >> k & 1 for k in range(count)] == bits


def test_the_longest_bit_read_is_answered(both: tuple[Program, Link]) -> None:
    device, link = both
    device.tell("c 2004 1")
    assert link.ask(frames.read(1, 1, 5, 2000)) == bytes(249) + b"\x80"


@pytest.mark.parametrize("count", [1, 2, 122, 123])
def test_registers_are_written(both: tuple[Program, Link], count: int) -> None:
    device, link = both
    words = some(count)
    link.ask(frames.write_registers(1, 500, packed(words)))
    assert device.tell(f"? 500 {count}").split() == [str(word) for word in words]
    link.ask(frames.write_register(1, 500, b"\xab\xcd"))
    assert device.tell("? 500 1") == str(0xABCD)
    assert device.tell("writes") == "2"


@pytest.mark.parametrize("count", [1, 8, 9, 1968])
def test_bits_are_written(both: tuple[Program, Link], count: int) -> None:
    device, link = both
    bits = [bool(bit) for bit in some(count, 1)]
    link.ask(frames.write_coils(1, 30, bits))
    found = int.from_bytes(link.ask(frames.read(1, 1, 30, count)), "little")
    assert [bool(found >> k & 1) for k in range(count)] == bits
    link.ask(frames.write_coil(1, 30, not bits[0]))
    assert link.ask(frames.read(1, 1, 30, 1)) == bytes([not bits[0]])
    assert device.tell("writes") == "2"


def test_masking_and_writing_with_reading(both: tuple[Program, Link]) -> None:
    device, link = both
    device.tell("h 40 18")
    link.ask(pdu.mask_register(1, 40, 0xF2, 0x25))
    assert device.tell("? 40 1") == str(0x17)  # the example of the standard, 6.16
    words = some(121)
    assert link.ask(pdu.write_and_read(1, 700, 121, 700, packed(words))) == packed(words)


def test_it_says_what_it_is(both: tuple[Program, Link]) -> None:
    _, link = both
    assert b"LMB" in link.ask(pdu.report_server_id(1))


REFUSED = [
    ("beyond the last register", frames.read(1, 3, SIZE - 1, 2), 2),
    ("beyond the last bit", frames.read(1, 2, SIZE - 1, 2), 2),
    ("a write beyond the last register", frames.write_register(1, SIZE, b"\0\1"), 2),
    ("several of which the last does not exist", frames.write_registers(1, SIZE - 1, bytes(4)), 2),
]


@pytest.mark.parametrize(("says", "asked", "code"), REFUSED)
def test_a_refusal_has_its_code_and_disturbs_nothing(
    both: tuple[Program, Link], says: str, asked: frames.Request, code: int
) -> None:
    device, link = both
    device.tell("h 10 4711")
    with pytest.raises(Refused) as refused:
        link.ask(asked)
    assert refused.value.code == code, says
    assert link.ask(frames.read(1, 3, 10, 1)) == packed([4711])


@pytest.mark.parametrize("asked", [pdu.device_id(1), pdu.read_fifo(1, 0)], ids=["identification", "queue"])
def test_a_function_that_libmodbus_does_not_know_ends_well(
    both: tuple[Program, Link], asked: frames.Request
) -> None:
    """On TCP it refuses after half a second, in which it hears nothing. On a serial line it cannot tell where
    such a request ends: it says nothing, and may miss the next one.
    """
    device, link = both
    device.tell("h 10 4711")
    with pytest.raises(NoReply if link.line.endpoint.path else Refused):
        link.ask(asked)
    heard: list[bytes] = []

    def answered() -> bool:
        with contextlib.suppress(NoReply):
            heard.append(link.ask(frames.read(1, 3, 10, 1)))
        return bool(heard)

    until(answered)
    assert heard == [packed([4711])]
