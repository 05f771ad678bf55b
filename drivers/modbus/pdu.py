"""The uncommon Modbus functions, for people who look at a device: no control, nothing of it in a poll.

pymodbus encodes the requests; it is loaded when one is built, so that the controller never does. That a reply
answers is proven here, as for the common functions: function, sub function, lengths and what is echoed.
"""

import importlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

from drivers.modbus.frames import MAX_PDU, MAX_REGISTERS, MAX_WRITTEN_REGISTERS, Request
from models.errors import BadReply, DriverError

ECHOING = (0, 1, 3, 10, 20)
"""Diagnostic sub functions whose reply is the request; 4 (listen only) has none."""
COUNTING = (2, *range(11, 19))
"""Diagnostic sub functions that return one register."""
MAX_LOG = 70
MAX_FIFO = 31
FILE_REFERENCE = 6
DEVICE_ID = b"\x2b\x0e"
BASIC, REGULAR, EXTENDED, ONE_OBJECT = 1, 2, 3, 4
"""Access to the device identification (V1.1b3, 6.21)."""

Measure = Callable[[bytes], int]


def read_exception_status(unit: int) -> Request:
    """Ask for the eight exception bits (function 7): one byte."""
    return Request(unit, _encoded("other", "ReadExceptionStatusRequest"), b"\x07", 2)


def diagnose(unit: int, sub: int, data: bytes = b"\0\0") -> Request:
    """Ask for a diagnostic (function 8): a counter is returned as two bytes, an echo as none."""
    if sub not in ECHOING + COUNTING or len(data) % 2 or (len(data) != 2 and sub):
        raise ValueError(f"diagnostic {sub} with {len(data)} bytes cannot be asked for")
    module = importlib.import_module("pymodbus.pdu.diag_message")
    kinds = (kind for kind in vars(module).values() if getattr(kind, "sub_function_code", None) == sub)
    name = next(kind.__name__ for kind in kinds if kind.__name__.endswith("Request"))
    pdu = _encoded("diag", name, message=data)
    return Request(unit, pdu, pdu, len(pdu)) if sub in ECHOING else Request(unit, pdu, pdu[:3], 5)


def read_event_counter(unit: int) -> Request:
    """Ask for status and number of events (function 11): two registers."""
    return Request(unit, _encoded("other", "GetCommEventCounterRequest"), b"\x0b", 5)


def read_event_log(unit: int) -> Request:
    """Ask for the log (function 12): count of bytes, status, events, messages (a register each), log."""
    pdu = _encoded("other", "GetCommEventLogRequest")
    return Request(unit, pdu, b"\x0c", 2 + MAX_LOG, _counted(12, 6, MAX_LOG))


def report_server_id(unit: int) -> Request:
    """Ask what the device is (function 17): count of bytes, then whatever its vendor thought of."""
    return Request(unit, _encoded("other", "ReportDeviceIdRequest"), b"\x11", MAX_PDU, _counted(17, 1, 251))


def read_file(unit: int, records: Sequence[tuple[int, int, int]]) -> Request:
    """Ask for records (function 20), each a file, a number and a count of registers.

    The reply has, for each, its length plus 1 and the reference type 6 before the registers.
    """
    lengths = [2 * count for _, _, count in records]
    size = sum(length + 2 for length in lengths)
    _at_most(size, 245)
    heads = [(sum(lengths[:i]) + 2 * i, length + 1) for i, length in enumerate(lengths)]

    def measure(pdu: bytes) -> int:
        for at, length in heads:
            if any(a != b for a, b in zip(pdu[2 + at : 4 + at], (length, FILE_REFERENCE), strict=False)):
                return -1
        return 2 + size

    fields = [
        {"file_number": file, "record_number": record, "record_length": 2 * count}
        for file, record, count in records
    ]
    pdu = _encoded("file", "ReadFileRecordRequest", records=_file_records(fields))
    return Request(unit, pdu, bytes((20, size)), 2 + size, measure)


def write_file(unit: int, records: Sequence[tuple[int, int, bytes]]) -> Request:
    """Write records (function 21), each a file, a number and its registers; the reply is the echo."""
    fields = [
        {"file_number": file, "record_number": record, "record_data": data} for file, record, data in records
    ]
    _at_most(sum(7 + len(data) for _, _, data in records), 251)
    pdu = _encoded("file", "WriteFileRecordRequest", records=_file_records(fields))
    return Request(unit, pdu, pdu, len(pdu))


