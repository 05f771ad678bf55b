"""A transformer of 400 kVA with 3 kW margin; net load is what the grid would see without the battery."""

import math

import pytest

from control.limits.transformer import transformer
from tests.control.make import at_grid, site_with

TABLE = [
    ("no load: all of it both ways", 0.0, 0.0, (-397.0, 397.0)),
    ("load of half: the rest may be charged", 200.0, 0.0, (-197.0, 597.0)),
    ("overload by 20 %: the battery must discharge", 480.0, 0.0, (83.0, 877.0)),
    ("PV beyond the transformer: the battery must charge", -450.0, 0.0, (-847.0, -53.0)),
    ("reactive power takes its share", 0.0, 238.2, (-317.6, 317.6)),
    ("negative reactive power too", 0.0, -238.2, (-317.6, 317.6)),
    ("only reactive power: net load must be covered", 50.0, 397.0, (50.0, 50.0)),
    ("more reactive power than it can carry: the same", 50.0, 500.0, (50.0, 50.0)),
    ("net load not known: only zero", None, 0.0, (0.0, 0.0)),
    ("reactive power not known: only zero", 100.0, None, (0.0, 0.0)),
]


@pytest.mark.parametrize(("net", "q", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(net: float | None, q: float | None, expected: tuple[float, float]) -> None:
    limit = transformer(site_with(), at_grid(net, q))
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx(expected)
    assert (limit.lo_by, limit.hi_by) == ("transformer", "transformer")


def test_a_margin_larger_than_the_transformer_leaves_no_power_at_the_grid() -> None:
    limit = transformer(site_with(transformer_kva=2.0), at_grid(10.0))
    assert (limit.lo_kw, limit.hi_kw) == (10.0, 10.0)


def test_no_transformer_is_no_limit() -> None:
    limit = transformer(site_with(transformer_kva=math.inf), at_grid(10.0))
    assert (limit.lo_kw, limit.hi_kw) == (-math.inf, math.inf)
