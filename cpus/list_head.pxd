# include/linux/list.h: circular doubly linked lists whose links lie in the entries.

cdef struct list_head:
    list_head *next
    list_head *prev

cdef inline void INIT_LIST_HEAD(list_head *head) noexcept nogil:
    head.next = head
    head.prev = head

cdef inline bint list_empty(list_head *head) noexcept nogil:
    return head.next == head

cdef inline void list_insert(list_head *entry, list_head *prev, list_head *next) noexcept nogil:
    next.prev = entry
    entry.next = next
    entry.prev = prev
    prev.next = entry

cdef inline void list_add(list_head *entry, list_head *head) noexcept nogil:
    """Insert as the first."""
    list_insert(entry, head, head.next)

cdef inline void list_add_tail(list_head *entry, list_head *head) noexcept nogil:
    list_insert(entry, head.prev, head)

cdef inline void list_del(list_head *entry) noexcept nogil:
    """Unlink; the entry's own links are left NULL, so that a second list_del() faults."""
    entry.next.prev = entry.prev
    entry.prev.next = entry.next
    entry.next = NULL
    entry.prev = NULL

cdef inline void list_splice_init(list_head *source, list_head *head) noexcept nogil:
    """Move all entries of `source` before those of `head`."""
    if source.next != source:
        source.next.prev = head
        source.prev.next = head.next
        head.next.prev = source.prev
        head.next = source.next
        INIT_LIST_HEAD(source)
