"""DL/T 645-2007 requests, and the strict proof that a reply answers the one that is open.

A frame is ``FE FE FE FE | 68 A0…A5 68 C L data CS 16``: the address has 6 BCD bytes, low first, 33h is added
to each data byte, CS is the sum of all bytes from the first 68 on. That sum is weak: it does not see two
errors that cancel each other. So a reply is used only when address, control code, length, end byte and the
echoed data identifier (and frame number) are those of the request as well, and the digits are digits.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass

from models.errors import BadReply, DriverError, Refused

START, END, WAKE = 0x68, 0x16, 0xFE
PREAMBLE = bytes((WAKE,)) * 4
HEAD, TAIL = 10, 2
"""Bytes of a frame before and after its data."""
MAX_LEAD = 8
"""Bytes before the first 68 of a reply: wake-up bytes, of which a line driver may spoil some."""
MAX_DATA = 200
"""Of a reply to a read."""

READ, READ_ON, READ_ADDRESS = 0x11, 0x12, 0x13
REPLY, ERROR, MORE = 0x80, 0x40, 0x20
"""Bits of the control code: from the meter, refused, more frames follow."""
DI_SIZE = 4
ADDRESS_SIZE = 6
ANYONE = "AA" * ADDRESS_SIZE
"""Address to which every meter answers; only for a line with one meter."""
ANY_SIZE = range(255 * MAX_DATA)
"""Of a value in as many frames as there can be."""
ERRORS = (
    "other error",
    "no such data",
    "wrong password or not authorised",
    "the baud rate cannot be changed",
    "too many year zones",
    "too many day periods",
    "too many rates",
    "reserved",
)
"""What the bits of the error byte mean, from bit 0."""

_ADDRESS = re.compile(r"(AA)*([0-9]{2})*")
DI = re.compile(r"[0-9A-F]{8}")
_ADD = bytes((byte + 0x33) & 0xFF for byte in range(256))
_TAKE = bytes((byte - 0x33) & 0xFF for byte in range(256))


def is_address(address: str) -> bool:
    """Whether it is the address of one meter: 12 digits."""
    return len(address) == 2 * ADDRESS_SIZE and address.isascii() and address.isdecimal()


@dataclass(frozen=True, slots=True)
class Request:
    """One request and the only replies that it accepts; a :class:`drivers.modbus.exchange.Exchange`."""

    unit: str
    """Meter address as printed on it: 12 digits, leading pairs may be ``AA`` for whatever is there."""
    control: int
    data: bytes
    """As in the standard's tables, low byte first, 33h not yet added."""
    sizes: range
    """How many bytes of value the reply may bring."""

    @property
    def shape(self) -> tuple[int, bytes]:
        """What tells replies apart: the control code and the echoed data identifier."""
        return self.control, self.data

    @property
    def largest(self) -> int:
        """Most bytes that a reply can have."""
        return MAX_LEAD + HEAD + min(len(self.data) + self.sizes[-1], MAX_DATA) + TAIL

    def serial_frame(self) -> bytes:
        """Return the request as it goes on the line."""
        address = bytes.fromhex(self.unit)[::-1]
        body = bytes((START, *address, START, self.control, len(self.data))) + self.data.translate(_ADD)
        return PREAMBLE + body + bytes((sum(body) & 0xFF, END))

    def missing(self, frame: bytes) -> int:
        """Return how many bytes the reply still lacks; negative when it cannot be one."""
        start = frame.find(START)
        if start < 0:
            return HEAD + TAIL if len(frame) <= MAX_LEAD else -1
        size = len(frame) - start
        if start > MAX_LEAD or (size > 7 and frame[start + 7] != START):
            return -1
        if size < HEAD:
            return HEAD + TAIL - size
        length = frame[start + HEAD - 1]
        return HEAD + length + TAIL - size if length <= MAX_DATA else -1

    def serial_payload(self, frame: bytes) -> bytes:
        """Return the data of a complete reply: 1 when more follows or else 0, then the value, low byte first.

        Raises:
            Refused: the meter answered with an error byte.
            BadReply: anything else that does not answer.
        """
        control, data = self._checked(frame)
        if control == self.control | REPLY | ERROR and len(data) == 1:
            raise Refused(_error_text(data[0]))
        more = control == self.control | REPLY | MORE and self.control != READ_ADDRESS
        if control != self.control | REPLY and not more:
            raise BadReply(f"control code {control:02x} does not answer {self.control:02x}")
        echo, number = self.data[:DI_SIZE], self.data[DI_SIZE:]
        if not data.startswith(echo) or not data.endswith(number):
            raise BadReply(f"data {data[:5].hex()}… does not answer {self.data.hex()}")
        value = data[len(echo) : len(data) - len(number)]
        if len(data) < len(self.data) or len(value) not in (ANY_SIZE if more or number else self.sizes):
            raise BadReply(f"{len(data)} bytes of data do not answer {self.data.hex()}")
        return bytes((more,)) + value

    def _checked(self, frame: bytes) -> tuple[int, bytes]:
        """Return control code and data (33h taken off) of a frame from the right meter."""
        if self.missing(frame) != 0:
            raise BadReply(f"{len(frame)} bytes {frame[:12].hex()}… are no frame")
        body = frame[frame.find(START) :]
        if body[-1] != END or sum(body[:-TAIL]) & 0xFF != body[-TAIL]:
            raise BadReply(f"checksum or end of {len(body)} bytes is wrong")
        if body == self.serial_frame()[len(PREAMBLE) :]:
            raise BadReply("our own request came back: the adapter echoes what it sends")
        address, data = body[6:0:-1].hex(), body[HEAD:-TAIL].translate(_TAKE)
        if not _fits(address, self.unit):
            raise BadReply(f"meter {address} answered, {self.unit} was asked")
        if self.control == READ_ADDRESS and body[8] == READ_ADDRESS | REPLY and data[::-1].hex() != address:
            raise BadReply(f"meter {address} says that it is {data[::-1].hex()}")
        return body[8], data


