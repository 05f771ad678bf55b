"""The PCS must run, be alive and say what power it carries."""

from typing import Any

import pytest

from control.limits.pcs import pcs
from control.watch import Trust
from models.point import AlarmLevel, RunState
from tests.control.make import BATTERY, seen

FULL, ZERO = (-100.0, 100.0), (0.0, 0.0)

TABLE: list[tuple[str, dict[str, Any], tuple[float, float]]] = [
    ("running", {}, FULL),
    *(
        (state.name.lower(), {"pcs_state": float(state)}, ZERO)
        for state in RunState
        if state != RunState.RUNNING
    ),
    ("state not known", {"pcs_state": None}, ZERO),
    ("state outside the vocabulary", {"pcs_state": 4.5}, ZERO),
    ("power not known or absurd", {"p_kw": None}, ZERO),
    ("dead", {"pcs": Trust.DEAD}, ZERO),
    ("proving: from its last power to zero", {"pcs": Trust.PROVING}, (0.0, 20.0)),
    ("derate: half", {"pcs_alarm": float(AlarmLevel.DERATE)}, (-50.0, 50.0)),
    ("warning: full", {"pcs_alarm": float(AlarmLevel.WARN)}, FULL),
    ("stop", {"pcs_alarm": float(AlarmLevel.STOP)}, ZERO),
    ("proving and derated", {"pcs": Trust.PROVING, "pcs_alarm": float(AlarmLevel.STOP)}, ZERO),
]


@pytest.mark.parametrize(("changes", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(changes: dict[str, Any], expected: tuple[float, float]) -> None:
    limit = pcs(BATTERY, seen(**changes), 20.0)
    assert (limit.lo_kw, limit.hi_kw) == pytest.approx(expected)
    assert (limit.lo_by, limit.hi_by) == ("pcs", "pcs")
