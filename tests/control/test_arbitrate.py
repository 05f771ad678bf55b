"""Arbitration: what upper layers keep, how conflicts end, and that nothing ever widens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.arbitrate import Claim, arbitrate, fold, meet, together
from control.owners import OWNER_INDEX
from models.interval import Interval, at_least, at_most, everything
from models.proposal import Layer, Proposal
from tests.control.world import make_site

SITE, _ = make_site()  # 50 kW/s, 0.1 s: a step of 5 kW
INF, NAN = math.inf, math.nan


ALL = everything("none")


def bits(*owners: str) -> int:
    return sum(1 << OWNER_INDEX[owner] for owner in owners)


UP = Interval(-50.0, 50.0, "rated", "bms")
MEET = [
    ("one point inside: that point", Interval(7, 7, "plan", "fleet"), Interval(7, 7, "plan", "fleet"), ""),
    ("inside: the lower one", Interval(-10, 20, "plan", "fleet"), Interval(-10, 20, "plan", "fleet"), ""),
    ("outside: the upper one keeps its owners", Interval(-60, 60, "plan", "plan"), UP, ""),
    ("equal: the upper one keeps its owners", Interval(-50, 50, "plan", "plan"), UP, ""),
    (
        "touching at the top is no conflict",
        Interval(50, 60, "plan", "plan"),
        Interval(50, 50, "plan", "bms"),
        "",
    ),
    (
        "touching below is no conflict",
        Interval(-60, -50, "plan", "plan"),
        Interval(-50, -50, "rated", "plan"),
        "",
    ),
    ("above: pushed to the top", Interval(60, 70, "plan", "fleet"), Interval(50, 50, "plan", "bms"), "plan"),
    (
        "below: pushed to the bottom",
        Interval(-70, -60, "plan", "fleet"),
        Interval(-50, -50, "rated", "fleet"),
        "fleet",
    ),
    ("empty: only zero", Interval(5, 4, "plan", "fleet"), Interval(0, 0, "plan", "fleet"), ""),
    (
        "lower end not a number: only zero",
        Interval(NAN, 4, "plan", "fleet"),
        Interval(0, 0, "plan", "fleet"),
        "",
    ),
    (
        "upper end not a number: only zero",
        Interval(5, NAN, "plan", "fleet"),
        Interval(0, 0, "plan", "fleet"),
        "",
    ),
    (
        "only plus infinity: only zero",
        Interval(INF, INF, "plan", "fleet"),
        Interval(0, 0, "plan", "fleet"),
        "",
    ),
    (
        "only minus infinity: only zero",
        Interval(-INF, -INF, "plan", "fleet"),
        Interval(0, 0, "plan", "fleet"),
        "",
    ),
    ("open above: only the lower end moves", at_least(7, "plan"), Interval(7, 50, "plan", "bms"), ""),
    ("open below: only the upper end moves", at_most(7, "plan"), Interval(-50, 7, "rated", "plan"), ""),
]


@pytest.mark.parametrize(("lower", "expected", "loser"), [r[1:] for r in MEET], ids=[r[0] for r in MEET])
def test_meet(lower: Interval, expected: Interval, loser: str) -> None:
    assert meet(UP, lower) == (expected, loser)


def test_an_interval_that_is_none_cannot_pull_power_out_of_what_must_be() -> None:
    must = Interval(20.0, 50.0, "transformer", "rated")
    assert meet(must, Interval(NAN, NAN, "plan", "plan"))[0] == Interval(20.0, 20.0, "transformer", "plan")


def test_layers_go_before_the_order_in_which_claims_come() -> None:
    claims: list[Claim] = [
        (Layer.MONEY, Interval(60, 70, "plan", "plan")),
        (Layer.SAFETY, Interval(-50, 50, "bms", "bms")),
        (Layer.GRID, Interval(-80, -10, "grid_export", "grid_export")),
        (Layer.OBLIGATION, Interval(-20, 90, "fleet", "fleet")),
    ]
    left, conflicts = fold(ALL, claims)
    assert left == Interval(-10, -10, "plan", "grid_export")
    assert conflicts == bits("plan")


def test_inside_a_layer_the_first_one_listed_is_kept() -> None:
    first, second = (
        Interval(0, 10, "grid_export", "grid_export"),
        Interval(20, 30, "grid_import", "grid_import"),
    )
    assert fold(ALL, [(Layer.GRID, first), (Layer.GRID, second)])[0].hi_kw == 10
    assert fold(ALL, [(Layer.GRID, second), (Layer.GRID, first)])[0].lo_kw == 20


def test_every_conflict_is_recorded() -> None:
    claims: list[Claim] = [
        (Layer.SAFETY, Interval(0, 0, "bms", "bms")),
        (Layer.GRID, at_least(5, "transformer")),
        (Layer.GRID, at_most(-5, "grid_export")),
        (Layer.GRID, at_most(5, "grid_import")),
    ]
    assert fold(ALL, claims)[1] == bits("transformer", "grid_export")


def test_no_claim_leaves_what_was() -> None:
    assert fold(UP, []) == (UP, 0)


TOGETHER = [
    ("one unit keeps its owners", [UP], Interval(-50, 50, "rated", "bms")),
    (
        "equal owners stay, others become units",
        [UP, Interval(-1, 2, "soc", "bms")],
        Interval(-51, 52, "units", "bms"),
    ),
    (
        "and the other way round",
        [UP, Interval(-1, 2, "rated", "soc")],
        Interval(-51, 52, "rated", "units"),
    ),
    ("no unit: nothing to move", [], Interval(0, 0, "units", "units")),
]


@pytest.mark.parametrize(("units", "expected"), [r[1:] for r in TOGETHER], ids=[r[0] for r in TOGETHER])
def test_together(units: list[Interval], expected: Interval) -> None:
    assert together(units) == expected


def wish(p_kw: float | None, source: str = "plan", interval: Interval | None = None) -> Proposal:
    return Proposal(Layer.MONEY, interval or everything(source), p_kw, source)


SAFE = Interval(-100, 100, "rated", "rated")


def grid(lo: float, hi: float) -> Claim:
    return (Layer.GRID, Interval(lo, hi, "grid_import", "grid_export"))


TARGET = [
    ("a wish within one step is met", [], [wish(3)], 0.0, (3.0, "plan", 0)),
    ("a wish exactly one step up is met", [], [wish(5)], 0.0, (5.0, "plan", 0)),
    ("a wish beyond one step: one step up", [], [wish(50)], 10.0, (15.0, "plan", 0)),
    ("a wish beyond one step: one step down", [], [wish(-50)], 10.0, (5.0, "plan", 0)),
    ("the first wish wins", [], [wish(1, "operator"), wish(2)], 0.0, (1.0, "operator", 0)),
    ("no wish is passed over", [], [wish(None, "operator"), wish(2)], 0.0, (2.0, "plan", 0)),
    (
        "a wish that is no number is passed over",
        [],
        [wish(NAN, "operator"), wish(2)],
        0.0,
        (2.0, "plan", 0),
    ),
    ("nobody wishes: towards zero", [], [], 20.0, (15.0, "none", 0)),
    ("an upper end below: down at once", [grid(-100, -40)], [wish(50)], 10.0, (-40.0, "plan", -1)),
    ("a lower end above: up at once", [grid(40, 100)], [wish(0)], 10.0, (40.0, "plan", 1)),
    ("an end one step away needs no force", [grid(15, 100)], [wish(0)], 10.0, (15.0, "plan", 0)),
    ("inside the step the end still binds", [grid(-100, 12)], [wish(50)], 10.0, (12.0, "plan", 0)),
    ("a conflict keeps the upper layer", [grid(120, 200)], [wish(0)], 10.0, (100.0, "plan", 1)),
    (
        "the interval of a proposal narrows",
        [],
        [wish(4, "operator"), wish(None, "plan", at_most(2, "plan"))],
        0.0,
        (2.0, "operator", 0),
    ),
]


@pytest.mark.parametrize(
    ("claims", "proposals", "held", "expected"), [r[1:] for r in TARGET], ids=[r[0] for r in TARGET]
)
def test_target(
    claims: list[Claim], proposals: list[Proposal], held: float, expected: tuple[float, str, int]
) -> None:
    made = arbitrate(SITE, SAFE, claims, proposals, held)
    assert (made.target_kw, made.winner, made.forced) == expected


def test_the_decision_says_what_was_wished_and_what_was_left() -> None:
    made = arbitrate(SITE, SAFE, [grid(120, 200)], [wish(-7)], 98.0)
    assert made.wish_kw == -7
    assert made.envelope == Interval(100, 100, "grid_import", "rated")
    assert made.reach == made.envelope
    assert made.conflicts == bits("grid_import")
    made = arbitrate(SITE, SAFE, [], [], 0.0)
    assert (made.wish_kw, made.conflicts) == (0.0, 0)
    assert made.reach == Interval(-5, 5, "ramp", "ramp")
    assert made.envelope == SAFE


FLOATS = st.floats(-200, 200) | st.sampled_from((NAN, INF, -INF))
INTERVALS = st.builds(Interval, FLOATS, FLOATS, st.just("plan"), st.just("fleet"))
PROPER = st.tuples(st.floats(-200, 200), st.floats(-200, 200)).map(
    lambda ends: Interval(min(ends), max(ends), "plan", "fleet")
)
CLAIMS = st.lists(st.tuples(st.sampled_from(list(Layer)), INTERVALS), max_size=6)


@given(PROPER, INTERVALS)
def test_meeting_never_widens_and_never_empties(upper: Interval, lower: Interval) -> None:
    left, _ = meet(upper, lower)
    assert upper.lo_kw <= left.lo_kw <= left.hi_kw <= upper.hi_kw


@given(CLAIMS, CLAIMS)
def test_a_lower_layer_never_leaves_what_upper_layers_agreed_on(
    claims: list[Claim], more: list[Claim]
) -> None:
    for layer in Layer:
        upper, _ = fold(ALL, [claim for claim in claims if claim[0] <= layer])
        lower = [(max(given_layer, layer), interval) for given_layer, interval in more]
        left, _ = fold(ALL, [*(claim for claim in claims if claim[0] <= layer), *lower])
        assert upper.lo_kw <= left.lo_kw <= left.hi_kw <= upper.hi_kw


@given(CLAIMS, st.sampled_from(list(Layer)), INTERVALS, st.integers(0, 6))
def test_one_more_claim_never_gives_more_room(
    claims: list[Claim], layer: Layer, interval: Interval, at: int
) -> None:
    before, _ = fold(ALL, claims)
    after, _ = fold(ALL, [*claims[:at], (layer, interval), *claims[at:]])
    inside = before.lo_kw <= after.lo_kw and after.hi_kw <= before.hi_kw
    assert inside or after.lo_kw == after.hi_kw  # where claims contradict, one point is left


@given(CLAIMS, st.lists(st.builds(wish, FLOATS | st.none()), max_size=3), st.floats(-100, 100))
def test_the_target_is_in_the_envelope_and_in_reach(
    claims: list[Claim], proposals: list[Proposal], held: float
) -> None:
    made = arbitrate(SITE, SAFE, claims, proposals, held)
    assert (
        made.envelope.lo_kw <= made.reach.lo_kw <= made.target_kw <= made.reach.hi_kw <= made.envelope.hi_kw
    )
    if made.forced == 0:
        assert abs(made.target_kw - held) <= 5.0 + 1e-9
    else:
        assert (made.target_kw - held) * made.forced > 5.0 - 1e-9
    assert -100 <= made.target_kw <= 100


def test_the_step_is_the_ramp_times_the_cycle() -> None:
    assert arbitrate(SITE, SAFE, [], [wish(100)], 0.0).target_kw == 5.0
