import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_link.protocol.sparkplug import (
    MAX_BYTES,
    DataType,
    Metric,
    Payload,
    Quality,
    decode,
    encode,
)
from models.errors import LinkError

RANGES: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.INT8: st.integers(-(2**7), 2**7 - 1),
    DataType.INT16: st.integers(-(2**15), 2**15 - 1),
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.UINT8: st.integers(0, 2**8 - 1),
    DataType.UINT16: st.integers(0, 2**16 - 1),
    DataType.UINT32: st.integers(0, 2**32 - 1),
    DataType.UINT64: st.integers(0, 2**64 - 1),
    DataType.DATETIME: st.integers(0, 2**64 - 1),
    DataType.FLOAT: st.floats(width=32, allow_nan=False),
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.BOOLEAN: st.booleans(),
    DataType.STRING: st.text(st.characters(exclude_categories=["Cs"])),
    DataType.TEXT: st.text(st.characters(exclude_categories=["Cs"])),
    DataType.UUID: st.text(st.characters(exclude_categories=["Cs"])),
    DataType.BYTES: st.binary(),
    DataType.FILE: st.binary(),
}
U64 = st.integers(0, 2**64 - 1)


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    datatype = draw(st.sampled_from(sorted(RANGES)))
    return Metric(
        draw(st.none() | RANGES[datatype]),
        draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
        draw(st.none() | U64),
        datatype,
        draw(st.none() | U64),
        draw(st.booleans()),
        draw(st.none() | st.sampled_from(Quality).map(int)),
    )


PAYLOADS = st.builds(
    Payload,
    st.lists(metrics(), max_size=8).map(tuple),
    st.none() | U64,
    st.none() | U64,
    st.sampled_from(["", "x"]),
)


@given(PAYLOADS)
def test_a_payload_comes_back_as_it_was(payload: Payload) -> None:
    assert decode(encode(payload, with_types=True)) == payload


@given(st.lists(metrics(), max_size=8, unique_by=lambda m: m.datatype))
def test_data_without_types_comes_back_with_the_types_of_the_birth(given_metrics: list[Metric]) -> None:
    aliased = tuple(
        Metric(m.value, "", index, m.datatype, m.timestamp_ms, m.is_historical, m.quality)
        for index, m in enumerate(given_metrics)
    )
    types = {index: m.datatype for index, m in enumerate(given_metrics)}
    assert decode(encode(Payload(aliased, 1, 2)), types).metrics == aliased


@given(PAYLOADS, st.data())
def test_a_truncated_payload_is_an_error_or_a_shorter_one(payload: Payload, data: st.DataObject) -> None:
    raw = encode(payload, with_types=True)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        decode(cut)
    except LinkError:
        pass


@given(st.binary(max_size=200))
def test_noise_never_raises_anything_else(raw: bytes) -> None:
    try:
        decode(raw)
    except LinkError:
        pass


def test_the_wire_format_is_that_of_sparkplug() -> None:
    """By hand from the field numbers: timestamp 1, metrics 2, seq 3; name 1, datatype 4, int_value 10."""
    metric = b"\x0a\x01a" + b"\x20\x03" + b"\x50" + b"\xff\xff\xff\xff\x0f"
    raw = b"\x08\x05" + b"\x12" + bytes([len(metric)]) + metric + b"\x18\x00"
    payload = Payload((Metric(-1, "a", None, DataType.INT32),), 5, 0)
    assert decode(raw) == payload
    assert encode(payload, with_types=True) == raw
    double = b"\x10\x07" + b"\x69" + struct.pack("<d", 2.5)
    assert encode(Payload((Metric(2.5, "", 7, DataType.DOUBLE),))) == b"\x12" + bytes([len(double)]) + double


def test_quality_is_the_property_of_the_standard() -> None:
    value = b"\x08\x03" + b"\x18\xf4\x03"
    properties = b"\x0a\x07Quality" + b"\x12" + bytes([len(value)]) + value
    metric = b"\x10\x01" + b"\x38\x01" + b"\x4a" + bytes([len(properties)]) + properties
    raw = b"\x12" + bytes([len(metric)]) + metric
    assert decode(raw).metrics == (Metric(None, "", 1, quality=Quality.STALE),)
    assert encode(Payload((Metric(None, "", 1, DataType.DOUBLE, quality=Quality.STALE),))) == raw


ODD = [
    ("unknown fields are skipped", b"\x18\x05" + b"\xfa\x7f\x03abc", Payload((), None, 5)),
    ("a template nested in a metric is skipped", b"\x12\x06\x92\x01\x03\x12\x01x", Payload((Metric(None),))),
    ("nothing at all is an empty payload", b"", Payload(())),
]


@pytest.mark.parametrize(("why", "raw", "payload"), ODD, ids=[row[0] for row in ODD])
def test_tolerance(why: str, raw: bytes, payload: Payload) -> None:
    assert decode(raw) == payload


def nested_template(depth: int) -> bytes:
    """A metric holding a template holding a metric, and so on (B12)."""
    inner = b""
    for _ in range(depth):
        template = b"\x12" + _varint(len(inner)) + inner
        inner = b"\x92\x01" + _varint(len(template)) + template
    return b"\x12" + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_a_recursive_template_does_no_harm() -> None:
    assert decode(nested_template(2_000)).metrics == (Metric(None),)


@pytest.mark.parametrize(
    ("why", "raw"),
    [
        ("truncated inside a metric (B12)", b"\x12\x05\x0a\x01"),
        ("a length beyond the end (B12)", b"\x12\xff\xff\xff\xff\x07"),
        ("too long (B12)", b"\x00" * (MAX_BYTES + 1)),
        ("field number zero", b"\x02\x00"),
        ("not UTF-8 in a name", b"\x12\x03\x0a\x01\xff"),
        ("not UTF-8 in a value", b"\x12\x03\x7a\x01\xff"),
        ("a text where the datatype says integer (B11)", b"\x12\x06\x20\x03\x7a\x02hi"),
    ],
)
def test_broken_payloads(why: str, raw: bytes) -> None:
    with pytest.raises(LinkError):
        decode(raw)


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        (True, DataType.INT32),
        (1, DataType.BOOLEAN),
        ("1", DataType.INT32),
        (1.0, DataType.INT64),
        (128, DataType.INT8),
        (-1, DataType.UINT64),
        (b"x", DataType.STRING),
        ("x", DataType.DOUBLE),
        ("\ud800", DataType.STRING),
        (1, DataType.UNKNOWN),
        (1, 99),
    ],
)
def test_a_value_that_does_not_fit_its_datatype_is_not_sent(value: Any, datatype: int) -> None:
    with pytest.raises(LinkError):
        encode(Payload((Metric(value, "a", None, datatype),)))
