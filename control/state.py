"""What one cycle hands to the next: everything that is not in the image, and nothing else.

Immutable and of fixed size for a site, so that it fits in a record and a recorded cycle can be run again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from control.obey import Follow, untold
from control.watch import UNSEEN, Watch
from models.site import Site

H = 32
"""Samples of measured battery power that are kept; at 100 ms a cycle they reach back 3.2 s, longer than
any meter's delay."""


@dataclass(frozen=True, slots=True)
class State:
    """Memory of the cycle. ``U`` is the number of batteries, in the order of the site."""

    cycle: int
    """Number of the cycle that this state goes into."""
    last_kw: tuple[float, ...]
    """(U,) setpoints of the cycle before."""
    history_ns: tuple[int, ...]
    """(H,) monotonic times of the battery power samples, oldest first, 0 where there is none yet."""
    history_kw: tuple[float, ...]
    """(H,) measured sum over the batteries in ``members`` at those times."""
    members: int
    """Bit i is set when battery i is part of the sums in the history."""
    watches: tuple[Watch, ...]
    """(2 U + 1,) BMS and PCS of each battery, then the meter."""
    follows: tuple[Follow, ...]
    """(U,) how each battery does as it is told."""


def initial(site: Site, measured_kw: Sequence[float], cycle: int = 0) -> State:
    """Return the state to start from, so that the first cycle goes on from where the devices are.

    Args:
        site: the site.
        measured_kw: (U,) what each PCS reports as its setpoint, or its measured power; a value that is not
            finite counts as 0, one beyond the nameplate as the nameplate.
        cycle: number of the first cycle, larger than any recorded before.
    """
    last_kw = tuple(
        min(max(p_kw, battery.p_min_kw), battery.p_max_kw) if math.isfinite(p_kw) else 0.0
        for battery, p_kw in zip(site.batteries, measured_kw, strict=True)
    )
    watches = (UNSEEN,) * (2 * len(site.batteries) + 1)
    return State(cycle, last_kw, (0,) * H, (0.0,) * H, 0, watches, tuple(map(untold, last_kw)))
