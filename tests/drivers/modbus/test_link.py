"""The transaction against a peer that misbehaves: no wrong value, whatever it does."""

import errno
import itertools
import os
import struct
import time
from dataclasses import dataclass

import pytest

from drivers.modbus import frames
from drivers.modbus.line import Line, LineLost, parse_url
from drivers.modbus.link import FORGET_NS, RtuLink, Station, TcpLink, link_to
from models.errors import BadReply, DriverError, NoReply, Refused

LATE_S = 0.1
"""Timeout of the links in these tests, scaled down from the field."""


def opened(bench, kind, peer, timeout_s=LATE_S, gaps=(0.0, 0.0)):
    pump = getattr(bench, kind)(peer)
    link = (TcpLink if kind == "tcp" else RtuLink)(Line(parse_url(pump.url())))
    for unit, gap_s in enumerate(gaps, 1):
        link.stations[unit] = Station(0.02, timeout_s, gap_s)
    link.open()
    bench.stack.callback(link.close)
    return link, pump


def expected(bench, unit, fn, address, count):
    return b"".join(bench.truth(unit, fn, address + i).to_bytes(2, "big") for i in range(count))


def attempt(bench, link, unit, fn, address, count):
    """Read; return True when right, None on an error, and fail on a wrong value."""
    try:
        data = link.ask(frames.read(unit, fn, address, count))
    except LineLost:
        link.open()
        return None
    except DriverError:
        return None
    assert data == expected(bench, unit, fn, address, count), f"wrong value for {fn}/{address}x{count}"
    return True


def test_a_port_that_goes_while_it_is_opened_is_a_lost_line_and_can_be_opened_again(
    bench, monkeypatch
) -> None:
    line = Line(parse_url(bench.tcp(bench.Peer()).url()))

    def gone(fd, blocking):
        raise OSError(errno.EBADF, "bad file descriptor")

    with monkeypatch.context() as patch:
        patch.setattr(os, "set_blocking", gone)
        with pytest.raises(LineLost):
            line.open()
    assert not line.is_open
    line.close()
    line.open()
    assert line.is_open
    line.close()


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_every_function_works_against_an_honest_peer(bench, kind) -> None:
    link, pump = opened(bench, kind, bench.Peer())
    for fn in (3, 4):
        assert attempt(bench, link, 1, fn, 100, 125)
    assert len(link.ask(frames.read(2, 1, 7, 19))) == 3
    assert len(link.ask(frames.read(2, 2, 7, 2000))) == 250
    for write in (
        frames.write_register(1, 3, b"\x12\x34"),
        frames.write_registers(1, 3, b"\x12\x34\x56\x78"),
    ):
        assert link.ask(write) == b""
    assert len(pump.peer.asked) == 6


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_probes_1_to_3_a_late_reply_never_answers_another_read(bench, kind) -> None:
    """The device answers in 1.25 timeouts: reads at four addresses bring errors or the right values."""
    link, _ = opened(bench, kind, bench.Peer(lambda asked, frame: [(1.25 * LATE_S, frame)]))
    results = [attempt(bench, link, 1, 3, address, 2) for address in (100, 500, 700, 900)]
    assert results == [None] * 4


def test_the_late_reply_teaches_the_link_how_slow_the_unit_is(bench) -> None:
    link, _ = opened(bench, "rtu", bench.Peer(lambda asked, frame: [(0.25, frame)]), timeout_s=2.0)
    station = link.stations[1]
    station.answered(40_000_000)
    assert station.timeout_ns == 160_000_000
    assert attempt(bench, link, 1, 3, 100, 2) is None, "it answers later than it used to"
    assert station.timeout_ns > 800_000_000
    assert not link.ambiguous(frames.read(1, 3, 500, 2), time.monotonic_ns())
    assert attempt(bench, link, 1, 3, 500, 2), "now it is given the time"


