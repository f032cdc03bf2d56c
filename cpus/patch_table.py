"""The table of switches: every patch of the five threads, and what each kernel version had.

The one place where a switch is declared. buildtools/switches.py makes cpus/switches.pxd from it, `emu patches` and
`emu kernel` print it, emu/patches.py resolves --kernel, --patch, --revert and --series against it. Ordinary Python:
read before anything is compiled.

Where a version is a guess of ours it is the one of the project's version map.
"""

from typing import NamedTuple

# What the first switch is in the page of switches; below are those of the hardware (ipc/).
FIRST_INDEX = 16

# The oldest and the newest version that are modelled, by allocator.
OLDEST = "3.0"
NEWEST = {"slab": "6.7", "slub": "6.12"}
# Per-memcg caches: first version that has them, first that has them no more.
MEMCG_CACHES = ("3.8", "5.9")
# The last release of each series: there was no 4.21.
LAST_OF_SERIES = {3: 19, 4: 20, 5: 19, 6: 12}

YES, NO, EXPLORER = "yes", "no", "explorer-only"


class Value(NamedTuple):
    """One value of a switch. `safe` says whether an invariant can be broken with it, and who can show that."""

    name: str
    doc: str
    safe: str = YES
    unless: tuple[str, str] | None = None  # (switch, value): with that one it is safe all the same


class Switch(NamedTuple):
    """One row. `applied` and `reverted` are what --patch NAME and --revert NAME mean."""

    name: str
    thread: str  # of the five that started the project: 000..004
    title: str
    author: str
    date: str
    first: str  # first kernel version with the patch; "" if it was never released
    doc: str
    values: tuple[Value, ...]
    defaults: tuple[tuple[str, str], ...]  # (first version, value), oldest first
    applied: str
    reverted: str
    series: int = 0  # number in the series of 11 patches of thread 002


def _off_on(off: str, on: str, *, off_safe: str = YES, unless: tuple[str, str] | None = None) -> tuple[Value, ...]:
    return Value("off", off, off_safe, unless), Value("on", on)


