"""The tariff: every half hour has one level, the published prices come out, a wrong file is told by line."""

from datetime import UTC, date, datetime
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError
from models.tariff import HOLIDAYS_UNKNOWN, LEVELS, NOT_IN_FORCE, Tariff
from models.tariff_file import parse_tariff

TEXT = (resources.files("examples") / "tariffs" / "jiangsu-2025.toml").read_text("utf-8")
JIANGSU = parse_tariff(TEXT, "jiangsu.toml")
SHANGHAI = ZoneInfo("Asia/Shanghai")
HALF_MS = 1_800_000


def at(text: str, zone: ZoneInfo = SHANGHAI) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def test_the_published_prices_come_out() -> None:
    prices = dict(zip(LEVELS, JIANGSU.price_cny_per_kwh[0], strict=True))
    published = {"flat": 0.64, "peak": 0.9566, "valley": 0.3828, "sharp": 1.099, "deep_valley": 0.3551}
    for level, price in published.items():
        assert prices[level] == pytest.approx(price, abs=1e-4), level


DAYS = [
    ("a winter day without sharp hours", "2026-02-10", "VVVVVVFFFFFVVFPPPPPPPPFF"),
    ("a January day has sharp hours in the evening", "2026-01-14", "VVVVVVFFFFFVVFPPPPSSPPFF"),
    ("an April day has the midday valley of spring", "2026-04-15", "FFVVVVFFFFVVVVFPPPPPPPFF"),
    ("a holiday has a deep valley from 10 to 14", "2026-05-01", "FFVVVVFFFFDDDDFPPPPPPPFF"),
    ("a holiday in summer has it too", "2026-06-19", "VVVVVVFFFFDDDDPPPPPPPPFF"),
    ("a Sunday is a day like any other", "2026-03-08", "FFVVVVFFFFVVVVFPPPPPPPFF"),
]
LETTERS = {"D": "deep_valley", "V": "valley", "F": "flat", "P": "peak", "S": "sharp"}


@pytest.mark.parametrize(("day", "hours"), [row[1:] for row in DAYS], ids=[row[0] for row in DAYS])
def test_sample_days_by_the_hour(day: str, hours: str) -> None:
    starts = at(f"{day}T00:00") + 3_600_000 * np.arange(24)
    assert [LEVELS[level] for level in JIANGSU.levels(starts)] == [LETTERS[letter] for letter in hours]


def test_sharp_hours_of_july_have_half_hour_borders() -> None:
    spans = {"13:30": "flat", "14:00": "sharp", "14:59": "sharp", "15:00": "peak", "19:29": "peak"}
    spans |= {"19:30": "sharp", "21:29": "sharp", "21:30": "peak", "22:00": "flat", "23:59": "flat"}
    for clock, level in spans.items():
        assert JIANGSU.level(at(f"2026-07-15T{clock}")) == level, clock


def reference_level(moment: datetime) -> str:
    """Return the level by the wording of the notice, coded independently of the file."""
    hour = moment.hour + moment.minute / 60
    month = moment.month
    holidays = {(5, d) for d in range(1, 6)} | {(10, d) for d in range(1, 8)}
    holidays |= {(1, 1), (1, 2), (1, 3), (4, 4), (4, 5), (4, 6), (6, 19), (6, 20), (6, 21), (9, 25), (9, 26)}
    holidays |= {(9, 27)} | {(2, d) for d in range(15, 24)}
    if (month, moment.day) in holidays and 10 <= hour < 14:
        return "deep_valley"
    if month in (7, 8) and (14 <= hour < 15 or 19.5 <= hour < 21.5):
        return "sharp"
    if month in (12, 1) and 18 <= hour < 20:
        return "sharp"
    if month in (6, 7, 8, 12, 1, 2):
        peak, valley = 14 <= hour < 22, hour < 6 or 11 <= hour < 13
    else:
        peak, valley = 15 <= hour < 22, 2 <= hour < 6 or 10 <= hour < 14
    return "peak" if peak else "valley" if valley else "flat"


def test_every_half_hour_of_a_year_has_the_level_of_the_notice() -> None:
    starts = np.arange(at("2026-01-01T00:00"), at("2027-01-01T00:00"), HALF_MS)
    assert len(starts) == 365 * 48
    got = JIANGSU.levels(starts)
    wall = [datetime.fromtimestamp(t / 1000, SHANGHAI) for t in starts.tolist()]
    assert [LEVELS[level] for level in got] == [reference_level(moment) for moment in wall]


