"""Small charts of block characters: ANSI only when colour is asked for, plain letters in ASCII mode."""

from collections.abc import Sequence

import click

UP = " ▁▂▃▄▅▆▇█"
DOWN = " ▔▔▀▀▀███"
"""Hanging blocks have three heights only; in colour, a standing block in reverse video hangs exactly."""
ASCII = "  ..::::#"
EIGHTHS = 8


def columns(values: Sequence[float | None], count: int) -> list[float]:
    """Return ``count`` averages of equal parts of the values; None counts as 0."""
    n = len(values)
    known = [value or 0.0 for value in values]
    parts = [known[k * n // count : max((k + 1) * n // count, k * n // count + 1)] for k in range(count)]
    return [sum(part) / len(part) for part in parts]


def _eighths(value: float, top: float, rows: int) -> int:
    return round(min(max(value / top, 0.0), 1.0) * rows * EIGHTHS)


def bars_up(values: Sequence[float], top: float, rows: int, ascii_only: bool) -> list[str]:
    """Return rows, uppermost first, of bars that stand on the line below; negative values are empty."""
    blocks = ASCII if ascii_only else UP
    heights = [_eighths(value, top, rows) for value in values]
    floors = [(rows - 1 - row) * EIGHTHS for row in range(rows)]
    return ["".join(blocks[min(max(h - floor, 0), EIGHTHS)] for h in heights) for floor in floors]


def bars_down(values: Sequence[float], top: float, rows: int, ascii_only: bool, colour: bool) -> list[str]:
    """Return rows, uppermost first, of bars that hang from the line above, for the negative values."""
    heights = [_eighths(-value, top, rows) for value in values]
    return [
        "".join(_hanging(min(max(h - row * EIGHTHS, 0), EIGHTHS), ascii_only, colour) for h in heights)
        for row in range(rows)
    ]


def _hanging(eighths: int, ascii_only: bool, colour: bool) -> str:
    if ascii_only:
        return ASCII[eighths]
    if colour and 0 < eighths < EIGHTHS:
        return click.style(UP[EIGHTHS - eighths], reverse=True)
    return DOWN[eighths]


def line(values: Sequence[float], low: float, high: float, ascii_only: bool) -> str:
    """Return one row; the height of each character is the value."""
    blocks = " .:-=+*#@" if ascii_only else UP
    span = (high - low) or 1.0
    return "".join(blocks[_eighths(value - low, span, 1)] for value in values)


def letters(marks: Sequence[tuple[int, str]], count: int) -> str:
    """Return one row with labels at their columns; a label that would touch the one before is left out."""
    row = [" "] * count
    free = 0
    for column, text in marks:
        if column >= free and column + len(text) <= count:
            row[column : column + len(text)] = text
            free = column + len(text) + 1
    return "".join(row)
