"""What the mutating peer of fuzz.py truly holds: a function of unit, function, address and epoch.

The epoch is the number of the request that is open. So a value that belongs to another unit, function,
address or request differs from the one that is due, and whoever takes it for the answer is found out.
"""

import struct

READS_BITS, READS_REGISTERS = (1, 2), (3, 4)
ECHOED = (5, 6, 8, 22)
WRITES = (5, 6, 15, 16, 22, 23)


def truth(unit: int, fn: int, address: int, epoch: int) -> int:
    """Return 16 bits that look like no others."""
    x = (unit * 0x9E3779B1 + fn * 0x85EBCA77 + address * 0xC2B2AE3D + epoch * 0x27D4EB2F) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return (x ^ (x >> 13)) & 0xFFFF


def registers(unit: int, fn: int, address: int, count: int, epoch: int) -> bytes:
    """Return the true content of registers."""
    return struct.pack(f">{count}H", *(truth(unit, fn, address + i, epoch) for i in range(count)))


def bits(unit: int, fn: int, address: int, count: int, epoch: int) -> bytes:
    """Return the true content of bits, lowest first."""
    found = sum((truth(unit, fn, address + i, epoch) & 1) << i for i in range(count))
    return found.to_bytes((count + 7) // 8, "little")


def answer(unit: int, pdu: bytes, epoch: int) -> bytes:
    """Return the PDU that truly answers a request."""
    fn = pdu[0]
    if fn in ECHOED:
        return pdu
    if fn in (15, 16):
        return pdu[:5]
    if fn in (17, 43):
        text = b"device %d at %d" % (unit, epoch)
        head = b"\x11" if fn == 17 else pdu[:3] + bytes((1, 0, 0, 1, pdu[3]))
        return head + bytes((len(text),)) + text
    address, count = struct.unpack_from(">HH", pdu, 1)
    data = (bits if fn in READS_BITS else registers)(unit, fn, address, count, epoch)
    return bytes((fn, len(data))) + data


def request_size(frame: bytes) -> int:
    """Return the length of the serial request that begins with ``frame``; 0 while that is unknown."""
    fn = frame[1] if len(frame) > 1 else 0
    if fn in (15, 16):
        return 9 + frame[6] if len(frame) > 6 else 0
    if fn == 23:
        return 13 + frame[10] if len(frame) > 10 else 0
    return {0: 0, 17: 4, 43: 7, 22: 10}.get(fn, 8)
