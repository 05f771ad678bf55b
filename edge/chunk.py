"""A stretch of records as one blob: every number of the row becomes a column, packed without loss, then zlib.

Columns that are equal to an earlier one (readings of one reply share their time) are stored once. The blob
begins with a table: the length of each column, or how many columns back its equal stands (negative).
Works for any structured type of numbers, also nested ones: it knows offsets, not meanings. One column can be
read without decoding the others.
"""

import ast
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cython_ext import series

Rows = NDArray[np.void]
HEAD = 8
"""Bytes in front of the compressed part: number of records, number of bytes of the table of lengths."""


@dataclass(frozen=True, slots=True)
class Column:
    """One number of the row."""

    name: str
    """For instance ``p_set_kw[0]`` or ``state_in.cycle``."""
    code: str
    """numpy type code."""
    offset: int


def _leaves(dtype: np.dtype[np.void], prefix: str, offset: int) -> Iterator[Column]:
    for name, (part, at, *_) in (dtype.fields or {}).items():
        base, shape = part.subdtype or (part, ())
        for number in range(int(np.prod(shape))):
            full = f"{prefix}{name}[{number}]" if shape else f"{prefix}{name}"
            here = offset + at + number * base.itemsize
            if base.names:
                yield from _leaves(base, full + ".", here)
            elif base.kind in "fiub" and base.itemsize <= 8:
                yield Column(full, base.str, here)
            else:
                raise TypeError(f"{full} is not a number")


@lru_cache(maxsize=8)
def columns(dtype: np.dtype[np.void]) -> tuple[Column, ...]:
    """Return all numbers of a row, in the order of the row.

    Raises:
        TypeError: a field is not a number.
    """
    return tuple(_leaves(dtype, "", 0))


def describe(dtype: np.dtype[np.void]) -> str:
    """Return the type as text, from which ``described`` makes it again."""
    return repr(dtype.descr)


def described(text: str) -> np.dtype[np.void]:
    """Return the type that ``describe`` has described."""
    dtype: np.dtype[np.void] = np.dtype(ast.literal_eval(text))
    return dtype


def _view(rows: NDArray[np.uint8], column: Column) -> NDArray[np.generic]:
    """Return one column of the records' bytes (N, itemsize) without copying."""
    return np.ndarray((len(rows),), column.code, rows, column.offset, (rows.shape[1],))


def pack(rows: Rows) -> bytes:
    """Return the records (N,) as a blob."""
    raw = np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), rows.dtype.itemsize)
    parts: dict[bytes, int] = {}
    lengths = []
    for number, column in enumerate(columns(rows.dtype)):
        packed = _pack_column(_view(raw, column))
        same = parts.setdefault(packed, number)
        lengths.append(len(packed) if same == number else same - number)
    table = series.pack_integers(np.array(lengths, np.int64))
    head = len(rows).to_bytes(4, "little") + len(table).to_bytes(4, "little")
    return head + zlib.compress(table + b"".join(parts), 6)


def _pack_column(column: NDArray[np.generic]) -> bytes:
    if column.dtype.kind == "f":
        values = column.astype(np.float64)
        return series.pack(values, series.best_scale(values))
    if column.dtype == np.uint64:
        return series.pack_integers(np.ascontiguousarray(column).view(np.int64))
    return series.pack_integers(column.astype(np.int64))


def _unpack_column(data: bytes, column: Column, size: int) -> NDArray[np.generic]:
    if column.code[1] == "f":
        return series.unpack(data, size).astype(column.code)
    return series.unpack_integers(data, size).astype(column.code)


def _open(blob: bytes, dtype: np.dtype[np.void]) -> tuple[int, list[bytes]]:
    """Return the number of records and the packed columns."""
    size, table = int.from_bytes(blob[:4], "little"), int.from_bytes(blob[4:8], "little")
    try:
        body = zlib.decompress(blob[HEAD:])
    except zlib.error as error:
        raise ValueError(f"not a stretch of records: {error}") from error
    lengths = series.unpack_integers(body[:table], len(columns(dtype))).tolist()
    parts: list[bytes] = []
    at = table
    for number, length in enumerate(lengths):
        if not -number <= length <= len(body) - at:
            raise ValueError("not a stretch of records of this layout")
        parts.append(body[at : at + length] if length >= 0 else parts[number + length])
        at += max(length, 0)
    if at != len(body) or size > at:
        raise ValueError("not a stretch of records of this layout")
    return size, parts


def unpack(blob: bytes, dtype: np.dtype[np.void]) -> Rows:
    """Return the records of a blob, bit for bit; ValueError when it is damaged or of another layout."""
    size, parts = _open(blob, dtype)
    raw = np.zeros((size, dtype.itemsize), np.uint8)
    for column, packed in zip(columns(dtype), parts, strict=True):
        _view(raw, column)[:] = _unpack_column(packed, column, size)
    return raw.reshape(-1).view(dtype)


def unpack_columns(blob: bytes, dtype: np.dtype[np.void], names: list[str]) -> list[NDArray[np.generic]]:
    """Return some columns (N,) of a blob, by name; ValueError as for ``unpack``."""
    size, parts = _open(blob, dtype)
    known = {column.name: (column, packed) for column, packed in zip(columns(dtype), parts, strict=True)}
    return [_unpack_column(packed, column, size) for column, packed in (known[name] for name in names)]
