"""The check finds every value that no device has shown, and only those."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.simulator.board import COLUMNS, TRACE
from drivers.simulator.check import undetected_wrong
from models.point import AlarmLevel, RunState

MS = 1_000_000


def trace_of(point: str, values: list[float], step_ms: int = 20) -> NDArray[Any]:
    """Return a trace in which ``point`` has these values, one every step from 1 s on."""
    trace = np.zeros(len(values), TRACE)
    trace["t_ns"] = 1000 * MS + np.arange(len(values)) * step_ms * MS
    trace[point] = values
    return trace


@pytest.mark.parametrize(
    ("point", "shown", "read", "wrong", "why"),
    [
        ("pcs-1/p_kw", 12.34, 12.3, False, "the register rounds to 0.1 kW"),
        ("pcs-1/p_kw", 12.34, 12.4, True, "that is not how it rounds"),
        ("pcs-1/p_kw", 12.34, -12.3, True, "wrong sign"),
        ("pcs-1/p_kw", 12.34, 123.0, True, "wrong scale"),
        ("bms-1/soc", 0.5004, 0.5, False, "0.1 % steps"),
        ("bms-1/soc", 0.5004, 0.502, True, "another value"),
        ("bms-1/dc_a", -20.04, -20.0, False, "discharge positive on both sides"),
        ("meter-1/p_kw", 208.86, float(np.float32(208860.0)) / 1000.0, False, "float32 of watts"),
        ("meter-1/p_kw", 208.86, 208.87, True, "the next step of the meter"),
        ("pv-1/p_kw", 17.661813620930197, 17.661813620930197, False, "a double is exact"),
        ("pv-1/p_kw", 17.661813620930197, 17.6618, True, "and nothing else will do"),
        ("pcs-1/state", 3.0, float(RunState.RUNNING), False, "vendor code in our words"),
        ("pcs-1/state", 3.0, 3.0, True, "the vendor code itself is not"),
        ("bms-1/alarm_level", 2.0, float(AlarmLevel.DERATE), False, "alarm level in our words"),
        ("bms-1/state", 2.0, float(RunState.RUNNING), False, "BMS code in our words"),
        ("pcs-1/p_kw", 12.34, float("nan"), True, "no number is no good value"),
    ],
)
def test_values(point: str, shown: float, read: float, wrong: bool, why: str) -> None:
    trace = trace_of(point, [shown] * 10)
    assert undetected_wrong(trace, point, trace["t_ns"][-1] + MS, read).tolist() == [wrong], why


def test_a_value_between_two_rows_does_not_pass() -> None:
    trace = trace_of("pcs-1/p_kw", [0.0, 10.0, 20.0])
    read = undetected_wrong(trace, "pcs-1/p_kw", [trace["t_ns"][-1]] * 4, [0.0, 5.0, 10.0, 15.0])
    assert read.tolist() == [False, True, False, True]


def test_too_old_and_not_yet_shown_are_wrong() -> None:
    trace = trace_of("pcs-1/p_kw", [float(i) for i in range(1000)])
    t_ns = trace["t_ns"][500]
    read = undetected_wrong(trace, "pcs-1/p_kw", [t_ns] * 4, [500.0, 402.0, 390.0, 501.0])
    assert read.tolist() == [False, False, True, True]


def test_a_row_stays_on_show_until_the_next_one() -> None:
    trace = trace_of("pcs-1/p_kw", [1.0, 2.0], step_ms=60_000)
    assert not undetected_wrong(trace, "pcs-1/p_kw", 1000 * MS + 59_000 * MS, 1.0)[0], "the plant was late"
    assert undetected_wrong(trace, "pcs-1/p_kw", 1000 * MS + 63_000 * MS, 1.0)[0]


def test_a_setting_may_be_read_back_before_the_plant_has_seen_it() -> None:
    trace = trace_of("pcs-1/p_set_kw", [0.0] * 5 + [50.0] * 5)
    before = trace["t_ns"][5] - 10 * MS
    assert not undetected_wrong(trace, "pcs-1/p_set_kw", before, 50.0)[0]
    measured = trace_of("pcs-1/p_kw", [0.0] * 5 + [50.0] * 5)
    assert undetected_wrong(measured, "pcs-1/p_kw", before, 50.0)[0]


def test_unknown_points_are_errors() -> None:
    with pytest.raises(KeyError):
        undetected_wrong(trace_of("pcs-1/p_kw", [0.0]), "pcs-1/nonsense", 0, 0.0)


def test_no_readings_are_no_wrong_ones() -> None:
    assert undetected_wrong(trace_of("pcs-1/p_kw", [0.0]), "pcs-1/p_kw", [], []).tolist() == []


@pytest.mark.parametrize("point", [c for c in COLUMNS if not c.startswith("truth/")])
def test_every_point_can_be_checked(point: str) -> None:
    trace = trace_of(point, [1.0] * 3)
    assert undetected_wrong(trace, point, trace["t_ns"][-1], 1e6).tolist() == [True]


@given(st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=50), st.data())
def test_every_shown_value_passes_after_rounding(values: list[float], data: st.DataObject) -> None:
    trace = trace_of("pcs-1/p_kw", values)
    row = data.draw(st.integers(0, len(values) - 1))
    read = round(values[row] / 0.1) * 0.1
    assert not undetected_wrong(trace, "pcs-1/p_kw", trace["t_ns"][row], read)[0]
