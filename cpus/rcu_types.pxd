# struct rcu_head, apart from cpus/rcu because struct cpu contains one.
ctypedef void (*rcu_callback_t)(rcu_head *head) noexcept nogil

cdef struct rcu_head:
    rcu_head *next
    rcu_callback_t func
    long gp                       # the grace period after which it may run
