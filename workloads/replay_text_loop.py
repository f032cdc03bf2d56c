"""Reading of trace text, line by line, byte by byte, without Python objects."""

import cython
from cython.cimports.libc.string import memchr, memcmp

if not cython.compiled:
    raise ImportError("workloads.replay_text_loop is not built; run `make setup`")


def scan_line(p, end, e):
    if p < end and p[0] == HASH:
        return LINE_IGNORED
    bracket = cython.cast(cython.p_const_char, memchr(p, LEFT_BRACKET, end - p))
    while bracket != cython.NULL:
        # A command may have a bracket in its name, so the first one need not be the CPU's.
        q = scan_task(p, bracket, e)
        if q != cython.NULL:
            q = scan_head(bracket + 1, end, e)
            if q != cython.NULL:
                return scan_event(q, end, e)
        bracket = cython.cast(cython.p_const_char, memchr(bracket + 1, LEFT_BRACKET, end - bracket - 1))
    return scan_without_event(p, end, e)


def scan_task(line, bracket, e):
    """The thread's number, in front of the CPU: `-123`, ` 123`, `123/124`, or `-123 (122)`. NULL if there is none."""
    q: cython.p_const_char = bracket
    while q > line and (q - 1)[0] == BLANK:
        q -= 1
    if q > line and (q - 1)[0] == RIGHT_PARENTHESIS:
        while q > line and (q - 1)[0] != LEFT_PARENTHESIS:
            q -= 1
        if q > line:
            q -= 1
        while q > line and (q - 1)[0] == BLANK:
            q -= 1
    last: cython.p_const_char = q
    while q > line and is_digit((q - 1)[0]):
        q -= 1
    if q == last or q == line or ((q - 1)[0] != MINUS and (q - 1)[0] != BLANK and (q - 1)[0] != SLASH):
        return cython.NULL
    digits: cython.p_const_char = q
    e.pid = decimal(cython.address(digits), last)
    return last if e.pid >= 0 else cython.NULL


def scan_head(p, end, e):
    """`001] .....  3069.425954: `; what comes behind it, or NULL."""
    digits: cython.p_const_char = p
    cpu = decimal(cython.address(digits), end)
    if cpu < 0 or cpu > MAX_TRACE_CPU or digits == end or digits[0] != RIGHT_BRACKET:
        return cython.NULL
    e.cpu = cython.cast(cython.int, cpu)
    p = skip_blanks(digits + 1, end)
    q = scan_time(p, end, e)
    if q == cython.NULL:  # flags first
        q = scan_time(skip_blanks(skip_word(p, end), end), end, e)
    return q


def scan_time(p, end, e):
    """`3069.425954:` in seconds, or a clock without a point, which only orders."""
    q: cython.p_const_char = p
    seconds = decimal(cython.address(q), end)
    if seconds < 0 or q == end:
        return cython.NULL
    if q[0] == COLON:
        e.time_ns = seconds
        return q + 1
    if q[0] != DOT or seconds // 1000000000 > 8:  # in nanoseconds it must fit
        return cython.NULL
    q += 1
    first = q
    fraction = decimal(cython.address(q), end)
    places = q - first
    if fraction < 0 or places > 9 or q == end or q[0] != COLON:
        return cython.NULL
    while places < 9:
        fraction *= 10
        places += 1
    e.time_ns = seconds * 1000000000 + fraction
    return q + 1


def scan_event(p, end, e):
    """`kmalloc: call_site=... ptr=...`, behind a sample period and a `kmem:` if it is perf's."""
    p = skip_blanks(p, end)
    q = p
    while q < end and is_digit(q[0]):
        q += 1
    if q > p and q < end and q[0] == BLANK:
        p = skip_blanks(q, end)
    if starts(p, end, b"kmem:", 5):
        p += 5
    if starts(p, end, b"PERF_RECORD_LOST", 16):
        return scan_lost(p, end, e)
    q = p
    while q < end and q[0] != COLON and q[0] != BLANK:
        q += 1
    if q == end or q[0] != COLON or q == p:
        return LINE_UNKNOWN
    if event_kind(p, q - p, e) < 0:
        return LINE_OTHER_EVENT
    return scan_fields(q + 1, end, e)


