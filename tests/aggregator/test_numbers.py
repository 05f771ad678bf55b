"""Which outbox numbers are here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.numbers import Numbers

# what it says · reports (first, number) · contiguous · missing · received · duplicates
TABLE = [
    ("in order", [(1, 1), (2, 2), (3, 3)], 3, 0, 3, 0),
    ("newest first, history later", [(5, 5), (1, 1), (2, 2), (3, 3), (4, 4)], 5, 0, 5, 0),
    ("a hole stops the confirmation", [(1, 1), (3, 3), (5, 5)], 1, 2, 3, 0),
    ("twice counts once", [(1, 1), (1, 1), (2, 2), (1, 1)], 2, 0, 2, 2),
    ("a merged report stands for several", [(1, 1), (2, 6), (7, 7)], 7, 0, 3, 0),
    ("a merged report fills the hole beside one that is known", [(1, 1), (4, 4), (2, 4)], 4, 0, 2, 1),
    ("a leap of a thousand after a power cut", [(1, 1), (2, 1002)], 1002, 0, 2, 0),
]


@pytest.mark.parametrize(("reports", "contiguous", "missing", "received", "duplicates"),
                         [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])  # fmt: skip
def test_table(
    reports: list[tuple[int, int]], contiguous: int, missing: int, received: int, duplicates: int
) -> None:
    numbers = Numbers()
    for first, number in reports:
        numbers.add(first, number)
    assert (numbers.contiguous, numbers.missing) == (contiguous, missing)
    assert (numbers.received, numbers.duplicates) == (received, duplicates)


def test_a_merged_duplicate_is_new_where_it_fills_a_hole() -> None:
    numbers = Numbers()
    assert [numbers.add(*one) for one in [(4, 4), (4, 4), (2, 4), (2, 4)]] == [True, False, True, False]


def test_a_new_epoch_begins_again() -> None:
    numbers = Numbers()
    numbers.begin(7, 0)
    numbers.add(1, 1)
    numbers.begin(7, 0)
    assert numbers.contiguous == 1
    numbers.begin(8, 0)
    assert (numbers.contiguous, numbers.received) == (0, 1)
    assert numbers.add(1, 1)


def test_a_fleet_without_memory_takes_over_what_was_confirmed() -> None:
    numbers = Numbers()
    numbers.begin(7, 5001)
    numbers.add(5001, 5001)
    assert (numbers.contiguous, numbers.missing) == (5001, 0)


@given(st.permutations(range(1, 40)), st.integers(0, 39))
def test_any_order_ends_the_same(order: list[int], cut: int) -> None:
    numbers = Numbers()
    for number in order[:cut]:
        numbers.add(number, number)
    got = set(order[:cut])
    assert numbers.contiguous == next(n for n in range(41) if n + 1 not in got)
    assert numbers.missing == (max(got) - len(got) if got else 0)
    again = Numbers()
    again.restore([(1, numbers.contiguous), *((n, n) for n in sorted(got) if n > numbers.contiguous)])
    assert again.known == numbers.known
    for number in order:
        numbers.add(number, number)
    assert (numbers.contiguous, numbers.known, numbers.received) == (39, [(1, 39)], 39)
