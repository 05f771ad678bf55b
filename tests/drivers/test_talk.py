"""Conversations run to their end, and a PDU from outside becomes a request only when it is a proper one."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.modbus import frames
from drivers.modbus.frames import Request
from drivers.modbus.line import LineLost, parse_url
from drivers.modbus.link import link_to
from drivers.talk import Direct, Talk, hold, request_of, touched, writes
from models.errors import DriverError, NoReply, Refused

READ = frames.read(1, 3, 100, 2)


def asks_twice() -> Talk[list[bytes | DriverError]]:
    first = yield READ
    second = yield READ
    return [first, second]


def test_replies_and_errors_go_into_the_conversation() -> None:
    answers: Iterator[bytes | DriverError] = iter([b"\0\1\0\2", Refused("exception 2", 2)])

    def ask(request: Request) -> bytes:
        answer = next(answers)
        if isinstance(answer, DriverError):
            raise answer
        return answer

    first, second = hold(asks_twice(), ask)
    assert first == b"\0\1\0\2"
    assert isinstance(second, Refused)


def test_a_lost_line_ends_it() -> None:
    def ask(_: Request) -> bytes:
        raise LineLost("unplugged")

    with pytest.raises(LineLost):
        hold(asks_twice(), ask)


def test_a_conversation_without_a_question() -> None:
    def silent() -> Talk[int]:
        return 7
        yield READ

    assert hold(silent(), lambda _: b"") == 7


def test_a_line_that_cannot_be_opened_is_lost() -> None:
    with pytest.raises(LineLost):
        hold(asks_twice(), Direct(link_to(parse_url("tcp://127.0.0.1:1"))))


def test_a_device_that_hangs_up_is_asked_on_a_new_connection() -> None:
    link = link_to(parse_url("tcp://127.0.0.1:1"))
    opened = []
    link.open = lambda: opened.append(True)  # type: ignore[method-assign]
    link.ask = lambda _: (_ for _ in ()).throw(LineLost("hung up"))  # type: ignore[method-assign]
    with pytest.raises(NoReply, match="hung up"):
        Direct(link)(READ)
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("request_", "addresses", "changes"),
    [
        (frames.read(1, 1, 5, 9), range(5, 14), False),
        (frames.read(255, 4, 65_535, 1), range(65_535, 65_536), False),
        (frames.write_coil(1, 7, True), range(7, 8), True),
        (frames.write_register(2, 204, b"\xff\xff"), range(204, 205), True),
        (frames.write_coils(1, 3, [True] * 11), range(3, 14), True),
        (frames.write_registers(1, 10, b"\0\1\0\2"), range(10, 12), True),
    ],
    ids=lambda value: value.pdu.hex() if isinstance(value, Request) else "",
)
def test_a_request_is_the_same_after_the_way_through_a_socket(
    request_: Request, addresses: range, changes: bool
) -> None:
    again = request_of(request_.unit, request_.pdu)
    assert again == request_
    assert touched(again) == addresses
    assert writes(again) == changes


def near(fn: int, rest: bytes) -> bytes:
    """Return something that begins like a request."""
    return bytes((fn,)) + rest


@given(
    st.integers(-1, 300),
    st.binary(max_size=270) | st.builds(near, st.integers(1, 17), st.binary(max_size=12)),
)
@example(0, b"\x0f\0\0\0\1")
@example(1, b"\x0f\0\0\0\x09\x02\xff")
@example(1, b"\x10\0\0\0\2\4\0")
def test_no_bytes_become_a_request_that_is_not_theirs(unit: int, pdu: bytes) -> None:
    try:
        request = request_of(unit, pdu)
    except ValueError:
        return
    assert (request.unit, request.pdu) == (unit, pdu)
    assert pdu[0] in (1, 2, 3, 4, 5, 6, 15, 16)
    assert 0 <= touched(request).start < touched(request).stop <= 65_536
