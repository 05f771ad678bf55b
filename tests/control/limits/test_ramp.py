"""50 kW/s in cycles of 100 ms."""

from control.limits.ramp import ramp, step_kw
from models.interval import Interval
from tests.control.make import site_with


def test_a_step_is_the_ramp_times_the_cycle() -> None:
    assert step_kw(site_with()) == 5.0
    assert step_kw(site_with(ramp_kw_per_s=20.0)) == 2.0


def test_the_window_lies_around_what_is_held() -> None:
    assert ramp(site_with(), 30.0) == Interval(25.0, 35.0, "ramp", "ramp")
