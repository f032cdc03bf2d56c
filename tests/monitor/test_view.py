"""The panes, on a machine whose figures are known."""

import os

import pytest

from cpus import memcg_entry, slab_entry, slab_info
from cpus.layout import STRUCTS
from emu.attached import attach
from emu.monitor.view import KEYS, PANES
from tests.machines import MUTEX, Rig, Words

PRIME = 23


def cache_row(watched, name):
    rows = [line.split() for line in watched.body(3).splitlines()]
    return next(row for row in rows if row and row[0] == name)


def test_the_head_says_which_machine_it_is(rig, watched):
    first, second, tabs, *_ = watched(rig).frame()
    assert first.startswith("rig-four pid ")
    assert "4 CPUs, 1 node, SLAB" in first
    assert "idle 4" in second
    assert tabs.startswith("[1 CPUs]")


def test_a_cache_has_the_objects_of_slabinfo(rig, watched):
    cache = rig.kmem_cache_create("prime", 192)
    objects = [rig.cpu(2).kmem_cache_alloc(cache) for _ in range(PRIME)]
    info = next(row for row in slab_info.rows() if row[0] == "prime")
    seen = watched(rig)
    row = cache_row(seen, "prime")
    assert row[1:5] == [str(info[2]), str(info[1]), "100%", str(info[3])]
    found = next(r for r in seen.view.pane.rows if r.name == "prime")
    # A slab has 21 objects; all that are not in use lie in the array of CPU 2.
    assert (found.objects, found.arrays) == (info[2], info[2] - PRIME)
    for obj in objects:
        rig.cpu(2).kmem_cache_free(cache, obj)


@pytest.mark.skipif("kmem_cache_slub" not in STRUCTS, reason="this build has no SLUB")
def test_a_slub_cache_has_its_objects_and_the_slabs_that_cpus_hold(watched):
    with Rig(4, allocator="slub", name="slub") as rig:
        cache = rig.kmem_cache_create("prime", 192)
        objects = [rig.cpu(cpu).kmem_cache_alloc(cache) for cpu in (0, 2) for _ in range(PRIME)]
        seen = watched(rig)
        assert "SLUB" in seen.frame()[0]
        assert (seen.view.pane.table["arrays"][[0, 2]] > seen.view.pane.table["arrays"][[1, 3]]).all()
        seen.body(3)
        found = next(r for r in seen.view.pane.rows if r.name == "prime")
        info = next(row for row in slab_info.rows() if row[0] == "prime")
        assert found.sound
        assert (found.active, found.objects, found.slabs, found.arrays) == (2 * PRIME, info[2], info[10], 2)
        with attach(os.getpid()) as attached:
            own = attached.cache("prime").cpu(2)
            assert (own.type_, own.allocs, own.frees) == ("kmem_cache_cpu", PRIME, 0)
            assert attached.cache("prime").node(0).nr_slabs == found.slabs
        for place, obj in enumerate(objects):
            rig.cpu(place % 4).kmem_cache_free(cache, obj)


def test_array_fill_is_avail_by_limit(rig, watched):
    cache = rig.kmem_cache_create("prime", 192)
    seen = watched(rig)
    seen.frame()
    before = seen.view.pane.table["arrays"].copy()
    obj = rig.cpu(2).kmem_cache_alloc(cache)
    seen.frame()
    after = seen.view.pane.table["arrays"]
    assert after[2] > before[2]
    assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all()
    rig.cpu(2).kmem_cache_free(cache, obj)


def test_interrupts_are_those_of_the_machine(rig, watched):
    seen = watched(rig)
    for _ in range(PRIME):
        rig.kick_all_cpus_sync(on=1)
    text = seen.body(4)
    many = next(line.split() for line in text.splitlines() if line.startswith("CAL many"))
    assert many[-1] == str(PRIME * 3)
    assert f"kick {PRIME}" in text
    assert "no call waits for answers" in text


def test_rates_are_growth_by_time(rig, watched):
    seen = watched(rig)
    seen.frame()
    cache = rig.kmem_cache_create("prime", 64)
    for _ in range(PRIME):
        rig.cpu(3).kmem_cache_free(cache, rig.cpu(3).kmem_cache_alloc(cache))
    seen.frame()
    ops = seen.view.pane.table["ops/s"] * seen.reading.seconds
    # One page too: the slab that the cache grew by.
    assert ops.round().tolist() == [0, 0, 0, 2 * PRIME + 1]


def test_who_holds_an_irq_section_is_off(rig, watched):
    words = rig.hold_irqs(2)
    row = watched(rig).body(1).splitlines()[3]
    words[1] = 1
    rig.finish(2)
    assert row.split()[0] == "2"
    assert " off " in f"{row} "


def test_a_held_lock_has_a_holder_and_waiters(rig, watched):
    address = rig.new_lock(MUTEX)
    entered, other = Words(2), Words(2)
    rig.start("hold_lock", address, MUTEX, entered.at(0), entered.at(1), on=1)
    rig.wait_for(lambda: entered[0], "CPU 1 to hold the lock")
    rig.start("hold_lock", address, MUTEX, other.at(0), other.at(1), on=3)
    seen = watched(rig)
    rig.wait_for(lambda: "CPU 3 for" in seen.body(2), "CPU 3 to wait")
    text = seen.body(2)
    cpus = seen.body(1)
    entered[1] = other[1] = 1
    rig.finish(1)
    rig.finish(3)
    line = next(line for line in text.splitlines() if line.startswith("workload_lock"))
    assert "CPU 1" in line
    assert "lock" in cpus.splitlines()[4]
    assert "(workload_l" in cpus.splitlines()[4]


