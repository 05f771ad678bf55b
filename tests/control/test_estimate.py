"""What is known: per battery, and the net load at the moment the meter measured."""

from dataclasses import replace

import numpy as np
import pytest

from control.estimate import Estimate, estimate, interpolate, ready
from control.state import State
from control.watch import Trust
from models.point import Image, Quality, Role, RunState
from models.site import Site
from tests.control.world import CYCLE_NS, MS, World

SAMPLES = ((0, 0, 100, 200, 400), (9.0, 9.0, 10.0, 20.0, 60.0))
INTERPOLATE = [
    ("at the newest", 400, 60.0),
    ("after the newest: constant", 900, 60.0),
    ("between two", 300, 40.0),
    ("just before the newest", 398, 59.6),
    ("at one", 200, 20.0),
    ("between older ones", 150, 15.0),
    ("at the oldest", 100, 10.0),
    ("before the oldest: constant", 50, 10.0),
]


@pytest.mark.parametrize(("at_ns", "expected"), [r[1:] for r in INTERPOLATE], ids=[r[0] for r in INTERPOLATE])
def test_interpolate(at_ns: int, expected: float) -> None:
    assert interpolate(*SAMPLES, at_ns) == pytest.approx(expected)


def test_before_a_full_history_it_is_constant() -> None:
    assert interpolate((0, 100, 200), (9.0, 10.0, 20.0), 50) == 10.0


def test_a_full_history() -> None:
    full = ((100, 200, 400), (10.0, 20.0, 60.0))
    assert [interpolate(*full, at_ns) for at_ns in (50, 150, 300)] == pytest.approx([10.0, 15.0, 40.0])


def look(world: World) -> tuple[Estimate, State]:
    """Estimate one cycle later, without running it."""
    world.now_ns += CYCLE_NS
    aged = world.image().aged(world.site.max_age_ns, world.now_ns)
    return estimate(world.site, aged, world.state, world.now_ns)


def without(site: Site, role: Role, own: bool) -> Site:
    """The site whose first battery does not have a point, of the BMS's own or of the common table."""
    unit = site.batteries[0]
    if own:
        unit = replace(unit, bms_points={r: k for r, k in unit.bms_points.items() if r != role})
    else:
        unit = replace(unit, points={r: k for r, k in unit.points.items() if r != role})
    return replace(site, batteries=(unit, *site.batteries[1:]))


def test_a_healthy_battery() -> None:
    world = World.running()
    seen = look(world)[0].batteries[0]
    assert (seen.soc, seen.dc_v, seen.charge_limit_a, seen.discharge_limit_a) == (0.5, 800.0, 140.0, 140.0)
    assert (seen.p_kw, seen.q_kvar, seen.pcs_state, seen.bms_state) == (0.0, 0.0, 4.0, 4.0)
    assert (seen.bms_alarm, seen.pcs_alarm) == (0.0, None)
    assert (seen.bms, seen.pcs) == (Trust.TRUSTED, Trust.TRUSTED)
    assert (seen.usable_kwh, seen.room_kwh) == pytest.approx((0.45 * 215, 0.45 * 215))


ENERGY = [
    ("health shrinks it", {"bms-1/soh": 0.8}, (0.45 * 172, 0.45 * 172)),
    ("absurd health does not count", {"bms-1/soh": 98.0}, (0.45 * 215, 0.45 * 215)),
    ("below the window nothing is usable", {"bms-1/soc": 0.02}, (0.0, 0.93 * 215)),
    ("above the window there is no room", {"bms-1/soc": 0.99}, (0.94 * 215, 0.0)),
    ("health above one does not count", {"bms-1/soh": 1.2}, (0.45 * 215, 0.45 * 215)),
    ("SOC above one is not known", {"bms-1/soc": 1.2}, (0.0, 0.0)),
    ("absurd SOC is not known", {"bms-1/soc": 50.0}, (0.0, 0.0)),
    ("negative SOC is not known", {"bms-1/soc": -0.01}, (0.0, 0.0)),
]


@pytest.mark.parametrize(("values", "expected"), [r[1:] for r in ENERGY], ids=[r[0] for r in ENERGY])
def test_energy(values: dict[str, float], expected: tuple[float, float]) -> None:
    world = World.running()
    world.values |= values
    seen = look(world)[0].batteries[0]
    assert (seen.usable_kwh, seen.room_kwh) == pytest.approx(expected)


