"""What is told of a line."""

from drivers.modbus.stats import WINDOW_S, LineStats
from models.errors import BadReply, NoReply, Refused

S = 1_000_000_000


def test_the_load_is_that_of_the_last_whole_seconds() -> None:
    stats = LineStats()
    for second in range(100, 100 + WINDOW_S):
        stats.note(1, second * S, second * S + S // 4, second * S, None)
    end = (100 + WINDOW_S) * S
    assert stats.busy(end) == 0.25
    assert stats.busy(end + 5 * S) == 0.125, "it fades when nothing is asked any more"
    assert stats.busy(end + WINDOW_S * S) == 0.0
    assert stats.requests == WINDOW_S


def test_the_longest_wait_is_remembered_for_a_while() -> None:
    stats = LineStats()
    stats.note(1, 100 * S, 101 * S, 98 * S, None)
    stats.note(1, 102 * S, 102 * S + 1, 102 * S, None)
    assert stats.wait_s(103 * S) == 3.0
    assert stats.wait_s(101 * S + (WINDOW_S + 1) * S) < 1.0
    assert LineStats().wait_s(5 * S) == LineStats().busy(5 * S) == 0.0


def test_after_a_long_pause_nothing_old_is_left() -> None:
    stats = LineStats()
    stats.note(1, 100 * S, 101 * S, 98 * S, None)
    stats.note(1, 1_000 * S, 1_000 * S + 5, 1_000 * S, None)
    assert stats.busy(1_001 * S) < 1e-6
    assert stats.wait_s(1_001 * S) < 1e-6


def test_errors_are_told_by_unit_and_kind() -> None:
    stats = LineStats()
    for unit, error in ((1, None), (1, NoReply("")), (2, BadReply("")), (2, Refused("")), ("meter", None)):
        stats.note(unit, S, S + 1, S, error)
    assert (stats.units[1].requests, stats.units[1].timeouts) == (2, 1)
    assert (stats.units[2].bad_replies, stats.units[2].refused) == (1, 1)
    assert stats.units["meter"].requests == 1
