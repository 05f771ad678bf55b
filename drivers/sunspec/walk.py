"""Find the chain of models in a device: where "SunS" stands, then header after header to the end model.

A device may leave models out, make them longer or shorter than defined, have one several times, or end its
map without saying so. What was found before such a place is used; ``Chain.trouble`` says what was wrong.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from drivers.modbus import frames
from drivers.modbus.frames import READ_HOLDING, Request
from drivers.sunspec.definition import HEADER, GroupDef, definition
from models.errors import BadReply, DriverError, Refused

BASES = (40_000, 0, 50_000)
"""Where a map may begin (SunSpec Device Information Model, Modbus); the usual one first."""
MARKER = b"SunS"
END = 0xFFFF
MODELS_MAX = 250
"""More than any device has; a map of rubbish ends the walk here."""
OUTSIDE = (2, 3)
"""Exception codes by which devices say that they have no such registers."""
ADDRESSES = 0x1_0000
COMMON = 1


class ModelAt(NamedTuple):
    """One model of a device."""

    id: int
    address: int
    """Of its ID; the length comes next, then the points."""
    length: int
    """Registers behind ID and length, as the device says."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What a device has."""

    unit_id: int
    base: int
    """Address of the marker."""
    models: tuple[ModelAt, ...]
    texts: dict[str, str]
    """Mn, Md, Opt, Vr, SN of the common model, as far as they could be read."""
    trouble: str = ""
    """Why the walk did not come to a proper end; empty when it did."""

    def find(self, model: int, instance: int = 1) -> ModelAt | None:
        """Return the ``instance``-th (from 1) model of a number."""
        same = [at for at in self.models if at.id == model]
        return same[instance - 1] if 1 <= instance <= len(same) else None


def discover(unit_id: int) -> Generator[Request, bytes | DriverError, Chain]:
    """Find the marker and walk the models of one unit.

    Raises:
        NoReply: the unit, or somebody on the way, stayed silent: what it has is unknown.
        BadReply: it answers, but has no SunSpec map.
        Refused: it refuses for another reason than the address, for instance because it is busy.
    """
    base = yield from _marker(unit_id)
    models: list[ModelAt] = []
    trouble = ""
    address = base + len(MARKER) // 2
    while not trouble:
        if address >= ADDRESSES:
            trouble = "the map has no end model"
            break
        header = yield from _header(unit_id, address)
        if header is None:
            trouble = f"there is no model at {address}, and no end model before it"
            break
        number, length = header
        if number == END:
            break
        trouble = _absurd(number, length, address, len(models))
        if not trouble:
            models.append(ModelAt(number, address, length))
            address += HEADER + length
    texts = yield from _texts(unit_id, models)
    return Chain(unit_id, base, tuple(models), texts, trouble)


def ask(request: Request) -> Generator[Request, bytes | DriverError, bytes]:
    """Yield ``request``, once more when the reply was lost or broken; return its data or raise."""
    answer = yield request
    if isinstance(answer, DriverError) and not isinstance(answer, Refused):
        answer = yield request
    if isinstance(answer, DriverError):
        raise answer
    return answer


def _marker(unit_id: int) -> Generator[Request, bytes | DriverError, int]:
    """Return where the marker stands; a silent place may be one that the device does not have."""
    silent: list[DriverError] = []
    for base in BASES:
        answer = yield frames.read(unit_id, READ_HOLDING, base, len(MARKER) // 2)
        if answer == MARKER:
            return base
        if isinstance(answer, DriverError) and not isinstance(answer, Refused):
            silent.append(answer)
    if silent:
        raise silent[0]
    raise BadReply(f"no SunSpec map at {', '.join(map(str, BASES))}")


def _header(unit_id: int, address: int) -> Generator[Request, bytes | DriverError, tuple[int, int] | None]:
    """Return id and length of the model at ``address``, None when the device has nothing there.

    Some devices have only one register of the end model.
    """
    count = min(HEADER, ADDRESSES - address)
    try:
        data = yield from ask(frames.read(unit_id, READ_HOLDING, address, count))
    except Refused as error:
        if error.code not in OUTSIDE:
            raise
        try:
            data = yield from ask(frames.read(unit_id, READ_HOLDING, address, 1))
        except Refused:
            return None
    number = int.from_bytes(data[:2], "big")
    if number != END and len(data) < 2 * HEADER:
        return None
    return number, int.from_bytes(data[2:4], "big")


def _absurd(number: int, length: int, address: int, found: int) -> str:
    """Return why a header cannot be one; empty when it can."""
    if number == 0:
        return f"model number 0 at {address}"
    if address + HEADER + length > ADDRESSES:
        return f"model {number} at {address} claims {length} registers"
    if found >= MODELS_MAX:
        return f"more than {MODELS_MAX} models"
    return ""


def _texts(unit_id: int, models: list[ModelAt]) -> Generator[Request, bytes | DriverError, dict[str, str]]:
    """Read the common model's texts; a text that the device refuses is left out."""
    texts: dict[str, str] = {}
    common = next((at for at in models if at.id == COMMON), None)
    group = definition(COMMON)
    if common is None or group is None:
        return texts
    for name, at, registers in _text_points(group):
        if at + registers > HEADER + common.length:
            continue
        try:
            data = yield from ask(frames.read(unit_id, READ_HOLDING, common.address + at, registers))
        except Refused:
            continue
        texts[name] = text(data)
    return texts


def _text_points(group: GroupDef) -> list[tuple[str, int, int]]:
    """Return name, offset and registers of a model's texts."""
    found, at = [], 0
    for point in group.points:
        if point.type == "string":
            found.append((point.name, at, point.registers))
        at += point.registers
    return found


def text(data: bytes) -> str:
    """Return what a text register block says: up to the first NUL, without what cannot be printed."""
    decoded = data.partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(letter for letter in decoded if letter.isprintable()).strip()