def test_probe_4_a_request_given_up_does_not_answer_the_next(bench) -> None:
    """Far later than the line is drained: what could be mistaken is not asked before another proof."""
    delays = iter([0.35] + [0.0] * 20)
    link, pump = opened(bench, "rtu", bench.Peer(lambda asked, frame: [(next(delays), frame)]))
    assert attempt(bench, link, 1, 3, 100, 2) is None
    request = frames.read(1, 3, 500, 2)
    assert link.ambiguous(request, time.monotonic_ns())
    with pytest.raises(NoReply):
        link.ask(request)
    assert len(pump.peer.asked) == 1, "it did not go out on the wire"
    assert attempt(bench, link, 2, 3, 500, 2), "another unit is not concerned"
    assert not link.ambiguous(request, time.monotonic_ns() + FORGET_NS)
    bench.eventually(lambda: attempt(bench, link, 1, 3, 500, 4))
    assert attempt(bench, link, 1, 3, 500, 2)


def test_a_late_refusal_does_not_hide_that_a_reply_is_on_its_way(bench) -> None:
    """The refusal of the first comes while the second is open: then the second's reply is owed."""
    late = {100: (0.3, b"\x83\x02"), 500: (0.5, None)}

    def mangle(asked, frame):
        delay, refusal = late.get(int.from_bytes(asked.pdu[1:3], "big"), (0.0, None))
        return [(delay, bench.rtu_wrap(asked.unit, refusal) if refusal else frame)]

    link, _ = opened(bench, "rtu", bench.Peer(mangle))
    assert attempt(bench, link, 1, 3, 100, 2) is None
    with pytest.raises(Refused):
        link.ask(frames.read(1, 3, 500, 3))
    assert link.ambiguous(frames.read(1, 3, 700, 3), time.monotonic_ns())
    assert link.ambiguous(frames.read(1, 3, 700, 2), time.monotonic_ns())
    bench.eventually(lambda: attempt(bench, link, 1, 3, 900, 4))
    assert attempt(bench, link, 1, 3, 700, 3)


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_probe_5_a_write_whose_reply_is_lost_is_on_the_wire_once(bench, kind) -> None:
    link, pump = opened(bench, kind, bench.Peer(lambda asked, frame: []))
    with pytest.raises(NoReply):
        link.ask(frames.write_register(1, 200, b"\x00\x64"))
    assert [asked.pdu for asked in pump.peer.asked] == [bytes.fromhex("06 00C8 0064")]


def pdu_of(kind, frame):
    return frame[7:] if kind == "tcp" else frame[1:-2]


def rewrap(bench, kind, asked, frame, pdu, unit=None):
    unit = asked.unit if unit is None else unit
    if kind == "rtu":
        return bench.rtu_wrap(unit, pdu)
    return frame[:2] + struct.pack(">HHB", 0, len(pdu) + 1, unit) + pdu


LIES = [
    # what the peer does to the PDU (or the unit), what the link says
    (lambda pdu, unit: (bytes((pdu[0], 2)) + pdu[2:4], unit), BadReply, "one register where ten were asked"),
    (lambda pdu, unit: (bytes((4,)) + pdu[1:], unit), BadReply, "function 4 where 3 was asked"),
    (lambda pdu, unit: (pdu, unit + 1), BadReply, "a foreign unit"),
    (lambda pdu, unit: (pdu + b"\x00\x00", unit), BadReply, "more than asked"),
    (lambda pdu, unit: (bytes((0x83, 2)), unit), Refused, "an exception"),
    (lambda pdu, unit: (bytes((0x84, 2)), unit), BadReply, "an exception of another function"),
]


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
@pytest.mark.parametrize(("lie", "error", "what"), LIES)
def test_probes_6_and_7_what_does_not_answer_is_not_used(bench, kind, lie, error, what) -> None:
    lying = {"on": True}

    def mangle(asked, frame):
        if not lying["on"]:
            return [(0.0, frame)]
        pdu, unit = lie(pdu_of(kind, frame), asked.unit)
        return [(0.0, rewrap(bench, kind, asked, frame, pdu, unit))]

    link, _ = opened(bench, kind, bench.Peer(mangle))
    with pytest.raises(error):
        link.ask(frames.read(1, 3, 100, 10))
    lying["on"] = False
    assert attempt(bench, link, 1, 3, 300, 12), "and the next request is answered properly"


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_a_reply_in_pieces_is_put_together(bench, kind) -> None:
    def mangle(asked, frame):
        return [(0.004 * i, frame[i : i + 1]) for i in range(len(frame))]

    link, _ = opened(bench, kind, bench.Peer(mangle), timeout_s=0.5)
    assert attempt(bench, link, 1, 3, 100, 10)


