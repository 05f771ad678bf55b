"""The recorded year is played by the site's civil clock."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.load import NOISE, SITE, Variation, load_at, read_year, recorded_day

YEAR = read_year()


def site_time(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=SITE).timestamp()


def test_the_year_is_whole_and_plausible() -> None:
    assert YEAR.shape == (35040,)
    assert YEAR.min() > 0.0
    assert YEAR.mean() == pytest.approx(114.2, abs=0.1)
    assert YEAR.max() == pytest.approx(348.5, abs=0.1)


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_recorded_day_has_the_same_weekday_and_is_near(day: date) -> None:
    found = recorded_day(day)
    assert found.year == 2018
    assert found.weekday() == day.weekday()
    same = date(2018, day.month, min(day.day, 28) if day.month == 2 else day.day)
    assert abs((found - same).days) <= 6
    if 4 <= same.timetuple().tm_yday <= 362:
        assert abs((found - same).days) <= 3


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        ("2026-06-19T10:00", "2018-06-22T10:00", "a Friday in summer, shifted by three days"),
        ("2026-01-15T08:15", "2018-01-18T08:15", "a Thursday in winter"),
        ("2018-09-05T23:45", "2018-09-05T23:45", "the recorded day itself"),
    ],
)
def test_load_is_the_recorded_one_of_the_same_civil_time(here: str, there: str, why: str) -> None:
    then = datetime.fromisoformat(there).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    row = int((then - datetime(2017, 12, 31, 23, tzinfo=UTC)) / timedelta(minutes=15))
    assert load_at(YEAR, site_time(here)) == pytest.approx(YEAR[row]), why


def test_load_is_linear_between_quarters() -> None:
    start = site_time("2026-06-19T10:00")
    middle = (load_at(YEAR, start) + load_at(YEAR, start + 900.0)) / 2.0
    assert load_at(YEAR, start + 450.0) == pytest.approx(middle)


@given(st.floats(946684800.0, 4102444800.0))
def test_load_never_leaves_the_recorded_range(utc_s: float) -> None:
    assert YEAR.min() <= load_at(YEAR, utc_s) <= YEAR.max()


def test_workdays_are_busier_than_sundays() -> None:
    assert load_at(YEAR, site_time("2026-06-17T10:00")) > 2 * load_at(YEAR, site_time("2026-06-21T10:00"))


def test_variation_has_the_documented_size_and_repeats() -> None:
    one, two = (Variation(np.random.default_rng(3)) for _ in range(2))
    values = np.array([(one.step(200.0, 0.1), two.step(200.0, 0.1)) for _ in range(30_000)])
    assert (values[:, 0] == values[:, 1]).all()
    noise = Variation(np.random.default_rng(4))
    shares = []
    for _ in range(30_000):
        noise.step(200.0, 0.5)
        shares.append(noise.share)
    assert np.std(shares) == pytest.approx(NOISE, rel=0.1)
    assert 0.0 < values[:, 0].mean() < 10.0, "motors add a few kW on average"
