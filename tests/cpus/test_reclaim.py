"""Direct reclaim and the OOM killer: what a request does when every zone is below its watermark."""

import pytest

from cpus import page_alloc
from cpus import page_faces as pages
from emu.validate import check
from tests.machines import Rig
from tests.slabs import MIB, kernel, word


def held(slots):
    return [word(slot) != 0 for slot in slots]


def test_the_oldest_pages_go_first():
    with kernel(ram=64 * MIB) as k:
        slots = [pages.lru_page(0) for _ in range(10)]
        assert pages.reclaim(0, 3) >= 3
        # One scan looks at SWAP_CLUSTER_MAX pages, so all ten go.
        assert held(slots) == [False] * 10
        assert k.count("pgscan_direct") == k.count("pgsteal_direct") == 10
        assert k.pages_in_use() == 0
        assert check() == []


def test_a_page_that_was_used_gets_a_second_chance():
    with kernel(ram=64 * MIB) as k:
        slots = [pages.lru_page(0) for _ in range(40)]
        assert pages.touch(slots[0])
        assert pages.reclaim(0, 1) == 31
        assert held(slots) == [True] + [False] * 31 + [True] * 8
        assert (k.count("pgscan_direct"), k.count("pgsteal_direct")) == (32, 31)
        # The ones left are older now than the one that was used.
        assert pages.reclaim(0, 1) == 9
        assert held(slots) == [False] * 40
        assert check() == []


def test_an_owner_and_a_reclaimer_want_the_same_page():
    with kernel(ram=64 * MIB):
        slot = pages.lru_page(0)
        assert pages.unmap(slot)
        assert not pages.unmap(slot)
        other = pages.lru_page(0)
        assert pages.reclaim(0, 1) == 1
        assert not pages.unmap(other)
        assert not pages.touch(other)
        assert check() == []


def fill(rig, gfp=pages.GFP_ATOMIC):
    """Everything that requests may have, for the coordinator: unreclaimable."""
    taken = []
    while (pfn := rig.call("page_alloc", 0, 0, gfp, on="coordinator")) >= 0:
        taken.append(pfn)
    return taken


def empty(rig, taken):
    for pfn in taken:
        rig.call("page_free", pfn, 0, on="coordinator")


def test_a_request_reclaims_and_drains_once():
    with Rig(5, memory=256 << 20, kernel="3.4") as rig:
        slots = [pages.lru_page(0) for _ in range(2000)]
        taken = fill(rig, pages.GFP_KERNEL)  # to the watermark, as far as the coordinator may, who never reclaims
        before = rig.vmstat()
        pfn = rig.call("page_alloc", 0, 0, pages.GFP_KERNEL, on=1)
        assert pfn >= 0
        found = rig.vmstat()
        moved = {name: found[name] - before[name] for name in found}
        assert moved["allocstall"] == moved["allocstall_normal"] == 1
        # What was reclaimed lies on CPU 1's lists, where it is not free: so it is drained, and nobody is interrupted.
        assert moved["pgsteal_direct"] == 32
        assert moved["pcp_global_drain"] == moved["pcp_global_ipi_saved"] == 1
        assert moved["ipis_sent"] == 0
        assert moved["ipis_avoided_self"] == 1
        assert moved["ipis_avoided_empty"] == 4
        assert held(slots).count(False) == 32
        rig.call("page_free", pfn, 0, on=1)
        empty(rig, taken)
        assert check() == []


@pytest.mark.parametrize("gfp", ["ATOMIC", "NOWAIT"])
def test_who_may_not_sleep_does_not_reclaim(gfp):
    bits = pages.GFP_ATOMIC if gfp == "ATOMIC" else 0x1000000
    with Rig(2, memory=64 << 20) as rig:
        slots = [pages.lru_page(0) for _ in range(100)]
        taken = fill(rig)
        assert rig.call("page_alloc", 0, 0, bits, on=1) == -1
        assert rig.vmstat()["allocstall"] == 0
        assert all(held(slots))
        empty(rig, taken)


def test_the_oom_killer():
    with Rig(2, memory=64 << 20) as rig:
        small, large = pages.oom_add(10), pages.oom_add(1000)
        taken = fill(rig)
        for _ in range(3):
            assert rig.call("page_alloc", 0, 0, pages.GFP_KERNEL, on=1) == -1
        # One at a time, the one that holds most.
        assert pages.oom_killed() == [large]
        assert rig.vmstat()["oom_kill"] == 1
        pages.oom_exit(large)
        assert rig.call("page_alloc", 0, 0, pages.GFP_KERNEL, on=1) == -1
        assert pages.oom_killed() == [small, large]
        pages.oom_exit(small)
        assert rig.call("page_alloc", 0, 0, pages.GFP_KERNEL, on=1) == -1
        assert rig.vmstat()["oom_kill"] == 2
        empty(rig, taken)
        assert check() == []


@pytest.mark.parametrize(("order", "extra"), [(4, 0), (0, pages.GFP_NORETRY), (0, pages.GFP_THISNODE)])
def test_requests_that_nobody_is_killed_for(order, extra):
    with Rig(2, memory=64 << 20) as rig:
        pages.oom_add(10)
        taken = fill(rig)
        assert rig.call("page_alloc", 0, order, pages.GFP_KERNEL | extra, on=1) == -1
        assert pages.oom_killed() == []
        empty(rig, taken)


def test_a_lower_zone_keeps_its_reserve():
    with kernel(ram=64 * MIB):
        while page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL) >= 0:
            pass
        dma = pages.zones()[0]
        left = dma["free"] + dma["fresh"]
        assert left <= dma["watermark"][0] + dma["reserve"][2]
        # A request for this very zone gets what is kept from the others.
        got = 0
        while page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL | pages.GFP_DMA) >= 0:
            got += 1
        assert got == dma["reserve"][2]
