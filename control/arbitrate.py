"""Who gets what: intervals met from the upper layer down, then the wish, then the ramp.

An interval that cannot be met together with what is above it never moves what is above: the power goes as
near to it as the upper layers allow, stays there whatever lower layers want, and the conflict is recorded.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control.limits.ramp import ramp
from control.owners import NOBODY, OWNER_INDEX
from models.interval import Interval
from models.proposal import Layer, Proposal
from models.site import Site

Claim = tuple[Layer, Interval]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the site's batteries do together, and why."""

    target_kw: float
    wish_kw: float
    winner: str
    """Who made the wish."""
    envelope: Interval
    """What all limits and proposals leave, before the ramp."""
    reach: Interval
    """The part of the envelope that the ramp reaches in this cycle; the target is in it."""
    forced: int
    """+1 or -1 when the envelope demands more than a ramp step up or down, else 0."""
    conflicts: int
    """Bit i is set when owner i could not get what it demands."""


def meet(upper: Interval, lower: Interval) -> tuple[Interval, str]:
    """Narrow ``upper`` by ``lower``; where they do not meet, keep the point of ``upper`` nearest to it.

    Returns:
        The part of ``upper`` that is left, and the owner of the end of ``lower`` that could not be kept, or
        an empty string. A ``lower`` that is no interval (empty, not a number) allows only zero.
    """
    if not (lower.lo_kw <= lower.hi_kw and lower.lo_kw < math.inf and lower.hi_kw > -math.inf):
        lower = Interval(0.0, 0.0, lower.lo_by, lower.hi_by)
    if lower.lo_kw > upper.hi_kw:
        return Interval(upper.hi_kw, upper.hi_kw, lower.lo_by, upper.hi_by), lower.lo_by
    if lower.hi_kw < upper.lo_kw:
        return Interval(upper.lo_kw, upper.lo_kw, upper.lo_by, lower.hi_by), lower.hi_by
    return upper.narrow(lower), ""


def fold(start: Interval, claims: Iterable[Claim]) -> tuple[Interval, int]:
    """Meet all claims, the upper layers first and in the given order inside a layer.

    Args:
        start: what the hardware can do; no claim leads out of it.
        claims: intervals with their layers.

    Returns:
        What is left, and the conflicts as bits by owner.
    """
    left, conflicts = start, 0
    for _, interval in sorted(claims, key=lambda claim: claim[0]):
        left, loser = meet(left, interval)
        if loser:
            conflicts |= 1 << OWNER_INDEX[loser]
    return left, conflicts


def together(units: Sequence[Interval]) -> Interval:
    """Return what the units can do in sum; an end keeps its owner when all units have the same one there."""
    lo_by = {unit.lo_by for unit in units}
    hi_by = {unit.hi_by for unit in units}
    return Interval(
        sum(unit.lo_kw for unit in units),
        sum(unit.hi_kw for unit in units),
        lo_by.pop() if len(lo_by) == 1 else "units",
        hi_by.pop() if len(hi_by) == 1 else "units",
    )


def arbitrate(
    site: Site, able: Interval, claims: Sequence[Claim], proposals: Sequence[Proposal], held_kw: float
) -> Decision:
    """Return the target for the sum over the batteries.

    Args:
        site: the site.
        able: what the units can do in sum.
        claims: the limits of the site, with their layers.
        proposals: of the services, the strongest wish first.
        held_kw: sum of the last setpoints after the units' limits of this cycle.
    """
    envelope, conflicts = fold(able, [*claims, *((asked.layer, asked.interval) for asked in proposals)])
    wish_kw, winner = 0.0, NOBODY
    for proposal in proposals:
        if proposal.wish_kw is not None and math.isfinite(proposal.wish_kw):
            wish_kw, winner = proposal.wish_kw, proposal.source
            break
    reach, too_far = meet(envelope, ramp(site, held_kw))
    forced = 0 if not too_far else 1 if reach.lo_kw > held_kw else -1
    return Decision(reach.clamp(wish_kw), wish_kw, winner, envelope, reach, forced, conflicts)
