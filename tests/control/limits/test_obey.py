"""What a battery may do after how it has followed; finding out is tried in tests/control/test_obey.py."""

from math import inf

import pytest

from control.limits.obey import obey
from control.obey import Follow, Verdict, untold
from tests.control.make import BATTERY, seen

FOLLOWS = untold(50.0)
SHORT = FOLLOWS._replace(charge_kw=-20.0, discharge_kw=40.0)

TABLE: list[tuple[str, Follow, tuple[float, float]]] = [
    ("it follows: everything", FOLLOWS, (-inf, inf)),
    ("it gives less: what it gives, and a little", SHORT, (-20.0, 40.0)),
    ("one direction alone", FOLLOWS._replace(discharge_kw=40.0), (-inf, 40.0)),
    ("stopped: zero", FOLLOWS._replace(stopped=int(Verdict.STOPPED)), (0.0, 0.0)),
    ("stopped while derated: zero", SHORT._replace(stopped=int(Verdict.STOPPED)), (0.0, 0.0)),
    ("latched: zero", FOLLOWS._replace(stopped=int(Verdict.LATCHED)), (0.0, 0.0)),
]


@pytest.mark.parametrize(("follow", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(follow: Follow, expected: tuple[float, float]) -> None:
    limit = obey(BATTERY, seen(follow=follow), 20.0)
    assert (limit.lo_kw, limit.hi_kw) == expected
    assert (limit.lo_by, limit.hi_by) == ("obey", "obey")
