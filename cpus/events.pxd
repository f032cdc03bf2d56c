# The kernel's events in the per-CPU rings (ipc/trace.pxd has the hardware's). The name says what happened, the comment
# what the 48-bit argument is.

cdef enum:
    EV_CSD_QUEUE = 64             # csd address
    EV_CSD_ENTRY = 65             # function
    EV_CSD_EXIT = 66
    EV_CALL_BEGIN = 67            # targets of a synchronous call
    EV_CALL_END = 68
    EV_ALLOC = 69                 # object
    EV_FREE = 70                  # object
    EV_REFILL = 71                # cache
    EV_FLUSH = 72                 # cache
    EV_GROW = 73                  # cache
    EV_SLAB_FREED = 74            # page frame
    EV_CACHE_CREATE = 75          # cache
    EV_CACHE_DESTROY = 76
    EV_SHRINK_BEGIN = 77          # cache
    EV_SHRINK_END = 78
    EV_TUNE_BEGIN = 79            # cache
    EV_TUNE_END = 80
    EV_DRAIN_SHARED = 81          # array cache
    EV_SHARED_REPLACED = 82       # old array cache
    EV_WORK_BEGIN = 83            # work item
    EV_WORK_END = 84
    EV_TASK_MIGRATE = 85          # to CPU
    EV_KERNEL_ENTER = 86
    EV_KERNEL_EXIT = 87
    EV_GP_BEGIN = 88
    EV_GP_END = 89
    EV_CALLBACK = 90
    EV_DRAIN_PAGES = 91           # pages
    EV_MM_PAGE_ALLOC = 92         # page frame | order << 40
    EV_MM_PAGE_FREE = 93          # the same
    EV_BUG = 94                   # invariant | what
    EV_RELEASE_QUEUE = 110        # BY_RCU cache, queued for the asynchronous release
    EV_RELEASE_BATCH = 111        # caches in the batch that begins
    EV_RELEASE_DONE = 112         # the same, when its barrier is over
    EV_CACHE_RELEASE = 113        # cache whose kmem_cache is freed
    EV_DEACTIVATE = 114           # cache
