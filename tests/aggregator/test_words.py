"""Powers and durations in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.words import kw, power_words, read_power, read_span

POWERS = [
    ("40kW", 40.0), ("-25 kW", -25.0), ("+0.5MW", 500.0), ("1500W", 1.5), (" 40kW ", 40.0), ("-0kW", 0.0),
    ("40", None), ("40 kw", None), ("NaNkW", None), ("infkW", None), ("1e3kW", None), ("0x10kW", None),
    ("４０kW", None), ("--5kW", None), ("40kWh", None), ("", None), ("2000MW", None), ("1,5kW", None),
    ("9" * 400 + "kW", None), ("4 0kW", None), (".5kW", None), ("40kW; rm", None),
]  # fmt: skip
SPANS = [
    ("20s", 20.0), ("15min", 900.0), ("1h", 3600.0), ("1.5 h", 5400.0), ("0.5s", None), ("25h", None),
    ("20", None), ("-5s", None), ("NaNs", None), ("1d", None), ("", None),
]  # fmt: skip
WORDS = [
    (40.0, "discharge 40 kW", "放电 40 kW"),
    (-25.25, "charge 25.2 kW", "充电 25.2 kW"),
    (0.0, "0 kW", "0 kW"),
]


@pytest.mark.parametrize(("text", "p_kw"), POWERS)
def test_power(text: str, p_kw: float | None) -> None:
    found = read_power(text)
    assert found == p_kw and str(found) != "-0.0"


@pytest.mark.parametrize(("text", "span_s"), SPANS)
def test_span(text: str, span_s: float | None) -> None:
    assert read_span(text) == span_s


@pytest.mark.parametrize(("p_kw", "en", "zh"), WORDS)
def test_words(p_kw: float, en: str, zh: str) -> None:
    assert (power_words(p_kw, "en"), power_words(p_kw, "zh_CN.UTF-8")) == (en, zh)


def test_numbers_that_are_none_have_words_too() -> None:
    assert power_words(float("nan"), "en") == "nan"
    assert kw(-0.01) == "0"


@given(st.text())
def test_any_text_is_a_power_or_none(text: str) -> None:
    found = read_power(text)
    assert found is None or abs(found) <= 1e6
