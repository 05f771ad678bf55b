"""The loop closed over a small plant with dead time: it settles, does not overshoot, and does not swing."""

from collections.abc import Callable
from random import Random

import pytest

from control.obey import Verdict
from control.owners import OWNERS
from control.state import initial
from models.plant import Command, Inputs, Order, PcsState, Plant
from models.point import RunState
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
        assert world.state.follows[0].verdict == Verdict.FOLLOWS
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


STATES = {
    PcsState.OFF: RunState.OFF,
    PcsState.STANDBY: RunState.STANDBY,
    PcsState.STARTING: RunState.STARTING,
    PcsState.RUNNING: RunState.RUNNING,
    PcsState.STOPPING: RunState.STOPPING,
    PcsState.FAULT: RunState.FAULT,
}


class Demo:
    """The cycle around the physics of the demo's site."""

    def __init__(self, start: PcsState = PcsState.RUNNING, poll: int = 1) -> None:
        self.world = World.make(delay_s=0.2)
        self.plant = Plant()
        self.plant.pcs.state = start
        self.order = Order(command=Command.START, command_seq=1)
        self.does: Callable[[float], float] = lambda kw: kw
        self.load_kw, self.poll = 150.0, poll
        self.noise = Random(7)

    def steps(self, cycles: int) -> list[float]:
        """Run so many cycles; return the true power of the battery after each."""
        powers = []
        for _ in range(cycles):
            if self.world.state.cycle % self.poll == 0:
                self.show()
            (setpoint,) = self.world.step().setpoints
            self.order.p_set_kw = self.does(round(setpoint.p_kw, 1))
            for _ in range(5):
                self.plant.step(Inputs(load_kw=self.load_kw, order=self.order))
            powers.append(self.plant.pcs.p_kw)
        return powers

    def show(self) -> None:
        """Let the devices show what is."""
        pcs, meter = self.plant.pcs, self.plant.meter
        shown = pcs.p_kw + self.noise.uniform(-0.5, 0.5)
        self.world.values |= {
            "pcs-1/state": float(STATES[pcs.state]),
            "pcs-1/p_kw": round(shown, 1),
            "meter-1/p_kw": meter.p_kw,
            "bms-1/soc": self.plant.battery.soc,
        }

    @property
    def verdict(self) -> Verdict:
        return self.world.state.follows[0].verdict


@pytest.mark.parametrize("poll", [1, 10])
def test_the_demo_plant_is_never_accused(poll: int) -> None:
    demo = Demo(PcsState.STANDBY, poll)
    wish = Random(11)
    for _ in range(60):
        demo.world.ask(Source.OPERATOR, wish.uniform(-100.0, 100.0))
        demo.load_kw = wish.uniform(20.0, 420.0)
        for _ in range(wish.randint(1, 40)):
            demo.steps(1)
            assert demo.verdict == Verdict.FOLLOWS
    assert demo.plant.pcs.state == PcsState.RUNNING
    assert demo.plant.pcs.charged_kwh > 0.0 and demo.plant.pcs.discharged_kwh > 0.0


FAULTY: list[tuple[str, Callable[[float], float], Verdict]] = [
    ("an inverted sign", lambda kw: -kw, Verdict.STOPPED),
    ("double", lambda kw: 2.0 * kw, Verdict.STOPPED),
    ("ignored: it stays where it was", lambda kw: 40.0, Verdict.FOLLOWS),
    ("dead", lambda kw: 0.0, Verdict.DERATED),
]


@pytest.mark.parametrize(("does", "verdict"), [r[1:] for r in FAULTY], ids=[r[0] for r in FAULTY])
def test_a_setpoint_that_is_not_followed_is_found_out(
    does: Callable[[float], float], verdict: Verdict
) -> None:
    demo = Demo()
    demo.world.ask(Source.OPERATOR, 40.0)
    assert demo.steps(100)[-1] == pytest.approx(40.0, abs=1.0)
    demo.does = does
    demo.steps(54)
    assert demo.verdict == verdict
    row = demo.world.row
    if verdict == Verdict.STOPPED:
        assert row["p_set_kw"][0] == row["unit_lo_kw"][0] == row["unit_hi_kw"][0] == 0.0
        assert OWNERS[row["unit_lo_by"][0]] == OWNERS[row["unit_hi_by"][0]] == "obey"
        assert demo.steps(10)[-1] == pytest.approx(0.0, abs=1.0)


def test_a_pcs_that_ignores_a_change_is_stopped_and_the_site_makes_do_without_it() -> None:
    demo = Demo()
    demo.world.ask(Source.OPERATOR, 40.0)
    demo.steps(100)
    demo.does = lambda kw: 40.0
    demo.world.ask(Source.OPERATOR, 0.0)
    demo.steps(85)
    assert demo.verdict == Verdict.STOPPED
    demo.does = lambda kw: kw
    demo.world.ask(Source.OPERATOR, 30.0)
    assert max(demo.steps(300)[10:]) < 1.0, "30 s at zero first"
    assert demo.steps(40)[-1] == pytest.approx(30.0, abs=1.0)
    assert demo.verdict == Verdict.FOLLOWS


def test_what_a_dead_pcs_does_not_give_is_not_asked_for_and_comes_back_by_itself() -> None:
    demo = Demo()
    demo.world.ask(Source.PLAN, 80.0)
    demo.steps(100)
    demo.does = lambda kw: 0.0
    demo.steps(70)
    assert demo.world.state.last_kw[0] == pytest.approx(14.3, abs=1.0), "3 % + 10 % of 110 kVA"
    demo.does = lambda kw: kw
    assert demo.steps(100)[-1] == pytest.approx(80.0, abs=1.0)


def test_a_pcs_that_is_taken_over_while_it_runs_is_not_accused() -> None:
    demo = Demo()
    demo.world.state = initial(demo.world.site, [0.0])  # its setpoint could not be read
    demo.plant.pcs.p_kw = demo.plant.pcs._ramped_kw = 60.0
    for _ in range(100):
        demo.steps(1)
        assert demo.verdict == Verdict.FOLLOWS


def test_a_pcs_that_does_not_run_is_not_accused() -> None:
    demo = Demo()
    demo.world.ask(Source.PLAN, 80.0)
    demo.steps(100)
    demo.plant.pcs.state = PcsState.FAULT
    demo.plant.pcs.p_kw = 0.0
    demo.steps(100)
    assert demo.verdict == Verdict.FOLLOWS
