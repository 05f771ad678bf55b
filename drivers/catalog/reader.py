"""Reads tables of a catalog file strictly: every key known, typed and bounded, every problem kept."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from models.errors import Problem

Table = Mapping[str, Any]

UNKNOWN_KEY = "CAT-001"
MISSING_KEY = "CAT-002"
WRONG_VALUE = "CAT-003"
CONTRADICTION = "CAT-004"
UNREADABLE = "CAT-005"


class Reader:
    """One table of the file; ``close`` reports every key that nobody asked for."""

    def __init__(self, table: object, where: str, problems: list[Problem]) -> None:
        self.where = where
        self.problems = problems
        self.asked: list[str] = []
        self.table: Table = {}
        if isinstance(table, Mapping):
            self.table = table
        else:
            self.wrong("", f"{table!r} is not a table", "Write { key = value, … }")

    def wrong(self, key: str, what: str, do: str, code: str = WRONG_VALUE) -> None:
        """Keep one problem."""
        self.problems.append(Problem(code, f"{self.where} {key}".strip(), what, do))

    def has(self, key: str) -> bool:
        """Whether the key is there; counts as asked for."""
        self.asked.append(key)
        return key in self.table

    def _get(self, key: str, default: object) -> object:
        if not self.has(key) and default is None:
            self.wrong(key, f"{key} is missing", "Add it", MISSING_KEY)
        return self.table.get(key, default)

    def text(self, key: str, default: str | None = None, among: Iterable[str] | None = None) -> str:
        """Return a text, one of ``among`` when that is given."""
        value = self._get(key, default)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.wrong(key, f"{value!r} is not a text", "Put it in quotation marks")
            return default or ""
        known = list(among) if among is not None else [value]
        if value not in known:
            self.wrong(key, f"{value!r} is not known", _nearest(value, known))
        return value

    def number(self, key: str, lo: float, hi: float, default: float | None = None) -> float:
        """Return a number in ``[lo, hi]``."""
        value = self._get(key, default)
        if value is None:
            return lo
        if isinstance(value, bool) or not isinstance(value, int | float) or not lo <= value <= hi:
            self.wrong(key, f"{value!r} is not a number from {lo:g} to {hi:g}", "Correct it")
            return lo if default is None else default
        return float(value)

    def whole(self, key: str, lo: int, hi: int, default: int | None = None) -> int:
        """Return an integer in ``[lo, hi]``; also written as a text like "0x8000"."""
        value = self._get(key, default)
        if value is None:
            return lo
        if isinstance(value, str):
            try:
                value = int(value, 0)
            except ValueError:
                pass
        if isinstance(value, bool) or not isinstance(value, int) or not lo <= value <= hi:
            self.wrong(key, f"{value!r} is not an integer from {lo} to {hi}", "Correct it")
            return lo if default is None else default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"{value!r} is not true or false", "Correct it")
            return default
        return value

    def items(self, key: str) -> list[Any]:
        """Return a list, empty when the key is not there."""
        value = self._get(key, [])
        if not isinstance(value, list):
            self.wrong(key, f"{value!r} is not a list", "Write [ … ]")
            return []
        return value

    def close(self) -> None:
        """Report the keys that mean nothing."""
        for key in self.table:
            if key not in self.asked:
                self.wrong(key, f"{key!r} means nothing here", _nearest(key, self.asked), UNKNOWN_KEY)


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(set(known)))}"
