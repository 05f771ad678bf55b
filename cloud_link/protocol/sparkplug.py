"""Sparkplug B payloads: metrics to bytes and back.

The protobuf messages are described here by their public field numbers; datasets, templates and metadata
are not described, so they are skipped as unknown fields, however deep they nest.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from models.errors import LinkError

Value: TypeAlias = bool | int | float | str | bytes | None

MAX_BYTES = 1_048_576
"""Longest payload that is decoded."""


class DataType(IntEnum):
    """Datatype codes of Sparkplug B (those that carry one value)."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    BYTES = 17
    FILE = 18


class Quality(IntEnum):
    """Values of the property ``Quality``; no others are allowed."""

    BAD = 0
    GOOD = 192
    STALE = 500


@dataclass(frozen=True, slots=True)
class Metric:
    """One value with its name (births) or alias (data)."""

    value: Value
    """None is sent as a null."""
    name: str = ""
    alias: int | None = None
    datatype: int = DataType.UNKNOWN
    """A DataType; needed to encode a value, sent in births, see ``with_types``."""
    timestamp_ms: int | None = None
    """UTC."""
    is_historical: bool = False
    quality: int | None = None
    """A Quality, or None when the property is absent (which means GOOD)."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One Sparkplug message."""

    metrics: tuple[Metric, ...]
    timestamp_ms: int | None = None
    """UTC."""
    seq: int | None = None
    """0..255, or None (NDEATH and commands have none)."""
    uuid: str = ""


_INT, _LONG, _FLOAT, _DOUBLE = "int_value", "long_value", "float_value", "double_value"
_BOOLEAN, _STRING, _BYTES = "boolean_value", "string_value", "bytes_value"

# datatype -> (value field, bits, signed); bits 0 = not an integer
_FORM: dict[int, tuple[str, int, bool]] = {
    DataType.INT8: (_INT, 8, True),
    DataType.INT16: (_INT, 16, True),
    DataType.INT32: (_INT, 32, True),
    DataType.INT64: (_LONG, 64, True),
    DataType.UINT8: (_INT, 8, False),
    DataType.UINT16: (_INT, 16, False),
    DataType.UINT32: (_INT, 32, False),
    DataType.UINT64: (_LONG, 64, False),
    DataType.DATETIME: (_LONG, 64, False),
    DataType.FLOAT: (_FLOAT, 0, False),
    DataType.DOUBLE: (_DOUBLE, 0, False),
    DataType.BOOLEAN: (_BOOLEAN, 0, False),
    DataType.STRING: (_STRING, 0, False),
    DataType.TEXT: (_STRING, 0, False),
    DataType.UUID: (_STRING, 0, False),
    DataType.BYTES: (_BYTES, 0, False),
    DataType.FILE: (_BYTES, 0, False),
}

_KIND: dict[str, tuple[type, ...]] = {
    _INT: (int,),
    _LONG: (int,),
    _FLOAT: (float, int),
    _DOUBLE: (float, int),
    _BOOLEAN: (bool,),
    _STRING: (str,),
    _BYTES: (bytes,),
}

_MESSAGES = {
    "Payload": "timestamp:1:u64 metrics:2:*Metric seq:3:u64 uuid:4:str body:5:bytes",
    "Metric": (
        "name:1:str alias:2:u64 timestamp:3:u64 datatype:4:u32 is_historical:5:bool is_transient:6:bool "
        "is_null:7:bool properties:9:PropertySet int_value:10:u32 long_value:11:u64 float_value:12:f32 "
        "double_value:13:f64 boolean_value:14:bool string_value:15:str bytes_value:16:bytes"
    ),
    "PropertySet": "keys:1:*str values:2:*PropertyValue",
    "PropertyValue": "type:1:u32 is_null:2:bool int_value:3:u32 long_value:4:u64",
}

