"""From a power to the writes that ask a device for it; the catalog says which registers, in which order."""

from collections.abc import Callable, Sequence

from cython_ext.registers import KINDS, encode
from drivers.catalog.product import Register, SetRow
from drivers.modbus import frames
from drivers.modbus.frames import Request

EXPONENT_MAX = 10
"""Of the decimal exponents that a device may tell; SunSpec's scale factors have the same bounds."""
ValueOf = Callable[[str], float]
"""Returns the present value of a point by its name, NaN when it is not known."""


class Setting:
    """Builds the writes of one device."""

    def __init__(self, unit_id: int, rows: Sequence[SetRow], value_of: ValueOf) -> None:
        self._unit_id = unit_id
        self._rows = rows
        self._value_of = value_of
        self.directed = any(row.value == "by_sign" for row in rows)
        """Whether direction and magnitude are told in different registers."""

    def requests(self, p_kw: float) -> tuple[Request, ...]:
        """Return the writes for ``p_kw`` (discharge +), each power rounded towards zero.

        Rows that adjoin and use function 16 are one write, so that the device takes them together.

        Raises:
            ValueError: a register cannot hold its value, or a point that it depends on is not known.
        """
        coded: list[tuple[Register, bytes]] = []
        for row in self._rows:
            data = self._data(row, p_kw)
            if coded and _adjoins(*coded[-1], row.register):
                coded[-1] = (coded[-1][0], coded[-1][1] + data)
            else:
                coded.append((row.register, data))
        return tuple(self._request(register, data) for register, data in coded)

    def single(self, register: Register, value: float) -> Request:
        """Return the write of one value; raises like :meth:`requests`."""
        return self._request(register, self._coded(register, value))

    def _data(self, row: SetRow, p_kw: float) -> bytes:
        value = _value(row, p_kw)
        if row.per:
            whole = self._value_of(row.per)
            if not whole > 0.0:  # also when it is not known
                raise ValueError(f"{row.per} is not known")
            value /= whole
        return self._coded(row.register, value)

    def _coded(self, register: Register, value: float) -> bytes:
        scale = register.scale
        if register.power_of_ten:
            exponent = self._value_of(register.power_of_ten)
            if not abs(exponent) <= EXPONENT_MAX:  # also when it is not known
                raise ValueError(f"{register.power_of_ten} is not known")
            scale *= 10.0**exponent
        kind = KINDS.index(register.type)
        return encode(value, kind, scale, register.low_word_first, register.byte_swap)

    def _request(self, register: Register, data: bytes) -> Request:
        unit_id = self._unit_id if register.unit_id is None else register.unit_id
        write = frames.write_register if register.fn == frames.WRITE_REGISTER else frames.write_registers
        return write(unit_id, register.address, data)


def _adjoins(before: Register, data: bytes, register: Register) -> bool:
    both = before.fn == register.fn == frames.WRITE_REGISTERS and before.unit_id == register.unit_id
    return both and before.address + len(data) // 2 == register.address


def _value(row: SetRow, p_kw: float) -> float:
    match row.value:
        case "constant":
            return row.constant
        case "by_sign":
            return row.by_sign[(p_kw >= 0.0) + (p_kw > 0.0)]
        case "charge_kw":
            return max(0.0, -p_kw)
        case "discharge_kw":
            return max(0.0, p_kw)
        case "magnitude_kw":
            return abs(p_kw)
    return p_kw
