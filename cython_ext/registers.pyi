from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS: tuple[str, ...]
"""Names of the register types; a kind is the position in this tuple."""
WORDS: tuple[int, ...]
"""Registers that each kind takes; 0 for a bit."""

class Row(NamedTuple):
    """How one value lies in a block of registers, and what it means."""

    kind: int
    """Position in KINDS."""
    at: int
    """First byte in the block; first bit (0 = lowest bit of the first byte) for kind bit."""
    low_word_first: bool = ...
    byte_swap: bool = ...
    """The two bytes of each register are exchanged."""
    mask: int = ...
    """Applied to the pattern of an unsigned integer before ``shift``."""
    shift: int = ...
    """Places to the right."""
    na: int | tuple[int, ...] = ...
    """Patterns (before mask and shift) that mean "not available"; one may stand as it is, -1 for none."""
    scale: float = ...
    """Applied to the number, or to what its code means."""
    add: float = ...
    """Added after scaling."""
    lo: float = ...
    """Smallest believable value, after scale and add."""
    hi: float = ...
    codes: Mapping[int, float] = ...
    """What each code (after mask and shift, before scale) means; any other is BAD. Empty: no mapping."""

class Table:
    """The fields of one block, compiled once."""

    size: int
    def __init__(self, rows: list[Row] | tuple[Row, ...]) -> None:
        """Raise ValueError when a row cannot be."""

    def decode(self, block: bytes, value: NDArray[np.float64], quality: NDArray[np.uint8]) -> int:
        """Decode a block as it was received and return how many values are good.

        Args:
            block: big-endian registers; may be shorter than the fields need, those become BAD.
            value: (size,) result; NaN where the quality is BAD.
            quality: (size,) result; 3 (GOOD) or 0 (BAD).
        """

def encode(
    value: float, kind: int, scale: float = 1.0, low_word_first: bool = False, byte_swap: bool = False
) -> bytes:
    """Return the registers of ``value / scale``, rounded towards zero; raise ValueError when it does not fit.

    Towards zero, because a setpoint must never ask for more than was allowed.
    """

def crc16(data: bytes) -> int:
    """Return the CRC-16 of a serial Modbus frame; its low byte goes first on the wire."""
