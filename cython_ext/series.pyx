"""Lossless packing of number columns: what history keeps on disk.

Integers: delta, zigzag, varint (LEB128). Floats: one byte of route, then
  SCALED   the integers ``k`` of ``value == k * scale``            (a register times its factor)
  DIVIDED  the integers ``k`` of ``value == k / (1 / scale)``      (the same, written as a division)
  SINGLE   float32 ``x`` of ``value == x * scale``, exclusive-or with the one before
  RAW      float64, exclusive-or with the one before; the only route for NaN, infinities and -0.0
A route is taken only if every value comes back bit for bit. A general compressor (zlib) is meant
to follow: it removes repeated columns, which these kernels do not see.
Sources: zigzag and varint as in the Protocol Buffers encoding; exclusive-or as in T. Pelkonen et
al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", VLDB 2015.
"""

from libc.math cimport fabs, rint
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

cdef enum:
    SCALED = 0
    DIVIDED = 1
    SINGLE = 2
    RAW = 3

SCALES = (1.0, 0.1, 0.01, 0.001, 0.0001)
cdef double EXACT = 9007199254740992.0  # 2**53: integers beyond it are not exact in float64


cdef inline uint64_t bits64(double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return bits


cdef inline uint32_t bits32(float value) noexcept nogil:
    cdef uint32_t bits
    memcpy(&bits, &value, 4)
    return bits


cdef Py_ssize_t put_integers(const int64_t *value, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Write ``size`` integers; return the number of bytes. Differences wrap modulo 2**64."""
    cdef Py_ssize_t i, at = 0
    cdef uint64_t before = 0, delta
    for i in range(size):
        delta = <uint64_t> value[i] - before
        before = <uint64_t> value[i]
        delta = (delta << 1) ^ (0 - (delta >> 63))
        while delta >= 0x80:
            out[at] = <uint8_t> (delta | 0x80)
            delta >>= 7
            at += 1
        out[at] = <uint8_t> delta
        at += 1
    return at


cdef Py_ssize_t get_integers(
    const uint8_t *data, Py_ssize_t length, int64_t *value, Py_ssize_t size
) noexcept nogil:
    """Read ``size`` integers; return the number of bytes used, -1 when the data ends too early."""
    cdef Py_ssize_t i, at = 0
    cdef uint64_t before = 0, delta
    cdef int shift
    for i in range(size):
        delta = 0
        shift = 0
        while True:
            if at >= length or shift > 63:
                return -1
            delta |= <uint64_t> (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                break
        before += (delta >> 1) ^ (0 - (delta & 1))
        value[i] = <int64_t> before
    return at


cdef bint to_integers(
    const double *value, Py_ssize_t size, double scale, int route, int64_t *out
) noexcept nogil:
    """Fill the integers of the route; False when a value would not come back bit for bit."""
    cdef Py_ssize_t i
    cdef double k, per = rint(1.0 / scale)
    if per < 1.0 and route == DIVIDED:
        return False
    for i in range(size):
        k = rint(value[i] / scale)
        if not fabs(k) < EXACT:
            return False
        out[i] = <int64_t> k
        k = <double> out[i]  # -0.0 has become 0.0 here and is refused below
        if bits64(k * scale if route == SCALED else k / per) != bits64(value[i]):
            return False
    return True


cdef void from_integers(
    const int64_t *k, Py_ssize_t size, double scale, int route, double *out
) noexcept nogil:
    cdef Py_ssize_t i
    cdef double per = rint(1.0 / scale)
    for i in range(size):
        out[i] = <double> k[i] * scale if route == SCALED else <double> k[i] / per


cdef bint to_singles(
    const double *value, Py_ssize_t size, double scale, uint64_t *out
) noexcept nogil:
    """Fill the float32 patterns; False when a value would not come back bit for bit."""
    cdef Py_ssize_t i
    cdef float single
    for i in range(size):
        if not fabs(value[i]) < 1e30:
            return False
        single = <float> (value[i] / scale)
        if bits64(<double> single * scale) != bits64(value[i]):
            return False
        out[i] = bits32(single)
    return True


cdef void from_patterns(
    const uint64_t *pattern, Py_ssize_t size, double scale, int route, double *out
) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t low
    cdef float single
    if route == RAW:
        memcpy(out, pattern, 8 * size)
        return
    for i in range(size):
        low = <uint32_t> pattern[i]
        memcpy(&single, &low, 4)
        out[i] = <double> single * scale


cdef Py_ssize_t put_patterns(const uint64_t *pattern, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Write the differences: a byte each (zero bytes below << 4 | bytes kept), then what is kept."""
    cdef Py_ssize_t i, at = size
    cdef uint64_t before = 0, change
    cdef int below, kept
    for i in range(size):
        change = pattern[i] ^ before
        before = pattern[i]
        below = 0
        kept = 0
        if change:
            while not change & 0xFF:
                change >>= 8
                below += 1
            while change:
                out[at] = <uint8_t> change
                change >>= 8
                at += 1
                kept += 1
        out[i] = <uint8_t> (below << 4 | kept)
    return at


cdef Py_ssize_t get_patterns(
    const uint8_t *data, Py_ssize_t length, uint64_t *pattern, Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t i, at = size
    cdef uint64_t before = 0, change
    cdef int below, kept, j
    if length < size:
        return -1
    for i in range(size):
        below = data[i] >> 4
        kept = data[i] & 15
        if below + kept > 8 or at + kept > length:
            return -1
        change = 0
        for j in range(kept):
            change |= <uint64_t> data[at + j] << (8 * (below + j))
        at += kept
        before ^= change
        pattern[i] = before
    return at


def pack_integers(const int64_t[::1] values not None):
    """Pack an i8 column of shape (N,)."""
    cdef Py_ssize_t size = values.shape[0], used = 0
    cdef uint8_t[::1] out = np.empty(10 * size + 1, np.uint8)
    if size:
        with nogil:
            used = put_integers(&values[0], size, &out[0])
    return np.asarray(out[:used]).tobytes()


def unpack_integers(const uint8_t[::1] data not None, Py_ssize_t size):
    """Return the i8 column of shape (size,); ValueError unless the bytes are exactly that."""
    cdef int64_t[::1] out = np.empty(size, np.int64)
    cdef Py_ssize_t used = 0
    if size and data.shape[0]:
        with nogil:
            used = get_integers(&data[0], data.shape[0], &out[0], size)
    if used != data.shape[0] or (size and not used):
        raise ValueError("not a column of that many integers")
    return np.asarray(out)


def pack(const double[::1] values not None, double scale=1.0):
    """Pack an f8 column of shape (N,), lossless to the bit.

    Args:
        values: any numbers, also NaN and infinities.
        scale: step of the source register (0.1, 1.0, …), > 0; a wrong one costs space, never a value.
    """
    cdef Py_ssize_t size = values.shape[0], used
    cdef int route
    cdef uint8_t[::1] out = np.empty(10 * size + 10, np.uint8)
    cdef int64_t[::1] number = np.empty(size + 1, np.int64)
    cdef uint64_t[::1] pattern = np.empty(size + 1, np.uint64)
    cdef const double *source = &values[0] if size else NULL
    if not scale > 0.0 or scale > EXACT:
        raise ValueError("scale must be positive")
    with nogil:
        if to_integers(source, size, scale, SCALED, &number[0]):
            route = SCALED
        elif to_integers(source, size, scale, DIVIDED, &number[0]):
            route = DIVIDED
        elif to_singles(source, size, scale, &pattern[0]):
            route = SINGLE
        else:
            route = RAW
            memcpy(&pattern[0], source, 8 * size)
        out[0] = <uint8_t> route
        memcpy(&out[1], &scale, 8)
        if route == SCALED or route == DIVIDED:
            used = put_integers(&number[0], size, &out[9])
        else:
            used = put_patterns(&pattern[0], size, &out[9])
    return np.asarray(out[: 9 + used]).tobytes()


def unpack(const uint8_t[::1] data not None, Py_ssize_t size):
    """Return the f8 column of shape (size,); ValueError unless the bytes are exactly that."""
    cdef Py_ssize_t used, length = data.shape[0] - 9
    cdef int route
    cdef double scale
    cdef double[::1] out = np.empty(size, np.float64)
    cdef int64_t[::1] number = np.empty(size + 1, np.int64)
    cdef uint64_t[::1] pattern = np.empty(size + 1, np.uint64)
    if length < 0 or data[0] > RAW:
        raise ValueError("not a column")
    if not size:
        return np.asarray(out)
    route = data[0]
    memcpy(&scale, &data[1], 8)
    with nogil:
        if route == SCALED or route == DIVIDED:
            used = get_integers(&data[0] + 9, length, &number[0], size)
            if used == length:
                from_integers(&number[0], size, scale, route, &out[0])
        else:
            used = get_patterns(&data[0] + 9, length, &pattern[0], size)
            if used == length:
                from_patterns(&pattern[0], size, scale, route, &out[0])
    if used != length:
        raise ValueError("not a column of that many values")
    return np.asarray(out)


def best_scale(const double[::1] values not None):
    """Return the first decimal step that needs only integers, else only float32, else 1.0."""
    cdef Py_ssize_t size = values.shape[0]
    cdef int64_t[::1] number = np.empty(size + 1, np.int64)
    cdef uint64_t[::1] pattern = np.empty(size + 1, np.uint64)
    cdef const double *source = &values[0] if size else NULL
    cdef double scale
    for scale in SCALES:
        if to_integers(source, size, scale, SCALED, &number[0]):
            return scale
        if to_integers(source, size, scale, DIVIDED, &number[0]):
            return scale
    for scale in SCALES:
        if to_singles(source, size, scale, &pattern[0]):
            return scale
    return 1.0
