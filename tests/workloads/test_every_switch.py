"""Every switch is seen: whichever default of the table is flipped, to whichever other value, something counted differs.

For each switch one observation: a cell of the ledger, a count, lock acquisitions, what is left behind, or which CPU did
it. It is made with the default of each version at which the default changed, and with every other value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import cache as memoised
from pathlib import Path
from typing import Any

import pytest

from cpus import boot, memcg_entry, page_alloc, selftest, slab_faces, slub_faces, status, vmstat
from cpus import page_faces as pages
from cpus.layout import CONSTANTS
from cpus.patch_table import BY_NAME
from emu import patches
from emu.errors import UsageError
from emu.machine import Machine
from tests.cpus import test_slab_switches as one_cpu
from tests.machines import MUTEX, Log, Rig, Words
from tests.slabs import MIB, field, kernel, node_address, set_word, word
from workloads import ipi_ledger, ipi_ledger_loop
from workloads._ledger_ops import GFP_KERNEL, OPERATIONS, Bench
from workloads._ledger_table import version

ROOT = Path(__file__).resolve().parent.parent.parent
ENTRY = memcg_entry.entry_points()
Changes = dict[str, str]
Observation = Callable[[str, Changes], Hashable]


# --- the ledger ----------------------------------------------------------------------------------


def cells(allocator: str, *operations: str) -> Observation:
    """(IPIs, grace periods, barriers) of some operations by CPU 0 of 4, two others holding something."""

    def observe(number: str, changes: Changes) -> Hashable:
        found = []
        with Machine(cpus=4, kernel=number, allocator=allocator, memory=64 * MIB, patches=changes) as m:
            for op in OPERATIONS:
                if op.name in operations and op.allocator in (allocator, "any"):
                    row = ipi_ledger.row(op, Bench(m, version(number), 0, [0, 1, 2]), number)
                    found.append(tuple(row[name]["measured"] for name in ipi_ledger.COUNTED))
        assert len(found) == len(operations)
        return tuple(found)

    return observe


# --- memcgs --------------------------------------------------------------------------------------


def memcg_with_children(m: Machine, number: str, flags: tuple[str, ...], on: int = 0) -> tuple[int, list[Any]]:
    """A memcg with two children, made because CPU `on` asked for them; no object is charged."""
    major, minor = version(number)
    assert m.call(ENTRY["memcg_init"], 1000 * major + minor, on=0) == 0
    memcg = m.call(ENTRY["memcg_mkdir"], 1, on=0)
    assert m.call(ENTRY["memcg_write_kmem_limit"], memcg, 1 << 30, on=0) == 0
    roots = [m.kmem_cache_create(name, 128, flags=("SLAB_ACCOUNT", *flags), on=0) for name in ("foo", "bar")]
    for made, root in enumerate(roots, 1):
        assert m.call(ENTRY["memcg_kmem_cache_alloc"], memcg, root.address, GFP_KERNEL, 1, on=on)
        assert m.wait_until(lambda made=made: m.vmstat()["memcg_caches_created"] == made, timeout=20)  # type: ignore[misc]
    return memcg, roots


def creators(number: str, changes: Changes) -> Hashable:
    """Which CPU made the children that CPU 1 asked for; and whether a wait for all of system_wq comes back while a
    third child cannot be made, because CPU 2 holds slab_mutex."""
    index = next(i for i, name in vmstat.NAMES.items() if name == "memcg_caches_created")
    with Rig(4, kernel=number, memory=32 * MIB, patches=changes, judged=False) as rig:
        memcg, _ = memcg_with_children(rig, number, (), on=1)
        made = tuple(status.counters(cpu)[index] for cpu in range(3))
        third, words = rig.kmem_cache_create("baz", 128, flags=("SLAB_ACCOUNT",), on=0), Words(2)
        rig.start("hold_lock", selftest.slab_mutex(), MUTEX, words.at(0), words.at(1), on=2)
        rig.wait_for(lambda: words[0], "CPU 2 to hold slab_mutex")
        assert rig.call(ENTRY["memcg_kmem_cache_alloc"], memcg, third.address, GFP_KERNEL, 1, on=1)
        boot.post_call(3, ipi_ledger_loop.entry_points()["settle"], ())
        comes_back = rig.comes(lambda: boot.call_done(3), 1.0)
        words[1] = 1
        for cpu in (2, 3):
            rig.finish(cpu)
        rig.wait_for(lambda: rig.vmstat()["memcg_caches_created"] == 3, "the third child")
        return made, comes_back


def death(number: str, changes: Changes) -> Hashable:
    """What taking a memcg's two caches down costs: kicks, grace periods, work items; and whether they are dead then."""
    names = ("kicks", "grace_periods", "work_run")
    with Machine(cpus=3, kernel=number, allocator="slub", memory=32 * MIB, patches=changes) as m:
        memcg, roots = memcg_with_children(m, number, ())
        for root in roots:  # charged: so the caches stay
            assert m.call(ENTRY["memcg_kmem_cache_alloc"], memcg, root.address, GFP_KERNEL, 1, on=0)
        children = [address for address, name in slab_faces.caches() if "(" in name]
        assert len(children) == 2
        before = m.vmstat()
        assert m.call(ENTRY["memcg_rmdir"], memcg, on=0) == 0
        never = patches.override(patches.defaults(number), changes)["dead-caches"] == "none"
        dead = m.wait_until(lambda: all(slub_faces.state(c)["dead"] for c in children), timeout=0.2 if never else 20)
        after = m.vmstat()
        return dead, *(after[name] - before[name] for name in names)