Steps = Generator[Request, bytes | DriverError, bytes]
"""Yields requests, is sent the data of each reply or the error, returns the value (low byte first)."""


def read_item(unit: str, di: str, sizes: range = ANY_SIZE) -> Steps:
    """Read one data item or block, with all frames that it takes; raises what it is sent.

    Args:
        unit: address of the meter.
        di: data identifier as in the standard, DI3 first, for instance ``02010100``.
        sizes: how many bytes of value answer it.
    """
    di = di.upper()
    if not DI.fullmatch(di):
        raise ValueError(f"{di!r} is no data identifier")
    asked = bytes.fromhex(di)[::-1]
    request, value = _request(unit, READ, asked, sizes), b""
    for number in range(1, 256):
        reply = yield request
        if isinstance(reply, DriverError):
            raise reply
        value += reply[1:]
        if not reply[0]:
            if len(value) not in sizes and number > 1:
                raise BadReply(f"{len(value)} bytes in {number} frames do not answer {di}")
            return value
        request = _request(unit, READ_ON, asked + bytes((number,)), ANY_SIZE)
    raise BadReply(f"the frames of {di} do not end")


def read_address(unit: str = ANYONE) -> Generator[Request, bytes | DriverError, str]:
    """Ask the only meter on the line (or the only one whose address ends like ``unit``) for its address."""
    reply = yield _request(unit, READ_ADDRESS, b"", range(ADDRESS_SIZE, ADDRESS_SIZE + 1))
    if isinstance(reply, DriverError):
        raise reply
    return reply[:0:-1].hex()


def _request(unit: str, control: int, data: bytes, sizes: range) -> Request:
    if len(unit) != 2 * ADDRESS_SIZE or not _ADDRESS.fullmatch(unit):
        raise ValueError(f"{unit!r} is no meter address")
    return Request(unit, control, data, sizes)


def _fits(address: str, asked: str) -> bool:
    """Whether a meter's own address is a number, and is the one that was asked."""
    return is_address(address) and address.endswith(asked.lstrip("A"))


def _error_text(bits: int) -> str:
    names = ", ".join(name for bit, name in enumerate(ERRORS) if bits >> bit & 1)
    return f"error {bits:02x} ({names or 'unnamed'})"
