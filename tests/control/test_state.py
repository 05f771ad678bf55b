"""Where the first cycle starts from."""

import math

import pytest

from control.obey import untold
from control.state import H, initial
from control.watch import UNSEEN
from tests.control.world import make_site

TABLE = [
    ("what the device has", 42.0, 42.0),
    ("at most the nameplate", 142.0, 100.0),
    ("at least the nameplate", -142.0, -100.0),
    ("not a number: zero", math.nan, 0.0),
    ("infinite: zero", math.inf, 0.0),
]


@pytest.mark.parametrize(("measured", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_it_goes_on_from(measured: float, expected: float) -> None:
    site, _ = make_site()
    assert initial(site, [measured]).last_kw == (expected,)


def test_nothing_else_is_known_yet() -> None:
    site, _ = make_site(units=2)
    state = initial(site, [1.0, 2.0], cycle=17)
    assert (state.cycle, state.last_kw, state.members) == (17, (1.0, 2.0), 0)
    assert state.history_ns == (0,) * H
    assert state.history_kw == (0.0,) * H
    assert H == 32, "records hold that many"
    assert state.watches == (UNSEEN,) * 5
    assert state.follows == (untold(1.0), untold(2.0))
    assert initial(site, [1.0, 2.0]).cycle == 0


def test_one_power_for_each_battery() -> None:
    site, _ = make_site(units=2)
    with pytest.raises(ValueError, match="argument"):
        initial(site, [1.0])