def event_kind(name, length, e):
    """Which of the events that act it is; -1 if none. mm_page_free_batched repeats a free, so it does not act."""
    kind: cython.int = -1
    e.named = 0
    if length == 5 and memcmp(name, b"kfree", 5) == 0:
        kind = EVENT_KFREE
    elif (length == 7 and memcmp(name, b"kmalloc", 7) == 0) or (
        length == 12 and memcmp(name, b"kmalloc_node", 12) == 0
    ):
        kind = EVENT_ALLOC
    elif length == 12 and memcmp(name, b"mm_page_free", 12) == 0:
        kind = EVENT_PAGE_FREE
    elif length == 13 and memcmp(name, b"mm_page_alloc", 13) == 0:
        kind = EVENT_PAGE_ALLOC
    elif length == 15 and memcmp(name, b"kmem_cache_free", 15) == 0:
        kind = EVENT_FREE
    elif (length == 16 and memcmp(name, b"kmem_cache_alloc", 16) == 0) or (
        length == 21 and memcmp(name, b"kmem_cache_alloc_node", 21) == 0
    ):
        kind = EVENT_ALLOC
        e.named = 1
    e.kind = kind
    return kind


def scan_fields(p, end, e):
    """`name=value` for the ones that matter; the others are skipped, known or not."""
    e.pointer = 0
    e.requested = -1
    e.size = -1
    e.name.length = 0
    e.accounted = 0
    e.gfp = 0
    e.problem = PROBLEM_POINTER if e.kind <= EVENT_KFREE else PROBLEM_PFN
    p = skip_blanks(p, end)
    while p < end:
        q = cython.cast(cython.p_const_char, memchr(p, BLANK, end - p))
        if q == cython.NULL:
            q = end
        scan_field(p, q, e)
        if q - p == 4 and starts(p, q, b"ptr=", 4):  # `ptr=          (null)`, as kernels before 4.15 print it
            p = skip_blanks(q, end)
            q = skip_word(p, end)
            scan_pointer(p, q, e)
        p = skip_blanks(q, end)
    return check_event(e)


def scan_field(p, end, e):
    """One word. By its first letter, since there are ten of them in a line and four that matter."""
    value: cython.p_const_char
    number: cython.ulong = 0
    first = p[0]
    if first == 112:  # p
        if starts(p, end, b"ptr=", 4):
            if e.kind <= EVENT_KFREE:
                scan_pointer(p + 4, end, e)
        elif starts(p, end, b"pfn=", 4) and e.kind >= EVENT_PAGE_ALLOC:
            value = p + 4
            if starts(value, end, b"0x", 2):
                if hexadecimal(value + 2, end, cython.address(number)) > 0:
                    e.pointer = number
                    e.problem = PROBLEM_NONE
            else:
                frame = decimal(cython.address(value), end)
                if frame >= 0 and value == end:
                    e.pointer = cython.cast(cython.ulong, frame)
                    e.problem = PROBLEM_NONE
    elif first == 98:  # b
        if starts(p, end, b"bytes_alloc=", 12):
            value = p + 12
            e.size = decimal(cython.address(value), end)
        elif starts(p, end, b"bytes_req=", 10):
            value = p + 10
            e.requested = decimal(cython.address(value), end)
    elif first == 110:  # n
        if starts(p, end, b"name=", 5):
            e.name.at = p + 5
            e.name.length = end - p - 5
    elif first == 111:  # o
        if starts(p, end, b"order=", 6) and e.kind >= EVENT_PAGE_ALLOC:
            value = p + 6
            e.size = decimal(cython.address(value), end)
    elif first == 97:  # a
        if starts(p, end, b"accounted=true", 14):
            e.accounted = 1
    elif first == 103:  # g
        if starts(p, end, b"gfp_flags=", 10):
            scan_gfp(p + 10, end, e)


