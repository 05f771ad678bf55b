"""What every alarm level leaves."""

import pytest

from control.limits.alarm import factor
from models.point import AlarmLevel

EXPECTED = {"NONE": 1.0, "INFO": 1.0, "WARN": 1.0, "DERATE": 0.5, "STOP": 0.0, "TRIP": 0.0}


@pytest.mark.parametrize("level", list(AlarmLevel))
def test_every_level_has_a_meaning(level: AlarmLevel) -> None:
    assert factor(float(level)) == EXPECTED[level.name]


@pytest.mark.parametrize("level", [None, -1.0, 0.5, 6.0, 1e300, float("nan"), float("inf")])
def test_what_is_not_in_the_vocabulary_leaves_nothing(level: float | None) -> None:
    assert factor(level) == 0.0