@settings(max_examples=50)
@given(st.integers(0, 2**41))
def test_a_price_is_that_of_the_level_at_any_time(utc_ms: int) -> None:
    times = np.array([utc_ms], np.int64)
    level = int(JIANGSU.levels(times)[0])
    assert JIANGSU.prices(times)[0] == JIANGSU.price_cny_per_kwh[0, level]
    assert JIANGSU.level(utc_ms) == LEVELS[level]


WARNINGS = [
    ("a day within everything known", "2026-05-10T12:00", ()),
    ("the year after the holiday list", "2027-05-01T12:00", (HOLIDAYS_UNKNOWN,)),
    ("the day before the notice", "2025-05-31T23:59", (NOT_IN_FORCE,)),
]


@pytest.mark.parametrize(("when", "expected"), [row[1:] for row in WARNINGS], ids=[r[0] for r in WARNINGS])
def test_doubt_is_a_warning_never_an_exception(when: str, expected: tuple[str, ...]) -> None:
    assert JIANGSU.warnings(np.array([at(when)], np.int64)) == expected
    assert JIANGSU.warnings(np.array([], np.int64)) == ()


def test_an_unknown_holiday_is_an_ordinary_day() -> None:
    assert JIANGSU.level(at("2027-05-01T12:00")) == "valley"


def test_what_is_not_verified_is_said() -> None:
    assert any("demand: unchecked" in note for note in JIANGSU.notes)
    assert any("holidays: unchecked" in note for note in JIANGSU.notes)
    assert JIANGSU.demand_cny_per_kw_month == 51.2


def test_the_month_of_the_demand_charge_is_the_local_one() -> None:
    assert JIANGSU.month(at("2026-06-30T23:59")) == "2026-06"
    assert JIANGSU.month(at("2026-07-01T00:00")) == "2026-07"


LEFT = [
    ("2026-06-01T00:00", 30.0),
    ("2026-06-16T12:00", 14.5),
    ("2026-06-30T18:00", 1.0),
    ("2026-12-31T00:00", 1.0),
]


@pytest.mark.parametrize(("when", "days"), LEFT)
def test_what_is_left_of_the_month(when: str, days: float) -> None:
    assert JIANGSU.days_left(at(when)) == pytest.approx(days)


SMALL = """
format = 1
time_zone = "Europe/Berlin"
valid_from = 2025-01-01
valid_to = 2026-12-31
[[prices]]
from = 2025-01-01
purchase_cny_per_kwh = 0.4
fixed_cny_per_kwh = 0.2
[[prices]]
from = 2025-07-01
purchase_cny_per_kwh = 0.5
fixed_cny_per_kwh = 0.2
export_cny_per_kwh = 0.1
[levels]
flat = { float = 0.0 }
peak = { float = 0.5 }
[[seasons]]
months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
flat = ["00:00-08:00", "20:00-24:00"]
peak = ["08:00-20:00"]
"""


def small(*changes: tuple[str, str]) -> Tariff:
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_tariff(text, "t.toml")


def test_prices_change_on_their_day() -> None:
    tariff, zone = small(), ZoneInfo("Europe/Berlin")
    days = np.array([at("2025-06-30T23:45", zone), at("2025-07-01T00:00", zone)], np.int64)
    np.testing.assert_allclose(tariff.prices(days), [0.6, 0.7])
    np.testing.assert_allclose(tariff.export_prices(days), [0.0, 0.1])
    assert tariff.demand_cny_per_kw_month == 0.0
    assert tariff.warnings(days) == ()


@pytest.mark.parametrize(("day", "halves"), [("2025-03-30", 46), ("2025-10-26", 50), ("2025-06-01", 48)])
def test_days_of_23_and_25_hours_have_the_right_levels(day: str, halves: int) -> None:
    tariff, zone = small(), ZoneInfo("Europe/Berlin")
    following = date.fromordinal(date.fromisoformat(day).toordinal() + 1)
    starts = np.arange(at(f"{day}T00:00", zone), at(f"{following}T00:00", zone), HALF_MS)
    assert len(starts) == halves
    wall = [datetime.fromtimestamp(t / 1000, UTC).astimezone(zone).hour for t in starts.tolist()]
    expected = ["peak" if 8 <= hour < 20 else "flat" for hour in wall]
    assert [LEVELS[level] for level in tariff.levels(starts)] == expected


