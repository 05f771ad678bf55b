"""Import limit of 360 kW with 3 kW margin: the lower end of the battery power."""

import math

import pytest

from control.limits.grid_import import grid_import
from tests.control.make import at_grid, site_with

TABLE = [
    ("no load: charge up to the limit", 0.0, 360.0, -357.0),
    ("load: charge what is left", 300.0, 360.0, -57.0),
    ("load at the limit: neither", 357.0, 360.0, 0.0),
    ("load above: must discharge", 400.0, 360.0, 43.0),
    ("PV surplus can be charged on top", -50.0, 360.0, -407.0),
    ("not known: no charging", None, 360.0, 0.0),
    ("no import allowed: the whole net load", 40.0, 0.0, 40.0),
    ("a limit below the margin is no import", 40.0, 2.0, 40.0),
]


@pytest.mark.parametrize(("net", "limit", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(net: float | None, limit: float, expected: float) -> None:
    allowed = grid_import(site_with(import_kw=limit), at_grid(net))
    assert (allowed.lo_kw, allowed.hi_kw) == (expected, math.inf)
    assert allowed.lo_by == "grid_import"
