"""Is the plant obeying? What a battery was told is compared with the power that its PCS measures.

What may be seen lies between the lowest and the highest setpoint of the last 2 to 3 s, so that dead time and
the delay of a reading are no disobedience. Outside of that, a PCS that obeys is on its way back: it moves at
20 % of its size per second or more, so a reading that has come nearer by 20 % starts the proof anew.

Only a reading proves anything, and only one of a PCS that runs and is trusted: the caller gives no other.
"""

from enum import IntEnum
from math import inf
from typing import NamedTuple

from models.site import Battery
from models.units import NS_PER_S

PROOF_NS = 5 * NS_PER_S
"""Readings must be outside for so long without a break."""
CALM_NS = 30 * NS_PER_S
"""As long as for a device that comes back after a loss, see ``control.watch``."""
HOUR_NS = 3600 * NS_PER_S
TOLERANCE = 0.03
"""Part of s_max_kva: 1 % of the measurement, 1 % of the current control, 1 % noise of a single reading."""
TOLERANCE_KW = 2.0
"""A small PCS still has fans, controls and its no-load loss, and often counts in 0.1 kW."""
LEEWAY = 0.1
"""Part of s_max_kva by which the allowance lies above what is delivered, besides the tolerance: the coarsest
step of a driver that spares its registers. With less, a battery whose driver takes such steps would be told
no more than the step in which it stands, and would never leave it."""
PROGRESS = 0.2
"""Part of s_max_kva."""


class Verdict(IntEnum):
    """How a battery follows what it is told."""

    FOLLOWS = 0
    DERATED = 1
    """It gives less than told: no more is asked than what it gives, and a little."""
    STOPPED = 2
    """It gave more than told, or the opposite: only zero is asked until it has been at zero for 30 s."""
    LATCHED = 3
    """Stopped three times within an hour: only zero is asked until the controller is started anew."""


class Follow(NamedTuple):
    """What is remembered of one battery from cycle to cycle."""

    second: int
    """Monotonic second of the next two; then those of the second before in which something was told, and of
    the one before that."""
    lo_kw: float
    hi_kw: float
    lo_before_kw: float
    hi_before_kw: float
    lo_oldest_kw: float
    hi_oldest_kw: float
    p_kw: float
    """Last reading that counted."""
    t_ns: int
    """Time of it."""
    side: int
    """Where it was: +1 above what may be seen, -1 below, 0 inside."""
    out_ns: int
    """Since when it is on that side without a break or progress; counts when ``side`` is not 0."""
    from_kw: float
    """Reading at that time."""
    over_ns: int
    """Since when that is more than told, or the opposite; 0 when it is not."""
    calm_ns: int
    """Since when it does as told without a break; 0 when it does not."""
    charge_kw: float
    """Least power that is allowed, -inf unless derated; never above zero."""
    discharge_kw: float
    """Most power that is allowed, inf unless derated; never below zero."""
    stopped: int
    """``Verdict`` STOPPED or LATCHED, else 0."""
    stop_ns: int
    """When it was stopped the last time, and the time before; 0 when never."""
    stop_before_ns: int

    @property
    def verdict(self) -> Verdict:
        """What holds now."""
        if self.stopped:
            return Verdict(self.stopped)
        return Verdict.DERATED if self.discharge_kw < inf or self.charge_kw > -inf else Verdict.FOLLOWS


def untold(p_kw: float) -> Follow:
    """Return the memory of a battery that was last told ``p_kw`` by somebody."""
    return Follow(0, *(p_kw,) * 6, 0.0, 0, 0, 0, 0.0, 0, 0, -inf, inf, 0, 0, 0)


def tolerance_kw(battery: Battery) -> float:
    """Return how far a reading may be off."""
    return max(TOLERANCE * battery.s_max_kva, TOLERANCE_KW)


