"""A recorded year, played by the civil clock."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.forecast.year import played, recorded_day

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
START = round(datetime(2018, 1, 1, tzinfo=BERLIN).timestamp() * 1000)
T_MS = START + 900_000 * np.arange(365 * 96, dtype=np.int64)
HOURS = np.array([datetime.fromtimestamp(t / 1000, BERLIN).hour for t in T_MS.tolist()], np.float64)


@given(st.dates(date(2019, 1, 1), date(2040, 12, 31)))
def test_the_recorded_day_is_near_and_of_the_same_weekday(day: date) -> None:
    found = recorded_day(day, 2018)
    assert found.year == 2018 and found.weekday() == day.weekday()
    same = date(2018, day.month, min(day.day, 28) if day.month == 2 else day.day)
    assert abs((found - same).days) <= 7


@pytest.mark.parametrize("clock", ["2026-01-15T08:00", "2026-07-15T08:00", "2026-12-31T23:45"])
def test_eight_o_clock_there_is_eight_o_clock_here(clock: str) -> None:
    now = datetime.fromisoformat(clock).replace(tzinfo=SHANGHAI)
    moment = np.array([round(now.timestamp() * 1000)], np.int64)
    assert played(moment, T_MS, HOURS, SHANGHAI, BERLIN).tolist() == [float(now.hour)]


def test_what_the_recording_does_not_cover_is_not_known() -> None:
    half = slice(0, 180 * 96)
    moment = np.array([round(datetime(2026, 11, 11, tzinfo=SHANGHAI).timestamp() * 1000)], np.int64)
    assert np.isnan(played(moment, T_MS[half], HOURS[half], SHANGHAI, BERLIN)).all()
    assert np.isnan(played(moment, T_MS[:0], HOURS[:0], SHANGHAI, BERLIN)).all()
