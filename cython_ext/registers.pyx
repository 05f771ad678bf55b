"""Modbus registers to values with quality, and back; the CRC of the serial line.

Design: scalar kernels without Python, then one loop over the compiled table, then a shell that checks sizes.
A field that does not lie inside the block, says "not available", is not finite or is out of its range becomes
NaN with quality BAD, and so does a code that its mapping does not have; nothing else can happen.
``tests/cython_ext/test_registers.py`` holds the twin in plain Python which is the specification.
"""

from collections.abc import Mapping
from typing import NamedTuple

from libc.math cimport NAN, fabs, isfinite, nextafterf, rint, trunc
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

KINDS = ("bit", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64")
WORDS = (0, 1, 1, 2, 2, 4, 4, 2, 4)

cdef enum Kind:
    BIT, U16, I16, U32, I32, U64, I64, F32, F64

cdef int[9] WIDTH = [0, 1, 1, 2, 2, 4, 4, 2, 4]
cdef uint8_t QUALITY_BAD = 0
cdef uint8_t QUALITY_GOOD = 3
cdef double WHOLE = 1e-6        # an integer spoilt by the division, in steps of the register
cdef uint16_t[256] CRC_TABLE


class Row(NamedTuple):
    """How one value lies in a block; see the stub for the meaning of the fields."""

    kind: int
    at: int
    low_word_first: bool = False
    byte_swap: bool = False
    mask: int = 0xFFFF_FFFF_FFFF_FFFF
    shift: int = 0
    na: int | tuple[int, ...] = -1
    scale: float = 1.0
    add: float = 0.0
    lo: float = float("-inf")
    hi: float = float("inf")
    codes: Mapping[int, float] = {}


cdef void fill_crc_table() noexcept nogil:
    cdef int byte, _bit
    cdef uint16_t crc
    for byte in range(256):
        crc = byte
        for _bit in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        CRC_TABLE[byte] = crc


cdef uint16_t crc16_of(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    cdef uint16_t crc = 0xFFFF
    cdef Py_ssize_t i
    for i in range(size):
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ data[i]) & 0xFF]
    return crc


cdef uint64_t pattern(const uint8_t* at, int words, bint low_word_first, bint byte_swap) noexcept nogil:
    cdef uint64_t raw = 0
    cdef int i, word
    for i in range(words):
        word = 2 * (words - 1 - i) if low_word_first else 2 * i
        raw = (raw << 16) | (at[word + byte_swap] << 8) | at[word + 1 - byte_swap]
    return raw


cdef double number(uint64_t raw, int kind) noexcept nogil:
    cdef float narrow
    cdef double wide
    cdef uint32_t half
    if kind == I16:
        return <int16_t>raw
    if kind == I32:
        return <int32_t>raw
    if kind == I64:
        return <double><int64_t>raw
    if kind == F32:
        half = <uint32_t>raw
        memcpy(&narrow, &half, 4)
        return narrow
    if kind == F64:
        memcpy(&wide, &raw, 8)
        return wide
    return <double>raw


cdef double meaning_of(const Field* field, double code) noexcept nogil:
    cdef int low = 0, high = field.code_count, middle
    while low < high:
        middle = (low + high) >> 1
        if field.code[middle] < code:
            low = middle + 1
        else:
            high = middle
    return field.meaning[low] if low < field.code_count and field.code[low] == code else NAN


cdef double field_value(const Field* field, const uint8_t* block, Py_ssize_t size) noexcept nogil:
    cdef uint64_t raw
    cdef double real
    cdef int i
    if field.kind == BIT:
        if field.at >= 8 * size:
            return NAN
        raw = (block[field.at >> 3] >> (field.at & 7)) & 1
    else:
        if field.at + 2 * WIDTH[field.kind] > size:
            return NAN
        raw = pattern(block + field.at, WIDTH[field.kind], field.low_word_first, field.byte_swap)
        for i in range(field.na_count):
            if raw == field.na[i]:
                return NAN
        raw = (raw & field.mask) >> field.shift
    real = number(raw, field.kind)
    if field.code_count:
        real = meaning_of(field, real)
    real = real * field.scale
    if field.add != 0.0:
        real = real + field.add
    if isfinite(real) and field.lo <= real <= field.hi:
        return real
    return NAN


