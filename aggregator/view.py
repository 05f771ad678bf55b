"""What people and programs see of the fleet, read from the store alone.

What a dead server left behind is shown as STALE, whatever it says of itself.
"""

from dataclasses import asdict, dataclass
from typing import Any

from aggregator.problems import Refusal
from aggregator.rows import CommandRow, SiteRow
from aggregator.store import Store
from models.point import Quality
from models.units import MS_PER_S

FRESH_S = 10.0
KW_PER_MW = 1000.0
NOT_POINTS = ("outbox/", "Node Control/", "bdSeq")
"""Metrics that steer the link and say nothing of the plant."""

Points = dict[str, tuple[Any, int, int]]


@dataclass(frozen=True, slots=True)
class SiteView:
    """One site at a glance; powers are None when they cannot be relied on."""

    site: str
    state: str
    """online, stale or offline."""
    battery_kw: float | None
    """Discharge +."""
    lo_kw: float | None
    hi_kw: float | None
    winner: str
    age_s: float | None
    """Since the fleet heard it last."""
    received: int
    missing: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class FleetView:
    """The fleet at a glance; MW are sums over the sites that are online and fresh."""

    serving: bool
    connected: bool
    sites: int
    online: int
    battery_mw: float
    lo_mw: float
    hi_mw: float
    last_report_s: float | None
    commands: list[dict[str, Any]]


def site_views(store: Store, now_ms: int, serving: bool) -> list[SiteView]:
    """Return all sites by name."""
    nodes = store.node_points()
    return [_site_view(row, nodes.get(row.site, {}), now_ms, serving) for row in store.sites()]


def _site_view(row: SiteRow, node: Points, now_ms: int, serving: bool) -> SiteView:
    age_s = (now_ms - row.last_ms) / MS_PER_S if row.last_ms else None
    fresh = age_s is not None and age_s <= FRESH_S
    state = "stale" if row.state == "online" and not (serving and fresh) else row.state
    good = node if state == "online" else {}
    battery_kw = _number(good, "site/battery_p_kw")
    return SiteView(
        row.site,
        state,
        _number(good, "site/battery_kw") if battery_kw is None else battery_kw,
        _number(good, "site/lo_kw"),
        _number(good, "site/hi_kw"),
        str(good["site/winner"][0] or "") if "site/winner" in good else "",
        age_s,
        row.received,
        row.missing,
        row.duplicates,
    )


def fleet_view(store: Store, now_ms: int) -> tuple[FleetView, list[SiteView]]:
    """Return the whole and its sites."""
    serving, connected = store.server(now_ms)
    views = site_views(store, now_ms, serving and connected)
    online = [view for view in views if view.state == "online"]
    ages = [view.age_s for view in views if view.age_s is not None]
    whole = FleetView(
        serving,
        connected,
        len(views),
        len(online),
        sum(view.battery_kw or 0.0 for view in online) / KW_PER_MW,
        sum(view.lo_kw or 0.0 for view in online) / KW_PER_MW,
        sum(view.hi_kw or 0.0 for view in online) / KW_PER_MW,
        min(ages, default=None),
        [command_view(row) for row in store.commands(limit=5)],
    )
    return whole, views


def command_view(row: CommandRow) -> dict[str, Any]:
    """Return a command without its bytes."""
    return {name: value for name, value in asdict(row).items() if name != "body"}


def troubles(whole: FleetView, views: list[SiteView], where: str) -> list[Refusal]:
    """Return what is wrong with the fleet, worst first."""
    found = []
    if not whole.serving:
        return [Refusal("FLEET-010", where)]
    if not whole.connected:
        found.append(Refusal("FLEET-011", where))
    for view in views:
        if view.state == "offline":
            found.append(Refusal("FLEET-021", view.site))
        elif view.state == "stale":
            found.append(Refusal("FLEET-022", view.site, {"age_s": round(view.age_s or 0.0)}))
    return found


def point_rows(store: Store, view: SiteView, now_ms: int) -> list[dict[str, Any]]:
    """Return the newest values of a site; nothing is GOOD when the site cannot be believed."""
    best = Quality.GOOD if view.state == "online" else Quality.STALE
    return [
        {
            "point": f"{device}/{name}" if device else name,
            "value": value,
            "quality": Quality(min(quality, best)).name,
            "age_s": (now_ms - t_ms) / MS_PER_S,
        }
        for device, points in store.latest(view.site).items()
        for name, (value, quality, t_ms) in points.items()
        if not name.startswith(NOT_POINTS)
    ]


def _number(points: Points, name: str) -> float | None:
    value, quality, _ = points.get(name, (None, Quality.BAD, 0))
    return float(value) if quality == Quality.GOOD and isinstance(value, (int, float)) else None
