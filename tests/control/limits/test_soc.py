"""The SOC window 5 to 95 % of a ±100 kW battery, with a band of 2 % in which power falls to zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.limits.soc import soc
from tests.control.make import BATTERY, seen

TABLE = [
    ("in the middle: all", 0.5, (-100.0, 100.0)),
    ("at the upper band's edge: all", 0.93, (-100.0, 100.0)),
    ("in the upper band: charging tapers", 0.94, (-50.0, 100.0)),
    ("at the upper end: no charging", 0.95, (0.0, 100.0)),
    ("above the window: only back", 0.99, (0.0, 100.0)),
    ("full", 1.0, (0.0, 100.0)),
    ("at the lower band's edge: all", 0.07, (-100.0, 100.0)),
    ("in the lower band: discharging tapers", 0.06, (-100.0, 50.0)),
    ("at the lower end: no discharging", 0.05, (-100.0, 0.0)),
    ("below the window: only back", 0.01, (-100.0, 0.0)),
    ("empty", 0.0, (-100.0, 0.0)),
    ("not known: nothing", None, (0.0, 0.0)),
]


@pytest.mark.parametrize(("value", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(value: float | None, expected: tuple[float, float]) -> None:
    limit = soc(BATTERY, seen(soc=value), 0.0)
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx(expected)
    assert (limit.lo_by, limit.hi_by) == ("soc", "soc")


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_charge_never_allows_more_charging_nor_less_discharging(a: float, b: float) -> None:
    low, high = soc(BATTERY, seen(soc=min(a, b)), 0.0), soc(BATTERY, seen(soc=max(a, b)), 0.0)
    assert low.lo_kw <= high.lo_kw <= 0.0 <= low.hi_kw <= high.hi_kw