def test_a_reply_twice_on_tcp_is_used_once(bench) -> None:
    link, _ = opened(bench, "tcp", bench.Peer(lambda asked, frame: [(0.0, frame + frame)]))
    assert all(attempt(bench, link, 1, 3, address, 2) for address in range(0, 40, 2))


def test_a_reply_twice_on_the_serial_line_proves_nothing(bench) -> None:
    link, _ = opened(bench, "rtu", bench.Peer(lambda asked, frame: [(0.0, frame + frame)]))
    with pytest.raises(BadReply, match="do not answer"):
        link.ask(frames.read(1, 3, 0, 2))


def test_the_second_copy_that_comes_in_the_gap_is_thrown_away(bench) -> None:
    link, _ = opened(bench, "rtu", bench.Peer(lambda asked, frame: [(0.0, frame), (0.0008, frame)]))
    results = [attempt(bench, link, 1, 3, address, 2) for address in range(0, 40, 2)]
    assert any(results)


def test_a_stream_that_is_no_modbus_is_given_up(bench) -> None:
    link, _ = opened(bench, "tcp", bench.Peer(lambda asked, frame: [(0.0, b"HTTP/1.1 400 Bad Request\r\n")]))
    with pytest.raises(LineLost, match="does not begin"):
        link.ask(frames.read(1, 3, 0, 2))


def test_a_connection_that_is_closed_is_lost_at_once(bench) -> None:
    link, pump = opened(bench, "tcp", bench.Peer(lambda asked, frame: []), timeout_s=5.0)
    pump.peer.mangle = lambda asked, frame: (
        [connection.shutdown(2) for connection, _ in pump.open.values()] and []
    )
    start = time.monotonic()
    with pytest.raises(LineLost):
        link.ask(frames.read(1, 3, 0, 2))
    assert time.monotonic() - start < 4.0


def test_a_babbling_line_does_not_hold_the_thread(bench) -> None:
    link, pump = opened(bench, "rtu", bench.Peer())
    pump.schedule(pump.master, [(0.0005 * i, b"\x55") for i in range(4000)])
    pump.peer.mangle = lambda asked, frame: []
    start = time.monotonic()
    with pytest.raises(DriverError):
        link.ask(frames.read(1, 3, 0, 2))
    assert time.monotonic() - start < 5.0


def test_the_serial_line_is_silent_between_frames(bench) -> None:
    link, pump = opened(bench, "rtu", bench.Peer())
    for address in range(20):
        assert attempt(bench, link, 1, 3, address, 2)
    times = [asked.t for asked in pump.peer.asked]
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.00175


def test_a_dead_unit_costs_one_bounded_slot(bench) -> None:
    link, _ = opened(bench, "rtu", bench.Peer(units=frozenset({2})))
    start = time.monotonic()
    with pytest.raises(NoReply):
        link.ask(frames.read(1, 3, 0, 2))
    assert time.monotonic() - start < 2 * LATE_S + 0.5
    assert attempt(bench, link, 2, 3, 0, 2)


