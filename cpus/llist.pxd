# include/linux/llist.h: lock-less lists that anybody pushes to and one takes whole. An entry's first word is its link.
from ipc.atomic cimport cmpxchg_ptr, read_once_ptr, xchg_ptr

cdef inline bint llist_add(void *head, void *entry) noexcept nogil:
    """Push. True if the list was empty."""
    cdef void **link = <void **>entry
    cdef void *first = read_once_ptr(head)
    cdef void *seen
    while True:
        link[0] = first
        seen = cmpxchg_ptr(head, first, entry)
        if seen == first:
            return first == NULL
        first = seen

cdef inline void *llist_del_all_reversed(void *head) noexcept nogil:
    """Take the whole list, oldest first."""
    cdef void *entry = xchg_ptr(head, NULL)
    cdef void *done = NULL
    cdef void *following
    while entry != NULL:
        following = (<void **>entry)[0]
        (<void **>entry)[0] = done
        done = entry
        entry = following
    return done
