# Log-linear histograms in shared memory: four buckets per doubling, so a percentile is within 12 %.
# One writer each (the owning CPU, or the owner of a lock); readers sum them up.

cdef enum:
    HISTOGRAM_BUCKETS = 192       # 2 exact octaves, then 4 per doubling: values up to 2^48 cycles

cdef struct histogram:
    long count
    long total
    long max
    unsigned int bucket[HISTOGRAM_BUCKETS]

cdef extern from * nogil:
    """
    #ifndef EMU_CLZ
    #define EMU_CLZ
    static inline int emu_log2(unsigned long v) { return 63 - __builtin_clzl(v | 1); }
    #endif
    """
    int ilog2 "emu_log2"(unsigned long v)

cdef inline int bucket_of(long value) noexcept nogil:
    """0, 1, 2, 3 are themselves; from 4 on, octave and the two bits below its top bit."""
    cdef int octave
    if value < 4:
        return <int>value if value > 0 else 0
    octave = ilog2(<unsigned long>value)
    if octave > 48:
        return HISTOGRAM_BUCKETS - 1
    return 4 * (octave - 1) + <int>((value >> (octave - 2)) & 3)

cdef inline void histogram_add(histogram *h, long value) noexcept nogil:
    h.count += 1
    h.total += value
    if value > h.max:
        h.max = value
    h.bucket[bucket_of(value)] += 1
