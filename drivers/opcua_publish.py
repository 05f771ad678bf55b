"""Publish responses decoded without an object per notification.

asyncua makes six objects for each changed value, which is two thirds of what a notification costs. Here the
common form (data changes of scalar numbers) is read straight from the bytes; whatever else there is, or does
not fit to the last byte, is left to asyncua. Layout: OPC 10000-6 5.2, OPC 10000-4 5.14.5.
"""

from struct import Struct
from struct import error as StructError

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary

HEAD = Struct("<4sqII BiHB")
"""Type, time, request handle, service result; no diagnostics, no strings, no additional header."""
RESPONSE = bytes((1, 0)) + ObjectIds.PublishResponse_Encoding_DefaultBinary.to_bytes(2, "little")
CHANGES = bytes((1, 0)) + ObjectIds.DataChangeNotification_Encoding_DefaultBinary.to_bytes(2, "little")
MESSAGE = Struct("<BIqi")
"""More notifications, sequence number, publish time, number of parts."""
PART = Struct("<4sBii")
"""Type, form of the body, its length, number of items."""
ITEM = Struct("<IBB")
"""Client handle, which fields follow, type of the variant."""
WHOLE = Struct("<i")
CODE = Struct("<I")
SCALARS = {
    kind.value: Struct(f"<{letter}")
    for kind, letter in {
        ua.VariantType.Boolean: "?", ua.VariantType.SByte: "b", ua.VariantType.Byte: "B",
        ua.VariantType.Int16: "h", ua.VariantType.UInt16: "H", ua.VariantType.Int32: "i",
        ua.VariantType.UInt32: "I", ua.VariantType.Int64: "q", ua.VariantType.UInt64: "Q",
        ua.VariantType.Float: "f", ua.VariantType.Double: "d",
    }.items()
}  # fmt: skip
VALUE, STATUS = 1, 2
TIMES = {4: 8, 8: 8, 16: 2, 32: 2}
"""Bytes of source and server time and of their picoseconds, by their bit."""
SKIP = [sum(size for bit, size in TIMES.items() if mask & bit) for mask in range(64)]
LAST_PART = b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"
"""An array that is null, or empty."""


class Changes(list[tuple[int, object, int]]):
    """The data changes of one message: client handle, content, status code."""


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a 32-bit count, none counted as 0, and where it ends."""
    (count,) = WHOLE.unpack_from(data, at)
    return max(count, 0), at + 4


def _items(data: bytes, at: int, count: int) -> tuple[Changes, int] | None:
    changes = Changes()
    append, item, scalars = changes.append, ITEM.unpack_from, SCALARS
    for _ in range(count):
        handle, mask, kind = item(data, at)
        scalar = scalars.get(kind)
        if scalar is None or not mask & VALUE or mask > 63:
            return None
        (content,) = scalar.unpack_from(data, at + 6)
        at += 6 + scalar.size
        code = 0
        if mask != VALUE:
            if mask & STATUS:
                (code,) = CODE.unpack_from(data, at)
                at += 4
            at += SKIP[mask]
        append((handle, content, code))
    return changes, at


def decode(data: bytes) -> ua.PublishResponse | None:
    """Return the response, its notifications as ``Changes``; None when it is not of the common form."""
    try:
        kind, _, handle, result, *rest = HEAD.unpack_from(data)
        if kind != RESPONSE or result or rest[0] or rest[1] > 0 or rest[2] or rest[3]:
            return None
        (subscription,) = CODE.unpack_from(data, HEAD.size)
        available, at = _number(data, HEAD.size + 4)
        at += 4 * available
        _, number, _, count = MESSAGE.unpack_from(data, at)
        at += MESSAGE.size
        if count != 1:
            return None
        kind, form, length, items = PART.unpack_from(data, at)
        ends = at + 9 + length
        if kind != CHANGES or form != 1:
            return None
        found = _items(data, at + PART.size, items)
        results, at = _number(data, ends)
        diagnostics, at = _number(data, at + 4 * results)
    except StructError:
        return None
    # no diagnostics follow, neither those of the items nor those of the response, and nothing else
    if found is None or found[1] + 4 != ends or data[found[1] : ends] not in LAST_PART:
        return None
    if diagnostics or at != len(data):
        return None
    response = ua.PublishResponse()
    response.ResponseHeader.RequestHandle = handle
    response.Parameters.SubscriptionId = subscription
    response.Parameters.NotificationMessage.SequenceNumber = number
    response.Parameters.NotificationMessage.NotificationData = [found[0]]
    return response


def publish_fast(session: UaSession) -> None:
    """Let a session decode its publish responses here."""

    async def publish(acks: list[ua.SubscriptionAcknowledgement]) -> ua.PublishResponse:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acks
        buffer = await session._send_request(request, timeout=0)
        response = decode(buffer.copy().read(len(buffer)))
        return struct_from_binary(ua.PublishResponse, buffer) if response is None else response

    session.publish = publish  # type: ignore[method-assign]
