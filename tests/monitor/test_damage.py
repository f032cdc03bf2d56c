"""Memory that is damaged on purpose: the monitor and the API say so, and never crash or hang."""

import os
import random

import numpy as np
import pytest

from cpus import selftest
from cpus.layout import CONSTANTS, STRUCTS
from emu import machines
from emu.errors import DiedError, EmuError, ResourceError
from emu.live_memory import LiveMemory
from emu.monitor.app import Watched as AppWatched
from emu.monitor.reading import look
from emu.monitor.view import PANES
from emu.raw_memory import BASE, HEAP, DamagedError, offset
from emu.structs import entries
from ipc import memory
from tests.machines import Rig

GARBAGE = (0, 1, -1, 0x6B6B6B6B6B6B6B6B, BASE - 8, BASE + 12345, HEAP, HEAP + 4, 1 << 62)


@pytest.fixture
def broken():
    """A machine that may be damaged: nobody judges it. What was written is put back, so that it can end."""
    saved = []
    with Rig(4, name="broken", judged=False, trace_records=128) as rig:
        rig.kmem_cache_create("prime", 192)

        def write(address, value):
            saved.append((address, selftest.peek(address, 0)))
            selftest.poke(address, signed(value), 0)

        yield rig, write
        for address, value in reversed(saved):
            selftest.poke(address, value, 0)


def signed(value):
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def every_pane(seen, **options):
    return {pane.name: seen.body(number, **options) for number, pane in enumerate(PANES, 1)}


def header(name):
    return BASE + offset("segment_header", name)


def field(cpu, name):
    return CONSTANTS["CPU_AREA"] + (cpu + 1) * CONSTANTS["CPU_STRIDE"] + offset("cpu", name)


def hardware(cpu, name):
    return field(cpu, "hw") + offset("processor", name)


@pytest.mark.parametrize("value", GARBAGE)
@pytest.mark.parametrize("name", ["lock_stats", "ring", "waiting_since", "waiting_on", "held", "slot", "pending"])
def test_garbage_in_the_words_of_a_cpu(broken, watched, name, value):
    rig, write = broken
    seen = watched(rig)
    write(hardware(2, name), value)
    if name == "held":
        write(hardware(2, "held_count"), (3 << 32) | 0)
    every_pane(seen)


@pytest.mark.parametrize("value", GARBAGE)
def test_garbage_in_the_pointer_to_latencies(broken, watched, value):
    rig, write = broken
    write(field(1, "latency"), value)
    every_pane(watched(rig))


@pytest.mark.parametrize("area", ["AREA_SLAB", "AREA_MEMCG", "AREA_LOCKS"])
@pytest.mark.parametrize("value", [v for v in GARBAGE if v])
def test_a_root_that_is_none_is_told_in_its_pane(broken, watched, area, value):
    rig, write = broken
    write(header("area") + 8 * CONSTANTS[area], value)
    seen = watched(rig)
    texts = every_pane(seen)
    if area == "AREA_SLAB":
        assert "damaged memory: the header's AREA_SLAB points to" in texts["Caches"]
    if area == "AREA_MEMCG":
        assert "damaged memory" in texts["Memcgs"]
    assert "vector" in texts["IPIs"]  # the others go on


@pytest.mark.parametrize("value", [v for v in GARBAGE if v])
def test_a_list_of_caches_that_leads_astray(broken, watched, value):
    rig, write = broken
    root = memory_word(header("area") + 8 * CONSTANTS["AREA_SLAB"])
    head = root + offset("slab_system", "slab_root_caches")
    write(memory_word(head), value)
    assert "damaged memory: " in watched(rig).body(3)


def test_a_list_that_runs_in_a_circle(broken, watched):
    rig, write = broken
    root = memory_word(header("area") + 8 * CONSTANTS["AREA_SLAB"])
    first = memory_word(root + offset("slab_system", "slab_root_caches"))
    write(memory_word(first), first)  # the second leads back to the first
    seen = watched(rig)
    assert "damaged memory: the list at" in seen.body(3)
    with pytest.raises(DamagedError, match="broken, or changes too fast"):
        entries(seen.memory, root + offset("slab_system", "slab_root_caches"))


