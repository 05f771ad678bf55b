"""What the data identifiers of a DL/T 645-2007 meter hold, and how their digits become numbers and texts.

Source: DL/T 645-2007 annex A; widths and formats compared with the package dlt645 3.2.0, because the text of
the standard itself was not at hand. What is less sure is said in ``doubt``. No meter has been tried.
The values are those that the meter itself measures: behind instrument transformers they are secondary values.
Signs: forward active power, from the grid, is +; the top bit of a signed quantity set means reverse.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from drivers.dlt645.frames import DI
from models.errors import BadReply

Kind = Literal["number", "demand", "date", "time", "digits", "ascii"]
"""``demand``: a number of 3 bytes and the time YYMMDDhhmm at which it occurred."""
ALL = 0xFF
DEMAND_SIZE = 3
"""Bytes of the number in a demand item."""
PHASE_NAMES = ("L1", "L2", "L3")


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one kind whose identifiers differ in DI1: rates of an energy, phases of a voltage."""

    di: str
    """Identifier with ``xx`` where the number of the item stands; FF there asks for all of them at once."""
    numbers: range
    width: int
    """Bytes of one item."""
    decimals: int
    symbol: str
    what: str
    signed: bool = False
    """Whether the top bit is the sign."""
    kind: Kind = "number"
    history: int = 0
    """How many settlement days back it can be asked for, in DI0."""
    doubt: str = ""

    def member(self, number: int, back: int = 0) -> str:
        """Return the identifier of an item; 255 is the block of all."""
        return self.di[:4] + f"{number:02X}{int(self.di[6:], 16) + back:02X}"


ONE, RATES, PHASES, SUM_AND_PHASES = range(1), range(64), range(1, 4), range(4)
MONTHS = 12
_SIGN = "that the top bit of this quantity is a sign is what most meters do, not checked in the standard"
_SIDES = (
    ("01", "forward", False),
    ("02", "reverse", False),
    ("03", "reactive 1", True),
    ("04", "reactive 2", True),
)
_QUADRANTS = tuple((f"{4 + n:02X}", f"reactive quadrant {n}", False) for n in range(1, 5))
_APPARENT = (("09", "forward apparent", False), ("0A", "reverse apparent", False))


def _unit(side: str, active: str, reactive: str, apparent: str) -> str:
    return apparent if "apparent" in side else reactive if "reactive" in side else active


