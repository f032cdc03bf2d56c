# A generator for what is drawn in compiled loops: xorshift64. The state is the caller's own and must not be 0.

cdef inline unsigned long draw(unsigned long *state) noexcept nogil:
    cdef unsigned long x = state[0]
    x ^= x << 13
    x ^= x >> 7
    x ^= x << 17
    state[0] = x
    return x
