"""Nameplate ±100 kW and the circle of 110 kVA."""

import math
from dataclasses import replace

import pytest

from control.limits.rated import rated
from tests.control.make import BATTERY, seen

TABLE = [
    ("no reactive power: the nameplate", 0.0, 100.0),
    ("a PCS that has none", None, 100.0),
    ("little: the nameplate still", 40.0, 100.0),
    ("more: the circle", 66.0, 88.0),
    ("negative counts the same", -66.0, 88.0),
    ("all of it: no active power", 110.0, 0.0),
    ("more than there can be: no active power", 1e300, 0.0),
    ("infinite: no active power", math.inf, 0.0),
]


@pytest.mark.parametrize(("q_kvar", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(q_kvar: float | None, expected: float) -> None:
    limit = rated(BATTERY, seen(q_kvar=q_kvar), 0.0)
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx((-expected, expected))
    assert (limit.lo_by, limit.hi_by) == ("rated", "rated")


def test_a_pcs_without_reactive_power_has_all_of_its_kva() -> None:
    assert rated(replace(BATTERY, s_max_kva=100.0), seen(q_kvar=None), 0.0).hi_kw == 100.0
