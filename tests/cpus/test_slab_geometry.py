"""Objects per slab, placement of the freelist, default tunables, kmalloc caches: against tables and a plain model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpus import slab_faces as slab
from cpus.layout import CONSTANTS
from tests.slabs import kernel

# size -> (objects, order, placement), 4 KiB pages, max order 1, worked out by hand from the rules
PLAIN = {
    32: (124, 0, "on-slab"),
    64: (64, 0, "objfreelist"),
    96: (42, 0, "objfreelist"),
    128: (32, 0, "objfreelist"),
    192: (21, 0, "objfreelist"),
    256: (16, 0, "objfreelist"),
    512: (8, 0, "objfreelist"),
    1024: (4, 0, "objfreelist"),
    2048: (2, 0, "objfreelist"),
    4096: (1, 0, "objfreelist"),
    8192: (1, 1, "objfreelist"),
}
WITH_CONSTRUCTOR = {
    32: (124, "on-slab"),
    64: (63, "on-slab"),
    96: (42, "on-slab"),
    128: (32, "off-slab"),
    192: (21, "on-slab"),
    256: (16, "off-slab"),
    512: (8, "off-slab"),
    1024: (4, "off-slab"),
    2048: (2, "off-slab"),
    4096: (1, "off-slab"),
}


def make(size: int, *, ctor: bool = False, flags: int = 0, align: int = 0) -> dict[str, int | str]:
    address = slab.create_cache(f"size-{size}", size, align, flags, ctor)
    assert address > 0
    return slab.cache_info(address)


def test_known_geometries() -> None:
    with kernel():
        for size, expected in PLAIN.items():
            info = make(size)
            assert (info["num"], info["gfporder"], info["placement"]) == expected, size
        assert make(192)["colour"] == 1  # 64 bytes are left over


def test_known_geometries_with_a_constructor() -> None:
    with kernel():
        for size, expected in WITH_CONSTRUCTOR.items():
            info = make(size, ctor=True)
            assert (info["num"], info["placement"]) == expected, size


def test_an_rcu_cache_keeps_no_freelist_in_its_objects() -> None:
    with kernel():
        assert make(256, flags=CONSTANTS["SLAB_TYPESAFE_BY_RCU"])["placement"] == "off-slab"
        assert (
            make(256, flags=CONSTANTS["SLAB_TYPESAFE_BY_RCU"] | CONSTANTS["SLAB_NOLEAKTRACE"])["placement"] == "on-slab"
        )


def test_a_small_machine_and_a_boot_parameter_limit_the_order() -> None:
    with kernel(ram=16 << 20):  # 32 MiB or less: order 0 unless nothing fits
        assert make(1500)["gfporder"] == 0
        assert make(5000)["gfporder"] == 1
    with kernel():
        assert make(1500)["gfporder"] == 1
    with kernel(slab_max_order="3"):
        assert make(3000)["gfporder"] == 2  # the first order that wastes no more than an eighth: 5 of 3000 in 16384


def kmalloc_size(size: int) -> int:
    """The general cache that a size comes from."""
    if 64 < size <= 96:
        return 96
    if 128 < size <= 192:
        return 192
    return max(32, 1 << (size - 1).bit_length())


class Model:
    """The rules of the geometry once more, in plain Python."""

    def __init__(self, size: int, align: int, ctor: bool, flags: int) -> None:
        self.object_size = size
        self.align = max(align, 8)
        self.size = -(-max(16, -(-size // 8) * 8) // self.align) * self.align
        self.ctor, self.flags = ctor, flags

    def fits(self, num: int, off: bool) -> bool:
        return not off or kmalloc_size(num) <= self.size // 2

    def order(self, overhead: int, off: bool) -> tuple[int, int, int]:
        found = (0, 0, 0)
        for order in range(11):
            total = 4096 << order
            num, left = divmod(total, self.size + overhead)
            if num == 0:
                continue
            if num > 255:
                break
            if off and (not self.fits(num, off) or self.keeps_freelist_away(num)):
                continue
            found = (num, order, left)
            if self.flags & CONSTANTS["SLAB_RECLAIM_ACCOUNT"] or order >= 1 or left * 8 <= total:
                break
        return found

    def keeps_freelist_away(self, num: int) -> bool:
        """Whether the freelist's own cache would be an off-slab one: no kmalloc cache is."""
        return False

    def result(self) -> tuple[int, int, int, str]:
        rcu = self.flags & CONSTANTS["SLAB_TYPESAFE_BY_RCU"]
        num, order, left = self.order(0, False)
        if not self.ctor and not rcu and 0 < num <= self.object_size:
            return num, order, left // max(64, self.align), "objfreelist"
        num, order, left = self.order(0, True)
        if not self.flags & CONSTANTS["SLAB_NOLEAKTRACE"] and num and left < num:
            return num, order, left // max(64, self.align), "off-slab"
        num, order, left = self.order(1, False)
        return num, order, left // max(64, self.align), "on-slab"


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(8, 600), st.integers(8, 70000)),
            st.sampled_from([0, 8, 16, 64, 256]),
            st.booleans(),
            st.lists(st.sampled_from(["SLAB_RECLAIM_ACCOUNT", "SLAB_TYPESAFE_BY_RCU", "SLAB_NOLEAKTRACE"]), max_size=2),
        ),
        min_size=20,
        max_size=20,
    )
)
def test_geometry_agrees_with_a_plain_model(cases: list[tuple[int, int, bool, list[str]]]) -> None:
    with kernel():
        for size, align, ctor, names in cases:
            flags = sum({CONSTANTS[name] for name in names})
            info = make(size, ctor=ctor, flags=flags, align=align)
            found = info["num"], info["gfporder"], info["colour"], info["placement"]
            assert found == Model(size, align, ctor, flags).result(), (size, align, ctor, names)


