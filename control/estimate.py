"""What the site is doing, from GOOD readings only; what is not known is None, never a last value.

The net load (load - PV) belongs to the moment at which the meter measured: the meter's value is older than
the battery's, so it is added to the battery power of that moment, taken from a short history. Added to the
battery power of *now* it would make the loop see its own steps as load and overshoot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.obey import Follow, compare
from control.state import State, initial
from control.watch import BATTERY_HOLD, METER_HOLD, Trust, Watch, look
from models.point import Image, Quality, Role, RunState
from models.site import Battery, Meter, Site
from models.units import seconds_to_ns

IN_AMPERES = (Role.DC_V, Role.CHARGE_LIMIT_A, Role.DISCHARGE_LIMIT_A)
IN_POWER = (Role.CHARGE_LIMIT_KW, Role.DISCHARGE_LIMIT_KW)
"""The two ways in which batteries say what they allow; one that has both must say both."""
PCS_NEEDS = (Role.P_KW,)
PCS_MAY_HAVE = (Role.STATE, Role.Q_KVAR, Role.ALARM_LEVEL, Role.HEARTBEAT)
BMS_MAY_HAVE = (Role.STATE, Role.ALARM_LEVEL, Role.HEARTBEAT)

ABSURD_UNIT = 2.0
"""A PCS cannot carry twice its kVA; such a reading is an error of scale or of the line."""
ABSURD_GRID = 10.0
"""No load stays at ten times the transformer; such a reading is an error of the meter or its CT ratio."""

Known = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class BatteryEstimate:
    """One battery as far as it is known."""

    soc: float | None
    dc_v: float | None
    charge_limit_a: float | None
    discharge_limit_a: float | None
    charge_limit_kw: float | None
    discharge_limit_kw: float | None
    bms_state: float | None
    """None also when the BMS has no such point; see ``bms``."""
    bms_alarm: float | None
    bms: Trust
    p_kw: float | None
    """Measured at the AC terminals, discharge +."""
    q_kvar: float | None
    pcs_state: float | None
    pcs_alarm: float | None
    pcs: Trust
    usable_kwh: float
    """Energy above the lower end of the SOC window; 0 when SOC is not known."""
    room_kwh: float
    """Energy that fits below the upper end of the window; 0 when SOC is not known."""
    follow: Follow
    """How it has done as it was told."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The site as far as it is known."""

    batteries: tuple[BatteryEstimate, ...]
    net_kw: float | None
    """Load minus PV (and minus batteries whose power is not known) when the meter measured."""
    grid_kvar: float | None
    """Reactive power at the meter; None unless the meter is trusted."""


def estimate(site: Site, aged: Image, state: State, now_ns: int) -> tuple[Estimate, State]:
    """Return what is known now, and the state with its watches and its history brought up to date.

    Args:
        site: the site.
        aged: image in which what is too old is no longer GOOD.
        state: of the cycle before.
        now_ns: monotonic time of the cycle.
    """
    good = (aged.quality == Quality.GOOD).tolist()
    known: Known = [v if ok else None for v, ok in zip(aged.value.tolist(), good, strict=True)]
    batteries, watches = [], []
    for i, battery in enumerate(site.batteries):
        before = state.watches[2 * i], state.watches[2 * i + 1]
        bms, pcs = _watch_battery(battery, known, before, now_ns)
        watches += [bms, pcs]
        p_kw = _power(battery, known) if _proves(battery, known, pcs) else None
        t_ns = 0 if p_kw is None else int(aged.t_ns[battery.points[Role.P_KW]])
        follow = compare(state.follows[i], battery, state.last_kw[i], p_kw, t_ns, now_ns)
        batteries.append(_battery(battery, known, Trust(bms.trust), Trust(pcs.trust), follow))
    members, newest_ns, sum_kw = _measured(site, batteries, aged)
    history_ns, history_kw = _remember(state, members, newest_ns, sum_kw)
    grid_kw, grid_kvar = _grid(site, known)
    meter = look(state.watches[-1], grid_kw is not None, None, METER_HOLD, now_ns)
    net_kw = None
    if grid_kw is None or meter.trust != Trust.TRUSTED:
        grid_kvar = None
    elif members:
        then_ns = int(aged.t_ns[site.meter.points[Role.P_KW]]) - seconds_to_ns(site.meter.delay_s)
        net_kw = grid_kw + interpolate(history_ns, history_kw, then_ns)
    follows = tuple(battery.follow for battery in batteries)
    after = State(state.cycle, state.last_kw, history_ns, history_kw, members, (*watches, meter), follows)
    return Estimate(tuple(batteries), net_kw, grid_kvar), after


def ready(site: Site, image: Image, now_ns: int) -> bool:
    """Whether everything that control needs has been read, so that the first cycle can go on without a bump.

    Args:
        site: the site.
        image: snapshot of all readings, not yet aged.
        now_ns: monotonic time of the snapshot.
    """
    nothing_known = initial(site, [0.0] * len(site.batteries))
    seen, _ = estimate(site, image.aged(site.max_age_ns, now_ns), nothing_known, now_ns)
    alive = all(Trust.DEAD not in (battery.bms, battery.pcs) for battery in seen.batteries)
    return alive and seen.net_kw is not None and seen.grid_kvar is not None


def interpolate(t_ns: Sequence[int], p_kw: Sequence[float], at_ns: int) -> float:
    """Return the battery power at ``at_ns``; before the first and after the last sample it is constant.

    Args:
        t_ns: (H,) times, oldest first, 0 where there is no sample; the last one is a sample.
        p_kw: (H,) power at those times.
        at_ns: the moment asked for.
    """
    last = len(t_ns) - 1
    if at_ns >= t_ns[last]:
        return p_kw[last]
    for k in range(last, 0, -1):
        before = t_ns[k - 1]
        if not before:
            return p_kw[k]
        if before <= at_ns:
            share = (at_ns - before) / (t_ns[k] - before)
            return p_kw[k - 1] + share * (p_kw[k] - p_kw[k - 1])
    return p_kw[0]


