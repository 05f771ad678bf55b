"""The planner against a real image and a real mailbox: the ladder, and what makes it plan anew."""

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edge.events import Events, tail
from edge.image import DeviceInfo, SharedImage
from edge.mailbox import Held, Mailbox
from edge.services import planner as module
from edge.services.planner import Planner, PlannerConfig, run_planner
from models.errors import StoreError
from models.plan import MAX_AGE_MS, Ladder, plan_from
from models.point import Point, Quality, Role
from models.site import Battery, Meter, Pv, Site, SiteLimits

S = 1_000_000_000
NOON = round(datetime(2026, 7, 15, 9, 7, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp() * 1000)
"""A quarter and a bit before ten on a working day in July."""
RULES = (resources.files("examples") / "tariffs" / "jiangsu-2025.toml").read_text("utf-8")

POINTS = (
    Point("bms-1/soc", "bms-1", "battery-1", Role.SOC, "", 5.0),
    Point("pcs-1/p_kw", "pcs-1", "battery-1", Role.P_KW, "kW", 5.0),
    Point("meter-1/p_kw", "meter-1", "grid", Role.P_KW, "kW", 5.0),
)
DEVICES = tuple(DeviceInfo(p.device, "test", i, 1) for i, p in enumerate(POINTS))
BATTERY = Battery(
    "battery-1", 100.0, -100.0, 110.0, 215.0, 0.05, 0.95, 0.95, 0.95, {Role.SOC: 0, Role.P_KW: 1}, {}
)
SITE = Site(
    "demo",
    (BATTERY,),
    Meter("grid", {Role.P_KW: 2}, 0.0),
    (Pv("pv-1", 60.0, {}),),
    SiteLimits(360.0, 0.0, 400.0, 50.0, 3.0),
    POINTS,
)


def week_of_shifts(_: Path, since_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """A history: 60 kW at night, 180 kW from 6 to 20 o'clock."""
    t_ms = np.arange(since_ms // 900_000 * 900_000, NOON, 900_000, dtype=np.int64)
    hour = (t_ms / 3_600_000 + 8) % 24
    return t_ms, np.where((hour >= 6) & (hour < 20), 180.0, 60.0)


def no_history(_: Path, __: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros(0)


def broken_history(_: Path, __: int) -> tuple[np.ndarray, np.ndarray]:
    raise StoreError("the file is damaged")


@dataclass
class World:
    """A site folder with a controller's image and, while ``open``, its mailbox."""

    folder: Path
    held: Held = field(default_factory=lambda: Held(-100.0, 100.0))
    now_ns: int = 1000 * S
    utc_ms: int = NOON

    def __post_init__(self) -> None:
        (self.folder / "tariff.toml").write_text(RULES, "utf-8")
        (self.folder / "state").mkdir()
        self.start_controller(1)

    @property
    def config(self) -> PlannerConfig:
        return PlannerConfig(self.folder, self.folder / "state", SITE, self.folder / "tariff.toml", (0.13,))

    def planner(self, history: module.History = week_of_shifts, **config: object) -> Planner:
        settings = module.replace(self.config, **config)  # type: ignore[arg-type]
        return Planner(settings, Events(self.folder / "events.jsonl", "planner"), history)

    def start_controller(self, epoch_ms: int) -> None:
        self.image = SharedImage.create(self.folder / "image", "demo", POINTS, DEVICES, epoch_ms)

    def measure(
        self, soc: float | None = 0.5, battery_kw: float = 0.0, grid_kw: float | None = 180.0
    ) -> None:
        for name, value in (("bms-1", soc), ("pcs-1", battery_kw), ("meter-1", grid_kw)):
            good = value is not None
            self.image.slice(name).put(
                np.zeros(1, np.intp),
                np.array([value if good else np.nan], np.float64),
                np.array([Quality.GOOD if good else Quality.BAD], np.uint8),
                self.now_ns,
            )

    def later(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)
        self.utc_ms += round(seconds * 1000)

    def turn(self, planner: Planner, **measured: float | None) -> dict[str, object]:
        self.measure(**measured)
        planner.turn(self.utc_ms, self.now_ns)
        return self.written()

    def written(self) -> dict[str, object]:
        here = json.loads((self.folder / "plan.json").read_text("utf-8"))
        assert here == json.loads((self.folder / "state" / "plan.json").read_text("utf-8"))
        return dict(here)

    def codes(self) -> list[str]:
        return [event["code"] for event in tail(self.folder / "events.jsonl", 100)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose controller answers at the time of the test, not of the wall."""
    made = World(tmp_path)
    monkeypatch.setattr(module, "ask", lambda _, message: made.held.accept(message, made.now_ns, made.utc_ms))
    return made


@pytest.fixture
def served(tmp_path: Path) -> Iterator[World]:
    """A world with the real mailbox."""
    made = World(tmp_path, Held(-100.0, 100.0), time.monotonic_ns(), time.time_ns() // 1_000_000)
    mailbox = Mailbox(tmp_path / "control.sock", made.held, lambda *_: None)
    mailbox.start()
    yield made
    mailbox.stop()


def test_a_fresh_plan_is_written_and_posted(world: World) -> None:
    planner = world.planner()
    data = world.turn(planner)
    plan = plan_from(data)
    assert plan.status is Ladder.FRESH and plan.posted
    assert plan.grid.t0_utc_ms <= world.utc_ms < plan.grid.t0_utc_ms + plan.grid.step_ms and plan.grid.n == 96
    assert plan.proof.status == "solved" and plan.saving_cny > 0
    assert plan.expires_utc_ms == world.utc_ms + MAX_AGE_MS
    assert set(plan.levels) == {"flat", "valley", "peak", "sharp"}
    assert plan.flags == ("month-peak-unknown",)
    assert any("unchecked" in note for note in plan.notes)
    assert world.held._plan is not None and world.held._plan.ref == plan.ref
    np.testing.assert_allclose(world.held._plan.p_kw, plan.battery_kw, atol=1e-3)


def test_it_discharges_in_the_sharp_hours_and_knows_the_load(world: World) -> None:
    plan = plan_from(world.turn(world.planner()))
    levels = np.array(plan.levels)
    assert plan.battery_kw[levels == "sharp"].sum() * 0.25 > 80
    assert plan.battery_kw[levels == "valley"].sum() * 0.25 < -100
    np.testing.assert_allclose(plan.net_load_kw[0], 180.0)
    np.testing.assert_allclose(plan.grid_kw, plan.net_load_kw - plan.battery_kw, atol=1e-3)
    assert np.all(plan.grid_kw >= -1e-6), "nothing is exported"


def test_a_full_disk_neither_loses_the_plan_nor_makes_it_plan_at_every_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(module, "write_atomic", full)
    planner = world.planner()
    world.measure()
    planner.turn(world.utc_ms, world.now_ns)
    plan = planner.plan
    assert plan is not None and plan.posted and world.held._plan is not None
    assert "PLAN_NOT_WRITTEN" in world.codes()
    world.later(10)
    world.measure()
    planner.turn(world.utc_ms, world.now_ns)
    assert planner.plan is plan


def test_it_plans_every_five_minutes_and_not_before(world: World) -> None:
    planner = world.planner()
    first = world.turn(planner)
    world.later(290)
    assert world.turn(planner) == first
    world.later(11)
    assert world.turn(planner)["ref"] != first["ref"]


def test_a_controller_that_starts_anew_gets_a_plan_at_once(world: World) -> None:
    planner = world.planner()
    first = world.turn(planner)
    world.later(4)
    world.start_controller(2)
    assert world.turn(planner)["ref"] != first["ref"]


@pytest.mark.parametrize(
    ("moved_ms", "anew"), [(1_900, False), (-1_900, False), (2_100, True), (-2_100, True), (3_600_000, True)]
)
def test_a_clock_that_was_set_makes_a_new_plan(world: World, moved_ms: int, anew: bool) -> None:
    planner = world.planner()
    first = world.turn(planner)
    world.later(4)
    world.utc_ms += moved_ms
    second = world.turn(planner)
    assert (second["ref"] != first["ref"]) == anew
    world.later(4)
    assert world.turn(planner) == second, "once"


def test_a_changed_tariff_makes_a_new_plan_and_a_wrong_one_does_not(world: World) -> None:
    planner = world.planner()
    first = world.turn(planner)
    world.later(4)
    (world.folder / "tariff.toml").write_text(RULES.replace("0.3957", "0.41570"), "utf-8")
    second = world.turn(planner)
    assert second["price_cny_per_kwh"] != first["price_cny_per_kwh"]
    world.later(4)
    (world.folder / "tariff.toml").write_text("nonsense = [", "utf-8")
    assert world.turn(planner) == second
    assert "TARIFF_UNREADABLE" in world.codes()


def test_without_state_of_charge_the_old_plan_goes_on_then_the_rules(world: World) -> None:
    planner = world.planner()
    first = plan_from(world.turn(planner))
    world.later(1000)
    second = plan_from(world.turn(planner, soc=None))
    assert second.status is Ladder.SHIFTED and second.posted
    assert second.flags[-1] == "battery-soc-unknown" and second.ref == first.ref
    np.testing.assert_allclose(second.battery_kw, first.battery_kw[1:])
    world.later(6 * 3600)
    third = world.turn(planner, soc=None)
    assert (third["status"], third["flags"], third["posted"]) == ("rules", ["battery-soc-unknown"], False)
    world.later(31)
    assert world.turn(planner)["status"] == "fresh", "after a failure it tries again soon"


def test_a_failing_solver_is_an_event_and_a_step_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        raise RuntimeError("solver broke")

    monkeypatch.setattr(module, "schedule", broken)
    planner = world.planner()
    data = world.turn(planner)
    assert (data["status"], data["flags"]) == ("rules", ["no-solution"])
    assert world.codes().count("PLAN_FAILED") == 1
    world.later(31)
    world.turn(planner)
    assert world.codes().count("PLAN_FAILED") == 1, "the same is not told again"


def test_without_history_the_present_is_held_and_said(world: World) -> None:
    plan = plan_from(world.turn(world.planner(no_history)))
    assert "forecast-last-value" in plan.flags
    np.testing.assert_allclose(plan.net_load_kw, 180.0)


def test_with_nothing_known_there_is_no_plan(world: World) -> None:
    data = world.turn(world.planner(no_history), grid_kw=None)
    assert (data["status"], data["flags"]) == ("rules", ["no-forecast"])


def test_a_damaged_history_is_told_and_lived_without(world: World) -> None:
    plan = plan_from(world.turn(world.planner(broken_history)))
    assert plan.status is Ladder.FRESH and "forecast-last-value" in plan.flags
    assert "HISTORY_UNREADABLE" in world.codes()


def test_the_recorded_year_stands_in_for_history(world: World) -> None:
    year = Path(str(resources.files("examples") / "data" / "load_metalworking_de_2018_15min.csv.gz"))
    planner = world.planner(no_history, load_csv=year, load_csv_zone="Europe/Berlin")
    plan = plan_from(world.turn(planner))
    assert plan.status is Ladder.FRESH and plan.flags[0] == "forecast-seed"
    night = plan.net_load_kw[(plan.grid.starts_ms / 3_600_000 + 8) % 24 < 4]
    assert night.mean() < 0.7 * plan.net_load_kw.max(), "the plant rests at night, by the clock of the site"


def test_a_load_file_that_cannot_be_read_is_told(world: World) -> None:
    (world.folder / "load.csv").write_text("time,kw\n", "utf-8")
    planner = world.planner(no_history, load_csv=world.folder / "load.csv")
    assert world.turn(planner)["status"] == "fresh"
    assert "LOAD_FILE_UNREADABLE" in world.codes()


def test_a_planner_that_starts_again_goes_on_with_the_old_plan(world: World) -> None:
    first = plan_from(world.turn(world.planner()))
    world.later(60)
    again = plan_from(world.turn(world.planner(), soc=None))
    assert again.status is Ladder.SHIFTED and again.ref == first.ref


def test_without_a_controller_it_waits(world: World) -> None:
    planner = world.planner()
    (world.folder / "image").unlink()
    planner.turn(world.utc_ms, world.now_ns)
    assert not (world.folder / "plan.json").exists()
    assert "CONTROLLER" in world.codes()


def test_an_unposted_plan_is_tried_again_soon(tmp_path: Path) -> None:
    world = World(tmp_path)
    planner = world.planner()
    first = world.turn(planner)
    assert first["status"] == "fresh" and first["posted"] is False
    world.later(31)
    assert world.turn(planner)["ref"] != first["ref"]


def test_a_peak_that_is_billed_already_may_be_used_for_charging(world: World) -> None:
    world.measure()
    free = plan_from(world.turn(world.planner(peak_start_kw=300.0)))
    (world.folder / "state" / "demand.json").unlink()
    bound = plan_from(world.turn(world.planner()))
    assert free.grid_kw.max() > 185.0, "valley charging at noon on top of the load"
    assert bound.grid_kw.max() <= 180.0 + 0.1, "no peak beyond that of the load alone"


def test_the_demand_of_the_month_is_remembered(world: World) -> None:
    planner = world.planner(peak_start_kw=100.0)
    plan = plan_from(world.turn(planner))
    assert "month-peak-unknown" not in plan.flags
    for _ in range(70):
        world.later(30)
        planner.demand.add(world.utc_ms, 250.0, planner._tariff)
    assert planner.demand.peak_kw == pytest.approx(250.0)
    assert world.planner().demand.peak_kw == pytest.approx(250.0)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_the_thread_runs_through_trouble_until_it_is_stopped(
    served: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    stop = threading.Event()
    served.measure()
    (served.folder / "tariff.toml").unlink()
    thread = threading.Thread(target=run_planner, args=(served.config, stop))
    thread.start()
    until(lambda: "TARIFF_UNREADABLE" in served.codes())
    (served.folder / "tariff.toml").write_text(RULES, "utf-8")
    until(lambda: served.held._plan is not None)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert served.written()["posted"] is True
