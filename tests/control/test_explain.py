"""Why: the facts behind one cycle, situation by situation."""

import pytest

from control.explain import Explanation, RequestFacts, UnitFacts, explain
from models.point import Quality
from models.proposal import Source
from tests.control.world import World


def why(world: World) -> Explanation:
    return explain(world.site, world.outcomes[-1].record)


def test_a_wish_that_is_met() -> None:
    world = World.running(net_kw=200.0)
    world.ask(Source.OPERATOR, 20.0, for_s=100.0)
    world.steps(10, follow=True)
    facts = why(world)
    assert (facts.winner, facts.wish_kw, facts.target_kw, facts.p_set_kw) == ("operator", 20.0, 20.0, 20.0)
    assert (facts.bound_by, facts.short_kw, facts.forced, facts.conflicts) == ("none", 0.0, 0, ())
    assert (facts.lo_kw, facts.hi_kw, facts.lo_by, facts.hi_by) == (-100.0, 100.0, "rated", "rated")
    assert (facts.net_kw, facts.meter) == (pytest.approx(200.0), "TRUSTED")
    assert facts.units == (
        UnitFacts("battery-1", 20.0, -100.0, 100.0, "rated", "rated", "TRUSTED", "TRUSTED"),
    )
    assert facts.requests == (RequestFacts("operator", 20.0, 7, True, pytest.approx(99.0)),)  # type: ignore[arg-type]
    assert (facts.cycle, facts.utc_ms) == (40, int(world.row["utc_ms"]))


def test_a_wish_that_the_ramp_holds_up() -> None:
    world = World.running(net_kw=200.0)
    world.ask(Source.PLAN, 20.0)
    world.step()
    facts = why(world)
    assert (facts.bound_by, facts.short_kw) == ("ramp", 15.0)


def test_a_wish_that_the_export_limit_holds_down() -> None:
    world = World.running(net_kw=10.0)
    world.ask(Source.PLAN, 20.0)
    world.steps(10, follow=True)
    facts = why(world)
    assert (facts.bound_by, facts.short_kw) == ("grid_export", pytest.approx(13.0))


def test_a_wish_that_an_overload_pushes_up() -> None:
    world = World.running(net_kw=480.0)
    facts = why(world)
    assert (facts.winner, facts.wish_kw, facts.target_kw) == ("rules", 0.0, 100.0)
    assert (facts.bound_by, facts.short_kw) == ("grid_import", -100.0)
    assert facts.conflicts == ("grid_import",)
    assert facts.forced == 0  # it is there already


def test_being_forced_is_told() -> None:
    world = World.running(net_kw=200.0)
    world.values["meter-1/p_kw"] = 400.0
    world.step()
    assert why(world).forced == 1


def test_a_dead_device_is_named() -> None:
    world = World.running()
    world.qualities["bms-1/soc"] = Quality.BAD
    world.silent = {"meter-1"}
    world.steps(25)
    facts = why(world)
    assert (facts.units[0].bms, facts.units[0].pcs, facts.units[0].hi_by) == ("DEAD", "TRUSTED", "bms")
    assert (facts.meter, facts.net_kw) == ("DEAD", None)


def test_every_unit_has_its_own_facts() -> None:
    world = World.running(units=3)
    world.qualities["pcs-3/heartbeat"] = Quality.BAD
    world.qualities["bms-2/soc"] = Quality.BAD
    world.step()
    facts = why(world)
    assert [unit.name for unit in facts.units] == ["battery-1", "battery-2", "battery-3"]
    assert [unit.bms for unit in facts.units] == ["TRUSTED", "DEAD", "TRUSTED"]
    assert [unit.pcs for unit in facts.units] == ["TRUSTED", "TRUSTED", "DEAD"]
    assert [(unit.hi_kw, unit.hi_by) for unit in facts.units] == [
        (100.0, "rated"),
        (0.0, "bms"),
        (0.0, "pcs"),
    ]


def test_a_request_that_is_over_is_told_as_over() -> None:
    world = World.running()
    world.ask(Source.FLEET, 20.0, for_s=0.05)
    world.step()
    (request,) = why(world).requests
    assert (request.in_force, request.left_s) == (False, pytest.approx(-0.05))
    assert why(world).winner == "rules"
