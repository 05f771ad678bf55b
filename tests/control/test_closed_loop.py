"""The loop closed over a small plant with dead time: it settles, does not overshoot, and does not swing."""

import pytest

from models.proposal import Source
from tests.control.world import World

MARGIN = 3.0


def run(
    dead: int, meter_late: int, cycles: int, net_kw: list[float], wish_kw: float | None = None
) -> list[float]:
    """Return the true power at the grid connection for each cycle.

    Args:
        dead: cycles until a setpoint is seen as power, measured at the PCS at once.
        meter_late: cycles by which the meter is late, known to the site.
        cycles: how many to run.
        net_kw: load - PV for each cycle.
        wish_kw: what somebody wants.
    """
    world = World.running(net_kw=net_kw[0], delay_s=0.1 * meter_late)
    if wish_kw is not None:
        world.ask(Source.PLAN, wish_kw)
    sent = [0.0] * (dead + 1)
    grid = [net_kw[0]] * (meter_late + 1)
    for k in range(cycles):
        battery_kw = sent[-1 - dead]
        grid.append(net_kw[k] - battery_kw)
        world.values["pcs-1/p_kw"] = battery_kw
        world.values["meter-1/p_kw"] = grid[-1 - meter_late]
        (p_kw,) = world.steps(1)
        sent.append(p_kw)
    return grid[meter_late + 1 :]


@pytest.mark.parametrize("meter_late", [0, 2])
@pytest.mark.parametrize("dead", [0, 1, 2, 3])
def test_discharge_to_the_export_limit_settles_at_the_margin_without_overshoot(
    dead: int, meter_late: int
) -> None:
    grid = run(dead, meter_late, 60, [60.0] * 60, wish_kw=100.0)
    assert min(grid) >= MARGIN - 1e-6
    assert grid[-20:] == pytest.approx([MARGIN] * 20)


@pytest.mark.parametrize("meter_late", [0, 2])
@pytest.mark.parametrize("dead", [0, 1, 2, 3])
def test_a_load_that_falls_is_followed_at_once_and_without_a_swing(dead: int, meter_late: int) -> None:
    grid = run(dead, meter_late, 80, [60.0] * 40 + [20.0] * 40, wish_kw=100.0)
    reaction = dead + meter_late + 1
    assert min(grid[:40]) >= MARGIN - 1e-6
    assert grid[40] == pytest.approx(MARGIN - 40.0)
    assert grid[40 + reaction :] == pytest.approx([MARGIN] * (40 - reaction))


@pytest.mark.parametrize("dead", [0, 1, 2, 3])
def test_pv_that_comes_up_is_charged_after_the_reaction_time(dead: int) -> None:
    grid = run(dead, 0, 80, [10.0] * 40 + [-50.0] * 40)
    assert grid[:40] == pytest.approx([10.0] * 40)
    assert grid[41 + dead :] == pytest.approx([MARGIN] * (39 - dead))


@pytest.mark.parametrize("dead", [0, 1, 2, 3])
def test_an_import_overload_is_shaved_after_the_reaction_time(dead: int) -> None:
    grid = run(dead, 1, 80, [300.0] * 40 + [420.0] * 40)
    assert grid[42 + dead :] == pytest.approx([360.0 - MARGIN] * (38 - dead))


def test_pv_that_ramps_under_clouds_exports_no_more_than_one_reaction_of_it() -> None:
    net_kw = [40.0 - 48.0 * min(max(k - 20, 0), 80) / 80 for k in range(140)]  # 48 kW in 8 s
    grid = run(2, 2, 140, net_kw, wish_kw=100.0)
    per_cycle = 48.0 / 80
    assert min(grid) >= MARGIN - 5 * per_cycle - 1e-6
    assert grid[-20:] == pytest.approx([MARGIN] * 20)
