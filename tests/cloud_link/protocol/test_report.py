from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud_link.protocol.report import add_range, contiguous

RANGES = st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda r: (r[0], r[0] + r[1]))


@given(st.lists(RANGES))
def test_ranges_stand_for_exactly_the_numbers_added(added: list[tuple[int, int]]) -> None:
    known: list[tuple[int, int]] = []
    numbers: set[int] = set()
    for first, number in added:
        known = add_range(known, first, number)
        numbers |= set(range(first, number + 1))
    assert {n for low, high in known for n in range(low, high + 1)} == numbers
    assert all(a[1] + 1 < b[0] for a, b in pairwise(known))
    missing = next(n for n in range(1, 100) if n not in numbers)
    assert contiguous(known) == missing - 1
