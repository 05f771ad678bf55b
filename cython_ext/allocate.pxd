cdef enum:
    MAX_UNITS = 64

cdef int split_kernel(
    Py_ssize_t n, double target, const double* lo, const double* hi,
    const double* at, const double* share, double* out,
) noexcept nogil
