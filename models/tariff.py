"""What a kilowatt hour costs at a moment: levels by local civil time, prices by date, the demand charge.

A Tariff is made from a dated rule file by ``models.tariff_file``; here is only the arithmetic. Local time
follows the zone's own rules, so a day of 23 or 25 hours has the right level in each of them.
"""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from models.series import Floats, Times

LEVELS = ("deep_valley", "valley", "flat", "peak", "sharp")
"""深谷 谷 平 峰 尖, from cheap to dear; an index into it is a level everywhere."""
HALF_HOURS = 48
QUARTER_MS = 900_000
S_PER_DAY = 86_400
NOT_IN_FORCE = "tariff-not-in-force"
HOLIDAYS_UNKNOWN = "holidays-unknown"


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """One tariff of one user class."""

    name: str
    document: str
    source: str
    zone: ZoneInfo
    valid_from: date
    valid_to: date | None
    """Last day in force; None while no end is announced."""
    table: NDArray[np.uint8]
    """(12, 2, 48) level by month, ordinary day or holiday, half hour of the local day."""
    holidays: frozenset[date]
    holidays_known_until: date | None
    """None: no level depends on holidays."""
    price_from: tuple[date, ...]
    """(R,) first days of the price rows, ascending."""
    price_cny_per_kwh: Floats
    """(R, 5) by level."""
    export_cny_per_kwh: Floats
    """(R,) paid for what is fed into the grid."""
    demand_cny_per_kw_month: float
    """0 when there is no demand charge."""
    demand_window_s: int
    notes: tuple[str, ...]
    """What in the file is not verified, to be shown with every result that rests on it."""

    def levels(self, utc_ms: Times) -> NDArray[np.uint8]:
        """Return the level of each time; (M,) UTC ms -> (M,) index into LEVELS."""
        days, halves = self._local(utc_ms)
        return self._by_day(days, halves)

    def level(self, utc_ms: int) -> str:
        """Return the name of the level at one time."""
        return LEVELS[int(self.levels(np.array([utc_ms], np.int64))[0])]

    def prices(self, utc_ms: Times) -> Floats:
        """Return the import price at each time; (M,) UTC ms -> (M,) [CNY/kWh]."""
        days, halves = self._local(utc_ms)
        out: Floats = self.price_cny_per_kwh[self._row(days), self._by_day(days, halves)]
        return out

    def export_prices(self, utc_ms: Times) -> Floats:
        """Return the export price at each time; (M,) UTC ms -> (M,) [CNY/kWh]."""
        out: Floats = self.export_cny_per_kwh[self._row(self._local(utc_ms)[0])]
        return out

    def warnings(self, utc_ms: Times) -> tuple[str, ...]:
        """Return why the prices of these times may be wrong; they are computed all the same."""
        days, _ = self._local(utc_ms)
        if len(days) == 0:
            return ()
        first, last = date.fromordinal(int(days.min())), date.fromordinal(int(days.max()))
        found = []
        if first < self.valid_from or (self.valid_to is not None and last > self.valid_to):
            found.append(NOT_IN_FORCE)
        if self.holidays_known_until is not None and last > self.holidays_known_until:
            found.append(HOLIDAYS_UNKNOWN)
        return tuple(found)

    def month(self, utc_ms: int) -> str:
        """Return the local calendar month, ``2025-07``: over which the demand charge is billed."""
        return datetime.fromtimestamp(utc_ms / 1000, self.zone).strftime("%Y-%m")

    def days_left(self, utc_ms: int) -> float:
        """Return how much of the local calendar month is left [d], at least the day of the moment."""
        now = datetime.fromtimestamp(utc_ms / 1000, self.zone)
        following = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=self.zone)
        return max((following.timestamp() - now.timestamp()) / S_PER_DAY, 1.0)

    def _local(self, utc_ms: Times) -> tuple[Times, Times]:
        """Return the local day (proleptic ordinal) and half hour of each time."""
        # zones change their offset at whole quarters of an hour only: convert each quarter once
        quarters, inverse = np.unique(np.asarray(utc_ms, np.int64) // QUARTER_MS, return_inverse=True)
        wall = [datetime.fromtimestamp(quarter * 900, self.zone) for quarter in quarters.tolist()]
        days = np.array([t.toordinal() for t in wall], np.int64)
        halves = np.array([t.hour * 2 + t.minute // 30 for t in wall], np.int64)
        return days[inverse], halves[inverse]

    def _by_day(self, days: Times, halves: Times) -> NDArray[np.uint8]:
        unique, inverse = np.unique(days, return_inverse=True)
        dates = [date.fromordinal(day) for day in unique.tolist()]
        months = np.array([day.month - 1 for day in dates], np.intp)
        holiday = np.array([day in self.holidays for day in dates], np.intp)
        out: NDArray[np.uint8] = self.table[months[inverse], holiday[inverse], halves]
        return out

    def _row(self, days: Times) -> NDArray[np.intp]:
        starts = [day.toordinal() for day in self.price_from]
        return np.maximum(np.searchsorted(starts, days, side="right") - 1, 0)
