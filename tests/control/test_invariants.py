"""The promises of the cycle, over whatever a plant, a bus or a request can be.

Every promise is checked on the record of a cycle, which is also what an auditor would look at.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import control.cycle
from control.cycle import Inputs, Now, Outcome, run_cycle
from control.limits.kinds import SiteLimit, UnitLimit
from control.owners import OWNER_INDEX
from control.record import as_row
from control.replay import replay
from control.services import Service
from models.interval import Interval
from models.point import Image, Point
from models.proposal import Layer, Proposal, Request, Source
from models.site import Site
from tests.control.world import MS, World

INT64 = st.integers(-(2**63), 2**63 - 1)
NASTY = st.sampled_from(
    (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 1e-300, 65535.0, -1.0, 3.0, 4.0)
)
ANY = NASTY | st.floats() | st.floats(-500, 500)
REQUEST = st.builds(Request, st.sampled_from(list(Source)), ANY, INT64, INT64)
RELAXED = settings(max_examples=150, deadline=None)


def working(units: int = 2) -> World:
    """A world in the middle of its work, with a plan for discharge."""
    world = World.running(units=units, net_kw=200.0)
    world.ask(Source.PLAN, 60.0)
    world.steps(8, follow=True)
    return world


WORKING = working()


def cycle(world: World, image: Image, inputs: Inputs) -> Outcome:
    """One cycle of a world that stays as it is."""
    return run_cycle(world.site, image, world.state, Now(world.now_ns, 0), inputs)


def promises(site: Site, outcome: Outcome) -> None:
    """What holds after every cycle."""
    row = as_row(site, outcome.record)
    lo, hi, p_set = row["unit_lo_kw"], row["unit_hi_kw"], row["p_set_kw"]
    assert np.all(np.isfinite(p_set))
    assert np.all((lo <= p_set) & (p_set <= hi)), "inside the unit's envelope"
    for k, battery in enumerate(site.batteries):
        assert battery.p_min_kw <= p_set[k] <= battery.p_max_kw, "inside the nameplate"
    assert row["site_lo_kw"] <= row["target_kw"] <= row["site_hi_kw"], "inside the site's envelope"
    assert lo.sum() - 1e-9 <= row["site_lo_kw"] <= row["site_hi_kw"] <= hi.sum() + 1e-9, (
        "no more than the units can"
    )
    assert abs(p_set.sum() - row["target_kw"]) < 1e-6, "the units do together what was decided"
    held = np.clip(row["state_in"]["last_kw"], lo, hi)
    step = site.limits.ramp_kw_per_s * site.cycle_s + 1e-9
    assert row["forced"] == 1 or np.all(p_set <= held + step), "the ramp"
    assert row["forced"] == -1 or np.all(p_set >= held - step), "the ramp"
    assert [setpoint.p_kw for setpoint in outcome.setpoints] == p_set.tolist()


SIZE = len(WORKING.site.points)
IMAGES = st.tuples(
    st.lists(ANY, min_size=SIZE, max_size=SIZE),
    st.lists(st.integers(0, 255) | st.just(3), min_size=SIZE, max_size=SIZE),
    st.lists(st.just(WORKING.now_ns) | INT64, min_size=SIZE, max_size=SIZE),
).map(lambda a: Image(np.array(a[0]), np.array(a[1], np.uint8), np.array(a[2], np.int64)))


@RELAXED
@given(IMAGES, st.lists(REQUEST, max_size=4))
def test_any_image_and_any_request_keep_the_promises(image: Image, requests: list[Request]) -> None:
    inputs = Inputs(tuple(requests))
    outcome = cycle(WORKING, image, inputs)
    promises(WORKING.site, outcome)
    assert outcome.record == cycle(WORKING, image, inputs).record, "same input, same output"


ABSURD = (math.nan, math.inf, -math.inf, 1e300, -1e300)
WRONG_TIMES = (0, 1, -5, -(2**63), 2**63 - 1, WORKING.now_ns - 60_000 * MS, WORKING.now_ns + 60_000 * MS)


@RELAXED
@given(
    st.integers(0, SIZE - 1),
    st.sampled_from(ABSURD) | st.none(),
    st.sampled_from((0, 1, 2, 3, 4, 255)),
    st.booleans(),
    st.sampled_from(WRONG_TIMES),
)
def test_one_reading_gone_wrong_never_widens(
    index: int, value: float | None, quality: int, timely: bool, t_ns: int
) -> None:
    before = as_row(WORKING.site, cycle(WORKING, WORKING.image(), Inputs()).record)
    image = WORKING.image()
    if value is not None:
        image.value[index] = value
    image.quality[index] = quality
    if not timely:
        image.t_ns[index] = t_ns
    outcome = cycle(WORKING, image, Inputs())
    promises(WORKING.site, outcome)
    after = as_row(WORKING.site, outcome.record)
    assert np.all(after["unit_lo_kw"] >= before["unit_lo_kw"])
    assert np.all(after["unit_hi_kw"] <= before["unit_hi_kw"])


def disobeyed() -> World:
    """A world in which the first battery gives nothing, and the second the opposite of what it is told."""
    world = World.running(units=2, net_kw=200.0)
    world.values["pcs-2/p_kw"] = -40.0
    world.ask(Source.PLAN, 60.0)
    world.steps(90)
    return world


DISOBEYED = disobeyed()


@RELAXED
@given(IMAGES, st.lists(REQUEST, max_size=4))
def test_nothing_seen_or_asked_frees_a_battery_that_was_stopped(
    image: Image, requests: list[Request]
) -> None:
    outcome = cycle(DISOBEYED, image, Inputs(tuple(requests)))
    promises(DISOBEYED.site, outcome)
    assert outcome.setpoints[1].p_kw == 0.0


@RELAXED
@given(st.sampled_from(DISOBEYED.site.points), st.sampled_from((math.nan, math.inf, -math.inf, 1e300)))
def test_no_nonsense_frees_a_battery_that_was_derated(point: Point, value: float) -> None:
    image = DISOBEYED.image()
    before = as_row(DISOBEYED.site, cycle(DISOBEYED, image, Inputs()).record)
    assert OWNER_INDEX["obey"] == before["unit_hi_by"][0]
    image.value[DISOBEYED.site.points.index(point)] = value
    after = as_row(DISOBEYED.site, cycle(DISOBEYED, image, Inputs()).record)
    narrower(after, before, "unit_lo_kw", "unit_hi_kw")


@RELAXED
@given(st.lists(REQUEST, max_size=4), st.sampled_from((200.0, 400.0, -40.0)))
def test_no_request_moves_the_envelope(requests: list[Request], net_kw: float) -> None:
    world = working(1)
    world.values["meter-1/p_kw"] = net_kw - world.values["pcs-1/p_kw"]
    free = as_row(world.site, cycle(world, world.image(), Inputs()).record)
    asked = as_row(world.site, cycle(world, world.image(), Inputs(tuple(requests))).record)
    for name in ("unit_lo_kw", "unit_hi_kw", "site_lo_kw", "site_hi_kw", "net_kw"):
        assert free[name].tobytes() == asked[name].tobytes()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, SIZE - 1),
            ANY,
            st.sampled_from((0, 1, 2, 3, 3, 3)),
            st.sampled_from((0, 1)) | st.just(1),
        ),
        min_size=1,
        max_size=25,
    ),
    st.floats(-300, 300),
)
def test_a_story_of_faults_keeps_the_promises_and_replays(
    faults: list[tuple[int, float, int, int]], wish: float
) -> None:
    world = replace(working(), outcomes=[])
    world.ask(Source.OPERATOR, wish)
    names = [point.name for point in world.site.points]
    for index, value, quality, answering in faults:
        world.values[names[index]] = value
        world.qualities[names[index]] = quality  # type: ignore[assignment]
        world.silent = set() if answering else {world.site.points[index].device}
        world.step()
        promises(world.site, world.outcomes[-1])
        assert replay(world.site, world.outcomes[-1].record) == []


@RELAXED
@given(
    st.floats(-450, 600),
    st.floats(0, 1),
    st.floats(-150, 150),
    st.floats(0, 500),
    st.floats(0, 200),
    st.floats(1, 800),
)
def test_where_the_batteries_can_the_grid_keeps_its_limits(
    net_kw: float, soc: float, wish: float, import_kw: float, export_kw: float, kva: float
) -> None:
    world = World.running(net_kw=0.0)
    world.set_limits(import_kw=import_kw, export_kw=export_kw, transformer_kva=kva)
    world.values |= {"bms-1/soc": soc, "meter-1/p_kw": net_kw - world.values["pcs-1/p_kw"]}
    world.ask(Source.OPERATOR, wish)
    world.obey([world.state.last_kw[0]])
    world.steps(2, follow=True)
    promises(world.site, world.outcomes[-1])
    row, limits = world.row, world.site.limits
    if row["conflicts"] == 0 and not math.isnan(row["net_kw"]):
        grid_kw = world.values["meter-1/p_kw"]
        assert grid_kw <= max(0.0, limits.import_kw - limits.margin_kw) + 1e-6
        assert grid_kw >= -limits.export_kw + limits.margin_kw - 1e-6
        assert abs(grid_kw) <= max(0.0, limits.transformer_kva - limits.margin_kw) + 1e-6


INTERVALS = st.builds(Interval, ANY, ANY, st.just("soc"), st.just("soc"))
LAYERS = st.sampled_from(list(Layer))


def narrower(after: np.void, before: np.void, lo: str, hi: str) -> None:
    """Not wider at any place, or one point where things contradict."""
    inside = (after[lo] >= before[lo]) & (after[hi] <= before[hi])
    assert np.all(inside | (after[lo] == after[hi]))


@RELAXED
@given(INTERVALS, LAYERS, st.integers(0, 4))
def test_one_more_limit_of_a_unit_never_widens(interval: Interval, layer: Layer, at: int) -> None:
    before = as_row(WORKING.site, cycle(WORKING, WORKING.image(), Inputs()).record)
    more = UnitLimit("soc", layer, lambda battery, seen, last_kw: interval)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            control.cycle,
            "UNIT_LIMITS",
            (*control.cycle.UNIT_LIMITS[:at], more, *control.cycle.UNIT_LIMITS[at:]),
        )
        outcome = cycle(WORKING, WORKING.image(), Inputs())
    promises(WORKING.site, outcome)
    narrower(as_row(WORKING.site, outcome.record), before, "unit_lo_kw", "unit_hi_kw")


@RELAXED
@given(INTERVALS, LAYERS, st.integers(0, 3), ANY)
def test_one_more_limit_or_service_of_the_site_never_widens(
    interval: Interval, layer: Layer, at: int, wish: float
) -> None:
    before = as_row(WORKING.site, cycle(WORKING, WORKING.image(), Inputs()).record)
    limit = SiteLimit("soc", layer, lambda site, seen: interval)
    proposal = Proposal(layer, interval, wish, "soc")
    service = Service("soc", layer, lambda site, seen, now, inputs: proposal)
    for name, more in (("SITE_LIMITS", limit), ("SERVICES", service)):
        with pytest.MonkeyPatch.context() as patch:
            listed = getattr(control.cycle, name)
            patch.setattr(control.cycle, name, (*listed[:at], more, *listed[at:]))
            outcome = cycle(WORKING, WORKING.image(), Inputs())
        promises(WORKING.site, outcome)
        after = as_row(WORKING.site, outcome.record)
        narrower(after, before, "site_lo_kw", "site_hi_kw")
        assert after["unit_lo_kw"].tolist() == before["unit_lo_kw"].tolist()
        assert after["unit_hi_kw"].tolist() == before["unit_hi_kw"].tolist()


def test_limits_of_a_unit_that_contradict_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    must = UnitLimit("soc", Layer.GRID, lambda battery, seen, last_kw: Interval(150.0, 200.0, "soc", "soc"))
    monkeypatch.setattr(control.cycle, "UNIT_LIMITS", (*control.cycle.UNIT_LIMITS, must))
    row = as_row(WORKING.site, cycle(WORKING, WORKING.image(), Inputs()).record)
    assert row["conflicts"] >> OWNER_INDEX["soc"] & 1
    assert row["unit_lo_kw"].tolist() == row["unit_hi_kw"].tolist() == [100.0, 100.0]
