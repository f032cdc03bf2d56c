# lib/idr.c: numbers given out lowest first. The caller excludes others.

cdef enum:
    IDA_WORDS = 1024              # 65,536 numbers

cdef struct ida:
    unsigned long bits[IDA_WORDS]
    long lowest                   # no word below has a clear bit

cdef extern from * nogil:
    """
    #ifndef EMU_FFZ
    #define EMU_FFZ
    static inline int emu_ffz(unsigned long word) { return __builtin_ctzl(~word); }
    #endif
    """
    int ffz "emu_ffz"(unsigned long word)

cdef inline long ida_get(ida *numbers, long limit) noexcept nogil:
    """The lowest free number below `limit`, or -1."""
    cdef unsigned long full = ~(<unsigned long>0)
    cdef long word = numbers.lowest, number
    while word < IDA_WORDS and numbers.bits[word] == full:
        word += 1
    numbers.lowest = word
    if word == IDA_WORDS:
        return -1
    number = (word << 6) + ffz(numbers.bits[word])
    if number >= limit:
        return -1
    numbers.bits[word] |= <unsigned long>1 << (number & 63)
    return number

cdef inline void ida_remove(ida *numbers, long number) noexcept nogil:
    cdef long word = number >> 6
    numbers.bits[word] &= ~(<unsigned long>1 << (number & 63))
    if word < numbers.lowest:
        numbers.lowest = word