def test_a_machine_without_memcgs_says_so(rig, watched):
    assert "no memcgs" in watched(rig).body(5)


def test_memcgs_are_listed_with_what_is_charged(watched):
    entry = memcg_entry.entry_points()
    with Rig(2, kernel="4.11") as rig:
        rig.call(entry["memcg_init"], 4011)
        memcg = rig.call(entry["memcg_mkdir"], 7)
        rig.call(entry["memcg_write_kmem_limit"], memcg, 1 << 20)
        cache = rig.kmem_cache_create("prime", 256, flags=("SLAB_ACCOUNT",))
        # The first is served by the root and queues the child, the second comes from the child: one page is charged.
        first, second = (
            rig.call(entry["memcg_kmem_cache_alloc"], memcg, cache.address, slab_entry.GFP_KERNEL, 1) for _ in range(2)
        )
        assert first
        assert second
        seen = watched(rig)
        text = seen.body(5)
        row = next(line.split() for line in text.splitlines() if line.startswith("7 "))
        assert "1 memcgs, 0 dying" in text
        assert (row[0], row[2], row[5], row[7]) == ("7", "online", "4.0K", "1.0M")
        assert cache_row(seen, "prime")[-1] == "1"
        rig.call(entry["memcg_rmdir"], memcg)


def test_events_are_off_unless_asked_for(rig, watched):
    assert "--trace" in watched(rig).body(6)


def test_events_are_the_newest_of_all_rings(watched):
    with Rig(3, trace_records=256) as rig:
        cache = rig.kmem_cache_create("prime", 64)
        obj = rig.cpu(2).kmem_cache_alloc(cache)
        seen = watched(rig)
        text = seen.body(6, height=60)
        line = next(line for line in text.splitlines() if f"{obj:#x}" in line)
        assert line.split()[1:] == ["CPU", "2", "alloc", f"{obj:#x}"]
        assert "CPU 2" not in seen.frame(keys=["/", *"cpu 1", "enter"])[6]
        rig.cpu(2).kmem_cache_free(cache, obj)


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 10), (20, 5), (1, 1), (300, 90)])
def test_every_pane_fits_every_size(rig, watched, size):
    seen = watched(rig)
    for number in range(1, len(PANES) + 1):
        for key in ("", "s", "s", "down", "?", "end", "?"):
            seen.frame(*size, keys=[str(number), *([key] if key else [])])


def test_hundreds_of_cpus_fold_into_a_map(watched):
    with Rig(64, memory=64 << 20) as rig:
        seen = watched(rig)
        text = seen.body(1)
        assert text.startswith("state  U user")
        assert text.count("\n") < 20
        assert "." * 64 in text.splitlines()[1].replace(" ", "")
        figure = seen.frame(keys=["s"])[3]
        assert figure.startswith("ops/s")
        row = "\n".join(seen.frame(keys=["/", *"17", "enter"]))
        assert "   17 idle" in row
        assert "   18 idle" not in row


def test_the_help_explains_every_figure_of_every_pane(rig, watched):
    seen = watched(rig)
    text = " ".join("\n".join(seen.frame(160, 400, keys=["?"])).split())
    for key, _ in KEYS:
        assert key in text
    for pane in PANES:
        assert pane.figures
        for figure in pane.figures:
            assert f"{figure.name} " in text
            assert " ".join(figure.text.split())[:30] in text


def test_sort_and_filter_change_the_rows(rig, watched):
    seen = watched(rig)
    names = [line.split()[0] for line in seen.body(3).splitlines()[2:]]
    assert names == sorted(names)  # all are empty
    seen.frame(keys=["s", "s", "s"])
    assert seen.view.pane.sorted_by == "objsize"
    sizes = [int(line.split()[4]) for line in seen.frame()[5:-1] if line.strip()]
    assert sizes == sorted(sizes, reverse=True)
    shown = "\n".join(seen.frame(keys=["/", *"kmalloc-19", "backspace", "enter"])[5:-1])
    assert {line.split()[0] for line in shown.splitlines() if line.strip()} == {
        "kmalloc-128", "kmalloc-192", "kmalloc-1024", "kmalloc-16384", "kmalloc-131072", "kmalloc-1048576",
    }  # fmt: skip
    assert "kmalloc-1" in seen.frame()[-1]
    seen.frame(keys=["/", "esc"])
    assert seen.view.pane.filter == ""


def test_scrolling_stays_within_the_rows(rig, watched):
    seen = watched(rig)
    first = seen.pane(3)[3:]
    last = seen.frame(keys=["end"])[3:]
    assert first[2] != last[2]
    assert seen.frame(keys=["home"])[3:] == first
    assert seen.frame(keys=["up", "k"])[3:] == first
    assert seen.frame(keys=["down"])[5] == first[3]