_Field = descriptor_pb2.FieldDescriptorProto
_WIRE = {
    "u32": _Field.TYPE_UINT32,
    "u64": _Field.TYPE_UINT64,
    "f32": _Field.TYPE_FLOAT,
    "f64": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
    "str": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def _build_payload_class() -> Any:
    """Build the protobuf class from the field table, in a pool of our own."""
    file = descriptor_pb2.FileDescriptorProto(name="yunchu_spb.proto", package="yunchu.spb", syntax="proto2")
    for message, fields in _MESSAGES.items():
        entry = file.message_type.add(name=message)
        for text in fields.split():
            name, number, kind = text.split(":")
            label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            field = entry.field.add(name=name, number=int(number), label=label)
            kind = kind.lstrip("*")
            if kind in _WIRE:
                field.type = _WIRE[kind]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".yunchu.spb.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("yunchu.spb.Payload"))


_Payload = _build_payload_class()


def encode(payload: Payload, *, with_types: bool = False) -> bytes:
    """Return the bytes of a payload.

    Args:
        payload: what to send.
        with_types: write datatypes (births and deaths); data messages leave them out.

    Raises:
        LinkError: a value does not fit its datatype, or a number is out of range.
    """
    message = _Payload()
    try:
        if payload.timestamp_ms is not None:
            message.timestamp = payload.timestamp_ms
        if payload.seq is not None:
            message.seq = payload.seq
        if payload.uuid:
            message.uuid = payload.uuid
        for metric in payload.metrics:
            _write(message.metrics.add(), metric, with_types)
        return bytes(message.SerializeToString())
    except (ValueError, TypeError) as error:
        raise LinkError(f"a metric cannot be encoded: {error}") from error


def _write(out: Any, metric: Metric, with_types: bool) -> None:
    if metric.name:
        out.name = metric.name
    if metric.alias is not None:
        out.alias = metric.alias
    if metric.timestamp_ms is not None:
        out.timestamp = metric.timestamp_ms
    if with_types:
        out.datatype = metric.datatype
    if metric.is_historical:
        out.is_historical = True
    if metric.quality is not None:
        out.properties.keys.append("Quality")
        out.properties.values.add(type=DataType.INT32, int_value=metric.quality)
    if metric.value is None:
        out.is_null = True
        return
    field, value = _wire_value(metric.value, metric.datatype)
    setattr(out, field, value)


def _wire_value(value: Value, datatype: int) -> tuple[str, Value]:
    """Return the protobuf field and what to put in it; negative integers as two's complement."""
    if datatype not in _FORM:
        raise ValueError(f"datatype {datatype} is not supported")
    field, bits, signed = _FORM[datatype]
    if type(value) not in _KIND[field]:
        raise ValueError(f"{value!r} is not a {DataType(datatype).name}")
    if not bits or not isinstance(value, int):
        return field, value
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise ValueError(f"{value} does not fit {DataType(datatype).name}")
    return field, value & ((1 << (64 if field == _LONG else 32)) - 1)


def decode(raw: bytes, types: Mapping[int, int] | None = None) -> Payload:
    """Read a payload; unknown fields are skipped.

    Args:
        raw: bytes as received.
        types: datatype by alias, from the births; data messages do not carry it.

    Raises:
        LinkError: truncated, too long, or not a Sparkplug payload.
    """
    if len(raw) > MAX_BYTES:
        raise LinkError(f"payload of {len(raw)} bytes; the limit is {MAX_BYTES}")
    message = _Payload()
    try:
        message.ParseFromString(raw)
        metrics = tuple(_read(metric, types or {}) for metric in message.metrics)
        return Payload(
            metrics,
            message.timestamp if message.HasField("timestamp") else None,
            message.seq if message.HasField("seq") else None,
            _text(message.uuid),
        )
    except (DecodeError, ValueError, struct.error) as error:
        raise LinkError(f"not a Sparkplug payload: {error}") from error


def _read(metric: Any, types: Mapping[int, int]) -> Metric:
    alias = metric.alias if metric.HasField("alias") else None
    datatype = metric.datatype or types.get(-1 if alias is None else alias, DataType.UNKNOWN)
    return Metric(
        _value(metric, datatype),
        _text(metric.name),
        alias,
        datatype,
        metric.timestamp if metric.HasField("timestamp") else None,
        metric.is_historical,
        _quality(metric.properties),
    )


def _text(value: Any) -> str:
    """Return a text; protobuf hands out bytes for what is not UTF-8."""
    if not isinstance(value, str):
        raise LinkError("a text is not UTF-8")
    return value


def _value(metric: Any, datatype: int) -> Value:
    """Return the value, or None for a null; LinkError if the field does not belong to the datatype."""
    present = [field for field in _KIND if metric.HasField(field)]
    if metric.is_null or not present:
        return None
    field = present[-1]
    value: Value = getattr(metric, field)
    if field == _STRING:
        _text(value)
    if datatype not in _FORM:
        return value
    expected, bits, signed = _FORM[datatype]
    if field != expected:
        raise LinkError(f"metric {metric.name or metric.alias}: {field} is not a {DataType(datatype).name}")
    if bits and isinstance(value, int):
        value &= (1 << bits) - 1
        return value - (1 << bits) if signed and value >> (bits - 1) else value
    return value


def _quality(properties: Any) -> int | None:
    for name, value in zip(properties.keys, properties.values, strict=False):
        if name == "Quality" and value.HasField("int_value"):
            return int(value.int_value)
    return None
