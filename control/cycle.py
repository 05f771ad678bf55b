"""One cycle: from what the site is to what each battery does. Pure; everything it needs is an argument.

Nothing here raises for what a plant can do. Whatever is not known narrows; see ``control.limits``.
"""

import math
from dataclasses import dataclass, replace

from control.allocate import allocate
from control.arbitrate import Decision, arbitrate, fold, together
from control.estimate import Estimate, estimate
from control.guard import guard, hold, window
from control.inputs import Inputs, Now
from control.limits import SITE_LIMITS, UNIT_LIMITS
from control.limits.ramp import step_kw
from control.limits.rated import nameplate
from control.record import Findings, pack
from control.services import SERVICES
from control.state import State
from models.interval import Interval
from models.point import Image
from models.proposal import Setpoint
from models.site import Site
from models.units import seconds_to_ns

__all__ = ["SETPOINT_TTL_NS", "Inputs", "Now", "Outcome", "run_cycle"]

SETPOINT_TTL_NS = seconds_to_ns(1.0)
"""A driver that gets nothing newer for so long stops refreshing; then the device's dead-man timer acts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cycle hands out."""

    setpoints: tuple[Setpoint, ...]
    """One for each battery, in the order of the site."""
    state: State
    """For the next cycle."""
    record: bytes
    """One row of ``control.record.dtype(site)``."""


def run_cycle(site: Site, image: Image, state: State, now: Now, inputs: Inputs) -> Outcome:
    """Return what every battery shall do, the next state and the record of this cycle.

    Args:
        site: the site.
        image: snapshot of all readings, not yet aged.
        state: from the cycle before, or from ``control.state.initial``.
        now: time of this cycle.
        inputs: the requests accepted so far.
    """
    aged = image.aged(site.max_age_ns, now.mono_ns)
    seen, watched = estimate(site, aged, state, now.mono_ns)
    units, conflicts = _units(site, seen, state)
    held = tuple(hold(unit, last_kw) for unit, last_kw in zip(units, state.last_kw, strict=True))
    made = _decide(site, seen, units, sum(held), now, inputs)
    windows = [window(unit, h, step_kw(site), made.forced) for unit, h in zip(units, held, strict=True)]
    wanted = allocate(made.target_kw, windows, seen.batteries)
    p_set = guard(wanted, windows)

    expires_ns = now.mono_ns + SETPOINT_TTL_NS
    setpoints = tuple(Setpoint(b.name, p, expires_ns) for b, p in zip(site.batteries, p_set, strict=True))
    after = replace(watched, cycle=state.cycle + 1, last_kw=p_set)
    net_kw = math.nan if seen.net_kw is None else seen.net_kw
    made = replace(made, conflicts=made.conflicts | conflicts)
    found = Findings(net_kw, units, made, p_set, expires_ns)
    return Outcome(setpoints, after, pack(site, image, state, now, inputs, found, after))


def _units(site: Site, seen: Estimate, state: State) -> tuple[tuple[Interval, ...], int]:
    """Return the envelope of every battery, and the conflicts of all of them."""
    envelopes, conflicts = [], 0
    for battery, known, last_kw in zip(site.batteries, seen.batteries, state.last_kw, strict=True):
        claims = ((limit.layer, limit.rule(battery, known, last_kw)) for limit in UNIT_LIMITS)
        envelope, bits = fold(nameplate(battery), claims)
        envelopes.append(envelope)
        conflicts |= bits
    return tuple(envelopes), conflicts


def _decide(
    site: Site, seen: Estimate, units: tuple[Interval, ...], held_kw: float, now: Now, inputs: Inputs
) -> Decision:
    claims = [(limit.layer, limit.rule(site, seen)) for limit in SITE_LIMITS]
    asked = (service.propose(site, seen, now, inputs) for service in SERVICES)
    proposals = [proposal for proposal in asked if proposal is not None]
    return arbitrate(site, together(units), claims, proposals, held_kw)