cdef int decode_block(
    const Field* fields, Py_ssize_t count, const uint8_t* block, Py_ssize_t size,
    double* value, uint8_t* quality
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int good = 0
    for i in range(count):
        value[i] = field_value(&fields[i], block, size)
        if value[i] == value[i]:
            quality[i] = QUALITY_GOOD
            good += 1
        else:
            quality[i] = QUALITY_BAD
    return good


cdef int encode_words(
    double x, int kind, bint low_word_first, bint byte_swap, uint8_t* out
) noexcept nogil:
    """Write the registers of ``x``, rounded towards zero; return their bytes or 0 when it does not fit."""
    cdef double near = rint(x)
    cdef double lo, hi
    cdef float narrow
    cdef uint32_t half
    cdef uint64_t raw
    cdef int words = WIDTH[kind], i, word
    if not isfinite(x):
        return 0
    if kind == F64:
        memcpy(&raw, &x, 8)
    elif kind == F32:
        narrow = <float>x
        if fabs(narrow) > fabs(x):
            narrow = nextafterf(narrow, 0.0)
        if fabs(x) > 3.4028234663852886e38:
            return 0
        memcpy(&half, &narrow, 4)
        raw = half
    else:
        near = near if fabs(x - near) <= WHOLE else trunc(x)
        lo = -32768.0 if kind == I16 else -2147483648.0 if kind == I32 else 0.0
        hi = 2147483647.0 if kind == I32 else 4294967295.0
        hi = 32767.0 if kind == I16 else 65535.0 if kind == U16 else hi
        if not lo <= near <= hi:
            return 0
        raw = <uint64_t><int64_t>near
    for i in range(words):
        word = 2 * i if low_word_first else 2 * (words - 1 - i)
        out[word + byte_swap] = (raw >> 8) & 0xFF
        out[word + 1 - byte_swap] = raw & 0xFF
        raw >>= 16
    return 2 * words


def _patterns(row):
    """Return the patterns of a row that mean "not available"."""
    if isinstance(row.na, int):
        return () if row.na < 0 else (row.na,)
    return row.na


cdef class Table:
    """The fields of one block, compiled once."""

    cdef Field* fields
    cdef uint64_t* patterns         # "not available" of all fields
    cdef double* codes              # codes of all fields, then what they mean
    cdef readonly Py_ssize_t size

    def __cinit__(self, rows):
        cdef Py_ssize_t i, k
        cdef uint64_t* pattern_at
        cdef double* code_at
        cdef Field* field
        self.size = len(rows)
        self.fields = <Field*>calloc(max(1, self.size), sizeof(Field))
        self.patterns = <uint64_t*>calloc(sum([len(_patterns(row)) for row in rows], 1), sizeof(uint64_t))
        self.codes = <double*>calloc(2 * sum([len(row.codes) for row in rows], 1), sizeof(double))
        if self.fields is NULL or self.patterns is NULL or self.codes is NULL:
            raise MemoryError
        pattern_at, code_at = self.patterns, self.codes
        for i, row in enumerate(rows):
            field = &self.fields[i]
            self._set(field, row)
            field.na = pattern_at
            for pattern in _patterns(row):
                pattern_at[field.na_count] = pattern
                field.na_count += 1
            pattern_at += field.na_count
            field.code_count = len(row.codes)
            field.code, field.meaning = code_at, code_at + field.code_count
            for k, code in enumerate(sorted(row.codes)):
                field.code[k], field.meaning[k] = code, row.codes[code]
            code_at += 2 * field.code_count

    cdef int _set(self, Field* field, row) except -1:
        if not 0 <= row.kind < len(KINDS):
            raise ValueError(f"there is no kind {row.kind}")
        if row.at < 0 or not 0 <= row.shift < 64:
            raise ValueError(f"offset {row.at} or shift {row.shift} cannot be")
        if row.kind not in (U16, U32, U64) and (row.shift or row.mask != 0xFFFF_FFFF_FFFF_FFFF):
            raise ValueError(f"a mask needs an unsigned integer, not {KINDS[row.kind]}")
        field.kind = row.kind
        field.at = row.at
        field.low_word_first = row.low_word_first
        field.byte_swap = row.byte_swap
        field.mask = row.mask
        field.shift = row.shift
        field.scale = row.scale
        field.add = row.add
        field.lo = row.lo
        field.hi = row.hi
        return 0

    def __dealloc__(self):
        free(self.fields)
        free(self.patterns)
        free(self.codes)

    def decode(self, const uint8_t[::1] block, double[::1] value, uint8_t[::1] quality):
        cdef int good
        cdef Py_ssize_t size = block.shape[0]
        if value.shape[0] != self.size or quality.shape[0] != self.size:
            raise ValueError(f"{self.size} fields need as many values and qualities")
        if self.size == 0 or size == 0:
            for good in range(self.size):
                value[good] = NAN
                quality[good] = QUALITY_BAD
            return 0
        with nogil:
            good = decode_block(self.fields, self.size, &block[0], size, &value[0], &quality[0])
        return good


def encode(double value, int kind, double scale=1.0, bint low_word_first=False, bint byte_swap=False):
    cdef uint8_t[8] out
    cdef int size
    if kind not in (U16, I16, U32, I32, F32, F64):
        raise ValueError(f"kind {kind} cannot be written")
    if scale == 0.0:
        raise ValueError("scale 0 cannot be inverted")
    size = encode_words(value / scale, kind, low_word_first, byte_swap, out)
    if size == 0:
        raise ValueError(f"{value} with scale {scale} does not fit into {KINDS[kind]}")
    return (<char*>out)[:size]


def crc16(const uint8_t[::1] data):
    return crc16_of(&data[0], data.shape[0]) if data.shape[0] else 0xFFFF


fill_crc_table()
