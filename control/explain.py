"""Why the batteries do what they do: a record row as structured facts, without a word of language."""

from dataclasses import dataclass

import numpy as np

from control.owners import OWNERS
from control.record import as_row
from control.watch import Trust
from models.proposal import Source
from models.site import Site
from models.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """One battery."""

    name: str
    p_set_kw: float
    lo_kw: float
    hi_kw: float
    lo_by: str
    hi_by: str
    bms: str
    """Name of its Trust."""
    pcs: str


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """One request from outside, as the cycle saw it."""

    source: str
    p_kw: float
    ref: int
    in_force: bool
    left_s: float
    """Time until it expires, not positive when it has."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One cycle."""

    cycle: int
    utc_ms: int
    winner: str
    """Who made the wish."""
    wish_kw: float
    target_kw: float
    p_set_kw: float
    """Sum of the setpoints."""
    bound_by: str
    """The limit that keeps the target from the wish, ``none`` when the wish is met."""
    short_kw: float
    """Wish minus target: positive when something holds down, negative when something pushes up."""
    lo_kw: float
    """What the batteries may do together now, before the ramp."""
    hi_kw: float
    lo_by: str
    hi_by: str
    conflicts: tuple[str, ...]
    """Owners that could not get what they demand."""
    forced: int
    """+1 or -1 when a limit moves the power faster than the ramp."""
    net_kw: float | None
    """Load minus PV, None when it is not known."""
    meter: str
    """Name of the meter's Trust."""
    units: tuple[UnitFacts, ...]
    requests: tuple[RequestFacts, ...]


def explain(site: Site, row: bytes | np.void) -> Explanation:
    """Return the facts of one record row."""
    data = as_row(site, row)
    watches = data["state_out"]["watches"]
    wish_kw, target_kw, net_kw = float(data["wish_kw"]), float(data["target_kw"]), float(data["net_kw"])
    conflicts = int(data["conflicts"])
    return Explanation(
        cycle=int(data["cycle"]),
        utc_ms=int(data["utc_ms"]),
        winner=OWNERS[data["winner"]],
        wish_kw=wish_kw,
        target_kw=target_kw,
        p_set_kw=float(data["p_set_kw"].sum()),
        bound_by=_bound_by(data, wish_kw, target_kw),
        short_kw=wish_kw - target_kw,
        lo_kw=float(data["site_lo_kw"]),
        hi_kw=float(data["site_hi_kw"]),
        lo_by=OWNERS[data["site_lo_by"]],
        hi_by=OWNERS[data["site_hi_by"]],
        conflicts=tuple(owner for i, owner in enumerate(OWNERS) if conflicts >> i & 1),
        forced=int(data["forced"]),
        net_kw=None if np.isnan(net_kw) else net_kw,
        meter=Trust(int(watches[-1]["trust"])).name,
        units=tuple(_unit(data, i, battery.name) for i, battery in enumerate(site.batteries)),
        requests=_requests(data),
    )


def _bound_by(data: np.void, wish_kw: float, target_kw: float) -> str:
    if wish_kw > target_kw:
        return OWNERS[int(data["reach_hi_by"])]
    if wish_kw < target_kw:
        return OWNERS[int(data["reach_lo_by"])]
    return OWNERS[0]


def _unit(data: np.void, i: int, name: str) -> UnitFacts:
    watches = data["state_out"]["watches"]
    return UnitFacts(
        name=name,
        p_set_kw=float(data["p_set_kw"][i]),
        lo_kw=float(data["unit_lo_kw"][i]),
        hi_kw=float(data["unit_hi_kw"][i]),
        lo_by=OWNERS[data["unit_lo_by"][i]],
        hi_by=OWNERS[data["unit_hi_by"][i]],
        bms=Trust(int(watches[2 * i]["trust"])).name,
        pcs=Trust(int(watches[2 * i + 1]["trust"])).name,
    )


def _requests(data: np.void) -> tuple[RequestFacts, ...]:
    return tuple(
        RequestFacts(
            source=Source(int(r["source"])).name.lower(),
            p_kw=float(r["p_kw"]),
            ref=int(r["ref"]),
            in_force=bool(r["in_force"]),
            left_s=(int(r["expires_ns"]) - int(data["mono_ns"])) / NS_PER_S,
        )
        for r in data["requests"]
        if r["present"]
    )
