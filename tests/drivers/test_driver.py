"""The second lock on the door: what the nameplate does not allow is refused, never clamped."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.driver import Counters, Mail, Nameplate
from models.errors import DoorRefused
from models.proposal import Setpoint

PLATE = Nameplate(-100.0, 110.0)

PASSES = [0.0, -0.0, 55.5, 110.0, -100.0, math.nextafter(110.0, 0.0), math.nextafter(-100.0, 0.0)]
REFUSED = [
    ("just above", math.nextafter(110.0, math.inf)),
    ("just below", math.nextafter(-100.0, -math.inf)),
    ("far above", 1e300),
    ("far below", -1e300),
    ("not a number", math.nan),
    ("infinite", math.inf),
    ("minus infinite", -math.inf),
]


@pytest.mark.parametrize("p_kw", PASSES)
def test_what_the_nameplate_allows_passes_unchanged(p_kw: float) -> None:
    assert PLATE.check(p_kw) == p_kw


@pytest.mark.parametrize("p_kw", [r[1] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_everything_else_is_refused_and_named(p_kw: float) -> None:
    with pytest.raises(DoorRefused, match=r"kW is outside the nameplate -100.0…110.0 kW"):
        PLATE.check(p_kw)


@pytest.mark.parametrize(
    "plate", [Nameplate(math.nan, 110.0), Nameplate(-100.0, math.nan), Nameplate(5.0, -5.0)]
)
def test_a_nameplate_that_is_none_lets_nothing_pass(plate: Nameplate) -> None:
    with pytest.raises(DoorRefused):
        plate.check(0.0)


def test_an_open_nameplate_lets_nothing_infinite_pass() -> None:
    with pytest.raises(DoorRefused):
        Nameplate(-math.inf, math.inf).check(math.inf)


@given(st.floats())
def test_what_passes_is_inside_and_the_same(p_kw: float) -> None:
    try:
        passed = PLATE.check(p_kw)
    except DoorRefused:
        assert not -100.0 <= p_kw <= 110.0
    else:
        assert passed == p_kw
        assert -100.0 <= passed <= 110.0


def test_errors_are_all_requests_that_brought_nothing() -> None:
    counters = Counters(
        polls=9, timeouts=1, bad_replies=20, refused=300, writes=9, door_refused=9, reconnects=9
    )
    assert counters.errors == 321
    assert Counters() == Counters(0, 0, 0, 0, 0, 0, 0, False)


def test_mail_holds_the_newest_setpoint() -> None:
    mail = Mail()
    assert mail.newest is None
    mail.newest = Setpoint("battery-1", 5.0, 1)
    assert mail.newest.p_kw == 5.0