# --- tunables -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "limit", "shared"),
    [
        (8, 120, 8),
        (256, 120, 8),
        (264, 54, 8),
        (1024, 54, 8),
        (1032, 24, 8),
        (4096, 24, 8),
        (4104, 8, 0),
        (131080, 1, 0),
    ],
)
@pytest.mark.parametrize("cpus", [1, 3])
def test_default_tunables(size: int, limit: int, shared: int, cpus: int) -> None:
    with kernel(cpus):
        info = make(size)
        wanted = (limit, (limit + 1) // 2, shared if cpus > 1 else 0)
        assert (info["limit"], info["batchcount"], info["shared"]) == wanted
        address = slab.find_cache(f"size-{size}")
        node = slab.nodes(address)[0]
        assert node["free_limit"] == (1 + cpus) * info["batchcount"] + info["num"]
        assert node["shared_limit"] == wanted[1] * wanted[2]
        assert slab.cpu_arrays(address) == [(0, wanted[0], wanted[1], 0)] * cpus


def test_131072_bytes_is_the_last_size_with_eight_in_the_array() -> None:
    with kernel():
        assert (make(131072)["limit"], make(131080)["limit"]) == (8, 1)


# --- kmalloc --------------------------------------------------------------------------------------


def test_kmalloc_caches() -> None:
    with kernel():
        names = {name for _, name in slab.caches()}
        sizes = {96, 192} | {1 << n for n in range(5, 23)}
        assert names == {f"kmalloc-{size}" for size in sizes}
        for size in (1, 8, 16, 32, 33, 64, 65, 96, 97, 128, 129, 192, 193, 4096, 4097, 1 << 22):
            obj = slab.malloc(size)
            name = dict(slab.caches())[slab.slab_of(obj)["cache"]]
            assert name == f"kmalloc-{kmalloc_size(size)}", size
            slab.mfree(obj)


def test_kmalloc_of_nothing_and_of_too_much() -> None:
    with kernel():
        assert slab.malloc(0) == 16
        slab.mfree(16)
        slab.mfree(0)
        assert slab.malloc((1 << 22) + 1) == 0


# --- creation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "align"), [(0, 0), (7, 0), ((1 << 22) + 1, 0), (64, 3), (64, -8)])
def test_senseless_caches_are_refused(size: int, align: int) -> None:
    with kernel():
        before = len(slab.caches())
        assert slab.create_cache("odd", size, align) == -22
        assert len(slab.caches()) == before


def test_a_cache_that_does_not_fit_into_the_segment_leaves_nothing() -> None:
    from ipc import memory

    with kernel(64, segment=64 << 20) as k:
        address, used = 0, 0
        for number in range(10000):
            used = memory.usage()["heap_used"]
            address = slab.create_cache(f"c{number}", 64)
            if address < 0:
                break
        assert address == -12
        assert memory.usage()["heap_used"] == used
        assert k.count("caches_created") == number


def test_merging_is_off_unless_asked_for() -> None:
    from cpus import slab_boot

    with kernel():
        assert slab.create_cache("mine", 192) != slab.find_cache("kmalloc-192")
        assert slab_boot.kmem_cache_init(slab_nomerge=False)
        general = slab.find_cache("kmalloc-192")
        assert slab.create_cache("mine", 192) == general
        assert slab.create_cache("mine", 190) == general
        assert slab.cache_info(general)["refcount"] == 3
        assert slab.create_cache("constructed", 192, 0, 0, True) != general
        assert slab.create_cache("accounted", 192, 0, CONSTANTS["SLAB_ACCOUNT"]) != general
        assert slab.create_cache("small", 100) != general
        assert slab.destroy_cache(general) == 0
        assert slab.cache_info(general)["refcount"] == 2


def test_a_destroyed_cache_gives_everything_back() -> None:
    from ipc import memory

    with kernel(4, nodes=2) as k:
        before = memory.usage()["heap_used"], k.pages_in_use()
        address = slab.create_cache("gone", 300, 0, 0, True)
        objects = [slab.alloc(address) for _ in range(500)]
        assert slab.destroy_cache(address) == -16  # EBUSY: it stays
        for obj in objects:
            slab.free(address, obj)
        assert slab.destroy_cache(address) == 0
        slab.shrink_cache(slab.find_cache("kmalloc-32"))  # where the freelists were
        assert (memory.usage()["heap_used"], k.pages_in_use()) == before