def release(number: str, changes: Changes) -> Hashable:
    """Barriers and batches of the asynchronous release, of a memcg with two typesafe caches; and caches walked over."""
    names = ("rcu_barriers", "release_batches", "memcg_caches_walked")
    with Machine(cpus=3, kernel=number, memory=32 * MIB, patches=changes) as m:
        memcg, _ = memcg_with_children(m, number, ("SLAB_TYPESAFE_BY_RCU",))
        entry, before = ipi_ledger_loop.entry_points(), m.vmstat()
        m.call(entry["hold"], 1, on=0)
        assert m.call(ENTRY["memcg_rmdir"], memcg, on=0) == 0
        assert m.wait_until(lambda: memcg_entry.memcg_counts()["dying"] == 0, timeout=20)
        m.call(entry["hold"], 0, on=0)
        m.call(entry["settle"], on=0)
        after = m.vmstat()
        return tuple(after[name] - before[name] for name in names)


# --- interrupts ----------------------------------------------------------------------------------


def merged(number: str, changes: Changes) -> Hashable:
    """Vectors raised by the second of two senders whose common target has interrupts off, and merged ones."""
    with Rig(4, kernel=number, patches=changes) as rig:
        section, log, before = rig.hold_irqs(3), Log(), rig.ipis()["merged"]
        mask = rig.mask([2, 3])
        for sender in (0, 1):
            rig.start("call_mask", mask, 1, log.address, 0, on=sender)
            rig.wait_for(lambda want=sender + 1: status.interrupts(3)["queued"] == want, "the request")
        rig.wait_for(lambda: log.cpus() == [2, 2], "CPU 2 to answer both")
        raised = status.interrupts(1)["raised"][1]
        section[1] = 1
        for cpu in (3, 0, 1):
            rig.finish(cpu)
        rig.settle()
        return raised, rig.ipis()["merged"] - before


def array_swap(number: str, changes: Changes) -> Hashable:
    """Kicks and call interrupts of a tuning."""
    with Machine(cpus=3, kernel=number, memory=32 * MIB, patches=changes) as m:
        m.kmem_cache_create("foo", 128)
        before, calls = m.vmstat()["kicks"], sum(m.interrupts()["CAL"])
        assert m.write_slabinfo("foo 12 6 8") > 0
        m.wait_until(lambda: m.ipis()["pending"] == 0, timeout=5)
        return m.vmstat()["kicks"] - before, sum(m.interrupts()["CAL"]) - calls