@dataclass(frozen=True)
class Framed:
    """Like DL/T 645: preambles of any number, then 0x68, the station in hex, a length, the data, a sum."""

    unit: str
    shape = "any"
    largest = 40

    def serial_frame(self) -> bytes:
        return bytes.fromhex("FEFE68" + self.unit)

    def missing(self, frame: bytes) -> int:
        body = frame.lstrip(b"\xfe")
        if not body:
            return 9
        if body[0] != 0x68:
            return -1
        return 9 - len(body) if len(body) < 8 else 9 + body[7] - len(body)

    def serial_payload(self, frame: bytes) -> bytes:
        body = frame.lstrip(b"\xfe")
        if body[1:7].hex() != self.unit:
            raise BadReply("another station")
        return body[8:-1]


METER = "000000000012"


def meter_says(preambles, data, station=METER):
    return b"\xfe" * preambles + b"\x68" + bytes.fromhex(station) + bytes((len(data),)) + data + b"\x00"


@pytest.fixture
def meter(bench):
    """Give a link with a meter that answers anything with the next of its replies, and these."""
    replies = []

    class MeterPump(bench.RtuPump):
        def readable(self, fd: int) -> None:
            os.read(fd, 4096)
            self.schedule(fd, replies.pop(0) if replies else [])

    link = link_to(parse_url(bench.run(MeterPump(bench.Peer())).url()))
    link.stations[METER] = Station(LATE_S, LATE_S)
    link.open()
    bench.stack.callback(link.close)
    return link, replies


def test_another_protocol_on_the_serial_line_ends_where_its_header_says(meter) -> None:
    link, replies = meter
    whole = meter_says(3, b"some kWh")
    replies += [
        [(0.0, whole)],
        [(0.002 * i, whole[i : i + 1]) for i in range(len(whole))],
        [(0.0, meter_says(0, b""))],
        [(0.0, meter_says(3, b"twice") * 2)],
    ]
    assert [link.ask(Framed(METER)) for _ in range(3)] == [b"some kWh", b"some kWh", b""]
    with pytest.raises(BadReply):
        link.ask(Framed(METER))
    with pytest.raises(NoReply, match="still owes"):
        link.ask(Framed(METER))


def test_a_late_reply_in_another_protocol_ends_the_debt(meter) -> None:
    link, replies = meter
    replies += [[(1.3 * LATE_S, meter_says(2, b"late"))], [(0.0, meter_says(2, b"right"))]]
    with pytest.raises(NoReply):
        link.ask(Framed(METER))
    assert not link.ambiguous(Framed(METER), time.monotonic_ns())
    assert link.ask(Framed(METER)) == b"right"


def test_only_modbus_travels_over_tcp(bench) -> None:
    link, _ = opened(bench, "tcp", bench.Peer())
    with pytest.raises(TypeError):
        link.ask(Framed(METER))


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_the_gaps_that_units_want_are_kept(bench, kind) -> None:
    """Unit 1 wants 30 ms before its requests, and before the line turns from it to another unit."""
    link, pump = opened(bench, kind, bench.Peer(), timeout_s=2.0, gaps=(0.03, 0.0))
    asked = [2, 2, 1, 1, 2, 2]
    for unit in asked:
        assert attempt(bench, link, unit, 3, 7, 2)
    times = [asked.t for asked in pump.peer.asked]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps[1:4]) >= 0.03
    assert min(gaps[0], gaps[4]) < min(gaps[1:4])


def test_a_reply_that_came_before_its_request_is_not_taken(bench) -> None:
    """Somebody else's reply with the number of our next request comes behind the one that is due."""

    def mangle(asked, frame):
        number = (int.from_bytes(frame[:2], "big") % 0xFFFF + 1).to_bytes(2, "big")
        return [(0.0, frame + number + frame[2:])]

    link, _ = opened(bench, "tcp", bench.Peer(mangle), timeout_s=2.0)
    assert all(attempt(bench, link, 1, 3, address, 2) for address in range(0, 20, 2))
