"""The planner: looks at the site, forecasts, solves the schedule and posts the plan to the controller.

Every five minutes, on start, when a controller has started anew (it has lost its plan), when the tariff file
has changed and when the wall clock was set (the controller follows a plan by its own, monotonic clock).
Ladder: a fresh plan; else the rest of the one before; else none, and the controller follows its rules. Each
step is written into ``plan.json``. Nothing that goes wrong here stops the thread.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from control.schedule import schedule
from edge.events import Events
from edge.history import load_history
from edge.image import SharedImage
from edge.mailbox import ask
from edge.services.demand import Demand, write_atomic
from edge.services.load_file import read_load
from edge.services.planning import NO_SOC, Basis, Seen, look, no_plan, plan_of, problem_of
from models.errors import ConfigError, StoreError, YunchuError
from models.forecast.persistence import SEED, Forecast, history_grid, on_history, persistence
from models.forecast.year import played
from models.plan import Ladder, Plan, plan_from
from models.series import Floats, Grid, Times, grid_from
from models.site import Site
from models.tariff import Tariff
from models.tariff_file import parse_tariff
from models.units import NS_PER_MS, seconds_to_ns

STEP_S = 900
STEPS = 96
PERIOD_S = 300.0
RETRY_S = 30.0
"""After a failure."""
POLL_S = 2.0
CLOCK_MOVED_MS = 2_000
"""By more than this the wall clock must have been set since a plan was posted, for it to be made anew."""
FAILURES = (YunchuError, OSError, ArithmeticError, ValueError, LookupError, RuntimeError, MemoryError)
"""What can go wrong in a turn because of the world: files, sockets, numbers, memory."""

NO_SOLUTION = "no-solution"
NO_FORECAST = "no-forecast"

History = Callable[[Path, int], tuple[Times, Floats]]


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """What the planner of one site needs to know."""

    run_dir: Path
    state_dir: Path
    site: Site
    tariff: Path
    """Rule file of the tariff."""
    wear_cny_per_kwh: tuple[float, ...]
    """Ageing per kWh discharged, in the order of the site's batteries."""
    load_csv: Path | None = None
    """Interval data of another year, used where the site has no history."""
    load_csv_zone: str | None = None
    """Clock of the plant that it was recorded at; None: the tariff's."""
    peak_start_kw: float = 0.0
    """Demand billed this month before the planner first ran."""


