"""Modbus requests, and the strict proof that a reply answers the one that is open.

A reply is used only when unit, function, byte count (reads) or echoed address and value (writes) are those of
the request; on TCP the transaction id too, on the serial line the CRC. Everything else raises.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cython_ext.registers import crc16
from models.errors import BadReply, NoReply, Refused

READ_COILS, READ_INPUTS, READ_HOLDING, READ_INPUT_REGISTERS = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16

MAX_BITS = 2000
MAX_REGISTERS = 125
MAX_WRITTEN_BITS = 1968
MAX_WRITTEN_REGISTERS = 123
MAX_PDU = 253
ERROR_BIT = 0x80

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, still working",
    6: "busy",
    8: "memory parity",
    10: "gateway path unavailable",
    11: "no answer behind the gateway",
}
GATEWAY_SILENT = (10, 11)
"""These say that the unit itself did not answer."""

_ADDRESS = struct.Struct(">BHH")
_BLOCK = struct.Struct(">BHHB")
_MBAP = struct.Struct(">HHHB")
MBAP_SIZE = _MBAP.size
RTU_EXTRA = 3
"""Unit and CRC around a PDU on the serial line."""
RTU_EXCEPTION = 5
"""Bytes of an exception reply on the serial line."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request and the shape of the only replies that it accepts; an Exchange, see exchange.py."""

    unit: int
    pdu: bytes
    """Function code and its data."""
    head: bytes
    """What the reply PDU begins with: function and byte count, or the echo of a write."""
    size: int
    """Length of the reply PDU; the greatest that it may have when ``measure`` is given."""
    measure: Callable[[bytes], int] | None = None
    """Least length of a reply PDU as far as its beginning shows, -1 when it is none; None: it is ``size``."""

    @property
    def shape(self) -> bytes:
        """What tells replies apart on a serial line: a reply with another beginning is never taken."""
        return self.head

    @property
    def largest(self) -> int:
        """Most bytes of the reply on the serial line."""
        return self.size + RTU_EXTRA

    def serial_frame(self) -> bytes:
        """Return the frame for the serial line."""
        body = bytes((self.unit,)) + self.pdu
        return body + crc16(body).to_bytes(2, "little")

    def missing(self, frame: bytes) -> int:
        """See :class:`drivers.modbus.exchange.Exchange`; two bytes tell an exception from the reply."""
        have = len(frame)
        if have < 2 or (frame[1] == self.pdu[0] | ERROR_BIT and frame[0] == self.unit):
            return RTU_EXCEPTION - have
        size = self.size if self.measure is None else self.measure(frame[1:])
        return -1 if size < 0 else size + RTU_EXTRA - have

    def serial_payload(self, frame: bytes) -> bytes:
        """Return the data of a reply frame from the serial line; raises like :func:`payload`."""
        if len(frame) < RTU_EXCEPTION:
            raise BadReply(f"only {len(frame)} bytes came")
        if crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
            raise BadReply(f"the CRC of {len(frame)} bytes is wrong")
        if frame[0] != self.unit:
            raise BadReply(f"unit {frame[0]} answered, {self.unit} was asked")
        return payload(self, frame[1:-2])


def read(unit: int, fn: int, address: int, count: int) -> Request:
    """Ask for ``count`` registers (function 3, 4) or bits (1, 2) from ``address``."""
    bits = fn in (READ_COILS, READ_INPUTS)
    if not bits and fn not in (READ_HOLDING, READ_INPUT_REGISTERS):
        raise ValueError(f"function {fn} does not read")
    _within(address, count, MAX_BITS if bits else MAX_REGISTERS)
    size = (count + 7) // 8 if bits else 2 * count
    return Request(unit, _ADDRESS.pack(fn, address, count), bytes((fn, size)), 2 + size)


def write_coil(unit: int, address: int, on: bool) -> Request:
    """Write one bit (function 5)."""
    _within(address, 1, 1)
    return _echoed(unit, _ADDRESS.pack(WRITE_COIL, address, 0xFF00 if on else 0))


def write_coils(unit: int, address: int, bits: Sequence[bool]) -> Request:
    """Write bits (function 15)."""
    _within(address, len(bits), MAX_WRITTEN_BITS)
    data = sum(bool(bit) << i for i, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    pdu = _BLOCK.pack(WRITE_COILS, address, len(bits), len(data)) + data
    return Request(unit, pdu, pdu[:5], 5)


def write_register(unit: int, address: int, data: bytes) -> Request:
    """Write one register (function 6); ``data`` is its two bytes."""
    if len(data) != 2:
        raise ValueError("function 6 writes one register")
    return _echoed(unit, _ADDRESS.pack(WRITE_REGISTER, address, 0)[:3] + data)


def write_registers(unit: int, address: int, data: bytes) -> Request:
    """Write registers (function 16); ``data`` is two bytes each."""
    count, odd = divmod(len(data), 2)
    if odd:
        raise ValueError("a register has two bytes")
    _within(address, count, MAX_WRITTEN_REGISTERS)
    pdu = _BLOCK.pack(WRITE_REGISTERS, address, count, len(data)) + data
    return Request(unit, pdu, pdu[:5], 5)


def _echoed(unit: int, pdu: bytes) -> Request:
    return Request(unit, pdu, pdu, len(pdu))


def _within(address: int, count: int, most: int) -> None:
    if not (1 <= count <= most and address >= 0 and address + count <= 65_536):
        raise ValueError(f"{count} from address {address} cannot be asked for")


def payload(request: Request, pdu: bytes) -> bytes:
    """Return the data of a reply PDU, or raise because it does not answer ``request``.

    Raises:
        Refused: the device answered with an exception code.
        NoReply: a gateway says that the unit behind it is silent.
        BadReply: anything else.
    """
    if pdu.startswith(request.head) and len(pdu) == (
        request.size if request.measure is None else request.measure(pdu)
    ):
        return pdu[len(request.head) :]
    if len(pdu) == 2 and pdu[0] == request.pdu[0] | ERROR_BIT:
        code = pdu[1]
        text = f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})"
        raise NoReply(text) if code in GATEWAY_SILENT else Refused(text, code)
    raise BadReply(f"{pdu[:8].hex()}… of {len(pdu)} bytes does not answer {request.pdu[:8].hex()}")


def tcp_frame(transaction: int, request: Request) -> bytes:
    """Return the frame for Modbus TCP."""
    return _MBAP.pack(transaction, 0, len(request.pdu) + 1, request.unit) + request.pdu


def tcp_header(data: bytes | bytearray) -> tuple[int, int, int]:
    """Return transaction, unit and length of the whole frame; BadReply when no frame begins here."""
    transaction, protocol, length, unit = _MBAP.unpack_from(data)
    if protocol or not 2 <= length <= MAX_PDU + 1:
        raise BadReply(f"{bytes(data[:7]).hex()} does not begin a Modbus TCP frame")
    return transaction, unit, 6 + length
