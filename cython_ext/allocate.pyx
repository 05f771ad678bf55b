"""Exact split of a power over units with bounds: one equality, box constraints, separable quadratic cost.

Variable fixing (Bitran and Hax 1981; a survey is Patriksson 2008): solve without bounds for the multiplier,
compare how much the answers stick out above and below, fix the side that sticks out more, repeat. Every
round fixes at least one unit for good, so it ends exactly after at most n rounds; nothing converges.
"""

from libc.math cimport INFINITY, fabs, isfinite

OK = 0
BAD_INPUT = 1


cdef inline double clip(double x, double lo, double hi) noexcept nogil:
    return lo if x < lo else hi if x > hi else x


cdef inline double nearest_to_zero(double lo, double hi) noexcept nogil:
    """Return the finite point of [lo, hi] nearest to zero, 0 when there is none."""
    if not (lo <= hi and lo < INFINITY and hi > -INFINITY):
        return 0.0
    return clip(0.0, lo, hi)


cdef bint usable(
    Py_ssize_t n, double target, const double* lo, const double* hi, const double* at, const double* share,
) noexcept nogil:
    cdef Py_ssize_t i
    if not isfinite(target):
        return False
    for i in range(n):
        if not (isfinite(lo[i]) and isfinite(hi[i]) and isfinite(at[i]) and isfinite(share[i])):
            return False
        if lo[i] > hi[i] or share[i] < 0.0:
            return False
    return True


cdef void fill(
    Py_ssize_t n, double rest, const double* lo, const double* hi,
    const double* at, const double* share, bint* free, double* out,
) noexcept nogil:
    """Give ``rest`` to the free units, which all have a share."""
    cdef Py_ssize_t i, _
    cdef double sum_at, sum_share, multiplier, over, under, x
    for _ in range(n):
        sum_at = sum_share = over = under = 0.0
        for i in range(n):
            if free[i]:
                sum_at += at[i]
                sum_share += share[i]
        if sum_share <= 0.0:
            return
        multiplier = (rest - sum_at) / sum_share
        for i in range(n):
            if free[i]:
                x = at[i] + multiplier * share[i]
                out[i] = clip(x, lo[i], hi[i])
                over += x - out[i] if x > hi[i] else 0.0
                under += out[i] - x if x < lo[i] else 0.0
        if over == under:
            return
        for i in range(n):
            if free[i]:
                x = at[i] + multiplier * share[i]
                if (x > hi[i]) if over > under else (x < lo[i]):
                    free[i] = False
                    rest -= out[i]


cdef void top_up(Py_ssize_t n, double rest, const double* lo, const double* hi, double* out) noexcept nogil:
    """Give ``rest`` to all units in proportion to the room that they have in its direction."""
    cdef Py_ssize_t i
    cdef double room = 0.0, part
    for i in range(n):
        room += hi[i] - out[i] if rest > 0.0 else out[i] - lo[i]
    if room <= 0.0:
        return
    part = clip(rest / room, -1.0, 1.0)
    for i in range(n):
        out[i] = clip(out[i] + part * (hi[i] - out[i] if rest > 0.0 else out[i] - lo[i]), lo[i], hi[i])


cdef void settle(Py_ssize_t n, double target, const double* lo, const double* hi, double* out) noexcept nogil:
    """Put what rounding has left over on the unit with the largest power, so that sums come out even."""
    cdef Py_ssize_t i, largest = 0
    for i in range(n):
        target -= out[i]
        if fabs(out[i]) > fabs(out[largest]):
            largest = i
    out[largest] = clip(out[largest] + target, lo[largest], hi[largest])


cdef int split_kernel(
    Py_ssize_t n, double target, const double* lo, const double* hi,
    const double* at, const double* share, double* out,
) noexcept nogil:
    """Split ``target`` over ``n`` <= MAX_UNITS units; see the stub file."""
    cdef Py_ssize_t i
    cdef bint free[MAX_UNITS]
    cdef double sum_lo = 0.0, sum_hi = 0.0, scale = 1.0, rest, left
    if not usable(n, target, lo, hi, at, share):
        for i in range(n):
            out[i] = nearest_to_zero(lo[i], hi[i])
        return 1
    for i in range(n):
        sum_lo += lo[i]
        sum_hi += hi[i]
        scale += fabs(lo[i]) + fabs(hi[i])
    target = rest = clip(target, sum_lo, sum_hi)
    for i in range(n):
        out[i] = clip(at[i], lo[i], hi[i])
        free[i] = share[i] > 0.0
        if not free[i]:
            rest -= out[i]
    fill(n, rest, lo, hi, at, share, free, out)
    left = target
    for i in range(n):
        left -= out[i]
    if fabs(left) > 1e-13 * scale:
        top_up(n, left, lo, hi, out)
    settle(n, target, lo, hi, out)
    return 0


def split(
    double target, const double[::1] lo, const double[::1] hi,
    const double[::1] at, const double[::1] share, double[::1] out,
):
    cdef Py_ssize_t n = out.shape[0]
    if n > MAX_UNITS or lo.shape[0] != n or hi.shape[0] != n or at.shape[0] != n or share.shape[0] != n:
        raise ValueError("arrays must have one length, at most 64")
    if n == 0:
        return OK
    return split_kernel(n, target, &lo[0], &hi[0], &at[0], &share[0], &out[0])
