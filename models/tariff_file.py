"""Reader of dated tariff rule files (TOML): every problem at once, each with its line.

The text comes from the caller; nothing here touches a disk. ``examples/tariffs`` shows the format.
"""

import itertools
import re
import tomllib
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, Problem
from models.series import Floats
from models.tariff import HALF_HOURS, LEVELS, Tariff

FORMAT = 1
MAX_CNY_PER_KWH = 10.0
"""No retail price is higher; one that is has been written in the wrong unit."""
UNSET = 255
Path = tuple[str | int, ...]

KEYS: dict[str, tuple[str, ...]] = {
    "": (
        *("format", "name", "document", "source", "time_zone", "valid_from", "valid_to"),
        *("prices", "levels", "seasons", "overrides", "holidays", "demand"),
    ),
    "prices": (
        *("from", "purchase_cny_per_kwh", "fixed_cny_per_kwh", "export_cny_per_kwh"),
        *("status", "note"),
    ),
    "levels": LEVELS,
    "seasons": ("name", "months", *LEVELS),
    "overrides": ("level", "months", "days", "at"),
    "holidays": ("status", "holidays_known_until", "dates"),
    "demand": ("cny_per_kw_month", "window_s", "status", "note"),
}
"""Every key that the format knows, by table."""


def parse_tariff(text: str, where: str = "tariff") -> Tariff:
    """Return the tariff that a rule file describes.

    Args:
        text: the file.
        where: its name, for the problems.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        at = f"{where}:{line.group(1)}" if line else where
        raise ConfigError([Problem("TAR-001", at, f"not TOML: {error}", "Correct the syntax.")]) from error
    reader = _Reader(data, where, _lines(text))
    tariff = reader.tariff()
    if reader.problems or tariff is None:
        raise ConfigError(reader.problems)
    return tariff


def _lines(text: str) -> dict[Path, int]:
    """Return the line of every table and key; tomllib gives no positions."""
    table: Path = ()
    counts: dict[str, int] = {}
    found: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\[\s*([\w-]+)\s*\]\]", line):
            name = match.group(1)
            table = (name, counts.get(name, 0))
            counts[name] = counts.get(name, 0) + 1
            found[table] = number
        elif match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            table = tuple(match.group(1).split("."))
            found[table] = number
        elif match := re.match(r"\s*([\w-]+)\s*=", line):
            found.setdefault((*table, match.group(1)), number)
    return found


class _Reader:
    """Collects problems while it reads; a value that is wrong reads as a harmless one."""

    def __init__(self, data: dict[str, Any], where: str, lines: dict[Path, int]) -> None:
        self.problems: list[Problem] = []
        self._data = data
        self._where = where
        self._lines = lines

    def tariff(self) -> Tariff | None:
        """Read everything; None when the problems leave nothing to build."""
        self._unknown_keys()
        if self._data.get("format") != FORMAT:
            self._bad("TAR-002", ("format",), f"format is not {FORMAT}", f"Write format = {FORMAT}.")
        zone = self._zone()
        valid_from = self._date(self._data, ("valid_from",))
        valid_to = self._date(self._data, ("valid_to",)) if "valid_to" in self._data else None
        if valid_from and valid_to and valid_to < valid_from:
            self._bad("TAR-012", ("valid_to",), "valid_to is before valid_from", "Exchange the two dates.")
        holidays, known_until = self._holidays()
        table = self._table()
        starts, prices, export = self._prices(np.unique(table[table != UNSET]))
        demand, window_s = self._demand()
        if self.problems or zone is None or valid_from is None:
            return None
        return Tariff(
            name=self._text("name"),
            document=self._text("document"),
            source=self._text("source"),
            zone=zone,
            valid_from=valid_from,
            valid_to=valid_to,
            table=table,
            holidays=holidays,
            holidays_known_until=known_until if np.any(table[:, 0] != table[:, 1]) else None,
            price_from=starts,
            price_cny_per_kwh=prices,
            export_cny_per_kwh=export,
            demand_cny_per_kw_month=demand,
            demand_window_s=window_s,
            notes=self._notes(),
        )

    def _bad(self, code: str, path: Path, what: str, do: str) -> None:
        while path and path not in self._lines:
            path = path[:-1]
        line = f":{self._lines[path]}" if path else ""
        self.problems.append(Problem(code, f"{self._where}{line}", what, do))

    def _unknown_keys(self) -> None:
        for name, allowed in KEYS.items():
            part = self._data.get(name, {}) if name else self._data
            many = isinstance(part, list)
            for index, row in enumerate(part if many else [part]):
                path: Path = () if not name else (name, index) if many else (name,)
                if not isinstance(row, dict):
                    self._bad("TAR-003", path, f"{name} is not a table", f"Write [{name}] as in the example.")
                    continue
                for key in row.keys() - set(allowed):
                    hint = f"Known here: {', '.join(allowed)}."
                    self._bad("TAR-002", (*path, key), f"key {key!r} is unknown", hint)

    def _rows(self, name: str) -> list[dict[str, Any]]:
        rows = self._data.get(name, [])
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def _part(self, name: str) -> dict[str, Any]:
        part = self._data.get(name, {})
        return part if isinstance(part, dict) else {}

    def _text(self, key: str) -> str:
        return str(self._data.get(key, ""))

    def _zone(self) -> ZoneInfo | None:
        name = self._data.get("time_zone")
        try:
            return ZoneInfo(str(name))
        except (KeyError, ValueError, OSError):
            self._bad("TAR-011", ("time_zone",), f"time zone {name!r} is unknown", 'Write "Asia/Shanghai".')
            return None

    def _date(self, part: dict[str, Any], path: Path) -> date | None:
        value = part.get(str(path[-1]))
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        self._bad("TAR-012", path, f"{path[-1]} is not a date", "Write it as 2025-06-01, without quotes.")
        return None

    def _number(
        self, part: dict[str, Any], path: Path, lo: float, hi: float, default: float | None = None
    ) -> float:
        key = str(path[-1])
        value = part.get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and lo <= value <= hi:
            return float(value)
        self._bad("TAR-009", path, f"{key} = {value!r} is not within {lo:g}…{hi:g}", "Check value and unit.")
        return 0.0

    def _months(self, row: dict[str, Any], path: Path) -> list[int]:
        months = row.get("months")
        whole = isinstance(months, list) and all(type(m) is int and 1 <= m <= 12 for m in months)
        if whole and months:
            return [month - 1 for month in months]
        self._bad("TAR-007", (*path, "months"), "months is not a list of 1…12", "Write months = [7, 8].")
        return []

    def _halves(self, row: dict[str, Any], path: Path) -> list[int]:
        """Return the half hours of a list of spans such as ``14:00-22:00``."""
        spans = row.get(str(path[-1]))
        out: list[int] = []
        for span in spans if isinstance(spans, list) else [spans]:
            match = re.fullmatch(r"(\d\d):([03]0)-(\d\d):([03]0)", span) if isinstance(span, str) else None
            first, last = (0, 0)
            if match:
                hour, minute, to_hour, to_minute = map(int, match.groups())
                first, last = hour * 2 + minute // 30, to_hour * 2 + to_minute // 30
            if not 0 <= first < last <= HALF_HOURS:
                do = 'Write "14:00-22:00": half-hour borders, 24:00 at the latest, split a span at midnight.'
                self._bad("TAR-004", path, f"{span!r} is not a span within one day", do)
                continue
            out.extend(range(first, last))
        return out

    def _table(self) -> NDArray[np.uint8]:
        table = np.full((12, 2, HALF_HOURS), UNSET, np.uint8)
        self._seasons(table)
        for index, row in enumerate(self._rows("overrides")):
            self._override(table, row, ("overrides", index))
        return table

    def _seasons(self, table: NDArray[np.uint8]) -> None:
        for index, row in enumerate(self._rows("seasons")):
            path: Path = ("seasons", index)
            months = self._months(row, path)
            if taken := [m + 1 for m in months if np.any(table[m] != UNSET)]:
                do = "A month belongs to one season."
                self._bad("TAR-007", (*path, "months"), f"months {taken} are in two seasons", do)
            day = self._day(row, path)
            table[months] = day
        missing = [m + 1 for m in range(12) if np.all(table[m] == UNSET)]
        if missing:
            self._bad(
                "TAR-007", ("seasons", 0), f"months {missing} have no season", "Add them to one season."
            )

    def _day(self, row: dict[str, Any], path: Path) -> NDArray[np.uint8]:
        """Return the (48,) levels of one day; gaps and overlaps are problems."""
        day = np.full(HALF_HOURS, UNSET, np.uint8)
        for level, name in enumerate(LEVELS):
            halves = self._halves(row, (*path, name)) if name in row else []
            twice = [half for half in halves if day[half] != UNSET or halves.count(half) > 1]
            if twice:
                what = f"{_clock(min(twice))} has two levels, one of them {name}"
                self._bad("TAR-006", (*path, name), what, "A half hour has one level: shorten a span.")
            day[halves] = level
        gap = np.flatnonzero(day == UNSET)
        if len(gap):
            what = f"{_clock(int(gap[0]))} has no level ({len(gap) / 2:g} h in all)"
            self._bad("TAR-005", path, what, "Cover the whole day, 00:00 to 24:00.")
        return day

    def _override(self, table: NDArray[np.uint8], row: dict[str, Any], path: Path) -> None:
        level = row.get("level")
        if level not in LEVELS:
            self._bad("TAR-008", (*path, "level"), f"level {level!r} is unknown", f"Known: {LEVELS}.")
            return
        days = row.get("days", "all")
        if days not in ("all", "holiday"):
            do = 'Write "holiday", or leave it out.'
            self._bad("TAR-008", (*path, "days"), f"days {days!r} is unknown", do)
        months = self._months(row, path) if "months" in row else list(range(12))
        halves = self._halves(row, (*path, "at"))
        kinds = [1] if days == "holiday" else [0, 1]
        table[np.ix_(months, kinds, halves)] = LEVELS.index(level)

    def _floats(self, used: NDArray[np.uint8]) -> Floats:
        """Return (5,) what the purchase price is multiplied with at each level, NaN when undefined."""
        part = self._part("levels")
        out = np.full(len(LEVELS), np.nan)
        for level, name in enumerate(LEVELS):
            if isinstance(spec := part.get(name), dict) and set(spec) == {"float"}:
                out[level] = 1.0 + self._number(spec, ("levels", name, "float"), -1.0, 5.0)
        for level, name in enumerate(LEVELS):
            if isinstance(spec := part.get(name), dict) and set(spec) == {"of", "times"}:
                base = LEVELS.index(spec["of"]) if spec["of"] in LEVELS else level
                out[level] = out[base] * self._number(spec, ("levels", name, "times"), 0.0, 5.0)
        for level, name in enumerate(LEVELS):
            if np.isnan(out[level]) and (name in part or level in used):
                do = f'Write {name} = {{ float = 0.8 }} or {name} = {{ of = "peak", times = 1.2 }}.'
                self._bad("TAR-008", ("levels", name), f"level {name} has no price rule", do)
        return out

    def _prices(self, used: NDArray[np.uint8]) -> tuple[tuple[date, ...], Floats, Floats]:
        floats = self._floats(used)
        starts: list[date] = []
        rows: list[Floats] = []
        export: list[float] = []
        for index, row in enumerate(self._rows("prices")):
            path: Path = ("prices", index)
            start = self._date(row, (*path, "from"))
            if start and starts and start <= starts[-1]:
                self._bad("TAR-012", (*path, "from"), "prices are not in order", "Put the newest last.")
            starts.append(start or date.min)
            limit = MAX_CNY_PER_KWH
            purchase = self._number(row, (*path, "purchase_cny_per_kwh"), 0.0, limit)
            fixed = self._number(row, (*path, "fixed_cny_per_kwh"), -limit, limit)
            export.append(self._number(row, (*path, "export_cny_per_kwh"), -limit, limit, 0.0))
            rows.append(purchase * floats + fixed)
            self._check_row(rows[-1], export[-1], path)
        if not rows:
            self._bad("TAR-009", (), "there is no [[prices]]", "Add the prices of your bill.")
        return tuple(starts), np.array(rows), np.array(export)

    def _check_row(self, row: Floats, export: float, path: Path) -> None:
        known = [(name, price) for name, price in zip(LEVELS, row.tolist(), strict=True) if price == price]
        for (low, low_price), (high, high_price) in itertools.pairwise(known):
            if high_price < low_price:
                what = f"{high} ({high_price:.4f}) is cheaper than {low} ({low_price:.4f})"
                self._bad("TAR-010", path, what, "Correct the levels or the prices.")
        if known and known[0][1] < 0:
            what = f"{known[0][0]} has a negative price, {known[0][1]:.4f} CNY/kWh"
            self._bad("TAR-009", path, what, "Check the signs.")
        if known and export > known[-1][1]:
            what = f"the export price {export:g} is above every import price"
            self._bad("TAR-009", (*path, "export_cny_per_kwh"), what, "Check value and unit.")

    def _holidays(self) -> tuple[frozenset[date], date | None]:
        part = self._part("holidays")
        if not part:
            return frozenset(), date.min
        dates = part.get("dates")
        if not isinstance(dates, list) or not all(type(day) is date for day in dates):
            self._bad("TAR-012", ("holidays", "dates"), "dates is not a list of dates", "Write [2026-01-01].")
            dates = []
        return frozenset(dates), self._date(part, ("holidays", "holidays_known_until"))

    def _demand(self) -> tuple[float, int]:
        part = self._part("demand")
        if not part:
            return 0.0, 900
        price = self._number(part, ("demand", "cny_per_kw_month"), 0.0, 1000.0)
        return price, int(self._number(part, ("demand", "window_s"), 60, 3600, 900))

    def _notes(self) -> tuple[str, ...]:
        """Return what the file itself calls unverified."""
        parts = [("prices", row) for row in self._rows("prices")]
        parts += [(name, self._part(name)) for name in ("holidays", "demand")]
        found = [
            f"{name}: {part['status']} {part.get('note', '')}".strip()
            for name, part in parts
            if "status" in part
        ]
        return tuple(dict.fromkeys(found))


def _clock(half: int) -> str:
    return f"{half // 2:02d}:{half % 2 * 30:02d}"
