"""emu.attach(): values as the machine has them, and a machine that does not notice."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

import emu
from cpus import boot, memcg_entry, selftest, slab_entry, status
from emu.attached import attach
from emu.errors import UsageError
from emu.machine import Machine
from emu.monitor.reading import look
from emu.monitor.view import PANES, View
from emu.raw_memory import BASE, DamagedError
from ipc import memory
from tests.machines import MUTEX, Rig, Words
from tests.processes import ROOT

PRIME = 23


@pytest.fixture
def attached(rig):
    with attach(os.getpid()) as found:
        yield found


def test_it_is_a_function_of_the_package(rig):
    with emu.attach("rig-four") as found:
        assert len(found.cpus) == 4
    with emu.attach(os.getpid()) as found:
        assert found.machine.name == "rig-four"


def test_a_cache_and_its_arrays_in_drgns_manner(rig, attached):
    cache = rig.kmem_cache_create("prime", 192)
    array = attached.cache("prime").cpu(2)
    assert (array.avail, array.limit, array.batchcount) == (0, 120, 60)
    obj = rig.cpu(2).kmem_cache_alloc(cache)
    found = attached.cache("prime")
    assert found.address_ == cache.address
    # A first refill takes 16, and one is in use. The same Struct shows the new value: nothing is cached.
    assert (array.avail, found.num, found.node(0).total_slabs) == (15, 21, 1)
    rig.cpu(2).kmem_cache_free(cache, obj)
    assert array.avail == 16
    assert found.node(0).shared.avail == 0
    assert {c.name for c in attached.caches()} >= {"prime", "kmalloc-64"}


def test_a_struct_shows_all_its_fields(rig, attached):
    array = attached.cache("kmalloc-64").cpu(1)
    assert repr(array).startswith("(struct array_cache *)0x7")
    assert ".limit = 120," in repr(array)
    assert "limit" in dir(array)
    assert array == attached.cache("kmalloc-64").cpu(1)
    assert len({array, attached.cache("kmalloc-64").cpu(1)}) == 1
    with pytest.raises(AttributeError, match="struct array_cache has no availl"):
        _ = array.availl


def test_cpus_locks_and_counters(rig, attached):
    for _ in range(PRIME):
        rig.kick_all_cpus_sync(on=1)
    assert attached.interrupts() == rig.interrupts()
    counted = rig.vmstat()
    assert attached.vmstat() == {name: counted[name] for name in attached.vmstat()}
    assert attached.latency("kick")["count"] == PRIME
    assert attached.cpu(1).counters["kicks"] == PRIME
    rig.settle()
    assert [cpu.mode for cpu in attached.cpus] == ["idle"] * 4
    assert [cpu.hw.pid for cpu in attached.cpus] == rig.pids
    assert attached.cpu(0).waiting_for == status.status(0)["waiting_for"]
    assert attached.lock("slab_mutex").holder is None
    words = Words(2)
    address = rig.new_lock(MUTEX)
    rig.start("hold_lock", address, MUTEX, words.at(0), words.at(1), on=2)
    rig.wait_for(lambda: words[0], "CPU 2 to hold the lock")
    assert attached.struct("mutex", address).owner == 2 + 2
    assert attached.cpu(2).mode == "kernel"
    words[1] = 1
    rig.finish(2)


def test_memcgs_and_children():
    entry = memcg_entry.entry_points()
    with Rig(2, kernel="4.11") as rig, attach(os.getpid()) as attached:
        assert attached.memcgs() == []
        rig.call(entry["memcg_init"], 4011)
        cache = rig.kmem_cache_create("prime", 256, flags=("SLAB_ACCOUNT",))
        memcgs = [rig.call(entry["memcg_mkdir"], number) for number in (7, 11)]
        rig.call(entry["memcg_kmem_cache_alloc"], memcgs[1], cache.address, slab_entry.GFP_KERNEL, 1)
        rig.call("nothing")
        assert [(m.name, m.address_) for m in attached.memcgs()] == [("7", memcgs[0]), ("11", memcgs[1])]
        (child,) = attached.cache("prime").children
        assert child.memcg_params.memcg.name == "11"
        assert child.memcg_params.root_cache.name == "prime"
        for memcg in memcgs:
            rig.call(entry["memcg_rmdir"], memcg)


def test_what_there_is_not_is_said(attached):
    with pytest.raises(UsageError, match="no cache is called 'kmaloc-64'; did you mean 'kmalloc-64'"):
        attached.cache("kmaloc-64")
    with pytest.raises(UsageError, match=r"cpu\(4\): the machine has CPUs 0 to 3"):
        attached.cpu(4)
    with pytest.raises(UsageError, match=r"node\(1\)"):
        attached.cache("kmalloc-64").node(1)
    with pytest.raises(UsageError, match="did you mean 'slab_mutex'"):
        attached.lock("slab_mutx")
    with pytest.raises(UsageError, match="no latency is called 'kik'"):
        attached.latency("kik")
    with pytest.raises(DamagedError, match="not memory of the machine"):
        _ = attached.struct("mutex", 0x1234).owner
    with pytest.raises(LookupError, match="no struct mutx"):
        attached.struct("mutx", BASE)


def test_alive_until_it_is_not():
    with Machine(2, memory=16 << 20):
        found = attach(os.getpid())
        assert found.alive
    assert not found.alive
    assert len(found.cpus) == 2  # what it was can still be read
    found.close()


def whole_segment():
    """Everything that is backed of the segment, read without a map."""
    parts = ((0, memory.usage()["heap_end"] - BASE), (24 << 30, 16 << 20), (32 << 30, 16 << 20))
    return [os.pread(memory.descriptor(), length, start) for start, length in parts]


def look_at_everything(view, mapped, before=None):
    """A frame of every pane, with and without help."""
    for key in (*map(str, range(1, len(PANES) + 1)), "?", "?"):
        view.press(key)
        reading = look(mapped, before)
        view.tick(reading, 200, 60)
        view.frame(200, 60)
        before = reading
    return before


def test_not_a_byte_is_written(rig):
    rig.settle()
    before = whole_segment()
    with attach(os.getpid()) as attached:
        look_at_everything(View(attached.machine), attached.memory)
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if "emu" in line and " r--s " in line]
        assert maps
        with pytest.raises(ValueError, match="read-only"):
            attached.memory.words[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            attached.memory.cpus["counter"][0, 0] = 1
        del maps
    assert whole_segment() == before


def attach_many_times(times):
    """During a run whose counts are known: CPU 0 kicks, the others allocate and free."""
    with Rig(4, limit=300, bodies=[churn], gate="auto") as rig:
        cache = rig.kmem_cache_create("prime", 192)
        rig.settle()
        locks, kicks, calls = status.lock_statistics(), rig.vmstat()["kicks"], sum(rig.interrupts()["CAL"])
        stop = Words(1)
        opened, maps = len(list(Path("/proc/self/fd").iterdir())), count_maps()
        text = b'["", {"cache": %d, "stop": %d}]' % (cache.address, stop.at(0))
        for cpu in range(4):
            assert boot.post_body(cpu, 0, text)
        for _ in range(times):
            with attach(os.getpid()) as attached:
                look_at_everything(View(attached.machine), attached.memory)
        assert len(list(Path("/proc/self/fd").iterdir())) == opened
        assert count_maps() <= maps + 1
        stop[0] = 1
        rounds = []
        for cpu in range(4):
            rig.wait_for(lambda cpu=cpu: boot.body_done(cpu), f"CPU {cpu} to end", 60)
            rounds.append(msgspec.json.decode(boot.take_reply(cpu))[1])
        rig.settle()
        counts = rig.vmstat()
        assert counts["slab_alloc"] == counts["slab_free"] == sum(rounds) * 10
        assert counts["kicks"] - kicks == rounds[0]
        assert sum(rig.interrupts()["CAL"]) - calls == 3 * rounds[0]
        after = status.lock_statistics()
        # The workload takes no mutex; its refills take list_lock and zone_lock.
        for name in ("slab_mutex", "cgroup_mutex", "cpu_hotplug", "rcu_barrier_mutex", "pcpu_drain_mutex"):
            assert after[name]["acquisitions"] == locks[name]["acquisitions"], name
        return min(rounds)


def churn(cpu, cache, stop):
    rounds = 0
    while not selftest.peek(stop, 0):
        objects = [cpu.alloc(cache) for _ in range(10)]
        for obj in objects:
            cpu.free(cache, obj)
        rounds += 1
        if cpu.id == 0:
            cpu.kick_all_cpus_sync()
        else:
            cpu.cpu_relax()
    return rounds


def count_maps():
    return Path("/proc/self/maps").read_text().count(" r--s ")


def test_attaching_changes_no_count_and_leaks_nothing():
    assert attach_many_times(20) > 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_attaching_a_thousand_times_changes_no_count():
    assert attach_many_times(1000) > 0


@pytest.mark.soak
def test_a_thousand_real_monitors_change_no_count():
    """Processes of their own, as users start them; half of them are killed in the middle."""
    with Rig(4, limit=7200) as rig:
        cache = rig.kmem_cache_create("prime", 192)
        rig.settle()
        kicks, before = rig.vmstat()["kicks"], None
        for number in range(1000):
            command = [sys.executable, "-m", "emu", "monitor", str(os.getpid()), "--once"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as monitor:
                rig.kick_all_cpus_sync(on=number % 4)
                rig.cpu(number % 4).kmem_cache_free(cache, rig.cpu(number % 4).kmem_cache_alloc(cache))
                if number % 2:
                    time.sleep(0.2 + number % 7 / 50)
                    monitor.kill()
                else:
                    assert monitor.wait(60) == 0
            rig.settle()
            counts = rig.vmstat()
            assert counts["kicks"] - kicks == number + 1
            assert counts["slab_alloc"] == counts["slab_free"] == number + 1
            if before is not None:
                mutexes = status.lock_statistics()["slab_mutex"]["acquisitions"]
                assert mutexes == before
            before = status.lock_statistics()["slab_mutex"]["acquisitions"]


def test_frames_are_numpys_numbers_no_more(attached):
    assert isinstance(attached.vmstat()["kicks"], int)
    assert not isinstance(attached.cpu(0).hw.pid, np.generic)