NEEDED = [
    *((f"bms-1/{role}", "bms") for role in ("soc", "dc_v", "charge_limit_a", "discharge_limit_a")),
    *((f"bms-1/{role}", "bms") for role in ("state", "alarm_level", "heartbeat")),
    *((f"pcs-1/{role}", "pcs") for role in ("p_kw", "q_kvar", "state", "heartbeat")),
]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE, Quality.UNCERTAIN])
@pytest.mark.parametrize(("point", "device"), NEEDED, ids=[n[0] for n in NEEDED])
def test_a_device_that_does_not_say_everything_is_dead(point: str, device: str, quality: Quality) -> None:
    world = World.running()
    world.qualities[point] = quality
    seen = look(world)[0].batteries[0]
    assert getattr(seen, device) == Trust.DEAD
    assert {"bms": seen.pcs, "pcs": seen.bms}[device] == Trust.TRUSTED


@pytest.mark.parametrize("lost", ["bms-1", "pcs-1", "bms-2", "pcs-2"])
def test_every_device_is_watched_for_itself(lost: str) -> None:
    world = World.running(units=2)
    world.qualities[f"{lost}/heartbeat"] = Quality.BAD
    world.step()
    world.qualities.clear()
    world.steps(20)
    first, second = look(world)[0].batteries
    trust = {"bms-1": first.bms, "pcs-1": first.pcs, "bms-2": second.bms, "pcs-2": second.pcs}
    assert trust.pop(lost) == Trust.PROVING
    assert set(trust.values()) == {Trust.TRUSTED}


def test_health_is_not_needed() -> None:
    world = World.running()
    world.qualities["bms-1/soh"] = Quality.BAD
    assert look(world)[0].batteries[0].bms == Trust.TRUSTED


@pytest.mark.parametrize(
    ("role", "own"),
    [(Role.STATE, True), (Role.HEARTBEAT, True), (Role.Q_KVAR, False), (Role.HEARTBEAT, False)],
)
def test_what_a_device_does_not_have_is_not_missed(role: Role, own: bool) -> None:
    world = World.running()
    world.site = without(world.site, role, own)
    seen = look(world)[0].batteries[0]
    assert (seen.bms, seen.pcs) == (Trust.TRUSTED, Trust.TRUSTED)


@pytest.mark.parametrize("role", [Role.SOC, Role.DC_V, Role.CHARGE_LIMIT_A, Role.DISCHARGE_LIMIT_A])
def test_a_bms_without_a_needed_point_is_never_trusted(role: Role) -> None:
    world = World.running()
    world.site = without(world.site, role, False)
    assert look(world)[0].batteries[0].bms == Trust.DEAD


def test_an_alarm_level_in_the_common_table_counts_for_both_devices() -> None:
    world = World.running()
    unit = world.site.batteries[0]
    alarm = unit.bms_points[Role.ALARM_LEVEL]
    world.site = without(world.site, Role.ALARM_LEVEL, True)
    assert look(world)[0].batteries[0].bms_alarm is None
    unit = replace(world.site.batteries[0], points={**unit.points, Role.ALARM_LEVEL: alarm})
    world.site = replace(world.site, batteries=(unit,))
    world.values["bms-1/alarm_level"] = 3.0
    seen = look(world)[0].batteries[0]
    assert (seen.bms_alarm, seen.pcs_alarm) == (3.0, 3.0)


def test_a_pcs_alarm_that_is_there_must_be_known() -> None:
    world = World.running()
    unit = world.site.batteries[0]
    table = {**unit.points, Role.ALARM_LEVEL: unit.bms_points[Role.ALARM_LEVEL]}
    world.site = replace(world.site, batteries=(replace(unit, points=table),))
    world.qualities["bms-1/alarm_level"] = Quality.BAD
    assert look(world)[0].batteries[0].pcs == Trust.DEAD


def test_net_load_is_grid_plus_battery() -> None:
    world = World.running(net_kw=200.0)
    world.values |= {"pcs-1/p_kw": 30.0, "meter-1/p_kw": 170.0}
    assert look(world)[0].net_kw == pytest.approx(200.0)


