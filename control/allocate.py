"""The split of the site's power over the batteries, so that their states of charge stay together.

Discharge goes by the energy above the lower end of each window, charge by the room below the upper one; the
kernel gives the exact answer within the units' windows. No battery is charged from another.
"""

from collections.abc import Sequence

import numpy as np

from control.estimate import BatteryEstimate
from cython_ext.allocate import split


def allocate(
    target_kw: float, windows: Sequence[tuple[float, float]], batteries: Sequence[BatteryEstimate]
) -> tuple[float, ...]:
    """Return (U,) powers, in sum the target as far as the windows allow.

    Args:
        target_kw: wanted sum, discharge +.
        windows: (U,) ends of what each unit may do in this cycle.
        batteries: (U,) what is known of each.
    """
    if target_kw < 0.0:
        share = [seen.room_kwh for seen in batteries]
    else:
        share = [seen.usable_kwh for seen in batteries]
    lo_kw = np.array([ends[0] for ends in windows])
    hi_kw = np.array([ends[1] for ends in windows])
    out_kw = np.zeros(len(windows))
    split(target_kw, lo_kw, hi_kw, np.zeros(len(windows)), np.array(share), out_kw)
    return tuple(out_kw.tolist())