def scan_pointer(p, end, e):
    """`00000000abcd1234`, `0xffff...`, `(null)`. Anything else, `(____ptrval____)` too, is no pointer."""
    number: cython.ulong = 0
    if starts(p, end, b"(null)", 6) or starts(p, end, b"(nil)", 5):
        e.pointer = 0
        e.problem = PROBLEM_NONE
        return True
    if starts(p, end, b"0x", 2):
        p += 2
    if hexadecimal(p, end, cython.address(number)) < 0:
        return False
    e.pointer = number
    e.problem = PROBLEM_NONE
    return True


def hexadecimal(p, end, value):
    number: cython.ulong = 0
    count = end - p
    if count < 1 or count > 16:
        return -1
    while p < end:
        digit = hex_digit(p[0])
        if digit < 0:
            return -1
        number = number << 4 | cython.cast(cython.ulong, digit)
        p += 1
    value[0] = number
    return count


def scan_gfp(p, end, e):
    """Whether the allocation may sleep, and whether it wants zeroes: nothing else of it matters here."""
    while p < end:
        if starts(p, end, b"GFP_ATOMIC", 10) or starts(p, end, b"GFP_NOWAIT", 10):
            e.gfp |= GFP_BIT_ATOMIC
        elif starts(p, end, b"__GFP_ZERO", 10):
            e.gfp |= GFP_BIT_ZERO
        p = cython.cast(cython.p_const_char, memchr(p, 124, end - p))
        if p == cython.NULL:
            return
        p += 1


def check_event(e):
    if e.problem == PROBLEM_NONE:
        if e.kind == EVENT_ALLOC:
            if e.requested < 0:
                e.requested = e.size
            if (
                e.size < 0
                or e.size > MAX_SIZE
                or e.requested < 0
                or e.requested > MAX_SIZE
                or (e.size == 0 and e.pointer != 0)
            ):
                e.problem = PROBLEM_SIZE
            elif e.name.length > MAX_NAME:
                e.problem = PROBLEM_NAME
        elif e.kind >= EVENT_PAGE_ALLOC and (e.size < 0 or e.size > MAX_PAGE_ORDER):
            e.problem = PROBLEM_ORDER
    return LINE_EVENT if e.problem == PROBLEM_NONE else LINE_BAD


def scan_without_event(line, end, e):
    """Lines that are no events: blank, lost-event markers, headers, call chains; or nothing that we know."""
    p = skip_blanks(line, end)
    if p == end or p[0] == 13:
        return LINE_IGNORED
    if starts(p, end, b"CPU:", 4) or starts(p, end, b"LOST ", 5) or starts(p, end, b"PERF_RECORD_LOST", 16):
        return scan_lost(p, end, e)
    if starts(p, end, b"cpus=", 5) or starts(p, end, b"version = ", 10) or starts(p, end, b"trace-cmd", 9):
        return LINE_IGNORED
    if starts(p, end, b"=> ", 3):
        return LINE_IGNORED
    if p == line:
        return LINE_UNKNOWN
    q = p
    while q < end and hex_digit(q[0]) >= 0:
        q += 1
    return LINE_IGNORED if q - p >= 8 and (q == end or q[0] == BLANK) else LINE_UNKNOWN


def scan_lost(p, end, e):
    """`CPU:1 [LOST 17 EVENTS]`, `CPU:1 [17 EVENTS DROPPED]`, `CPU:1 [EVENTS DROPPED]`, `PERF_RECORD_LOST lost 17`."""
    e.size = 0
    if starts(p, end, b"CPU:", 4):
        p = cython.cast(cython.p_const_char, memchr(p, LEFT_BRACKET, end - p))
        if p == cython.NULL:
            return LINE_IGNORED  # `CPU:1 is empty`
    while p < end and not is_digit(p[0]):
        p += 1
    number: cython.p_const_char = p
    count = decimal(cython.address(number), end)
    e.size = count if count > 0 else 0
    return LINE_LOST
