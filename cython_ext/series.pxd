from libc.stdint cimport int64_t, uint8_t


cdef Py_ssize_t put_integers(const int64_t *value, Py_ssize_t size, uint8_t *out) noexcept nogil
cdef Py_ssize_t get_integers(
    const uint8_t *data, Py_ssize_t length, int64_t *value, Py_ssize_t size
) noexcept nogil