def test_net_load_belongs_to_the_moment_at_which_the_meter_measured() -> None:
    world = World.running(net_kw=200.0, delay_s=0.3)
    power = [0.0] * 3
    for k in range(20):
        power.append(5.0 * k)
        world.values["pcs-1/p_kw"] = power[-1]
        world.values["meter-1/p_kw"] = 200.0 - power[-4]  # three cycles late
        world.step()
        assert world.row["net_kw"] == pytest.approx(200.0)


def test_a_meter_of_which_the_time_lies_between_two_samples() -> None:
    world = World.running(net_kw=100.0, delay_s=0.05)
    world.values["pcs-1/p_kw"] = 10.0
    world.step()
    world.values["pcs-1/p_kw"] = 20.0
    world.step()
    assert world.row["net_kw"] == pytest.approx(115.0)


GRID = [
    ("all known", {}, {}, 200.0, 0.0),
    ("power not known", {}, {"meter-1/p_kw": Quality.BAD}, None, None),
    ("reactive power not known", {}, {"meter-1/q_kvar": Quality.STALE}, None, None),
    ("ten times the transformer is believed", {"meter-1/p_kw": 4000.0}, {}, 4000.0, 0.0),
    ("more is an error", {"meter-1/p_kw": 4001.0}, {}, None, None),
    ("less too", {"meter-1/p_kw": -4001.0}, {}, None, None),
    ("ten times in reactive power", {"meter-1/q_kvar": -4000.0}, {}, 200.0, -4000.0),
    ("absurd reactive power", {"meter-1/q_kvar": 4001.0}, {}, None, None),
]


@pytest.mark.parametrize(("values", "qualities", "net", "q"), [r[1:] for r in GRID], ids=[r[0] for r in GRID])
def test_grid(
    values: dict[str, float], qualities: dict[str, Quality], net: float | None, q: float | None
) -> None:
    world = World.running(net_kw=200.0)
    world.values |= values
    world.qualities |= qualities
    seen, _ = look(world)
    assert (seen.net_kw, seen.grid_kvar) == (net, q)


def test_a_meter_without_reactive_power_knows_the_net_load() -> None:
    world = World.running(net_kw=200.0)
    meter = replace(world.site.meter, points={Role.P_KW: world.site.meter.points[Role.P_KW]})
    world.site = replace(world.site, meter=meter)
    seen, _ = look(world)
    assert (seen.net_kw, seen.grid_kvar) == (200.0, None)


def test_a_meter_that_comes_back_is_not_believed_at_once() -> None:
    world = World.running()
    world.qualities["meter-1/p_kw"] = Quality.BAD
    world.step()
    world.qualities.clear()
    seen, _ = look(world)
    assert (seen.net_kw, seen.grid_kvar) == (None, None)


def test_power_that_a_pcs_cannot_have_is_not_known() -> None:
    for p_kw, known in ((220.0, 220.0), (-220.0, -220.0), (220.1, None), (-220.1, None)):
        world = World.running()
        world.values["pcs-1/p_kw"] = p_kw
        assert look(world)[0].batteries[0].p_kw == known


def test_a_battery_whose_power_is_not_known_becomes_part_of_the_load() -> None:
    world = World.running(units=2, net_kw=200.0)
    world.values |= {"pcs-1/p_kw": 10.0, "pcs-2/p_kw": 20.0, "meter-1/p_kw": 170.0}
    seen, after = look(world)
    assert (seen.net_kw, after.members) == (pytest.approx(200.0), 0b11)
    world.qualities["pcs-1/p_kw"] = Quality.BAD
    seen, after = look(world)
    assert (seen.net_kw, after.members) == (pytest.approx(190.0), 0b10)
    assert after.history_ns[:-1] == (0,) * 31  # sums over both cannot be used any more
    assert after.history_kw == (*(0.0,) * 31, 20.0)


def test_no_battery_known_is_no_net_load() -> None:
    world = World.running()
    world.qualities["pcs-1/p_kw"] = Quality.BAD
    seen, after = look(world)
    assert (seen.net_kw, seen.grid_kvar, after.members) == (None, 0.0, 0)