def mask_register(unit: int, address: int, and_mask: int, or_mask: int) -> Request:
    """Set a register to (value AND and_mask) OR (or_mask AND NOT and_mask) (function 22); echoed."""
    pdu = _encoded(
        "register", "MaskWriteRegisterRequest", address=address, and_mask=and_mask, or_mask=or_mask
    )
    return Request(unit, pdu, pdu, len(pdu))


def write_and_read(unit: int, address: int, count: int, to: int, data: bytes) -> Request:
    """Write the registers ``data`` from ``to``, then read ``count`` from ``address`` (function 23)."""
    _at_most(count, MAX_REGISTERS)
    _at_most(len(data) // 2, MAX_WRITTEN_REGISTERS - 2)
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    fields = {"read_address": address, "read_count": count, "write_address": to, "write_registers": words}
    pdu = _encoded("register", "ReadWriteMultipleRegistersRequest", **fields)
    return Request(unit, pdu, bytes((23, 2 * count)), 2 + 2 * count)


def read_fifo(unit: int, address: int) -> Request:
    """Ask for a queue (function 24): count of bytes, count of registers, up to 31 registers."""

    def measure(pdu: bytes) -> int:
        if len(pdu) < 5:
            return 5
        size, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        return 3 + size if size == 2 + 2 * count and count <= MAX_FIFO else -1

    pdu = _encoded("file", "ReadFifoQueueRequest", address=address)
    return Request(unit, pdu, b"\x18", 5 + 2 * MAX_FIFO, measure)


def device_id(unit: int, access: int = BASIC, first: int = 0) -> Request:
    """Ask for the identification (function 43/14) from object ``first``; ``objects`` reads the reply."""
    fields = {"read_code": access, "object_id": first}
    pdu = _encoded("mei", "ReadDeviceInformationRequest", **fields)
    return Request(unit, pdu, pdu[:3], MAX_PDU, _measure_objects)


def read_device_id(unit: int, access: int = BASIC) -> Generator[Request, bytes | DriverError, dict[int, str]]:
    """Read the whole identification: object number to text (0 vendor, 1 product, 2 revision).

    Yields requests and is sent the data of the replies, or the error, which it raises again.

    Raises:
        BadReply: the device says that more follows, but not forward.
    """
    found: dict[int, str] = {}
    first = 0
    while True:
        reply = yield device_id(unit, access, first)
        if isinstance(reply, DriverError):
            raise reply
        found |= {number: _text(data) for number, data in objects(reply)}
        if not reply[1]:
            return found
        if reply[2] <= max(found, default=-1) or reply[2] <= first:
            raise BadReply(f"the identification goes from object {first} back to {reply[2]}")
        first = reply[2]


def objects(data: bytes) -> list[tuple[int, bytes]]:
    """Return number and content of the objects in a proven reply to :func:`device_id`."""
    found, at = [], 4
    while at < len(data):
        end = at + 2 + data[at + 1]
        found.append((data[at], data[at + 2 : end]))
        at = end
    return found


def _measure_objects(pdu: bytes) -> int:
    """Function, 14, access, conformity, more, next object, count; then number, length, content of each."""
    size = 7
    for _ in range(pdu[6] if len(pdu) > 6 else 0):
        size += 2
        if len(pdu) < size:
            return size
        size += pdu[size - 1]
    return size if pdu[0] == DEVICE_ID[0] and size <= MAX_PDU else -1


def _counted(fn: int, least: int, most: int) -> Measure:
    """Return the measure of a reply that is function, count of bytes, that many bytes."""

    def measure(pdu: bytes) -> int:
        if pdu[0] != fn:
            return -1
        if len(pdu) < 2:
            return 2 + least
        return 2 + pdu[1] if least <= pdu[1] <= most else -1

    return measure


def _encoded(module: str, name: str, **fields: Any) -> bytes:
    """Return the PDU that pymodbus makes of a request."""
    kind = getattr(importlib.import_module(f"pymodbus.pdu.{module}_message"), name)
    request = kind(**fields)
    return bytes((request.function_code,)) + bytes(request.encode())


def _file_records(fields: Sequence[dict[str, Any]]) -> list[Any]:
    kind = importlib.import_module("pymodbus.pdu.file_message").FileRecord
    return [kind(**one) for one in fields]


def _at_most(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ValueError(f"{count} cannot be asked for, only 1 to {most}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip("\0 ")
