"""Export limit with 3 kW margin: the upper end of the battery power."""

import math

import pytest

from control.limits.grid_export import grid_export
from tests.control.make import at_grid, site_with

TABLE = [
    ("no export: discharge stays below the load", 50.0, 0.0, 47.0),
    ("no export, no load: the margin is imported", 0.0, 0.0, -3.0),
    ("no export, PV surplus: must charge", -40.0, 0.0, -43.0),
    ("export allowed: on top of the load", 50.0, 100.0, 147.0),
    ("export allowed, PV beyond it: must charge the rest", -140.0, 100.0, -43.0),
    ("not known: no discharging", None, 100.0, 0.0),
]


@pytest.mark.parametrize(("net", "limit", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(net: float | None, limit: float, expected: float) -> None:
    allowed = grid_export(site_with(export_kw=limit), at_grid(net))
    assert (allowed.lo_kw, allowed.hi_kw) == (-math.inf, expected)
    assert allowed.hi_by == "grid_export"
