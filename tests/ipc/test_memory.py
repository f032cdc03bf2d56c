"""The segment and its metadata heap: one map, exact limits, poison, several processes at once."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpus import status
from cpus.layout import CONSTANTS, STRUCTS
from emu.errors import ResourceError
from ipc import memory
from tests.machines import Rig
from tests.processes import leftovers, run_program

MIB = 1 << 20
LINE = CONSTANTS["CACHE_LINE"]
POISON = bytes([CONSTANTS["POISON_FREE"]])


@pytest.fixture
def segment() -> Iterator[None]:
    memory.create(256 * MIB, 16 * MIB, 4, 1)
    yield
    memory.destroy()


def content(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def fill(address: int, byte: int, size: int) -> None:
    ctypes.memset(address, byte, size)


@pytest.mark.usefixtures("segment")
class TestHeap:
    @pytest.mark.parametrize("size", [1, 8, 63, 64, 65, 1000, 1024, 1025, 1280, 4096, 5000, 100_000, 3 * MIB])
    def test_a_block_is_aligned_zeroed_and_all_usable(self, size: int) -> None:
        before = memory.test_heap_alloc(64)
        block = memory.test_heap_alloc(size)
        after = memory.test_heap_alloc(64)
        assert block % LINE == 0
        assert content(block, size) == bytes(size)
        fill(block, 0xFF, size)
        assert content(before, 64) == content(after, 64) == bytes(64)

    def test_freed_memory_is_poisoned_and_given_out_zeroed(self) -> None:
        block = memory.test_heap_alloc(200)
        fill(block, 0xAA, 200)
        memory.test_heap_free(block)
        assert content(block, 200) == POISON * 200
        assert memory.test_heap_alloc(200) == block, "the last freed of its class comes first"
        assert content(block, 200) == bytes(200)

    def test_classes_do_not_mix(self) -> None:
        small = memory.test_heap_alloc(64)
        memory.test_heap_free(small)
        assert memory.test_heap_alloc(65) != small
        assert memory.test_heap_alloc(1) == small

    def test_usage_adds_up(self) -> None:
        start = memory.usage()["heap_used"]
        blocks = [memory.test_heap_alloc(size) for size in (1, 64, 65, 5000)]
        used = memory.usage()["heap_used"] - start
        assert used >= 1 + 64 + 65 + 5000 + 4 * LINE
        for block in blocks:
            memory.test_heap_free(block)
        assert memory.usage()["heap_used"] == start

    def test_nothing_freed_is_nothing(self) -> None:
        memory.test_heap_free(0)
        assert not status.header()["broken"]

    def test_a_double_free_is_noticed(self) -> None:
        """The heap does not hand the block out twice, and the machine is called broken."""
        block = memory.test_heap_alloc(100)
        memory.test_heap_free(block)
        assert not status.header()["broken"]
        memory.test_heap_free(block)
        assert status.header()["broken"]
        assert memory.test_heap_alloc(100) == block
        assert memory.test_heap_alloc(100) != block

    def test_what_never_was_a_block_is_noticed(self) -> None:
        block = memory.test_heap_alloc(1000)
        memory.test_heap_free(block + 128)
        assert status.header()["broken"]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 9000)), max_size=60))
    def test_against_a_model(self, steps: list[tuple[bool, int]]) -> None:
        """Blocks never overlap and keep what is written to them."""
        live: dict[int, tuple[int, int]] = {}
        for number, (free, size) in enumerate(steps):
            if free and live:
                address = sorted(live)[size % len(live)]
                length, mark = live.pop(address)
                assert content(address, length) == bytes([mark]) * length
                memory.test_heap_free(address)
            else:
                address = memory.test_heap_alloc(size)
                assert all(address + size <= a or a + length <= address for a, (length, _) in live.items())
                fill(address, number % 250 + 1, size)
                live[address] = size, number % 250 + 1
        for address, (length, mark) in live.items():
            assert content(address, length) == bytes([mark]) * length
            memory.test_heap_free(address)


class TestLimit:
    def test_out_of_memory_is_null_and_not_a_bus_error(self) -> None:
        memory.create(64 * MIB, 16 * MIB, 1, 1)
        try:
            blocks = []
            while block := memory.test_heap_alloc(MIB):
                fill(block, 0xFF, MIB)
                blocks.append(block)
            assert 30 < len(blocks) < 48
            assert memory.usage()["backed"] <= 64 * MIB
            assert memory.test_heap_alloc(MIB) == 0
            memory.test_heap_free(blocks.pop())
            assert memory.test_heap_alloc(MIB) != 0, "what was given back can be had again"
        finally:
            memory.destroy()

    def test_a_block_that_cannot_fit_costs_nothing(self) -> None:
        """Refused, and what is left is still there for others."""
        memory.create(128 * MIB, 16 * MIB, 1, 1)
        try:
            before = memory.usage()
            assert memory.test_heap_alloc(1 << 30) == 0
            assert memory.usage() == before
        finally:
            memory.destroy()

    def test_absurd_sizes(self) -> None:
        memory.create(64 * MIB, 16 * MIB, 1, 1)
        try:
            for size in (1 << 35, 1 << 40, 1 << 62):
                assert memory.test_heap_alloc(size) == 0
        finally:
            memory.destroy()

    @pytest.mark.parametrize("limit", [1 * MIB, 16 * MIB, 17 * MIB])
    def test_too_small_a_segment_is_refused_by_name(self, limit: int) -> None:
        before = leftovers()
        with pytest.raises(ResourceError, match="max-segment"), Rig(4, max_segment=limit):
            pass
        assert leftovers() == before


class TestSegment:
    def test_created_and_destroyed_again_and_again(self) -> None:
        generations = []
        for _ in range(5):
            assert memory.create(64 * MIB, 16 * MIB, 2, 1) in ("/dev/shm", "memfd")
            generations.append(status.header()["generation"])
            block = memory.test_heap_alloc(64)
            assert content(block, 64) == bytes(64)
            fill(block, 0xFF, 64)
            assert memory.descriptor() >= 0
            memory.destroy()
            assert memory.descriptor() == -1
            memory.destroy()
        assert generations == sorted(set(generations))

    def test_a_second_one_is_refused_and_the_first_lives(self) -> None:
        memory.create(64 * MIB, 16 * MIB, 2, 1)
        try:
            block = memory.test_heap_alloc(64)
            fill(block, 0x11, 64)
            with pytest.raises(memory.SegmentError):
                memory.create(64 * MIB, 16 * MIB, 2, 1)
            assert memory.descriptor() >= 0
            assert content(block, 64) == b"\x11" * 64
        finally:
            memory.destroy()

    def test_it_has_no_name(self) -> None:
        memory.create(64 * MIB, 16 * MIB, 2, 1)
        try:
            target = Path(f"/proc/self/fd/{memory.descriptor()}").readlink()
            assert "(deleted)" in str(target)
            assert leftovers()["shm"] == []
        finally:
            memory.destroy()

    def test_where_dev_shm_is_too_small_it_is_a_memfd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.statvfs("/dev/shm")

        class Full:
            f_bavail = 10
            f_frsize = real.f_frsize

        monkeypatch.setattr(os, "statvfs", lambda path: Full)
        assert memory.create(64 * MIB, 16 * MIB, 2, 1) == "memfd"
        try:
            assert memory.test_heap_alloc(64)
        finally:
            memory.destroy()

    @pytest.mark.parametrize("which", ["SEGMENT_BASE", "PRIVATE_PAGE"])
    def test_an_address_that_is_taken(self, which: str) -> None:
        done = run_program("tests.ipc.test_memory:map_and_create", CONSTANTS[which])
        assert done.returncode == 0, done.stderr
        assert f"address {CONSTANTS[which]:#x} is taken" in done.stdout
        assert "left: -1" in done.stdout

    def test_no_address_space(self) -> None:
        done = run_program("tests.ipc.test_memory:create_within", 8 << 30)
        assert done.returncode == 0, done.stderr
        assert "ulimit -v" in done.stdout

    def test_header(self) -> None:
        memory.create(64 * MIB, 48 * MIB, 7, 2)
        try:
            header = status.header()
            assert (header["nr_cpus"], header["nr_nodes"], header["limit"]) == (7, 2, 64 * MIB)
            magic = next(f.offset for f in STRUCTS["segment_header"].fields if f.name == "magic")
            assert content(CONSTANTS["SEGMENT_BASE"] + magic, 4) == CONSTANTS["SEGMENT_MAGIC"].to_bytes(4, "little")
        finally:
            memory.destroy()

    def test_switches_are_checked(self) -> None:
        memory.create(64 * MIB, 16 * MIB, 2, 1)
        try:
            memory.set_switch(127, 255)
            for index, value in ((-1, 0), (128, 0), (0, 256), (0, -1)):
                with pytest.raises(ValueError, match="switch"):
                    memory.set_switch(index, value)
        finally:
            memory.destroy()


class TestShared:
    @pytest.mark.parametrize("cpus", [2, 6])
    def test_several_processes_allocate_at_once(self, cpus: int) -> None:
        """Each block is filled by its owner and looked at before it is freed: nobody else had it."""
        with Rig(cpus) as rig:
            before = memory.usage()["heap_used"]
            for cpu in range(cpus):
                rig.start("heap_churn", 4000, cpu + 1, on=cpu)
            assert rig.call("heap_churn", 4000, 99, on="coordinator") == 0
            assert [rig.finish(cpu) for cpu in range(cpus)] == [0] * cpus
            assert memory.usage()["heap_used"] == before

    def test_planted_write_after_free_is_seen(self) -> None:
        """The oracle of the test above: somebody writes into memory that is not its own."""
        with Rig(1) as rig:
            end = memory.usage()["heap_end"]
            rig.start("heap_churn", 300_000, 1, on=0)
            first = memory.test_heap_alloc(8)
            while not rig.finished(0):
                for address in range(first, min(first + MIB, end), 4096):
                    ctypes.memset(address + 64, 0x55, 8)
            assert rig.finish(0) > 0
            rig.judged = False

    def test_memory_grown_by_one_is_seen_by_all(self) -> None:
        with Rig(3) as rig:
            backed = memory.usage()["backed"]
            assert rig.call("heap_churn", 1, 1, on=1) == 0
            big = memory.test_heap_alloc(40 * MIB)
            assert big
            assert memory.usage()["backed"] > backed
            assert rig.call("count_locked", 0, 4, big + 39 * MIB, 7, 0, on=2) == 7
            assert content(big + 39 * MIB, 1) == b"\x07"


# --- programs -----------------------------------------------------------------------------------


def map_and_create(address: str) -> int:
    """Take the address, then try to make a segment."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000
    assert libc.mmap(int(address), 4096, mmap.PROT_READ, flags, -1, 0) == int(address)
    try:
        memory.create(64 * MIB, 16 * MIB, 2, 1)
    except memory.SegmentError as error:
        print(error, "left:", memory.descriptor())  # noqa: T201
        return 0
    return 1


def create_within(limit: str) -> int:
    """Try to make a segment with little address space."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    try:
        memory.create(64 * MIB, 16 * MIB, 2, 1)
    except memory.SegmentError as error:
        print(error)  # noqa: T201
        return 0
    return 1