WRONG = [
    ("a gap", ('"20:00-24:00"', '"20:30-24:00"'), "TAR-005", "t.toml:18", "20:00 has no level"),
    ("an overlap", ('"08:00-20:00"', '"07:30-20:00"'), "TAR-006", "t.toml:21", "07:30 has two levels"),
    ("a 25th hour", ('"20:00-24:00"', '"20:00-25:00"'), "TAR-004", "t.toml:20", "within one day"),
    ("a span over midnight", ('"20:00-24:00"', '"20:00-02:00"'), "TAR-004", "t.toml:20", "within one day"),
    ("a quarter hour border", ('"08:00-20:00"', '"08:15-20:00"'), "TAR-004", "t.toml:21", "within one day"),
    ("a missing month", (" 11, 12]", " 11]"), "TAR-007", "t.toml:18", "[12] have no season"),
    ("a 13th month", (" 11, 12]", " 11, 13]"), "TAR-007", "t.toml:19", "not a list of 1…12"),
    (
        "a negative price",
        ("fixed_cny_per_kwh = 0.2", "fixed_cny_per_kwh = -0.5"),
        "TAR-009",
        "t.toml:6",
        "negative",
    ),
    (
        "peak below flat",
        ("peak = { float = 0.5 }", "peak = { float = -0.5 }"),
        "TAR-010",
        "t.toml:6",
        "cheaper",
    ),
    ("a price in CNY/MWh", ("= 0.4\n", "= 400\n"), "TAR-009", "t.toml:8", "within"),
    ("a price as text", ("= 0.4\n", '= "0.4"\n'), "TAR-009", "t.toml:8", "within"),
    ("a price that is no number", ("= 0.4\n", "= nan\n"), "TAR-009", "t.toml:8", "within"),
    ("an export price above all", ("= 0.1\n", "= 3.0\n"), "TAR-009", "t.toml:14", "above every import"),
    ("prices out of order", ("from = 2025-07-01", "from = 2024-07-01"), "TAR-012", "t.toml:11", "order"),
    ("a level without rule", ("peak = { float = 0.5 }", ""), "TAR-008", "t.toml:15", "peak has no price"),
    ("an unknown key", ("format = 1", "format = 1\nzone = 1"), "TAR-002", "t.toml:3", "'zone' is unknown"),
    ("an unknown time zone", ("Europe/Berlin", "Europe/Bärlin"), "TAR-011", "t.toml:3", "unknown"),
    ("an end before the start", ("2026-12-31", "2024-12-31"), "TAR-012", "t.toml:5", "before"),
    ("a date with quotes", ("valid_from = 2025-01-01", 'valid_from = "2025"'), "TAR-012", "t.toml:4", "date"),
    ("another format", ("format = 1", "format = 9"), "TAR-002", "t.toml:2", "format is not 1"),
    ("no TOML at all", ("[levels]", "[levels"), "TAR-001", "t.toml:15", "not TOML"),
]


@pytest.mark.parametrize(
    ("change", "code", "where", "what"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_a_wrong_file_is_told_by_line(change: tuple[str, str], code: str, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small(change)
    told = [p for p in caught.value.problems if p.code == code and p.where == where and what in p.what]
    assert told, caught.value.problems
    assert all(problem.do for problem in caught.value.problems)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        small(('"20:00-24:00"', '"20:30-24:00"'), ("= 0.4\n", "= 400\n"), ("format = 1", "format = 1\nx = 1"))
    assert {p.code for p in caught.value.problems} >= {"TAR-002", "TAR-005", "TAR-009"}


@given(st.text(max_size=200))
@settings(max_examples=60)
def test_any_text_is_a_tariff_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_tariff(text)


@given(
    st.sampled_from(sorted(set(SMALL.split()))), st.sampled_from(["", "[]", "{}", "1", '"x"', "true", "-9"])
)
@settings(max_examples=150)
def test_a_damaged_file_never_raises_anything_else(word: str, instead: str) -> None:
    try:
        parse_tariff(SMALL.replace(word, instead), "t.toml")
    except ConfigError as error:
        assert error.problems