_KIM = "Joonsoo Kim"
_V2 = "2016-04-12"

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "slab-create-no-ipi",
        "000",
        "slab: avoid IPIs when creating kmem caches",
        "Greg Thelen",
        "2017-04-16",
        "4.12",
        "A new cache has no previous array caches, so no CPU can hold one: no kick of all CPUs.",
        _off_on("every creation kicks all CPUs", "only a replacement kicks"),
        (("3.0", "off"), ("4.12", "on")),
        "on",
        "off",
    ),
    Switch(
        "shrink-slab-mutex",
        "002",
        "mm/slab: hold a slab_mutex when calling __kmem_cache_shrink()",
        _KIM,
        "2016-03-28",
        "",
        "kmem_cache_shrink holds slab_mutex. Dropped in 3.16 (Vladimir Davydov); this brings it back, unmerged.",
        _off_on("shrink holds the hotplug locks only", "shrink holds slab_mutex too"),
        (("3.0", "on"), ("3.16", "off")),
        "on",
        "off",
    ),
    Switch(
        "drain-shared-locked",
        "002",
        "mm/slab: fix the theoretical race by holding proper lock",
        _KIM,
        _V2,
        "4.7",
        "drain_cpu_caches reads and drains a node's shared array under its list_lock.",
        _off_on(
            "the pointer to the shared array is read before the lock is taken",
            "read and drained under list_lock",
            off_safe=NO,
            unless=("shrink-slab-mutex", "on"),
        ),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=1,
    ),
    Switch(
        "bad-alien-magic",
        "002",
        "mm/slab: remove BAD_ALIEN_MAGIC again",
        _KIM,
        _V2,
        "4.7",
        "Alien caches without NUMA: a magic pointer that must never be followed. The patch turns it off.",
        _off_on("no alien caches without NUMA or with one node", "a magic pointer stands for them"),
        (("3.0", "on"), ("4.7", "off")),
        "off",
        "on",
        series=2,
    ),
    Switch(
        "drain-free-slabs",
        "002",
        "mm/slab: drain the free slab as much as possible",
        _KIM,
        _V2,
        "4.7",
        "How many free slabs a shrink gives back.",
        (
            Value("estimate", "as many as the free objects would fill"),
            Value("all", "until the list of free slabs is empty"),
        ),
        (("3.0", "estimate"), ("4.7", "all")),
        "all",
        "estimate",
        series=3,
    ),
    Switch(
        "node-init",
        "002",
        "mm/slab: factor out kmem_cache_node initialization code",
        _KIM,
        _V2,
        "4.7",
        "Setting up a node. The patch's first form never refreshed free_limit of a node that existed.",
        (
            Value("merged", "free_limit is refreshed when CPUs come and tunables change"),
            Value("stuck-free-limit", "free_limit stays what it was with the boot CPU alone; never released"),
        ),
        (("3.0", "merged"),),
        "merged",
        "merged",
        series=4,
    ),
    Switch(
        "node-setup",
        "002",
        "mm/slab: clean-up kmem_cache_node setup",
        _KIM,
        _V2,
        "4.7",
        "One setup_kmem_cache_node for tuning and CPU hotplug; an old shared array is zeroed under the lock.",
        _off_on("two code paths, the old array keeps its count", "setup_kmem_cache_node(force_change)"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=5,
    ),
    Switch(
        "free-limit-at-end",
        "002",
        "mm/slab: don't keep free slabs if free_objects exceeds free_limit",
        _KIM,
        _V2,
        "4.7",
        "free_block compares with free_limit once, at its end, and then gives back any free slab.",
        _off_on("only the slab being freed at that moment can be given back", "decided at the end"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=6,
    ),
    Switch(
        "racy-colour",
        "002",
        "mm/slab: racy access/modify the slab color",
        _KIM,
        _V2,
        "4.7",
        "The next slab colour is taken without list_lock, after the pages were allocated.",
        _off_on("colour under list_lock", "colour without a lock"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=7,
    ),
    Switch(
        "grow-any-node",
        "002",
        "mm/slab: make cache_grow() handle the page allocated on arbitrary node",
        _KIM,
        _V2,
        "4.7",
        "cache_grow uses the node that its page really came from.",
        _off_on("fallback_alloc fetches the pages itself", "cache_grow looks at the page's node"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=8,
    ),
    Switch(
        "grow-in-two",
        "002",
        "mm/slab: separate cache_grow() to two parts",
        _KIM,
        _V2,
        "4.7",
        "cache_grow_begin makes a slab that nobody else sees, cache_grow_end attaches it. Read nowhere: "
        "refill-private-slab implies it, and alone it changes no count.",
        _off_on("one cache_grow", "begin and end"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=9,
    ),
    Switch(
        "refill-private-slab",
        "002",
        "mm/slab: refill cpu cache through a new slab without holding a node lock",
        _KIM,
        _V2,
        "4.7",
        "A refill that has to grow takes its objects from the new slab before it is attached. Implies grow-in-two.",
        _off_on("attach, then look again under list_lock", "take from the private slab"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=10,
    ),
    Switch(
        "lockless-grow",
        "002",
        "mm/slab: lockless decision to grow cache",
        _KIM,
        _V2,
        "4.7",
        "A refill peeks at free_objects and the shared array without list_lock, and grows at once if both are empty.",
        _off_on("the first look is under list_lock", "the first look takes no lock"),
        (("3.0", "off"), ("4.7", "on")),
        "on",
        "off",
        series=11,
    ),
    Switch(
        "shared-array-free",
        "002",
        "mm/slab: lockless decision to grow cache (the wait before the old shared array is freed)",
        _KIM,
        _V2,
        "4.7",
        "What is waited for before a replaced shared array is freed.",
        (
            Value("none", "nothing: as long as all readers hold list_lock", NO, ("lockless-grow", "off")),
            Value("kick", "kick_all_cpus_sync, as in patch 11's v1"),
            Value("sync", "synchronize_sched, whether there was an old array or not"),
            Value("sync-if-old", "synchronize_sched, only if there was an old array"),
        ),
        (("3.0", "none"), ("4.7", "sync"), ("4.9", "sync-if-old")),
        "sync",
        "none",
    ),
    Switch(
        "array-swap",
        "000",
        "mm/slab: use percpu allocator for cpu cache",
        _KIM,
        "2014-10-09",
        "3.18",
        "How new array caches get to the CPUs when a cache is tuned.",
        (
            Value("on-each-cpu", "a call-function handler exchanges each CPU's pointer"),
            Value("percpu-kick", "one pointer to per-CPU arrays is stored, then all CPUs are kicked"),
        ),
        (("3.0", "on-each-cpu"), ("3.18", "percpu-kick")),
        "percpu-kick",
        "on-each-cpu",
    ),
    Switch(
        "memcg-create-wq",
        "003",
        "slab: use memcg_kmem_cache_wq for slab destruction operations",
        "Tejun Heo",
        "2017-01-17",
        "4.11",
        "The workqueue that creates per-memcg caches.",
        (
            Value("system", "system_wq: many at a time"),
            Value("ordered", "an ordered workqueue: one at a time"),
            Value("percpu", "a per-CPU workqueue, one item a CPU"),
        ),
        (("3.0", "system"), ("4.10", "ordered"), ("4.11", "percpu")),
        "percpu",
        "ordered",
    ),
    Switch(
        "call-multicast",
        "000",
        "smp: avoid sending needless IPI in smp_call_function_many()",
        "Aaron Lu",
        "2017-05-19",
        "4.14",
        "Whom smp_call_function_many interrupts.",
        (
            Value("always", "every target, whether its queue was empty or not"),
            Value("if-queue-empty", "only targets whose queue was empty"),
        ),
        (("3.0", "always"), ("4.14", "if-queue-empty")),
        "if-queue-empty",
        "always",
    ),
    Switch(
        "slub-flush",
        "004",
        "slub: only IPI CPUs that have per cpu obj to flush",
        "Gilad Ben-Yossef",
        "2012-02-09",
        "3.4",
        "Whom SLUB's flush_all interrupts.",
        (Value("all", "every CPU"), Value("cond", "CPUs that hold a cpu slab or cpu partials")),
        (("3.0", "all"), ("3.4", "cond")),
        "cond",
        "all",
    ),
    Switch(
        "bh-lru-flush",
        "004",
        "fs: only send IPI to invalidate LRU BH when needed",
        "Gilad Ben-Yossef",
        "2012-02-09",
        "3.4",
        "Whom invalidate_bh_lrus interrupts.",
        (Value("all", "every CPU"), Value("cond", "CPUs with an entry in their buffer-head LRU")),
        (("3.0", "all"), ("3.4", "cond")),
        "cond",
        "all",
    ),
    Switch(
        "pcp-drain",
        "004",
        "mm: only IPI CPUs to drain local pages if they exist",
        "Gilad Ben-Yossef",
        "2012-02-09",
        "3.4",
        "How drain_all_pages empties the per-CPU page lists, and who guards the mask of CPUs.",
        (
            Value("all", "interrupts every CPU"),
            Value("mask-v6", "mask of CPUs with pages; the last populated zone decides", NO),
            Value("mask-clear-set", "static mask, cleared and then set, no lock", NO),
            Value("mask-merged", "static mask, one set-or-clear a CPU, no lock; the merged form", EXPLORER),
            Value("mask-spinlock", "static mask under a spinlock with interrupts on"),
            Value("mask-mutex", "static mask under a mutex"),
            Value("mask-trylock", "static mask under a mutex; who does not get it skips its drain"),
            Value("mask-private", "a mask of its own for each caller"),
            Value("mask-self-clear", "static mask from which the CPUs remove themselves"),
            Value("workqueue", "work items on the CPUs with pages, no interrupts"),
            Value("remote", "the caller drains remote lists under their pcp locks"),
        ),
        (("3.0", "all"), ("3.4", "mask-merged"), ("4.11", "workqueue"), ("6.0", "remote")),
        "mask-merged",
        "all",
    ),
    Switch(
        "pcp-order",
        "004",
        "mm, page_alloc: use masks and shifts when converting GFP flags to migrate types",
        "Mel Gorman",
        "2015-11-06",
        "4.4",
        "The order in which a CPU's three page lists of a zone are emptied.",
        (
            Value("movable-last", "UNMOVABLE, RECLAIMABLE, MOVABLE"),
            Value("movable-second", "UNMOVABLE, MOVABLE, RECLAIMABLE"),
        ),
        (("3.0", "movable-last"), ("4.4", "movable-second")),
        "movable-second",
        "movable-last",
    ),
    Switch(
        "pcp-batch",
        "004",
        "mm, page_alloc: double zone's batchsize",
        "Aaron Lu",
        "2018-07-11",
        "4.19",
        "The most that a batch of a CPU's page list is sized for.",
        (Value("512k", "batch 31 and high 186 in large zones"), Value("1m", "batch 63 and high 378")),
        (("3.0", "512k"), ("4.19", "1m")),
        "1m",
        "512k",
    ),
    Switch(
        "dead-caches",
        "001",
        "slub: make dead caches discard free slabs immediately",
        "Vladimir Davydov",
        "2015-01-28",
        "4.0",
        "How CPUs learn that a dead memcg's SLUB cache keeps no free slabs any more.",
        (
            Value("none", "not at all: empty slabs pin the memcg"),
            Value("kick", "kick_all_cpus_sync per cache, under slab_mutex"),
            Value("sync-under-mutex", "synchronize_sched per cache, under slab_mutex"),
            Value("sync-once-outside", "one synchronize_sched per memcg, outside slab_mutex"),
            Value("call-rcu", "call_rcu_sched per cache, then a work item"),
            Value("smp-mb", "a barrier on the shrinking side only", EXPLORER),
            Value("smp-mb-both", "a barrier on both sides, one of them on the hot path"),
        ),
        (
            ("3.0", "none"),
            ("4.0", "kick"),
            ("4.7", "sync-under-mutex"),
            ("4.10", "sync-once-outside"),
            ("4.11", "call-rcu"),
        ),
        "kick",
        "none",
    ),
    Switch(
        "release-barrier",
        "003",
        "slab: remove synchronous rcu_barrier() call in memcg cache release path",
        "Tejun Heo",
        "2017-01-17",
        "4.11",
        "What is waited for before the kmem_cache of a destroyed BY_RCU cache is freed.",
        (
            Value("per-call", "one rcu_barrier per destroyed cache"),
            Value("per-memcg", "one rcu_barrier per memcg, or per kmem_cache_destroy"),
            Value("async-batched", "a work item: one rcu_barrier for all that are queued"),
            Value("call-rcu-each", "call_rcu per cache, as in v1; withdrawn as incorrect", NO),
            Value("none", "nothing", NO),
        ),
        (("3.0", "per-call"), ("4.0", "per-memcg"), ("4.11", "async-batched")),
        "async-batched",
        "per-memcg",
    ),
    Switch(
        "memcg-cache-lists",
        "003",
        "slab: link memcg kmem_caches on their associated memory cgroup",
        "Tejun Heo",
        "2017-01-17",
        "4.11",
        "Which lists are walked to find a memcg's caches: with all, removing memcgs is quadratic in caches.",
        (
            Value("all", "the list of all caches"),
            Value("own", "the memcg's own list; the list of root caches"),
        ),
        (("3.0", "all"), ("4.11", "own")),
        "own",
        "all",
    ),
)

BY_NAME: dict[str, Switch] = {switch.name: switch for switch in SWITCHES}
