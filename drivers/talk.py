"""Conversations with a device: generators that yield requests and get the data of each reply, or the error.

The same conversation runs in the thread of a link (``drivers.guest``), on a line that is opened for it alone
(``talk``), through a socket, or in a test without any line.
"""

import struct
from collections.abc import Callable, Generator
from typing import TypeVar

from drivers.modbus import frames
from drivers.modbus.frames import Request
from drivers.modbus.line import LineLost
from drivers.modbus.link import Link, Station
from models.errors import DriverError, NoReply

T = TypeVar("T")
Talk = Generator[Request, bytes | DriverError, T]
Ask = Callable[[Request], bytes]
"""Asks once and returns the data of the reply, or raises DriverError."""


def hold(work: Talk[T], ask: Ask) -> T:
    """Hold a conversation through ``ask``; what the conversation itself raises is raised.

    Raises:
        LineLost: the line is gone; the conversation ends there.
    """
    try:
        request = next(work)
        while True:
            try:
                answer: bytes | DriverError = ask(request)
            except LineLost:
                work.close()
                raise
            except DriverError as error:
                answer = error
            request = work.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


class Direct:
    """Asks on a line that was opened for this alone; opens it again when the device closes it."""

    def __init__(self, link: Link, timeout_min_s: float = 0.1, timeout_max_s: float = 0.5) -> None:
        self.link = link
        self._bounds = timeout_min_s, timeout_max_s

    def __call__(self, request: Request) -> bytes:
        """See Ask; LineLost when it cannot be opened."""
        self.link.stations.setdefault(request.unit, Station(*self._bounds))
        if not self.link.line.is_open:
            self.link.open()
        try:
            return self.link.ask(request)
        except LineLost as error:
            self.link.close()  # many devices hang up on what they do not know
            self.link.open()
            raise NoReply(str(error)) from error


def request_of(unit: int, pdu: bytes) -> Request:
    """Return the request that a PDU of function 1 to 6, 15 or 16 is; ValueError for any other."""
    try:
        fn, address, count = struct.unpack_from(">BHH", pdu)
    except struct.error:
        raise ValueError(f"{pdu.hex()} is no request") from None
    if not 0 <= unit <= 255:
        raise ValueError(f"unit {unit} cannot be")
    if 1 <= fn <= 4:
        request = frames.read(unit, fn, address, count)
    elif fn == frames.WRITE_COIL:
        request = frames.write_coil(unit, address, count == 0xFF00)
    elif fn == frames.WRITE_REGISTER:
        request = frames.write_register(unit, address, pdu[3:5])
    elif fn == frames.WRITE_COILS and len(pdu) == 6 + (count + 7) // 8:
        request = frames.write_coils(
            unit, address, [bool(pdu[6 + k // 8] >> k % 8 & 1) for k in range(count)]
        )
    elif fn == frames.WRITE_REGISTERS:
        request = frames.write_registers(unit, address, pdu[6:])
    else:
        raise ValueError(f"function {fn} is not asked here")
    if request.pdu != pdu:
        raise ValueError(f"{pdu.hex()} is no proper request")
    return request


def touched(request: Request) -> range:
    """Return the addresses that a read or write of :func:`request_of` touches."""
    fn, address, count = struct.unpack_from(">BHH", request.pdu)
    return range(address, address + (1 if fn in (frames.WRITE_COIL, frames.WRITE_REGISTER) else count))


def writes(request: Request) -> bool:
    """Whether it changes something in the device."""
    return request.pdu[0] > frames.READ_INPUT_REGISTERS
