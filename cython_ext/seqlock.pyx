"""One writer, many readers, over shared memory: a reader sees either the old or the new payload, never a mix.

A block is 8 bytes of sequence number followed by the payload. The number is odd while the writer is at
work. The fences make it hold on weakly ordered processors (aarch64) too.
Source: H.-J. Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t yunchu_load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void yunchu_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline void yunchu_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    uint64_t yunchu_load(const uint64_t *p) noexcept nogil
    void yunchu_store(uint64_t *p, uint64_t v) noexcept nogil
    void yunchu_fence() noexcept nogil


cdef void publish(unsigned char *block, const unsigned char *payload, size_t size) noexcept nogil:
    # "| 1": a writer that was killed in the middle left an odd number; its successor carries on from there.
    cdef uint64_t odd = yunchu_load(<uint64_t *> block) | 1
    yunchu_store(<uint64_t *> block, odd)
    yunchu_fence()
    memcpy(block + 8, payload, size)
    yunchu_fence()
    yunchu_store(<uint64_t *> block, odd + 1)


cdef bint consume(const unsigned char *block, unsigned char *out, size_t size, int tries) noexcept nogil:
    cdef uint64_t before
    cdef int _attempt
    for _attempt in range(tries):
        before = yunchu_load(<const uint64_t *> block)
        if before & 1:
            continue
        memcpy(out, block + 8, size)
        yunchu_fence()
        if yunchu_load(<const uint64_t *> block) == before:
            return True
    return False


def write(unsigned char[::1] block, const unsigned char[::1] payload):
    """Publish ``payload``; ``block`` must be 8-byte aligned and exactly 8 bytes longer."""
    if block.shape[0] != payload.shape[0] + 8:
        raise ValueError("block must be 8 bytes longer than the payload")
    with nogil:
        publish(&block[0], &payload[0], payload.shape[0])


def read(const unsigned char[::1] block, unsigned char[::1] out, int tries=10_000):
    """Copy a consistent payload into ``out``; False when the writer never held still: it has died."""
    cdef bint done
    if block.shape[0] != out.shape[0] + 8:
        raise ValueError("block must be 8 bytes longer than the payload")
    with nogil:
        done = consume(&block[0], &out[0], out.shape[0], tries)
    return done