def test_history_grows_only_with_new_readings() -> None:
    world = World.running(units=2)
    before = world.state
    world.silent = {"pcs-1", "pcs-2"}
    world.step()
    assert world.state.history_ns == before.history_ns
    world.silent = {"pcs-1"}
    world.values["pcs-2/p_kw"] = 7.0
    world.step()
    assert world.state.history_ns == (*before.history_ns[1:], world.now_ns)
    assert world.state.history_kw == (*before.history_kw[1:], 7.0)
    assert before.history_ns[-1] == world.now_ns - 2 * CYCLE_NS


def test_the_time_of_a_sum_is_that_of_its_newest_reading() -> None:
    world = World.running(units=2)
    world.step()
    world.silent = {"pcs-2"}
    world.step()
    assert world.state.history_ns[-1] == world.now_ns


def test_an_empty_image_is_known_to_be_nothing() -> None:
    world = World.make()
    aged = Image.empty(len(world.site.points)).aged(world.site.max_age_ns, world.now_ns)
    seen, after = estimate(world.site, aged, world.state, world.now_ns)
    assert (seen.net_kw, seen.grid_kvar, seen.batteries[0].soc) == (None, None, None)
    assert replace(after, follows=world.state.follows) == world.state


def test_the_image_is_left_alone() -> None:
    world = World.running()
    image = world.image()
    aged = image.aged(world.site.max_age_ns, world.now_ns + 10_000 * MS)
    estimate(world.site, aged, world.state, world.now_ns)
    assert np.all(image.quality == Quality.GOOD)


@pytest.mark.parametrize("missing", ["bms-1", "pcs-1", "bms-2", "pcs-2", "meter-1"])
def test_control_is_ready_when_every_device_that_it_needs_has_answered(missing: str) -> None:
    world = World.make(units=2)
    world.silent = {"pv-1", missing}
    assert not ready(world.site, world.image(), world.now_ns)
    world.silent = {"pv-1"}
    assert ready(world.site, world.image(), world.now_ns)


def test_control_is_not_ready_without_reactive_power_at_the_meter() -> None:
    world = World.make()
    world.site = replace(
        world.site, meter=replace(world.site.meter, points={Role.P_KW: world.site.meter.points[Role.P_KW]})
    )
    assert not ready(world.site, world.image(), world.now_ns)


def test_a_stale_image_is_not_ready() -> None:
    world = World.make()
    image = world.image()
    assert not ready(world.site, image, world.now_ns + 10_000 * MS)


def test_a_pcs_without_a_state_is_taken_for_running() -> None:
    world = World.running()
    world.site = without(world.site, Role.STATE, False)
    seen = look(world)[0].batteries[0]
    assert (seen.pcs_state, seen.pcs) == (RunState.RUNNING, Trust.TRUSTED)


AMPERES = (Role.CHARGE_LIMIT_A, Role.DISCHARGE_LIMIT_A)
POWERS = (Role.CHARGE_LIMIT_KW, Role.DISCHARGE_LIMIT_KW)
LIMIT_POINTS = [
    # points in kW that the battery has besides amperes, amperes that it lacks, what is not known, its trust
    ((), (), "bms-1/charge_limit_a", Trust.DEAD, "amperes alone, one unknown"),
    (POWERS, AMPERES, "bms-1/soh", Trust.TRUSTED, "kW alone"),
    (POWERS, AMPERES, "bms-1/charge_limit_kw", Trust.DEAD, "kW alone, one unknown"),
    (POWERS, AMPERES, "bms-1/dc_v", Trust.TRUSTED, "without amperes nobody needs the voltage"),
    (POWERS, (), "bms-1/discharge_limit_a", Trust.DEAD, "both: amperes unknown"),
    (POWERS, (), "bms-1/discharge_limit_kw", Trust.DEAD, "both: kW unknown"),
    (POWERS[:1], AMPERES, "bms-1/soh", Trust.DEAD, "half a pair is none"),
    ((), AMPERES, "bms-1/soh", Trust.DEAD, "a battery that says nothing of its limits"),
]


@pytest.mark.parametrize(
    ("has", "lacks", "unknown", "trust", "why"), LIMIT_POINTS, ids=[r[4] for r in LIMIT_POINTS]
)
def test_which_limits_a_battery_must_report(has, lacks, unknown, trust, why) -> None:
    world = World.running(in_power=has)
    for role in lacks:
        world.site = without(world.site, role, False)
    world.qualities[unknown] = Quality.BAD
    assert look(world)[0].batteries[0].bms == trust