ENERGIES = (
    Group("0000xx00", RATES, 4, 2, "kWh", "combined active energy", True, history=MONTHS),
    *(
        Group(f"00{code}xx00", RATES, 4, 2, _unit(side, "kWh", "kvarh", "kVAh"), f"{side} energy", signed,
              history=MONTHS)
        for code, side, signed in (*_SIDES, *_QUADRANTS, *_APPARENT)
    ),
    *(
        Group(f"00{code + back:02X}xx00", ONE, 4, 2, "kWh", f"{side} energy {phase}", history=MONTHS)
        for back, side in enumerate(("forward", "reverse"))
        for phase, code in zip(PHASE_NAMES, (0x15, 0x29, 0x3D), strict=True)
    ),
)  # fmt: skip
DEMANDS = tuple(
    Group(f"01{code}xx00", RATES, 8, 4, _unit(side, "kW", "kvar", "kVA"), f"largest {side} demand", signed,
          "demand", MONTHS)
    for code, side, signed in (*_SIDES, *_QUADRANTS, *_APPARENT)
)  # fmt: skip
BATTERIES = (
    Group("0280xx08", ONE, 2, 2, "V", "clock battery"),
    Group("0280xx09", ONE, 2, 2, "V", "backup battery"),
)
VARIABLES = (
    Group("0201xx00", PHASES, 2, 1, "V", "voltage"),
    Group("0202xx00", PHASES, 3, 3, "A", "current", True, doubt=_SIGN),
    Group("0203xx00", SUM_AND_PHASES, 3, 4, "kW", "active power", True),
    Group("0204xx00", SUM_AND_PHASES, 3, 4, "kvar", "reactive power", True),
    Group("0205xx00", SUM_AND_PHASES, 3, 4, "kVA", "apparent power", True),
    Group("0206xx00", SUM_AND_PHASES, 2, 3, "", "power factor", True, doubt=_SIGN),
    Group("0207xx00", PHASES, 2, 1, "deg", "phase angle"),
    Group("0208xx00", PHASES, 2, 2, "%", "voltage distortion"),
    Group("0209xx00", PHASES, 2, 2, "%", "current distortion"),
    Group("0280xx01", ONE, 3, 3, "A", "neutral current", True, doubt=_SIGN),
    Group("0280xx02", ONE, 2, 2, "Hz", "frequency"),
    Group("0280xx03", ONE, 3, 4, "kW", "active power, mean of a minute", True),
    Group("0280xx04", ONE, 3, 4, "kW", "active demand now", True),
    Group("0280xx05", ONE, 3, 4, "kvar", "reactive demand now", True),
    Group("0280xx06", ONE, 3, 4, "kVA", "apparent demand now", True),
    Group("0280xx07", ONE, 2, 1, "degC", "temperature inside", True),
    *BATTERIES,
    Group("0280xx0A", ONE, 4, 0, "min", "time on battery"),
)
_RATIO = "in later prints of the standard only; refused by many meters"
_ASCII = "whether texts come last character first as in the standard differs from meter to meter"
PARAMETERS = (
    Group("0400xx01", range(1, 2), 4, 0, "", "date", kind="date"),
    Group("0400xx02", range(1, 2), 3, 0, "", "time", kind="time"),
    Group("0400xx03", range(1, 2), 1, 0, "min", "demand period"),
    Group("0400xx06", range(3, 4), 3, 0, "", "current transformer ratio", doubt=_RATIO),
    Group("0400xx07", range(3, 4), 3, 0, "", "voltage transformer ratio", doubt=_RATIO),
    Group("0400xx01", range(4, 5), 6, 0, "", "address", kind="digits"),
    Group("0400xx02", range(4, 5), 6, 0, "", "meter number", kind="digits"),
    Group("0400xx03", range(4, 5), 32, 0, "", "asset number", kind="ascii", doubt=_ASCII),
    Group("0400xx04", range(4, 5), 6, 0, "", "rated voltage", kind="ascii", doubt=_ASCII),
    Group("0400xx05", range(4, 5), 6, 0, "", "rated current", kind="ascii", doubt=_ASCII),
    Group("0400xx06", range(4, 5), 6, 0, "", "largest current", kind="ascii", doubt=_ASCII),
    Group("0400xx07", range(4, 5), 4, 0, "", "active accuracy class", kind="ascii", doubt=_ASCII),
    Group("0400xx08", range(4, 5), 4, 0, "", "reactive accuracy class", kind="ascii", doubt=_ASCII),
    Group("0400xx09", range(4, 5), 3, 0, "imp/kWh", "active constant"),
    Group("0400xx0A", range(4, 5), 3, 0, "imp/kvarh", "reactive constant"),
    Group("0400xx0B", range(4, 5), 10, 0, "", "meter type", kind="ascii", doubt=_ASCII),
    Group("0400xx0C", range(4, 5), 10, 0, "", "made on", kind="ascii", doubt=_ASCII),
    Group("0400xx0D", range(4, 5), 16, 0, "", "protocol version", kind="ascii", doubt=_ASCII),
)
_TIMES: dict[Kind, tuple[str, str]] = {
    "date": ("%Y%m%d", "%Y-%m-%d"),
    "time": ("%H%M%S", "%H:%M:%S"),
    "demand": ("%Y%m%d%H%M", "%Y-%m-%d %H:%M"),
}
POWERS = ("kW", "kvar", "kVA", "kWh", "kvarh", "kVAh")
"""Units of what is measured with both current and voltage."""
GROUPS = ENERGIES + DEMANDS + VARIABLES + PARAMETERS


