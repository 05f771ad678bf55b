"""Our decoder of publish responses against asyncua's own: the same, or nothing at all."""

import datetime
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.opcua_publish import RESPONSE, SCALARS, Changes, decode
from drivers.opcua_value import parts

CONTENT: dict[ua.VariantType, Any] = {
    ua.VariantType.Boolean: st.booleans(),
    ua.VariantType.Byte: st.integers(0, 255),
    ua.VariantType.SByte: st.integers(-128, 127),
    ua.VariantType.Int16: st.integers(-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: st.integers(0, 2**16 - 1),
    ua.VariantType.Int32: st.integers(-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: st.integers(0, 2**32 - 1),
    ua.VariantType.Int64: st.integers(-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: st.integers(0, 2**64 - 1),
    ua.VariantType.Float: st.floats(width=32, allow_nan=False),
    ua.VariantType.Double: st.floats(allow_nan=False),
    ua.VariantType.String: st.text(max_size=5),
}
TIMES = st.none() | st.just(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
CODES = st.sampled_from([0, 0x40920000, 0x80310000])


@st.composite
def items(draw: st.DrawFn, kinds: list[ua.VariantType]) -> ua.MonitoredItemNotification:
    kind = draw(st.sampled_from(kinds))
    status = draw(st.none() | CODES)
    item = ua.MonitoredItemNotification()
    item.ClientHandle = draw(st.integers(0, 2**32 - 1))
    item.Value = ua.DataValue(
        ua.Variant(draw(CONTENT[kind]), kind),
        StatusCode=None if status is None else ua.StatusCode(status),
        SourceTimestamp=draw(TIMES),
        ServerTimestamp=draw(TIMES),
    )
    return item


def response(changed: list[ua.MonitoredItemNotification], number: int = 7) -> bytes:
    """Return what a server sends."""
    notification = ua.DataChangeNotification()
    notification.MonitoredItems = changed
    made = ua.PublishResponse()
    made.Parameters.SubscriptionId = 5
    made.Parameters.AvailableSequenceNumbers = [number - 1, number]
    made.Parameters.NotificationMessage.SequenceNumber = number
    made.Parameters.NotificationMessage.NotificationData = [notification]
    data: bytes = struct_to_binary(made)
    return data


def by_asyncua(data: bytes) -> list[tuple[int, object, int]]:
    message = struct_from_binary(ua.PublishResponse, Buffer(data)).Parameters.NotificationMessage
    return [
        (i.ClientHandle, *parts(i.Value)) for part in message.NotificationData for i in part.MonitoredItems
    ]


NUMBERS = [kind for kind in CONTENT if kind.value in SCALARS]


@settings(max_examples=60, deadline=None)
@given(st.lists(items(NUMBERS), min_size=1, max_size=6))
def test_numbers_decode_as_asyncua_does(changed: list[ua.MonitoredItemNotification]) -> None:
    data = response(changed)
    found = decode(data)
    assert data.startswith(RESPONSE)
    assert found is not None
    assert found.Parameters.SubscriptionId == 5
    message = found.Parameters.NotificationMessage
    assert message.SequenceNumber == 7
    assert isinstance(message.NotificationData[0], Changes)
    assert list(message.NotificationData[0]) == by_asyncua(data)


@settings(max_examples=60, deadline=None)
@given(st.lists(items(list(CONTENT)), min_size=1, max_size=4), st.data())
def test_what_is_not_whole_is_left_to_asyncua(
    changed: list[ua.MonitoredItemNotification], data: st.DataObject
) -> None:
    whole = response(changed)
    found = decode(whole)
    if any(item.Value.Value.VariantType is ua.VariantType.String for item in changed):
        assert found is None
    assert decode(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_left_to_asyncua(rubbish: bytes) -> None:
    assert decode(RESPONSE + rubbish) is None


def test_a_keep_alive_an_error_and_an_end_are_left_to_asyncua() -> None:
    empty = ua.PublishResponse()
    assert decode(struct_to_binary(empty)) is None
    failed = ua.PublishResponse()
    failed.ResponseHeader.ServiceResult = ua.StatusCode(0x80190000)
    assert decode(struct_to_binary(failed)) is None
    ended = ua.PublishResponse()
    ended.Parameters.NotificationMessage.NotificationData = [ua.StatusChangeNotification()]
    assert decode(struct_to_binary(ended)) is None
