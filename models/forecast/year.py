"""A recorded year of load, read as if it were happening now: the start of a site that has no history yet.

Played by the civil clock: the same month, day and time of day of the recorded clock, shifted by up to three
days so that the day of the week agrees. A plant's shifts follow the clock on its wall, so 8 o'clock of the
recording is 8 o'clock of the site, whatever the two time zones are.
"""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from models.series import Floats, Times

GAP_MS = 3_600_000
"""A recording says nothing about moments farther than this from its samples."""


def recorded_day(day: date, year: int) -> date:
    """Return the day of ``year`` that stands for ``day``: the nearest with the same day of the week."""
    same = date(year, day.month, min(day.day, 28) if day.month == 2 else day.day)
    found = same + timedelta(days=(day.weekday() - same.weekday() + 3) % 7 - 3)
    if found.year < year:
        return found + timedelta(days=7)
    return found if found.year == year else found - timedelta(days=7)


def played(
    utc_ms: Times, t_ms: Times, load_kw: Floats, site_zone: ZoneInfo, recorded_zone: ZoneInfo
) -> Floats:
    """Return the recorded load that stands for moments of now.

    Args:
        utc_ms: (M,) moments.
        t_ms: (K,) UTC of the recording, ascending, about one year of it.
        load_kw: (K,) averages of the intervals that start then.
        site_zone: clock of the site.
        recorded_zone: clock of the recording.

    Returns:
        (M,) NaN where the recording has nothing near.
    """
    if len(t_ms) == 0:
        return np.full(len(utc_ms), np.nan)
    middle = int(t_ms[len(t_ms) // 2])
    year = datetime.fromtimestamp(middle / 1000, recorded_zone).year
    then = np.empty(len(utc_ms), np.int64)
    for i, moment in enumerate(np.asarray(utc_ms).tolist()):
        local = datetime.fromtimestamp(moment / 1000, site_zone)
        there = datetime.combine(recorded_day(local.date(), year), local.time(), recorded_zone)
        then[i] = round(there.timestamp() * 1000)
    index = np.clip(np.searchsorted(t_ms, then, side="right") - 1, 0, len(t_ms) - 1)
    out: Floats = np.where(np.abs(then - t_ms[index]) <= GAP_MS, load_kw[index], np.nan)
    return out
