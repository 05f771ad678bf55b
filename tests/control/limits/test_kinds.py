"""What an untrusted device may do, and that the lists say what the limits say."""

import pytest

from control.limits import SITE_LIMITS, UNIT_LIMITS
from control.limits.kinds import earned, nothing
from control.owners import OWNERS
from control.watch import Trust
from models.interval import Interval
from tests.control.make import BATTERY, at_grid, seen, site_with

TABLE = [
    ("trusted: not limited", Trust.TRUSTED, 20.0, None),
    ("dead: nothing, whatever it did", Trust.DEAD, 20.0, (0.0, 0.0)),
    ("proving: towards zero from discharge", Trust.PROVING, 20.0, (0.0, 20.0)),
    ("proving: towards zero from charge", Trust.PROVING, -20.0, (-20.0, 0.0)),
    ("proving at zero: nothing", Trust.PROVING, 0.0, (0.0, 0.0)),
]


@pytest.mark.parametrize(("trust", "last", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_earned(trust: Trust, last: float, expected: tuple[float, float] | None) -> None:
    assert earned(trust, last, "bms") == (None if expected is None else Interval(*expected, "bms", "bms"))


def test_nothing_is_zero_and_has_an_owner() -> None:
    assert nothing("soc") == Interval(0.0, 0.0, "soc", "soc")


def test_every_limit_is_the_owner_of_what_it_sets_and_has_a_number() -> None:
    found = [(limit.name, limit.rule(BATTERY, seen(), 0.0)) for limit in UNIT_LIMITS]
    found += [(limit.name, limit.rule(site_with(), at_grid(10.0))) for limit in SITE_LIMITS]
    for name, interval in found:
        assert (interval.lo_by, interval.hi_by) == (name, name)
        assert name in OWNERS


def test_lists_are_in_the_order_of_the_layers() -> None:
    for limits in (UNIT_LIMITS, SITE_LIMITS):
        layers = [limit.layer for limit in limits]
        assert layers == sorted(layers)
