# A hash table from 64-bit keys to 32-bit values: what lives, by pointer; threads, by number; cache names, by hash.
# Open addressing with linear probing; entries move back when one before them goes, so there are no tombstones.

cdef struct table_entry:
    unsigned long key
    unsigned int value
    unsigned int used

cdef struct table:
    table_entry *entries
    unsigned long mask
    unsigned long count

cdef enum:
    TABLE_START = 1024

cdef inline unsigned long table_hash(unsigned long key) noexcept nogil:
    key ^= key >> 32
    key *= <unsigned long>0x9e3779b97f4a7c15
    return key ^ (key >> 29)

cdef bint table_init(table *t) noexcept nogil                         # false: no memory
cdef void table_free(table *t) noexcept nogil
cdef table_entry *table_find(table *t, unsigned long key) noexcept nogil          # NULL: not there
cdef table_entry *table_add(table *t, unsigned long key, unsigned int value) noexcept nogil     # key is not there
cdef void table_remove(table *t, table_entry *e) noexcept nogil
cdef bint table_grow(table *t) noexcept nogil
cdef table_entry *table_place(table *t, unsigned long key) noexcept nogil
