"""The serial line takes as long as a real one, is half duplex, and can be broken."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.simulator.board import Board
from drivers.simulator.wire import FIFO, End, Line, device_tty, follow, gateway_tty, open_end, read, turn

BYTE_S = 10 / 19200


@pytest.fixture
def line() -> Line:
    """A line whose ends are no ttys: time is what we say."""
    return Line(End(-1, -1, Path("a")), End(-1, -1, Path("b")), 19200, seed=1)


def test_bytes_arrive_when_the_last_bit_of_the_chunk_is_through(line: Line) -> None:
    gateway, device = line.ends
    line.put(gateway, b"12345678", 10.0)
    assert line.next_s() == pytest.approx(10.0 + 8 * BYTE_S)
    assert line.take(device, 10.0 + 7.9 * BYTE_S) == b""
    assert line.take(device, 10.0 + 8.01 * BYTE_S) == b"12345678"
    assert line.next_s() is None


def test_a_long_frame_comes_in_fifo_chunks_and_on_time(line: Line) -> None:
    gateway, device = line.ends
    frame = bytes(range(45))
    line.put(device, frame, 0.0)
    got, sizes = b"", []
    while (at := line.next_s()) is not None:
        chunk = line.take(gateway, at)
        sizes.append(len(chunk))
        got, end = got + chunk, at
    assert got == frame
    assert sizes == [FIFO, FIFO, FIFO, 3]
    assert end == pytest.approx(45 * BYTE_S)


def test_what_is_written_while_the_line_is_busy_waits(line: Line) -> None:
    gateway, device = line.ends
    line.put(gateway, b"1234", 0.0)
    line.put(gateway, b"5678", BYTE_S)
    assert line.take(device, 4 * BYTE_S + 1e-9) == b""
    assert line.take(device, 8 * BYTE_S + 1e-9) == b"12345678"


def test_both_speaking_at_once_is_a_collision(line: Line) -> None:
    gateway, device = line.ends
    line.put(gateway, b"AAAA", 0.0)
    line.put(device, b"BBBB", BYTE_S)
    assert line.take(device, 1.0) != b"AAAA"
    assert line.take(gateway, 1.0) != b"BBBB"
    line.put(gateway, b"CCCC", 2.0)
    assert line.take(device, 3.0) == b"CCCC", "afterwards the line is well again"


def test_delay_shifts_and_cut_loses(line: Line) -> None:
    gateway, device = line.ends
    line.delay_s = 0.5
    line.put(gateway, b"12", 0.0)
    assert line.next_s() == pytest.approx(0.5 + 2 * BYTE_S)
    line.cut = True
    assert line.take(device, 1.0) == b""
    line.cut = False
    assert line.take(device, 2.0) == b"", "what was cut does not come later"


def test_drop_and_corrupt_hit_about_their_share(line: Line) -> None:
    gateway, device = line.ends
    line.drop = 0.3
    line.put(gateway, b"\x00" * 2000, 0.0)
    assert 1200 < len(line.take(device, 10.0)) < 1600
    line.drop, line.corrupt = 0.0, 0.3
    line.put(gateway, b"\x00" * 2000, 20.0)
    got = line.take(device, 40.0)
    assert len(got) == 2000
    assert 400 < sum(byte != 0 for byte in got) < 800


def test_faults_are_taken_from_the_board(line: Line, board: Board) -> None:
    for what, value in (("cut", 1.0), ("drop", 0.1), ("corrupt", 0.2), ("delay_s", 0.3)):
        board[f"fault/wire-bms-1/{what}"] = value
    follow(line, board, "bms-1")
    assert (line.cut, line.drop, line.corrupt, line.delay_s) == (True, 0.1, 0.2, 0.3)


def collected(got: list[bytes], line: int) -> int:
    """Read what is there and return how many bytes there are in all."""
    try:
        got.append(os.read(line, 100))
    except BlockingIOError:
        pass
    return sum(map(len, got))


def test_turn_carries_bytes_between_two_ttys_both_ways(
    tmp_path: Path, board: Board, until: Callable[..., None]
) -> None:
    ends = (
        open_end(gateway_tty(tmp_path, "bms-1")),
        open_end(device_tty(tmp_path, "bms-1")),
    )
    users = [os.open(end.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK) for end in ends]
    lines = {"bms-1": Line(*ends, 19200, 1)}
    try:
        for source, target in ((0, 1), (1, 0)):
            os.write(users[source], bytes(range(20)))
            turn(lines, board)
            while lines["bms-1"].next_s() is not None:
                turn(lines, board)
            # The kernel hands bytes over from one side of a pty to the other in its own time.
            got: list[bytes] = []
            until(lambda got=got, line=users[target]: collected(got, line) >= 20)
            assert b"".join(got) == bytes(range(20)), "raw: no echo, no translation"
        assert read(ends[0]) == b"", "nothing waits"
    finally:
        for end in ends:
            os.close(end.master)
            os.close(end.slave)
        for user in users:
            os.close(user)
