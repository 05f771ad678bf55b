"""Run a recorded cycle again: same inputs, same bits, or the names of the fields that differ."""

import numpy as np

from control.cycle import run_cycle
from control.record import differing, unpack
from models.site import Site


def replay(site: Site, row: bytes | np.void) -> list[str]:
    """Return the names of the fields that come out different when the cycle of ``row`` is run again.

    Args:
        site: built from the configuration that the row was recorded with.
        row: one record.
    """
    return differing(site, row, run_cycle(site, *unpack(site, row)).record)
