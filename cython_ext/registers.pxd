from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t


cdef struct Field:
    uint8_t kind
    uint8_t low_word_first
    uint8_t byte_swap
    int32_t at              # first byte in the block; first bit for BIT
    int32_t shift
    int32_t na_count
    int32_t code_count
    uint64_t mask
    uint64_t* na            # bit patterns that mean "not available"
    double* code            # in ascending order, or no mapping
    double* meaning         # of each code
    double scale
    double add
    double lo
    double hi


cdef uint16_t crc16_of(const uint8_t* data, Py_ssize_t size) noexcept nogil
cdef double field_value(const Field* field, const uint8_t* block, Py_ssize_t size) noexcept nogil
cdef int decode_block(
    const Field* fields, Py_ssize_t count, const uint8_t* block, Py_ssize_t size,
    double* value, uint8_t* quality
) noexcept nogil
cdef int encode_words(
    double x, int kind, bint low_word_first, bint byte_swap, uint8_t* out
) noexcept nogil