def memory_word(address):
    return selftest.peek(address, 0)


@pytest.mark.parametrize("name", ["num", "gfporder", "size", "node", "slub", "name", "cpu_cache"])
@pytest.mark.parametrize("value", GARBAGE)
def test_garbage_in_a_cache(broken, watched, name, value):
    rig, write = broken
    root = memory_word(header("area") + 8 * CONSTANTS["AREA_SLAB"])
    first = memory_word(root + offset("slab_system", "slab_root_caches"))
    cache = first - offset("kmem_cache", "memcg_params") - offset("memcg_cache_params", "root_caches_node")
    write(cache + offset("kmem_cache", name) + (8 * 2 if name == "cpu_cache" else 0), value)
    every_pane(watched(rig))


def test_a_header_that_has_lost_its_magic_ends_the_monitor(broken, screen):
    rig, write = broken
    shown = screen("monitor", os.getpid())
    shown.sees("broken pid")
    write(header("magic"), 0x1234)
    assert shown.end() == 5
    assert shown.is_sane()
    assert "is damaged" in shown.text()
    assert rig


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("nr_cpus", 5000, "senseless numbers"), ("nr_cpus", 0, "senseless"), ("nr_nodes", 99, "senseless"),
     ("base", 4096, "another version, or damaged"), ("cycles_per_us", 0, "cycles per microsecond")],
)  # fmt: skip
def test_a_damaged_header_is_refused(broken, name, value, said):
    rig, write = broken
    found = machines.find(str(os.getpid()))
    write(header(name), value)
    with pytest.raises((ResourceError, DiedError), match=said):
        AppWatched(found).look()
    assert rig


def test_a_file_that_is_no_segment_is_refused(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(4096))
    descriptor = os.open(plain, os.O_RDONLY)
    with pytest.raises(DamagedError, match="not the segment"):
        LiveMemory(descriptor)
    os.truncate(plain, CONSTANTS["SEGMENT_GIB"] << 30)
    with pytest.raises(DamagedError, match="not the segment"):
        LiveMemory(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_are_flipped_at_random(seed, watched, tmp_path):
    """On a copy, so that the machine lives: every pane draws something or says what is wrong."""
    rng = random.Random(seed)
    with Rig(4, trace_records=128) as rig:
        cache = rig.kmem_cache_create("prime", 192)
        obj = rig.cpu(1).kmem_cache_alloc(cache)
        seen = watched(rig)
        size = memory.usage()["heap_end"] - BASE
        data = bytearray(os.pread(memory.descriptor(), size, 0))
        rig.cpu(1).kmem_cache_free(cache, obj)
    copy = tmp_path / "copy"
    used = int(seen.memory.header["heap_next"]) - BASE
    for _ in range(25):
        torn = bytearray(data)
        for _ in range(rng.choice((1, 8, 64, 4096))):
            torn[rng.randrange(used)] ^= 1 << rng.randrange(8)
        draw_torn(copy, torn, seen)


def draw_torn(copy, torn, seen):
    copy.write_bytes(torn)
    os.truncate(copy, CONSTANTS["SEGMENT_GIB"] << 30)
    descriptor = os.open(copy, os.O_RDONLY)
    try:
        mapped = LiveMemory(descriptor)
        for key in "123456":
            seen.view.press(key)
            for pane in seen.view.state.panes:
                if hasattr(pane, "budget"):
                    pane.budget.cost = 0.0
            with np.errstate(all="ignore"):
                seen.view.tick(look(mapped), 200, 60)
            seen.view.frame(200, 60)
    except (DamagedError, EmuError):
        pass  # the header itself was hit, and that is said
    finally:
        os.close(descriptor)


def test_the_layout_is_what_the_panes_expect():
    for struct, names in {
        "processor": ("held", "lock_stats", "irqs"), "cpu": ("counter", "latency", "acks"),
        "kmem_cache": ("cpu_cache", "node", "memcg_params"), "array_cache": ("avail", "limit"),
    }.items():  # fmt: skip
        known = {f.name for f in STRUCTS[struct].fields}
        assert known >= set(names)
