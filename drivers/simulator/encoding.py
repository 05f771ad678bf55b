"""How a value becomes Modbus registers, written from the vendors' side.

On purpose it shares nothing with the decoder of the drivers: two independent readings of one catalog file
find each other's mistakes.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

FORMATS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
INTEGERS = {
    "u16": (0, 2**16 - 1), "i16": (-(2**15), 2**15 - 1), "u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1), "i64": (-(2**63), 2**63 - 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coding:
    """How the registers of one value are laid out."""

    type: str = "u16"
    low_first: bool = False
    byte_swap: bool = False

    @property
    def size(self) -> int:
        """Registers that it takes; 1 for a bit."""
        return 1 if self.type == "bit" else struct.calcsize(FORMATS[self.type]) // 2


def _ordered(words: Sequence[int], coding: Coding) -> list[int]:
    swapped = [(word & 0xFF) << 8 | word >> 8 for word in words] if coding.byte_swap else list(words)
    return swapped[::-1] if coding.low_first else swapped


def pattern_words(pattern: int, coding: Coding) -> list[int]:
    """Return the registers that hold a bit pattern."""
    words = [pattern >> 16 * i & 0xFFFF for i in reversed(range(coding.size))]
    return _ordered(words, coding)


def pattern(words: Sequence[int], coding: Coding) -> int:
    """Return the bit pattern that registers hold; the opposite of :func:`pattern_words`."""
    value = 0
    for word in _ordered(words, coding):
        value = value << 16 | word
    return value


def raw_pattern(raw: float, coding: Coding) -> int:
    """Return the bit pattern of a raw value; integers are rounded to the nearest.

    Raises:
        ValueError: it does not fit into the type.
    """
    if coding.type.startswith("f"):
        try:
            data = struct.pack(">" + FORMATS[coding.type], raw)
        except OverflowError as error:
            raise ValueError(f"{raw} does not fit into {coding.type}") from error
        return int.from_bytes(data, "big")
    low, high = INTEGERS[coding.type]
    if not math.isfinite(raw) or not low <= round(raw) <= high:
        raise ValueError(f"{raw} does not fit into {coding.type}")
    return round(raw) & ((1 << 16 * coding.size) - 1)


def raw_value(bits: int, coding: Coding) -> float:
    """Return the raw value of a bit pattern."""
    data = bits.to_bytes(2 * coding.size, "big")
    return float(struct.unpack(">" + FORMATS[coding.type], data)[0])


def text_words(text: str, registers: int, byte_swap: bool = False) -> list[int]:
    """Return the registers of a text, filled up with zero bytes."""
    data = text.encode("ascii").ljust(2 * registers, b"\0")[: 2 * registers]
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    return _ordered(words, Coding("u16", byte_swap=byte_swap))