def drain(number: str, changes: Changes) -> Hashable:
    """drain_all_pages by CPU 0 when CPU 1 has a page: interrupts, work items, mutex acquisitions, uses of the mask."""
    kinds = [CONSTANTS[f"EV_MASK_{name}"] for name in ("SET_CPU", "CLEAR_CPU", "CLEAR")]
    with Rig(4, kernel=number, memory=64 * MIB, patches=changes, trace_records=1 << 12) as rig:
        rig.call("drain_all_pages", -1, on=0)
        pfn = rig.call("page_alloc", 0, 0, pages.GFP_ATOMIC, on="coordinator")
        rig.call("page_free", pfn, 0, on=1)
        rig.settle()
        seen = [len(status.last_events(cpu, 1 << 12)) for cpu in range(4)]
        before, calls = rig.vmstat()["work_run"], sum(rig.interrupts()["CAL"])
        taken = status.lock_statistics()["pcpu_drain_mutex"]["acquisitions"]
        rig.call("drain_all_pages", -1, on=0)
        rig.settle()
        events = [e[1] for cpu in range(4) for e in sorted(status.last_events(cpu, 1 << 12))[seen[cpu] :]]
        return (
            sum(rig.interrupts()["CAL"]) - calls,
            rig.vmstat()["work_run"] - before,
            status.lock_statistics()["pcpu_drain_mutex"]["acquisitions"] - taken,
            tuple(events.count(kind) for kind in kinds),
        )


# --- one CPU -------------------------------------------------------------------------------------


def alone(observe: Callable[[Any], int]) -> Observation:
    """An observation of the tests of the 2016 series."""

    def run(number: str, changes: Changes) -> Hashable:
        with kernel(version=number, changes=changes) as k:
            return observe(k)

    return run


def shrink_mutex(k: Any) -> int:
    """slab_mutex acquisitions of a shrink."""
    cache = slab_faces.create_cache("things", 64)
    before = k.acquisitions("slab_mutex")
    slab_faces.shrink_cache(cache)
    return int(k.acquisitions("slab_mutex") - before)


def slabs_left(k: Any) -> int:
    """Free slabs that a shrink leaves, if three became free after it had looked at free_objects: the count is made
    lower by so many objects for the time of the call."""
    cache = slab_faces.create_cache("things", 1024)
    objects = [slab_faces.alloc(cache) for _ in range(100)]
    for obj in objects:
        slab_faces.free(cache, obj)
    assert slab_faces.nodes(cache)[0]["free_slabs"] > 3
    at, late = field("kmem_cache_node", "free_objects", node_address(cache, 0)), 3 * slab_faces.cache_info(cache)["num"]
    set_word(at, word(at) - late)
    slab_faces.shrink_cache(cache)
    set_word(at, word(at) + late)
    return int(slab_faces.nodes(cache)[0]["free_slabs"])


def colours_of_a_fallback(number: str, changes: Changes) -> Hashable:
    """Whose colour a slab gets whose page came from the other node. Seen only while the colour is taken before the
    page (racy-colour off): afterwards both forms know the node by then."""
    with kernel(nodes=2, cpus=2, version=number, changes=changes | {"racy-colour": "off"}, ram=32 * MIB):
        cache = slab_faces.create_cache("things", 700)
        while page_alloc.alloc_pages(0, 0, pages.GFP_ATOMIC | pages.GFP_THISNODE) >= 0:
            pass
        obj = slab_faces.alloc(cache, pages.GFP_ATOMIC)
        assert obj
        return tuple((row["colour_next"], row["total_slabs"]) for row in slab_faces.nodes(cache))


def bulk(number: str, changes: Changes) -> Hashable:
    """What a free that reaches `high` leaves on the lists of 37 unmovable and 10 reclaimable pages."""
    types = (0, pages.GFP_MOVABLE, pages.GFP_RECLAIMABLE)
    with kernel(ram=48 * MIB, version=number, changes=changes, percpu_pagelist_fraction=170):
        taken = [[page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL | gfp) for _ in range(48)] for gfp in types]
        pages.drain_zone(0, 1)
        for kind, count in ((0, 37), (2, 10)):
            for pfn in taken[kind][:count]:
                page_alloc.free_pages(pfn, 0)
        page_alloc.free_pages(taken[0][47], 0)
        return tuple(len(each) for each in pages.pageset(0, 1)["lists"])


def sizing(number: str, changes: Changes) -> Hashable:
    """high and batch of a zone of 4 GiB."""
    with kernel(version=number, changes=changes):
        return tuple(pages.sizing(1 << 20, 0))


