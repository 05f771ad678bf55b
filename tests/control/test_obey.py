"""Who does as told is left alone, whoever does not is found out within 5 s, and nobody swings.

The battery here has 100 kW and 100 kVA: the tolerance is 3 kW, the allowance of a derated one lies 13 kW
above what it gives, 20 kW are progress. A cycle is 100 ms.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from control.limits.obey import obey
from control.obey import Follow, Verdict, compare, tolerance_kw, untold
from models.site import Battery
from models.units import NS_PER_S
from tests.control.make import BATTERY, seen

UNIT = replace(BATTERY, s_max_kva=100.0)
CYCLE_NS = NS_PER_S // 10
PROOF = 51
"""Cycles that 5 s and one reading take."""
F, D, S, L = Verdict.FOLLOWS, Verdict.DERATED, Verdict.STOPPED, Verdict.LATCHED


@dataclass
class Bench:
    """One battery that is told and measured by hand, cycle by cycle; begins at a full second."""

    battery: Battery = UNIT
    follow: Follow = field(default_factory=lambda: untold(0.0))
    now_ns: int = 1_000 * NS_PER_S

    def step(self, told_kw: float, p_kw: float | None, t_ns: int | None = None) -> Verdict:
        """One cycle; the reading is from now unless said otherwise."""
        at_ns = self.now_ns if t_ns is None else t_ns
        self.follow = compare(self.follow, self.battery, told_kw, p_kw, at_ns, self.now_ns)
        self.now_ns += CYCLE_NS
        return self.follow.verdict

    def run(self, *parts: tuple[int, float, float | None]) -> list[Verdict]:
        """So many cycles, told, measured."""
        return [self.step(told, p) for cycles, told, p in parts for _ in range(cycles)]

    @property
    def allowed(self) -> tuple[float, float]:
        """What the limit leaves."""
        limit = obey(self.battery, seen(follow=self.follow), 0.0)
        assert (limit.lo_by, limit.hi_by) == ("obey", "obey")
        return limit.lo_kw, limit.hi_kw


ALL, ZERO = (-inf, inf), (0.0, 0.0)
Part = tuple[int, float, float | None]

TABLE: list[tuple[str, list[Part], Verdict, tuple[float, float]]] = [
    ("it does what it is told", [(99, 50, 50)], F, ALL),
    ("a little more is the tolerance", [(99, 50, 53)], F, ALL),
    ("a little less is the tolerance", [(99, 50, 47)], F, ALL),
    ("a little more when charging", [(99, -50, -53)], F, ALL),
    ("a little less when charging", [(99, -50, -47)], F, ALL),
    ("more than told", [(60, 50, 50), (PROOF, 50, 53.01)], S, ZERO),
    ("more than told, but not yet for 5 s", [(60, 50, 50), (PROOF - 1, 50, 53.01)], F, ALL),
    ("more than told when charging", [(60, -50, -50), (PROOF, -50, -53.01)], S, ZERO),
    ("double", [(60, 40, 40), (PROOF, 40, 80)], S, ZERO),
    ("power when told zero", [(PROOF, 0, 3.01)], S, ZERO),
    ("charging when told zero", [(PROOF, 0, -3.01)], S, ZERO),
    ("the opposite of discharge", [(60, 50, 50), (PROOF, 50, -3.01)], S, ZERO),
    ("the opposite of charge", [(60, -50, -50), (PROOF, -50, 3.01)], S, ZERO),
    ("dead is less than told", [(60, 50, 50), (PROOF, 50, 0)], D, (-inf, 13)),
    ("dead, with its own consumption", [(60, 50, 50), (PROOF, 50, -3)], D, (-inf, 13)),
    ("dead when it should charge", [(60, -50, -50), (PROOF, -50, 3)], D, (-13, inf)),
    ("less than told", [(60, 50, 50), (PROOF, 50, 46.9)], D, (-inf, 59.9)),
    ("less than told, but not yet for 5 s", [(60, 50, 50), (PROOF - 1, 50, 46.9)], F, ALL),
    ("less than told when charging", [(60, -50, -50), (PROOF, -50, -46.9)], D, (-59.9, inf)),
    ("stuck at 80 %", [(60, 90, 90), (PROOF, 90, 72)], D, (-inf, 85)),
    ("a step: the old setpoint may still be seen", [(60, 50, 50), (70, 0, 50)], F, ALL),
    ("a step, but it never goes there", [(60, 50, 50), (71, 0, 50)], S, ZERO),
    ("a step back from charging", [(60, -50, -50), (70, 0, -50)], F, ALL),
    ("a step back that never happens", [(60, -50, -50), (71, 0, -50)], S, ZERO),
    ("a step up: it never goes there", [(60, 20, 20), (71, 50, 20)], D, (-inf, 33)),
    ("from more to the opposite is a new break", [(40, 0, 10), (40, 0, -10)], F, ALL),
    ("a pause is a break", [(40, 0, 10), (1, 0, None), (40, 0, 10)], F, ALL),
    ("a moment inside is a break", [(40, 0, 10), (1, 0, 3), (40, 0, 10)], F, ALL),
    ("nothing known proves nothing", [(99, 50, None)], F, ALL),
    ("more than told, short for a moment", [(40, 50, 60), (1, 50, 40), (40, 50, 60)], F, ALL),
    ("short for long, then the opposite: no verdict yet", [(60, 50, 50), (40, 50, 0), (30, 50, -9)], F, ALL),
    ("short for long, then the opposite for 5 s", [(60, 50, 50), (40, 50, 0), (PROOF, 50, -9)], S, ZERO),
    ("the opposite first, then short: 5 s in all", [(60, 50, 50), (40, 50, -9), (11, 50, 0)], D, (-inf, 13)),
    ("not only for 5 s in all", [(60, 50, 50), (40, 50, -9), (10, 50, 0)], F, ALL),
    ("on its way: 20 kW nearer within 5 s", [(40, 0, 80), (40, 0, 60), (50, 0, 40)], F, ALL),
    ("on its way from charging", [(40, 0, -80), (40, 0, -60), (50, 0, -40)], F, ALL),
    ("on its way, then no more", [(40, 0, -80), (40, 0, -60), (PROOF, 0, -40)], S, ZERO),
    ("19 kW are no progress", [(40, 0, 80), (40, 0, 60.1)], S, ZERO),
    ("progress when short", [(60, 90, 90), (40, 90, 10), (50, 90, 30)], F, ALL),
    ("progress when short, then no more", [(60, 90, 90), (40, 90, 10), (PROOF, 90, 30)], D, (-inf, 43)),
    ("farther away is no progress", [(40, 0, 40), (40, 0, 90)], S, ZERO),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "verdict", "allowed"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_verdict(parts: list[Part], verdict: Verdict, allowed: tuple[float, float]) -> None:
    bench = Bench()
    assert bench.run(*parts)[-1] == verdict
    assert bench.allowed == pytest.approx(allowed)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("cycles", "seconds"), [(60, 2.0), (61, 2.9), (69, 2.1), (70, 2.0)])
def test_what_was_told_may_be_seen_for_two_to_three_seconds(cycles: int, seconds: float, sign: int) -> None:
    bench = Bench()
    bench.run((cycles, 50.0 * sign, 50.0 * sign))
    said = bench.run((99, 0.0, 50.0 * sign))
    assert said.index(S) - PROOF + 1 == round(10 * seconds)


def test_setpoints_that_jump_in_every_cycle_leave_everything_between_them_possible() -> None:
    bench = Bench()
    for k in range(300):
        assert bench.step(50.0 if k % 2 else -50.0, (k * 7) % 100 - 50.0) == F


def test_a_reading_counts_once() -> None:
    bench = Bench()
    bench.step(0.0, 10.0)
    old_ns = bench.now_ns
    assert [bench.step(0.0, 10.0, old_ns) for _ in range(99)] == [F] * 99
    assert bench.follow.t_ns == old_ns
    assert bench.step(0.0, 10.0) == S
    assert (bench.follow.p_kw, bench.follow.t_ns) == (10.0, bench.now_ns - CYCLE_NS)


def test_a_slow_reading_is_not_older_than_what_it_is_compared_with() -> None:
    bench = Bench()
    bench.step(80.0, 80.0)
    for _ in range(100):
        assert bench.step(0.0, 80.0, 1_000 * NS_PER_S) == F
    assert bench.step(0.0, 0.0) == F


def stopped() -> Bench:
    """A battery that gave power when told none."""
    bench = Bench()
    assert bench.run((PROOF, 0.0, 10.0))[-1] == S
    return bench


CALM: list[tuple[str, list[Part], Verdict]] = [
    ("zero for 30 s", [(301, 0, 0)], F),
    ("zero for less", [(300, 0, 0)], S),
    ("zero within the tolerance", [(301, 0, 3)], F),
    ("zero within the tolerance, charging", [(301, 0, -3)], F),
    ("not quite zero", [(999, 0, 3.01)], S),
    ("not quite zero, charging", [(999, 0, -3.01)], S),
    ("something in between", [(299, 0, 0), (1, 0, 4), (299, 0, 0)], S),
    ("a pause in between", [(299, 0, 0), (1, 0, None), (299, 0, 0)], S),
    ("a pause is not zero", [(999, 0, None)], S),
    ("what it is told meanwhile does not count", [(999, 10, 10)], S),
]


@pytest.mark.parametrize(("parts", "verdict"), [r[1:] for r in CALM], ids=[r[0] for r in CALM])
def test_it_stays_stopped_until_it_has_been_at_zero(parts: list[Part], verdict: Verdict) -> None:
    bench = stopped()
    assert bench.run(*parts)[-1] == verdict
    assert bench.allowed == (ALL if verdict == F else ZERO)


def test_a_stop_is_one_stop_however_long_it_disobeys() -> None:
    bench = stopped()
    assert set(bench.run((2_000, 0.0, 60.0), (300, 0.0, 0.0))) == {S}
    assert bench.run((1, 0.0, 0.0)) == [F]
    assert bench.run((50, 0.0, 10.0)) == [F] * 50, "what was before is forgotten"


HOUR: list[tuple[str, list[int], Verdict]] = [
    ("the first", [0], S),
    ("the second", [0, 60], S),
    ("the third within an hour", [0, 60, 3600], L),
    ("the third a moment later", [0, 60, 3601], S),
    ("the fourth within an hour of the second", [0, 60, 3601, 3660], L),
    ("one an hour", [0, 3000, 6000, 9000], S),
]


@pytest.mark.parametrize(("at_s", "verdict"), [r[1:] for r in HOUR], ids=[r[0] for r in HOUR])
def test_the_third_stop_within_an_hour_holds(at_s: list[int], verdict: Verdict) -> None:
    bench = Bench()
    for second in at_s:
        bench.now_ns = (1_000 + second) * NS_PER_S
        last = bench.run((PROOF, 0.0, 10.0))[-1]
        bench.run((301, 0.0, 0.0))
    assert last == verdict
    assert bench.follow.verdict == (L if verdict == L else F), "zero does not end it"
    assert bench.allowed == (ZERO if verdict == L else ALL)
    assert untold(0.0).verdict == F, "a new start does"


def derated(told_kw: float = 60.0, p_kw: float = 30.0) -> Bench:
    """A battery that gave half of what it was told."""
    bench = Bench()
    assert bench.run((60, told_kw, told_kw), (PROOF, told_kw, p_kw))[-1] == D
    return bench


DERATED: list[tuple[str, list[Part], Verdict, tuple[float, float]]] = [
    ("it stays so while it gives the same", [(999, 43, 30)], D, (-inf, 43)),
    ("a little more is allowed a little more", [(1, 43, 31)], D, (-inf, 44)),
    ("a little less takes nothing away", [(9, 43, 29)], D, (-inf, 43)),
    ("nor does something less for long", [(999, 43, 27)], D, (-inf, 43)),
    ("much less for long does", [(99, 43, 26.9)], D, (-inf, 39.9)),
    ("much less for a moment does not", [(60, 43, 30), (50, 43, 20)], D, (-inf, 43)),
    ("nor does the end of a long time of less", [(40, 43, 27), (20, 43, 26)], D, (-inf, 43)),
    ("it gives all that is asked", [(1, 43, 43)], D, (-inf, 56)),
    ("it follows for 30 s", [(40, 43, 43), (310, 43, 43)], F, ALL),
    ("not yet for 30 s", [(40, 43, 43), (259, 43, 43)], D, (-inf, 56)),
    ("a moment of less in between", [(290, 43, 40), (1, 43, 39.9), (290, 43, 40)], D, (-inf, 53)),
    ("a moment of more in between", [(290, 43, 43), (1, 43, 46.1), (290, 43, 43)], D, (-inf, 56)),
    ("more than told earns nothing", [(50, 43, 90)], D, (-inf, 43)),
    ("more than told is more than told", [(99, 43, 90)], S, ZERO),
    ("charging is free, and earns no discharge", [(99, -50, -50)], D, (-inf, 43)),
    ("a pause changes nothing", [(999, 43, None)], D, (-inf, 43)),
]


@pytest.mark.parametrize("sign", [1, -1], ids=["discharge", "charge"])
@pytest.mark.parametrize(
    ("parts", "verdict", "allowed"), [r[1:] for r in DERATED], ids=[r[0] for r in DERATED]
)
def test_derated(parts: list[Part], verdict: Verdict, allowed: tuple[float, float], sign: int) -> None:
    bench = derated(60.0 * sign, 30.0 * sign)
    turned = [(n, told * sign, None if p is None else p * sign) for n, told, p in parts]
    assert bench.run(*turned)[-1] == verdict
    wanted = allowed if sign > 0 else (-allowed[1], -allowed[0])
    assert bench.allowed == pytest.approx(wanted)


def test_both_directions_can_be_derated() -> None:
    bench = derated()
    bench.run((60, -60.0, -60.0), (PROOF, -60.0, -20.0))
    assert bench.allowed == (-33.0, 43.0)
    bench.run((30, -33.0, -28.0))
    assert bench.allowed == (-41.0, 43.0)


def test_a_stop_forgives_a_derating_when_it_is_over() -> None:
    bench = derated()
    assert bench.run((PROOF + 9, 30.0, -30.0))[-1] == S
    assert bench.run((301, 0.0, 0.0))[-1] == F
    assert bench.allowed == ALL


SIZES = [(110.0, 3.3), (1_000.0, 30.0), (50.0, 2.0), (5.0, 2.0)]


@pytest.mark.parametrize(("kva", "expected"), SIZES)
def test_tolerance(kva: float, expected: float) -> None:
    assert tolerance_kw(replace(UNIT, s_max_kva=kva)) == pytest.approx(expected)


def test_what_is_remembered_at_first() -> None:
    follow = untold(40.0)
    assert follow == Follow(0, 40, 40, 40, 40, 40, 40, 0, 0, 0, 0, 0, 0, 0, -inf, inf, 0, 0, 0)
    assert follow.verdict == F


# A plant behind the limit: told is what is wished, as far as it is allowed.


@dataclass
class Plant:
    """A PCS that obeys: dead time, ramp, noise, coarse numbers, readings that are polled."""

    dead: int = 1
    """Cycles until a setpoint has an effect."""
    ramp: float = 400.0
    """kW/s."""
    poll: int = 1
    """Cycles from reading to reading."""
    noise: Callable[[], float] = lambda: 0.0
    """Part of s_max_kva."""
    does: Callable[[float], float] = lambda kw: kw
    """What it makes of the setpoint."""
    p_kw: float = 0.0
    shown: float = 0.0
    t_ns: int = 0
    cycle: int = 0
    line: deque[float] = field(default_factory=deque)

    def step(self, told_kw: float, now_ns: int) -> None:
        """One cycle later."""
        self.line.append(told_kw)
        goal = self.does(self.line.popleft() if len(self.line) > self.dead else self.p_kw)
        most = self.ramp * CYCLE_NS / NS_PER_S
        self.p_kw += min(max(goal - self.p_kw, -most), most)
        if self.cycle % self.poll == 0:
            self.shown, self.t_ns = round(self.p_kw + self.noise() * UNIT.s_max_kva, 1), now_ns
        self.cycle += 1


@dataclass
class Run:
    """The limit around a plant."""

    plant: Plant
    bench: Bench = field(default_factory=Bench)
    told: list[float] = field(default_factory=list)
    said: list[Verdict] = field(default_factory=list)

    def ask(self, wish_kw: float, cycles: int) -> "Run":
        """Wish a power for so long."""
        for _ in range(cycles):
            lo_kw, hi_kw = self.bench.allowed
            self.told.append(min(max(wish_kw, lo_kw), hi_kw))
            self.plant.step(self.told[-1], self.bench.now_ns)
            self.said.append(self.bench.step(self.told[-1], self.plant.shown, self.plant.t_ns))
            assert lo_kw <= 0.0 <= hi_kw
        return self


WISHES = st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 80)), min_size=1, max_size=12)


@settings(max_examples=120, deadline=None)
@given(WISHES, st.integers(0, 20), st.integers(1, 10), st.floats(20, 2000), st.integers(0, 999))
@example([(-100.0, 150), (100.0, 150), (-100.0, 150)], 20, 1, 20.0, 0)
@example([(100.0, 150), *[(0.0, 1), (1.0, 30)] * 5], 10, 10, 20.0, 0)
def test_a_plant_that_obeys_is_never_accused(
    wishes: list[tuple[float, int]], dead: int, poll: int, ramp: float, seed: int
) -> None:
    """Delay up to 2 s in all, 20 % of the nameplate per second or more, 1 % of noise, 0.1 kW of rounding."""
    noise = partial(Random(seed).uniform, -0.01, 0.01)
    run = Run(Plant(dead=min(dead, 20 - poll), poll=poll, ramp=ramp, noise=noise))
    for wish_kw, cycles in wishes:
        run.ask(wish_kw, cycles)
    assert set(run.said) == {F}


FAULTS: dict[str, tuple[Callable[[float], float], Verdict]] = {
    "inverted": (lambda kw: -kw, S),
    "double": (lambda kw: 2.0 * kw, S),
    "stuck at 80 %": (lambda kw: 0.8 * kw, D),
    "dead": (lambda kw: 0.0, D),
}


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=25, deadline=None)
@given(kw=st.floats(25, 100) | st.floats(-100, -25), phase=st.integers(0, 19))
def test_a_fault_is_caught_within_five_seconds_and_a_cycle(fault: str, kw: float, phase: int) -> None:
    does, verdict = FAULTS[fault]
    run = Run(Plant(dead=0, ramp=math.inf)).ask(kw, 60 + phase)
    run.plant.does = does
    run.ask(kw, PROOF)
    assert run.said[-1] == verdict


def changes(values: list[float]) -> int:
    """How often a value is followed by another one."""
    return sum(a != b for a, b in pairwise(values))


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("poll", [1, 10])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 999), most=st.floats(1, 94))
def test_a_plant_that_gives_no_more_is_asked_for_little_more_and_nothing_swings(
    seed: int, most: float, poll: int, noise: float
) -> None:
    shaking = partial(Random(seed).uniform, -noise, noise)
    run = Run(Plant(does=lambda kw: min(kw, most), noise=shaking, poll=poll)).ask(100.0, 900)
    late = run.told[300:]
    assert set(run.said[300:]) == {D}
    assert min(100.0, most + 9.8) <= min(late) <= max(late) <= min(100.0, most + 14.2)
    assert late == sorted(late), "once it has settled it may only creep up with the noise"
    run.plant.does = lambda kw: kw
    run.ask(100.0, 500)
    assert run.told[-1] == pytest.approx(100.0)
    assert run.said[-1] == F, "it has come back by itself"
    assert changes([float(v) for v in run.said]) == 2


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.9, 0.95])
def test_a_plant_that_gives_a_share_is_lowered_step_by_step_and_stays_there(share: float) -> None:
    run = Run(Plant(does=lambda kw: share * kw)).ask(100.0, 3_000)
    assert run.told == sorted(run.told, reverse=True)
    assert run.told[-1] == run.told[-600]
    assert run.told[-1] * (1.0 - share) <= 16.0 + 1e-9
    assert changes([float(v) for v in run.said]) == 1


@pytest.mark.parametrize("step_kw", [4.0, 7.0, 10.0])
def test_a_driver_that_spares_its_registers_keeps_its_full_power(step_kw: float) -> None:
    run = Run(Plant(does=lambda kw: math.copysign(math.floor(abs(kw) / step_kw) * step_kw, kw)))
    for wish_kw in (9.0, 29.0, 100.0, -9.0, -29.0, -100.0):
        run.ask(wish_kw, 200)
        assert run.told[-1] == wish_kw, "nothing is taken away"
        assert changes(run.told[-100:]) == 0
    assert S not in run.said


@pytest.mark.parametrize("jump", [(100.0, -100.0), (100.0, 0.0), (30.0, 60.0)])
@pytest.mark.parametrize("period", [1, 2, 7, 20, 33, 60, 150])
@pytest.mark.parametrize("dead", [0, 5, 19])
def test_a_setpoint_that_jumps_between_two_limits_accuses_nobody(
    jump: tuple[float, float], period: int, dead: int
) -> None:
    run = Run(Plant(dead=dead, ramp=20.0))
    for k in range(900 // period):
        run.ask(jump[k % 2], period)
    assert set(run.said) == {F}


ANY = st.none() | st.floats(-220, 220)
TIMES = st.integers(-(2**63), 2**63 - 1) | st.just(0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), ANY, st.integers(1, 400)), min_size=1, max_size=12), TIMES)
def test_whatever_it_shows_zero_is_allowed_and_the_same_comes_out_again(
    parts: list[tuple[float, float | None, int]], strange_ns: int
) -> None:
    bench, again = Bench(), Bench()
    for told_kw, p_kw, cycles in parts:
        assert bench.run((cycles, told_kw, p_kw)) == again.run((cycles, told_kw, p_kw))
        lo_kw, hi_kw = bench.allowed
        assert lo_kw <= 0.0 <= hi_kw
        assert bench.follow == again.follow
    strange = compare(bench.follow, UNIT, 5.0, 5.0, strange_ns, strange_ns)
    assert strange.charge_kw <= 0.0 <= strange.discharge_kw