def _read(known: Known, points: Mapping[Role, int], role: Role) -> float | None:
    index = points.get(role)
    return None if index is None else known[index]


def _complete(
    known: Known,
    points: Mapping[Role, int],
    needs: Sequence[Role],
    optional: Mapping[Role, int],
    may: Sequence[Role],
) -> bool:
    """Whether everything needed is known, and of what a device may have, whatever it has."""
    return all(_read(known, points, role) is not None for role in needs) and all(
        known[optional[role]] is not None for role in may if role in optional
    )


def _watch_battery(
    battery: Battery, known: Known, before: tuple[Watch, Watch], now_ns: int
) -> tuple[Watch, Watch]:
    points, own = battery.points, battery.bms_points
    power = IN_POWER if any(role in points for role in IN_POWER) else ()
    amperes = IN_AMPERES if not power or any(role in points for role in IN_AMPERES[1:]) else ()
    bms_there = _complete(known, points, (Role.SOC, *amperes, *power), own, BMS_MAY_HAVE)
    pcs_there = _complete(known, points, PCS_NEEDS, points, PCS_MAY_HAVE)
    bms = look(before[0], bms_there, _read(known, own, Role.HEARTBEAT), BATTERY_HOLD, now_ns)
    pcs = look(before[1], pcs_there, _read(known, points, Role.HEARTBEAT), BATTERY_HOLD, now_ns)
    return bms, pcs


def _power(battery: Battery, known: Known) -> float | None:
    absurd_kw = ABSURD_UNIT * battery.s_max_kva
    return _between(_read(known, battery.points, Role.P_KW), -absurd_kw, absurd_kw)


def _proves(battery: Battery, known: Known, pcs: Watch) -> bool:
    """Whether the PCS is in a state in which its power shows how it follows."""
    return pcs.trust == Trust.TRUSTED and _read(known, battery.points, Role.STATE) == RunState.RUNNING


def _battery(battery: Battery, known: Known, bms: Trust, pcs: Trust, follow: Follow) -> BatteryEstimate:
    points, own = battery.points, battery.bms_points
    soc = _between(_read(known, points, Role.SOC), 0.0, 1.0)
    soh = _between(_read(known, points, Role.SOH), 0.0, 1.0)
    energy_kwh = battery.capacity_kwh * (1.0 if soh is None else soh)
    alarm_points = own if Role.ALARM_LEVEL in own else points
    return BatteryEstimate(
        soc=soc,
        dc_v=_read(known, points, Role.DC_V),
        charge_limit_a=_read(known, points, Role.CHARGE_LIMIT_A),
        discharge_limit_a=_read(known, points, Role.DISCHARGE_LIMIT_A),
        charge_limit_kw=_read(known, points, Role.CHARGE_LIMIT_KW),
        discharge_limit_kw=_read(known, points, Role.DISCHARGE_LIMIT_KW),
        bms_state=_read(known, own, Role.STATE),
        bms_alarm=_read(known, alarm_points, Role.ALARM_LEVEL),
        bms=bms,
        p_kw=_power(battery, known),
        q_kvar=_read(known, points, Role.Q_KVAR),
        # One that says nothing of its state is taken for running: whether it obeys is seen in its power.
        pcs_state=_read(known, points, Role.STATE) if Role.STATE in points else float(RunState.RUNNING),
        pcs_alarm=_read(known, points, Role.ALARM_LEVEL),
        pcs=pcs,
        usable_kwh=0.0 if soc is None else max(0.0, soc - battery.soc_min) * energy_kwh,
        room_kwh=0.0 if soc is None else max(0.0, battery.soc_max - soc) * energy_kwh,
        follow=follow,
    )


def _between(value: float | None, lo: float, hi: float) -> float | None:
    return value if value is not None and lo <= value <= hi else None


def _measured(site: Site, batteries: Sequence[BatteryEstimate], aged: Image) -> tuple[int, int, float]:
    """Return which batteries' power is known (bits), the time of the newest reading, and their sum."""
    members, newest_ns, sum_kw = 0, 0, 0.0
    for i, (battery, seen) in enumerate(zip(site.batteries, batteries, strict=True)):
        if seen.p_kw is not None:
            members |= 1 << i
            newest_ns = max(newest_ns, int(aged.t_ns[battery.points[Role.P_KW]]))
            sum_kw += seen.p_kw
    return members, newest_ns, sum_kw


def _remember(
    state: State, members: int, newest_ns: int, sum_kw: float
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the history with the new sample; sums over other batteries cannot be compared and go."""
    size = len(state.history_ns)
    if members != state.members:
        return (0,) * (size - 1) + (newest_ns,), (0.0,) * (size - 1) + (sum_kw,)
    if newest_ns <= state.history_ns[-1]:
        return state.history_ns, state.history_kw
    return (*state.history_ns[1:], newest_ns), (*state.history_kw[1:], sum_kw)


def _grid(site: Site, known: Known) -> tuple[float | None, float | None]:
    """Return active and reactive power at the meter, both None when one that it has is not known."""
    meter: Meter = site.meter
    absurd = ABSURD_GRID * site.limits.transformer_kva
    p_kw = _between(_read(known, meter.points, Role.P_KW), -absurd, absurd)
    q_kvar = _between(_read(known, meter.points, Role.Q_KVAR), -absurd, absurd)
    if p_kw is None or (q_kvar is None and Role.Q_KVAR in meter.points):
        return None, None
    return p_kw, q_kvar
