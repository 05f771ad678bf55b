from typing import Final

import numpy as np
from numpy.typing import NDArray

OK: Final[int]
BAD_INPUT: Final[int]

def split(
    target: float,
    lo: NDArray[np.float64],
    hi: NDArray[np.float64],
    at: NDArray[np.float64],
    share: NDArray[np.float64],
    out: NDArray[np.float64],
) -> int:
    """Split ``target`` over n <= 64 units, exactly.

    ``out`` minimises ``sum((p_i - at_i)² / share_i) / 2`` under ``sum(p_i) = clip(target, sum(lo), sum(hi))``
    and ``lo_i <= p_i <= hi_i``. Units without a share stay at ``at`` until all others are at their ends, then
    take the rest in proportion to the room that they have.

    Args:
        target: wanted sum.
        lo: (n,) lower ends.
        hi: (n,) upper ends.
        at: (n,) where each unit would be by itself.
        share: (n,) how readily it moves away from there, not negative.
        out: (n,) result.

    Returns:
        OK, or BAD_INPUT when something is not finite, a share is negative or an interval is empty; then
        every unit that has an interval is as near to zero as it allows and the others are zero.

    Raises:
        ValueError: shapes differ or n > 64.
    """