@dataclass(slots=True)
class Planner:
    """The state of the planner between turns."""

    config: PlannerConfig
    events: Events
    history: History = load_history
    plan: Plan | None = None
    """The one that is written and posted."""
    demand: Demand = field(init=False)
    _tariff: Tariff | None = None
    _tariff_stamp: tuple[int, int] = (0, 0)
    _seed: tuple[Times, Floats] | None = None
    _image: SharedImage | None = None
    _inode: int = -1
    _due_ns: int = 0
    _ahead_ms: int = 0
    """Wall clock minus monotonic clock when the plan was made."""
    _told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Continue the month and the plan of the run before."""
        self.demand = Demand(self.config.state_dir / "demand.json")
        self.demand.load(self.config.peak_start_kw)
        try:
            self.plan = plan_from(json.loads((self.config.state_dir / "plan.json").read_text("utf-8")))
        except (OSError, ValueError, StoreError):
            self.plan = None

    def turn(self, utc_ms: int, now_ns: int) -> None:
        """Look, and plan when it is time to; called every POLL_S."""
        anew = [self._read_tariff(), self._open_image()]
        if self._tariff is None or self._image is None:
            return
        seen = look(self.config.site, self._image.snapshot(), now_ns)
        self.demand.add(utc_ms, seen.grid_kw, self._tariff)
        ahead_ms = utc_ms - now_ns // NS_PER_MS
        moved = abs(ahead_ms - self._ahead_ms) > CLOCK_MOVED_MS
        if any(anew) or moved or now_ns >= self._due_ns:
            self._ahead_ms = ahead_ms
            period_s = PERIOD_S if self._make(seen, self._tariff, utc_ms) else RETRY_S
            self._due_ns = now_ns + seconds_to_ns(period_s)

    def tell(self, code: str, what: str) -> None:
        """Emit an event, once until something else happens under the same code."""
        if self._told.get(code) != what:
            self._told[code] = what
            self.events.emit(code, "planner", what)

    def _make(self, seen: Seen, tariff: Tariff, utc_ms: int) -> bool:
        """Make, write and post a plan; return whether it is fresh and accepted."""
        try:
            fresh = self._solve(seen, tariff, utc_ms)
        except FAILURES as error:
            self.tell("PLAN_FAILED", f"{type(error).__name__}: {error}")
            fresh = NO_SOLUTION
        if isinstance(fresh, str):
            old = self.plan.shifted(utc_ms, (fresh,)) if self.plan else None
            plan = old or no_plan(self.config.site, grid_from(utc_ms, STEP_S, STEPS), utc_ms, fresh)
        else:
            plan = fresh
        self.plan = replace(plan, posted=plan.status is not Ladder.RULES and self._post(plan))
        self.tell("PLAN_STEP", f"{plan.status}: {', '.join(plan.flags) or 'nothing is missing'}")
        self._write(self.plan)
        return plan is fresh and self.plan.posted

    def _solve(self, seen: Seen, tariff: Tariff, utc_ms: int) -> Plan | str:
        """Return a fresh plan, or the flag that says why there is none."""
        grid = grid_from(utc_ms, STEP_S, STEPS)
        forecast = self._forecast(grid, seen.net_kw, tariff)
        peak_kw = self.demand.peak_kw if self.demand.complete else None
        basis = Basis(
            self.config.site, tariff, grid, utc_ms, seen, forecast, peak_kw, self.config.wear_cny_per_kwh
        )
        if not forecast.known:
            return NO_FORECAST
        if not basis.used:
            return NO_SOC
        problem = problem_of(basis)
        started = time.thread_time_ns()
        found = schedule(problem)
        solve_ms = (time.thread_time_ns() - started) / NS_PER_MS
        if not found.usable:
            self.tell("PLAN_FAILED", f"the solver says: {found.certificate.solver_status}")
            return NO_SOLUTION
        return plan_of(basis, problem, found, solve_ms)

    def _forecast(self, grid: Grid, now_kw: float | None, tariff: Tariff) -> Forecast:
        past_grid = history_grid(grid)
        try:
            past = on_history(grid, *self.history(self.config.state_dir, past_grid.t0_utc_ms))
        except StoreError as error:
            self.tell("HISTORY_UNREADABLE", str(error))
            past = np.full(past_grid.n, np.nan)
        flags: tuple[str, ...] = ()
        if np.any(np.isnan(past)) and self.config.load_csv:
            seed = self._seed_on(past_grid, tariff)
            flags = (SEED,) if np.any(np.isnan(past) & np.isfinite(seed)) else ()
            past = np.where(np.isnan(past), seed, past)
        return persistence(grid, past, now_kw, flags)

    def _seed_on(self, past_grid: Grid, tariff: Tariff) -> Floats:
        """Return the recorded year as if it had happened on the history grid."""
        assert self.config.load_csv is not None
        try:
            self._seed = self._seed or read_load(self.config.load_csv)
            zone = ZoneInfo(self.config.load_csv_zone or tariff.zone.key)
        except (StoreError, LookupError, ValueError) as error:
            self.tell("LOAD_FILE_UNREADABLE", str(error))
            return np.full(past_grid.n, np.nan)
        return played(past_grid.starts_ms, *self._seed, tariff.zone, zone)

    def _read_tariff(self) -> bool:
        """Read the rule file when it has changed; a wrong one changes nothing but the events."""
        path = self.config.tariff
        try:
            stamp = (path.stat().st_mtime_ns, path.stat().st_size)
            if stamp == self._tariff_stamp:
                return False
            self._tariff_stamp = stamp
            self._tariff = parse_tariff(path.read_text("utf-8"), str(path))
        except (ConfigError, OSError, ValueError) as error:
            self.tell("TARIFF_UNREADABLE", str(error))
            return False
        self.tell("TARIFF", f"{self._tariff.name}, {self._tariff.document}")
        return True

    def _open_image(self) -> bool:
        """Map the image when a controller has made a new one; return whether it did."""
        path = self.config.run_dir / "image"
        try:
            # a file that is still mapped keeps its inode: another number is another image
            inode = path.stat().st_ino
            if self._image is not None and inode == self._inode:
                return False
            self._image, self._inode = SharedImage.open(path), inode
        except (OSError, StoreError) as error:
            self._image = None
            self.tell("CONTROLLER", str(error))
            return False
        self.tell("CONTROLLER", f"planning for the controller started at {self._image.epoch_ms}")
        return True

    def _post(self, plan: Plan) -> bool:
        message = {
            "v": 1,
            "kind": "plan",
            "ref": plan.ref,
            "t0_utc_ms": plan.grid.t0_utc_ms,
            "step_s": plan.grid.step_s,
            "p_kw": [round(power, 3) for power in plan.battery_kw.tolist()],
            "expires_utc_ms": plan.expires_utc_ms,
        }
        try:
            answer = ask(self.config.run_dir / "control.sock", message)
        except YunchuError as error:
            self.tell("PLAN_POSTED", str(error))
            return False
        accepted = answer.get("ok") is True
        self.tell("PLAN_POSTED", "accepted" if accepted else f"refused: {answer.get('what')}")
        return accepted

    def _write(self, plan: Plan) -> None:
        """Write the plan for the next run, and beside the image for those who only look."""
        text = json.dumps(plan.to_dict(), ensure_ascii=False, allow_nan=False)
        for folder in dict.fromkeys((self.config.state_dir, self.config.run_dir)):
            try:
                write_atomic(folder / "plan.json", text)
            except (
                OSError
            ) as error:  # a full disk: the controller has the plan, and the next one is due as ever
                self.tell("PLAN_NOT_WRITTEN", f"{folder / 'plan.json'}: {error}")


def run_planner(config: PlannerConfig, stop: threading.Event) -> None:
    """Plan until ``stop`` is set; never raises for what a site or a file may do."""
    config.state_dir.mkdir(parents=True, exist_ok=True)
    planner = Planner(config, Events(config.run_dir / "events.jsonl", "planner"))
    while not stop.is_set():
        try:
            planner.turn(time.time_ns() // NS_PER_MS, time.monotonic_ns())
        except FAILURES as error:
            planner.tell("PLANNER_TURN_FAILED", f"{type(error).__name__}: {error}")
        stop.wait(POLL_S)
