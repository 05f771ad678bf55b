"""Recorded cycles run again, bit for bit; a row that was tampered with does not."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from control.obey import Verdict
from control.record import dtype
from control.replay import replay
from models.proposal import Source
from tests.control.world import World


def day(world: World) -> None:
    """A little of everything."""
    world.ask(Source.PLAN, 60.0)
    world.steps(15, follow=True)
    world.values["meter-1/p_kw"] += 250.0
    world.steps(5, follow=True)
    world.ask(Source.OPERATOR, -40.0, for_s=0.5)
    world.values["meter-1/p_kw"] -= 600.0
    world.steps(10, follow=True)
    world.silent = {"bms-1"}
    world.steps(35, follow=True)
    world.silent = set()
    world.values["bms-1/soc"] = float("nan")
    world.steps(5, follow=True)


def test_a_recorded_day_has_no_difference() -> None:
    world = World.make(units=2, delay_s=0.23)
    world.values["meter-1/p_kw"] = 200.0
    world.steps(40)
    day(world)
    for outcome in world.outcomes:
        assert replay(world.site, outcome.record) == []


def test_cycles_of_batteries_that_do_not_follow_run_again_too() -> None:
    world = World.running(units=2, net_kw=200.0)
    world.values |= {"pcs-2/p_kw": -40.0}
    world.ask(Source.PLAN, 60.0)
    world.steps(90)
    follows = world.state.follows
    assert [follow.verdict for follow in follows] == [Verdict.DERATED, Verdict.STOPPED]
    for outcome in world.outcomes:
        assert replay(world.site, outcome.record) == []


def test_a_changed_input_is_noticed() -> None:
    world = World.running(net_kw=200.0)
    world.ask(Source.PLAN, 60.0)
    world.steps(3, follow=True)
    rows = np.frombuffer(bytearray(world.outcomes[-1].record), dtype(world.site))
    rows["value"][0][world.site.meter.points["p_kw"]] += 1.0  # type: ignore[index]
    assert "net_kw" in replay(world.site, rows[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.floats(-500, 500), st.floats(-300, 300), st.floats(0, 1))
def test_replay_of_any_cycle(units: int, grid: float, wish: float, soc: float) -> None:
    world = World.make(units=units, measured_kw=10.0)
    world.values |= {"meter-1/p_kw": grid, "bms-1/soc": soc}
    world.steps(2)
    world.ask(Source.FLEET, wish)
    assert replay(world.site, world.step().record) == []
