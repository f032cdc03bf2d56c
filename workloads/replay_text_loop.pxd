# One line of trace text -> one event. Three writers of such lines are understood:
#
#   ftrace        bash-10167   [001] .....  3069.425954: kmalloc: call_site=... ptr=...     (trace, trace_pipe)
#   trace-cmd     bash-10167 [001]  3069.425954: kmalloc:              call_site=... ptr=...
#   perf script   bash 10167 [001]  3069.425954:          kmem:kmalloc: call_site=... ptr=...
#
# with the thread group in parentheses, flags, or a sample period where those put them. Nothing here allocates.
from libc.string cimport memchr, memcmp

cdef enum:
    # What scan_line() answers.
    LINE_EVENT = 0                # of an allocation or free: all of it is in the event
    LINE_OTHER_EVENT = 1          # well-formed, but nothing that acts
    LINE_IGNORED = 2              # blank, comment, a call chain's
    LINE_LOST = 3                 # events were lost: e.size says how many, or 0
    LINE_UNKNOWN = 4              # none of these
    LINE_BAD = 5                  # an event that acts, in which something is missing or wrong: e.problem

    EVENT_ALLOC = 0
    EVENT_FREE = 1                # kmem_cache_free
    EVENT_KFREE = 2
    EVENT_PAGE_ALLOC = 3
    EVENT_PAGE_FREE = 4

    PROBLEM_NONE = 0
    PROBLEM_POINTER = 1
    PROBLEM_SIZE = 2
    PROBLEM_PFN = 3
    PROBLEM_ORDER = 4
    PROBLEM_NAME = 5

    GFP_BIT_ATOMIC = 1
    GFP_BIT_ZERO = 2

    MAX_SIZE = 4194304            # of a kmalloc or an object, in bytes
    MAX_PAGE_ORDER = 10
    MAX_TRACE_CPU = 65535
    MAX_NAME = 63

    TAB = 9
    BLANK = 32
    HASH = 35
    LEFT_PARENTHESIS = 40
    RIGHT_PARENTHESIS = 41
    MINUS = 45
    DOT = 46
    SLASH = 47
    ZERO = 48
    NINE = 57
    COLON = 58
    EQUALS = 61
    LEFT_BRACKET = 91
    RIGHT_BRACKET = 93
    LOWER_X = 120

# Text points into the line.
cdef struct text:
    const char *at
    long length

cdef struct trace_event:
    int kind                      # EVENT_*
    int cpu
    long pid
    long time_ns
    unsigned long pointer         # or page frame
    long requested                # bytes_req
    long size                     # bytes_alloc, or order
    text name                     # of the cache; empty for kmalloc, and from kernels that do not tell it
    int accounted
    int gfp                       # GFP_BIT_*
    int named                     # kmem_cache_alloc and not kmalloc
    int problem

cdef int scan_line(const char *p, const char *end, trace_event *e) noexcept nogil

cdef inline bint starts(const char *p, const char *end, const char *what, long length) noexcept nogil:
    return end - p >= length and memcmp(p, what, length) == 0

cdef inline const char *skip_blanks(const char *p, const char *end) noexcept nogil:
    while p < end and (p[0] == BLANK or p[0] == TAB):
        p += 1
    return p

cdef inline const char *skip_word(const char *p, const char *end) noexcept nogil:
    while p < end and p[0] != BLANK and p[0] != TAB:
        p += 1
    return p

cdef inline bint is_digit(char c) noexcept nogil:
    return ZERO <= c <= NINE

cdef inline long decimal(const char **p, const char *end) noexcept nogil:
    """Digits at *p, which is moved behind them; -1 if there are none, or too many for a long."""
    cdef const char *q = p[0]
    cdef const char *first = q
    cdef long value = 0
    while q < end and is_digit(q[0]):
        value = value * 10 + (q[0] - ZERO)
        q += 1
    p[0] = q
    return value if 0 < q - first <= 18 else -1

cdef inline int hex_digit(char c) noexcept nogil:
    cdef int value = c | 32
    if is_digit(c):
        return c - ZERO
    return value - 87 if 97 <= value <= 102 else -1

cdef long hexadecimal(const char *p, const char *end, unsigned long *value) noexcept nogil    # digits, or -1
cdef const char *scan_task(const char *line, const char *bracket, trace_event *e) noexcept nogil
cdef const char *scan_head(const char *p, const char *end, trace_event *e) noexcept nogil
cdef const char *scan_time(const char *p, const char *end, trace_event *e) noexcept nogil
cdef int scan_event(const char *p, const char *end, trace_event *e) noexcept nogil
cdef int event_kind(const char *name, long length, trace_event *e) noexcept nogil
cdef int scan_fields(const char *p, const char *end, trace_event *e) noexcept nogil
cdef void scan_field(const char *p, const char *end, trace_event *e) noexcept nogil
cdef bint scan_pointer(const char *p, const char *end, trace_event *e) noexcept nogil
cdef void scan_gfp(const char *p, const char *end, trace_event *e) noexcept nogil
cdef int check_event(trace_event *e) noexcept nogil
cdef int scan_without_event(const char *line, const char *end, trace_event *e) noexcept nogil
cdef int scan_lost(const char *p, const char *end, trace_event *e) noexcept nogil
