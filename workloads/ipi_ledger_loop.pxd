# Callbacks that wait as long as they shall, for the ledger's barriers.
from ipc.atomic cimport vlong
from cpus.rcu_types cimport rcu_head

cdef struct waiting_callback:
    rcu_head head
    vlong done
    vlong read                    # a reader keeps the grace period from ending until this many barrier calls were sent
    long _pad[3]

# Mailed to a CPU.
cdef long queue_callback(long *args) noexcept nogil    # struct waiting_callback
cdef long read_until(long *args) noexcept nogil        # the same; args[1] barrier interrupts in all; args[2] at most us
cdef long hold(long *args) noexcept nogil
cdef long settle(long *args) noexcept nogil

cdef void callback_done(rcu_head *head) noexcept nogil
cdef long barrier_ipis() noexcept nogil