OBSERVED: dict[str, Observation] = {
    "slab-create-no-ipi": cells("slab", "create cache"),
    "shrink-slab-mutex": alone(shrink_mutex),
    "drain-free-slabs": alone(slabs_left),
    "grow-any-node": colours_of_a_fallback,
    "shared-array-free": cells("slab", "create cache", "retune"),
    "array-swap": array_swap,
    "memcg-create-wq": creators,
    "call-multicast": merged,
    "slub-flush": cells("slub", "shrink"),
    "bh-lru-flush": cells("slub", "invalidate_bh_lrus"),
    "pcp-drain": drain,
    "pcp-order": bulk,
    "pcp-batch": sizing,
    "dead-caches": death,
    "release-barrier": release,
    "memcg-cache-lists": release,
} | {name: alone(observe) for name, observe in one_cpu.OBSERVED.items()}
# Read nowhere, and refused without the patch that implies it.
READ_NOWHERE = {"grow-in-two"}
# What a value needs beside it.
NEEDS = {"refill-private-slab": {"grow-in-two": "on"}}
MEMCG = {"memcg-create-wq", "dead-caches", "release-barrier", "memcg-cache-lists"}


def flips() -> list[Any]:
    """Every default, at the version where it began, and each other value. What kernels have now comes first; the rest
    is slow."""
    found = []
    for name in OBSERVED:
        for first, default in reversed(BY_NAME[name].defaults):
            number = "3.10" if first == "3.0" and name in MEMCG else first
            latest = default == BY_NAME[name].defaults[-1][1]
            for value in BY_NAME[name].values:
                if value.name != default:
                    case = (name, number, value.name)
                    found.append(pytest.param(*case, marks=() if latest else pytest.mark.slow, id="-".join(case)))
    return found


@memoised
def observed(name: str, number: str, value: str) -> Hashable:
    """value: "" for the default."""
    changes = dict(NEEDS.get(name, {})) | ({name: value} if value else {})
    return OBSERVED[name](number, changes)


@pytest.mark.parametrize(("name", "number", "value"), flips())
def test_a_flipped_default_is_seen(name: str, number: str, value: str) -> None:
    assert observed(name, number, "") != observed(name, number, value)


@pytest.mark.parametrize("name", OBSERVED)
def test_what_is_observed_depends_on_nothing_else(name: str) -> None:
    """The same again: so a difference is the switch's."""
    number = "4.12" if name in MEMCG else BY_NAME[name].defaults[-1][0]
    assert OBSERVED[name](number, dict(NEEDS.get(name, {}))) == OBSERVED[name](number, dict(NEEDS.get(name, {})))


def test_every_switch_is_in_the_list() -> None:
    assert OBSERVED.keys() | READ_NOWHERE == BY_NAME.keys()
    assert not OBSERVED.keys() & READ_NOWHERE
    for name in OBSERVED:
        flipped = {case.values[2] for case in flips() if case.values[0] == name}
        assert flipped >= {BY_NAME[name].reverted, BY_NAME[name].applied} - {BY_NAME[name].defaults[-1][1]}


@pytest.mark.parametrize("name", sorted(READ_NOWHERE))
def test_what_is_read_nowhere_is_so_and_says_so(name: str) -> None:
    """It stands for a step of the series; its one effect is that the step after it is refused without it."""
    symbol = name.upper().replace("-", "_")
    for path in [*ROOT.glob("cpus/*.p*"), *ROOT.glob("workloads/*.p*")]:
        if path.suffix in (".py", ".pxd") and path.name != "switches.pxd":
            assert not re.search(rf"\b{symbol}\b", path.read_text()), path
    assert "Read nowhere" in BY_NAME[name].doc
    with pytest.raises(UsageError, match="needs it"):
        patches.override(patches.defaults("4.12"), {name: BY_NAME[name].reverted})


@pytest.mark.parametrize("name", one_cpu.OBSERVED)
def test_a_switch_without_effect_would_be_noticed(name: str) -> None:
    """Planted: one that nothing reads. Flipped, it is seen by none of the observations of one CPU."""
    rest = {"refill-private-slab": "off"}
    on, off = (OBSERVED[name]("4.12", rest | {"grow-in-two": value}) for value in ("on", "off"))
    assert on == off
