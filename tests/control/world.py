"""A small site for the tests of control: readings are set by name, time is a number, nothing is hidden."""

from dataclasses import dataclass, field, replace

import numpy as np

from control.cycle import Inputs, Now, Outcome, run_cycle
from control.record import as_row
from control.state import State, initial
from models.point import Image, Point, Quality, Role, RunState
from models.proposal import Request, Source
from models.site import Battery, Meter, Pv, Site, SiteLimits

MS = 1_000_000
CYCLE_NS = 100 * MS
START_NS = 1_000_000 * MS
UTC_MS = 1_750_000_000_000

BMS_ROLES = {
    Role.SOC: 0.5,
    Role.DC_V: 800.0,
    Role.CHARGE_LIMIT_A: 140.0,
    Role.DISCHARGE_LIMIT_A: 140.0,
    Role.SOH: 1.0,
}
BMS_OWN_ROLES = {Role.STATE: float(RunState.RUNNING), Role.ALARM_LEVEL: 0.0, Role.HEARTBEAT: 0.0}
PCS_ROLES = {Role.P_KW: 0.0, Role.Q_KVAR: 0.0, Role.STATE: float(RunState.RUNNING), Role.HEARTBEAT: 0.0}
METER_ROLES = {Role.P_KW: 0.0, Role.Q_KVAR: 0.0}


def battery(
    name: str = "battery-1", points: dict[Role, int] | None = None, own: dict[Role, int] | None = None
) -> Battery:
    """A battery like the one of the demo."""
    return Battery(name, 100.0, -100.0, 110.0, 215.0, 0.05, 0.95, 0.95, 0.95, points or {}, own or {})


LIMITS = SiteLimits(import_kw=360.0, export_kw=0.0, transformer_kva=400.0, ramp_kw_per_s=50.0, margin_kw=3.0)


def make_site(
    units: int = 1, limits: SiteLimits = LIMITS, delay_s: float = 0.0, in_power: tuple[Role, ...] = ()
) -> tuple[Site, dict[str, float]]:
    """A site with so many batteries, and a first value of every point by name."""
    points: list[Point] = []
    values: dict[str, float] = {}

    def table(device: str, unit: str, roles: dict[Role, float], max_age_s: float) -> dict[Role, int]:
        indexes = {}
        for role, value in roles.items():
            indexes[role] = len(points)
            points.append(Point(f"{device}/{role}", device, unit, role, "", max_age_s))
            values[points[-1].name] = value
        return indexes

    batteries = []
    for i in range(1, units + 1):
        bms = table(f"bms-{i}", f"battery-{i}", BMS_ROLES | dict.fromkeys(in_power, 100.0), 3.0)
        own = table(f"bms-{i}", f"battery-{i}", BMS_OWN_ROLES, 3.0)
        pcs = table(f"pcs-{i}", f"battery-{i}", PCS_ROLES, 2.0)
        batteries.append(battery(f"battery-{i}", bms | pcs, own))
    meter = Meter("grid", table("meter-1", "grid", METER_ROLES, 2.0), delay_s)
    pv = Pv("pv-1", 60.0, table("pv-1", "pv-1", {Role.P_KW: 0.0}, 5.0))
    return Site("demo", tuple(batteries), meter, (pv,), limits, tuple(points)), values


@dataclass
class World:
    """A site that is run cycle by cycle; every device answers in every cycle unless it is told not to."""

    site: Site
    values: dict[str, float]
    state: State
    now_ns: int = START_NS
    silent: set[str] = field(default_factory=set)
    """Devices that do not answer."""
    frozen: set[str] = field(default_factory=set)
    """Devices whose counter stands still."""
    qualities: dict[str, Quality] = field(default_factory=dict)
    requests: dict[Source, Request] = field(default_factory=dict)
    t_ns: dict[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @classmethod
    def make(cls, units: int = 1, measured_kw: float = 0.0, **site: object) -> "World":
        """A world in which nothing has happened yet."""
        made, values = make_site(units, **site)  # type: ignore[arg-type]
        return cls(made, values, initial(made, [measured_kw] * units))

    @classmethod
    def running(cls, units: int = 1, net_kw: float = 200.0, **site: object) -> "World":
        """A world that has run long enough for everything to be trusted, at zero power."""
        world = cls.make(units, **site)
        world.values["meter-1/p_kw"] = net_kw
        world.steps(31)
        return world

    def image(self) -> Image:
        """The image of this moment."""
        names = [point.name for point in self.site.points]
        for point in self.site.points:
            if point.device not in self.silent:
                self.t_ns[point.name] = self.now_ns
                if point.role == Role.HEARTBEAT and point.device not in self.frozen:
                    self.values[point.name] = float(self.now_ns // 1_000_000_000)
        return Image(
            np.array([self.values[name] for name in names]),
            np.array([self.qualities.get(name, Quality.GOOD) for name in names], np.uint8),
            np.array([self.t_ns.get(name, 0) for name in names], np.int64),
        )

    def ask(self, source: Source, p_kw: float, for_s: float = 3600.0) -> None:
        """Put a request in force."""
        self.requests[source] = Request(source, p_kw, self.now_ns + round(for_s * 1e9), 7)

    def step(self) -> Outcome:
        """Run one cycle."""
        self.now_ns += CYCLE_NS
        now = Now(self.now_ns, UTC_MS + self.now_ns // MS)
        outcome = run_cycle(self.site, self.image(), self.state, now, Inputs(tuple(self.requests.values())))
        self.state = outcome.state
        self.outcomes.append(outcome)
        return outcome

    def steps(self, count: int, follow: bool = False) -> list[float]:
        """Run cycles and return the sum of the setpoints of each; optionally the plant obeys at once."""
        sums = []
        for _ in range(count):
            p_kw = [setpoint.p_kw for setpoint in self.step().setpoints]
            if follow:
                self.obey(p_kw)
            sums.append(sum(p_kw))
        return sums

    def obey(self, p_kw: list[float]) -> None:
        """Move the PCS and the meter to the new power, keeping the net load."""
        for i, new_kw in enumerate(p_kw, 1):
            self.values["meter-1/p_kw"] -= new_kw - self.values[f"pcs-{i}/p_kw"]
            self.values[f"pcs-{i}/p_kw"] = new_kw

    @property
    def row(self) -> np.void:
        """The record of the newest cycle."""
        return as_row(self.site, self.outcomes[-1].record)

    def set_limits(self, **limits: float) -> None:
        """Change limits of the site."""
        self.site = replace(self.site, limits=replace(self.site.limits, **limits))