def find(di: str) -> tuple[Group, int] | None:
    """Return the group of an identifier and its number there (255 for the block of all), or None."""
    di = di.upper()
    if not DI.fullmatch(di):
        return None
    number, low = int(di[4:6], 16), int(di[6:], 16)
    for group in GROUPS:
        back = low - int(group.di[6:], 16)
        listed = number in group.numbers or (number == ALL and len(group.numbers) > 1)
        if di[:4] == group.di[:4] and 0 <= back <= group.history and listed:
            return group, number
    return None


def sizes(di: str) -> range | None:
    """Return how many bytes of value may answer an identifier; None when it is not in the table.

    A block may be shorter than it could be: a meter has as many rates and phases as it has.
    """
    found = find(di)
    if found is None:
        return None
    group, number = found
    most = group.width * (len(group.numbers) if number == ALL else 1)
    return range(group.width, most + 1, group.width)


def primary_factor(di: str, ct_ratio: float, vt_ratio: float) -> float:
    """Return by what a value is multiplied to be that of the primary side of instrument transformers."""
    found = find(di)
    if found is None or found[0] in BATTERIES:
        return 1.0
    return {"A": ct_ratio, "V": vt_ratio}.get(
        found[0].symbol, ct_ratio * vt_ratio if found[0].symbol in POWERS else 1.0
    )


def number(group: Group, raw: bytes) -> float:
    """Return the number in the ``width`` bytes of one item, nan when every digit is F: not available.

    Raises:
        BadReply: what should be a digit is above 9.
    """
    if group.kind == "demand":
        raw = raw[:DEMAND_SIZE]
    if raw == b"\xff" * len(raw):
        return math.nan
    digits = raw[::-1].hex()
    top = int(digits[0], 16)
    negative = group.signed and top >= 8
    digits = _decimal(f"{top - 8 if negative else top:x}{digits[1:]}")
    value = int(digits) / float(10**group.decimals)
    return -value if negative and value else value


def text(di: str, value: bytes) -> str:
    """Return the value of an item or block for people; what is not in the table in hexadecimal digits.

    Raises:
        BadReply: the bytes are not what such an item can be.
    """
    found = find(di)
    if found is None:
        return value[::-1].hex()
    group = found[0]
    items = (value[at : at + group.width] for at in range(0, len(value), group.width))
    return ", ".join(_text(group, raw) for raw in items)


def _text(group: Group, raw: bytes) -> str:
    if len(raw) != group.width:
        raise BadReply(f"{len(raw)} bytes are no {group.what}")
    if group.kind == "ascii":
        return raw[::-1].decode("ascii", "replace").strip("\0 ")
    if group.kind == "digits":
        return _decimal(raw[::-1].hex())
    if group.kind in ("number", "demand"):
        shown = f"{number(group, raw):.{group.decimals}f} {group.symbol}".strip()
        return shown if group.kind == "number" else f"{shown} at {_moment(raw[DEMAND_SIZE:], group.kind)}"
    return _moment(
        raw[1:] if group.kind == "date" else raw, group.kind
    )  # the lowest byte is the day of the week


def _moment(raw: bytes, kind: Kind) -> str:
    """Return a time stamp for people; all zero in a demand is never."""
    digits = _decimal(raw[::-1].hex())
    if kind == "demand" and not int(digits):
        return "no time"
    read, shown = _TIMES[kind]
    try:
        return datetime.strptime(digits if kind == "time" else f"20{digits}", read).strftime(shown)
    except ValueError as error:
        raise BadReply(f"{digits} is no {kind}") from error


def _decimal(digits: str) -> str:
    if not digits.isdecimal():
        raise BadReply(f"{digits} has a digit above 9")
    return digits