def compare(
    was: Follow, battery: Battery, told_kw: float, p_kw: float | None, t_ns: int, now_ns: int
) -> Follow:
    """Return the memory after one more cycle.

    Args:
        was: of the cycle before.
        battery: the battery.
        told_kw: setpoint of the cycle before.
        p_kw: measured at the AC terminals, None when that proves nothing.
        t_ns: monotonic time of the reading.
        now_ns: monotonic time of the cycle.
    """
    after = _told(was, told_kw, now_ns // NS_PER_S)
    if p_kw is None:
        return after._replace(side=0, over_ns=0, calm_ns=0)
    if t_ns <= was.t_ns:
        return after
    after = _look(after, battery, p_kw, t_ns)
    if not after.stopped:
        after = _judge(after, battery)
    return _relieve(after, battery)


def _told(was: Follow, told_kw: float, second: int) -> Follow:
    """Return the memory with one more setpoint."""
    if second == was.second:
        if was.lo_kw <= told_kw <= was.hi_kw:
            return was
        return was._replace(lo_kw=min(was.lo_kw, told_kw), hi_kw=max(was.hi_kw, told_kw))
    return was._replace(
        second=second,
        lo_kw=told_kw,
        hi_kw=told_kw,
        lo_before_kw=was.lo_kw,
        hi_before_kw=was.hi_kw,
        lo_oldest_kw=was.lo_before_kw,
        hi_oldest_kw=was.hi_before_kw,
    )


def _look(was: Follow, battery: Battery, p_kw: float, t_ns: int) -> Follow:
    """Return the memory with one more reading: where it lies, and since when."""
    near_kw = tolerance_kw(battery)
    lo_kw = min(was.lo_kw, was.lo_before_kw, was.lo_oldest_kw)
    hi_kw = max(was.hi_kw, was.hi_before_kw, was.hi_oldest_kw)
    over = (p_kw > max(hi_kw, 0.0) + near_kw) - (p_kw < min(lo_kw, 0.0) - near_kw)
    calm = lo_kw - near_kw <= p_kw <= hi_kw + near_kw
    side = over
    if was.stopped:
        side, calm = 0, abs(p_kw) <= near_kw
    elif not over:
        # Once derated it must fall behind by more than the allowance lies above it, else it would swing.
        far_kw = near_kw + _allowance_kw(battery)
        short = lo_kw - p_kw > (near_kw if was.discharge_kw == inf else far_kw)
        side = (p_kw - hi_kw > (near_kw if was.charge_kw == -inf else far_kw)) - short
    out_ns, from_kw, over_ns = was.out_ns, was.from_kw, was.over_ns
    if side != was.side or side * (from_kw - p_kw) >= PROGRESS * battery.s_max_kva:
        out_ns, from_kw, over_ns = t_ns, p_kw, 0
    return was._replace(
        p_kw=p_kw,
        t_ns=t_ns,
        side=side,
        out_ns=out_ns,
        from_kw=from_kw,
        over_ns=(over_ns or t_ns) if side and over else 0,
        calm_ns=(was.calm_ns or t_ns) if calm else 0,
    )


def _allowance_kw(battery: Battery) -> float:
    """Return how far the allowance of a derated battery lies above what it gives."""
    return tolerance_kw(battery) + LEEWAY * battery.s_max_kva


def _judge(seen: Follow, battery: Battery) -> Follow:
    """Return the memory with the verdict that the newest reading has proven, if any."""
    if seen.over_ns:
        if seen.t_ns - seen.over_ns < PROOF_NS:
            return seen
        often = seen.stop_before_ns and seen.t_ns - seen.stop_before_ns <= HOUR_NS
        stopped = Verdict.LATCHED if often else Verdict.STOPPED
        return seen._replace(stopped=int(stopped), stop_ns=seen.t_ns, stop_before_ns=seen.stop_ns)
    if not seen.side or seen.t_ns - seen.out_ns < PROOF_NS:
        return seen
    if seen.side < 0:
        return seen._replace(side=0, discharge_kw=max(seen.p_kw, 0.0) + _allowance_kw(battery))
    return seen._replace(side=0, charge_kw=min(seen.p_kw, 0.0) - _allowance_kw(battery))


def _relieve(seen: Follow, battery: Battery) -> Follow:
    """Return the memory with what the newest reading has earned: a larger allowance, or all of it."""
    if seen.stopped != Verdict.LATCHED and seen.calm_ns and seen.t_ns - seen.calm_ns >= CALM_NS:
        return seen._replace(stopped=0, charge_kw=-inf, discharge_kw=inf)
    if seen.over_ns or seen.stopped or (seen.charge_kw == -inf and seen.discharge_kw == inf):
        return seen
    more_kw = _allowance_kw(battery)
    return seen._replace(
        charge_kw=min(seen.charge_kw, seen.p_kw - more_kw),
        discharge_kw=max(seen.discharge_kw, seen.p_kw + more_kw),
    )
