"""One write by hand: which frame it is, what it changes, whether the catalog and the nameplate allow it."""

from dataclasses import dataclass

from cython_ext.registers import KINDS, WORDS, encode
from drivers.catalog.product import ALL_BITS, PointSpec, Product, Register, SetRow
from drivers.driver import Nameplate
from drivers.modbus import frames
from drivers.modbus.frames import (
    READ_COILS,
    READ_HOLDING,
    WRITE_COIL,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    Request,
)
from models.errors import DoorRefused

FUNCTIONS = (WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS)
POWERS = {"p_kw": (1.0,), "charge_kw": (-1.0,), "discharge_kw": (1.0,), "magnitude_kw": (1.0, -1.0)}
"""Sign of the power that a row of the setpoint stands for; a magnitude may be either."""


@dataclass(frozen=True, slots=True)
class RawWrite:
    """A write and the read that shows what it changes."""

    unit_id: int
    fn: int
    address: int
    data: bytes
    """Two bytes a register; one byte for a coil, 0 or 1."""

    @property
    def count(self) -> int:
        """Registers, or one coil."""
        return 1 if self.fn == WRITE_COIL else len(self.data) // 2

    @property
    def request(self) -> Request:
        """What is sent."""
        if self.fn == WRITE_COIL:
            return frames.write_coil(self.unit_id, self.address, self.data != b"\0")
        if self.fn == WRITE_REGISTER:
            return frames.write_register(self.unit_id, self.address, self.data)
        return frames.write_registers(self.unit_id, self.address, self.data)

    @property
    def look(self) -> Request:
        """What shows the present value."""
        fn = READ_COILS if self.fn == WRITE_COIL else READ_HOLDING
        return frames.read(self.unit_id, fn, self.address, self.count)

    def back(self, old: bytes) -> "RawWrite":
        """Return the write that restores what ``look`` has shown."""
        data = bytes((old[0] & 1,)) if self.fn == WRITE_COIL else old
        return RawWrite(self.unit_id, self.fn, self.address, data)


def raw(place: tuple[int, int, int], kind: str, value: float, low_word_first: bool = False) -> RawWrite:
    """Return the write of a number to (unit, function, address); ValueError when it does not fit."""
    unit_id, fn, address = place
    if fn == WRITE_COIL:
        if value not in (0.0, 1.0):
            raise ValueError(f"{value:g} is neither 0 nor 1")
        return RawWrite(unit_id, fn, address, bytes((int(value),)))
    if kind == "bit":
        raise ValueError("registers are not written by the bit")
    data = encode(value, KINDS.index(kind), 1.0, low_word_first)
    if fn == WRITE_REGISTER and len(data) != 2:
        raise ValueError(f"function 6 writes 16 bits, not {kind}")
    return RawWrite(unit_id, fn, address, data)


def to_point(spec: PointSpec, unit_id: int, value: float) -> RawWrite:
    """Return the write of a value, in the units of the catalog, to a point that is read with function 1 or 3.

    Raises:
        ValueError: the point is not written like that, or the value is not believable there.
    """
    if spec.fn not in (READ_COILS, READ_HOLDING):
        raise ValueError(f"{spec.name} can only be read")
    if spec.by or spec.shift or spec.mask != ALL_BITS:
        raise ValueError(f"{spec.name} is part of a register or depends on others: write its address")
    if not spec.lo <= value <= spec.hi:
        raise ValueError(f"{value:g} is outside {spec.lo:g}…{spec.hi:g}")
    unit = unit_id if spec.unit_id is None else spec.unit_id
    if spec.fn == READ_COILS:
        return raw((unit, WRITE_COIL, spec.address), "bit", value)
    number = value if spec.map else (value - spec.add) / spec.scale
    data = encode(number, KINDS.index(spec.type), 1.0, spec.low_word_first, spec.byte_swap)
    return RawWrite(unit, WRITE_REGISTER if len(data) == 2 else WRITE_REGISTERS, spec.address, data)


def overwritten(write: RawWrite, product: Product | None, unit_id: int) -> str:
    """Return the step with which a controller prepares the device by the same register; empty when none."""
    for step in product.prepare if product else ():
        unit = unit_id if step.write.unit_id is None else step.write.unit_id
        inside = write.address <= step.write.address < write.address + write.count
        if unit == write.unit_id and inside and write.fn != WRITE_COIL:
            return step.name
    return ""


def check(write: RawWrite, product: Product | None, unit_id: int, nameplate: Nameplate | None) -> None:
    """Refuse a power outside the nameplate, and what cannot be judged although it is part of a setpoint.

    Args:
        write: what is asked for.
        product: of the device, resolved; None when nothing is known about it.
        unit_id: of the device.
        nameplate: what the device may be asked for.

    Raises:
        DoorRefused: nothing may be sent.
    """
    rows = product.write.rows if product and product.write else ()
    for row in rows:
        register = row.register
        unit = unit_id if register.unit_id is None else register.unit_id
        size = WORDS[KINDS.index(register.type)]
        apart = register.address + size <= write.address or write.address + write.count <= register.address
        if unit != write.unit_id or apart or write.fn == WRITE_COIL or row.value not in POWERS:
            continue
        _check_power(write, row, size, nameplate)


def _check_power(write: RawWrite, row: SetRow, size: int, nameplate: Nameplate | None) -> None:
    register = row.register
    if nameplate is None:
        raise DoorRefused(
            "this is a power setpoint, and its nameplate is not known: name the device of a site file"
        )
    if (write.address, write.count) != (register.address, size) or row.per or register.power_of_ten:
        raise DoorRefused("this is part of a power setpoint, and which power it would be cannot be told")
    p_kw = _number(write.data, register) * register.scale
    for sign in POWERS[row.value]:
        nameplate.check(sign * p_kw)


def _number(data: bytes, register: Register) -> float:
    """Return what the registers of a write say, before the scale."""
    from drivers.look import decode

    return decode(data, register.type, register.low_word_first, register.byte_swap)[0]
