"""Small charts: exact heights, equal widths."""

from hypothesis import given
from hypothesis import strategies as st

from edge.cli.chart import bars_down, bars_up, columns, letters, line

POWERS = st.lists(st.floats(-100, 100), min_size=1, max_size=50)


def test_columns_are_averages_of_equal_parts() -> None:
    assert columns([1.0, 3.0, 5.0, None], 2) == [2.0, 2.5]
    assert columns([1.0, 2.0], 4) == [1.0, 1.0, 2.0, 2.0]


def test_bars_stand_up_in_eighths() -> None:
    assert bars_up([0.0, 1.0, 8.0, 9.0, 16.0, -5.0], 16.0, 2, False) == ["   ▁█ ", " ▁███ "]


def test_bars_hang_down_and_exactly_so_in_colour() -> None:
    assert bars_down([5.0, -8.0, -12.0, -16.0], 16.0, 2, False, False) == [" ███", "  ▀█"]
    assert bars_down([-2.0], 8.0, 1, False, True) == ["\x1b[7m▆\x1b[0m"]


def test_a_line_spans_low_to_high() -> None:
    assert line([0.0, 0.5, 1.0], 0.0, 1.0, False) == " ▄█"
    assert line([0.0, 1.0], 0.0, 1.0, True) == " @"
    assert line([3.0, 3.0], 3.0, 3.0, False) == "  "


def test_labels_do_not_touch() -> None:
    assert letters([(0, "09"), (2, "12"), (4, "15"), (9, "18")], 10) == "09  15    "


@given(POWERS)
def test_all_rows_are_as_wide_as_the_values(powers: list[float]) -> None:
    rows = bars_up(powers, 100.0, 3, False) + bars_down(powers, 100.0, 3, True, False)
    assert {len(row) for row in rows} == {len(powers)}


@given(POWERS)
def test_no_column_goes_up_and_down(powers: list[float]) -> None:
    up, down = bars_up(powers, 100.0, 1, False)[0], bars_down(powers, 100.0, 1, False, False)[0]
    assert all(" " in (a, b) for a, b in zip(up, down, strict=True))
