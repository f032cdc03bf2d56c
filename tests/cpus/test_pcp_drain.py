"""drain_all_pages and invalidate_bh_lrus on real CPUs: who is interrupted, counted exactly."""

import pytest

from cpus import buffer_head, slab_faces, status
from cpus import page_faces as pages
from cpus.patch_table import BY_NAME
from emu.validate import check
from tests.machines import Rig, Words

VARIANTS = [value.name for value in BY_NAME["pcp-drain"].values]
MASKS = [name for name in VARIANTS if name.startswith("mask-")]
REASONS = ("empty", "offline", "self", "other")


def put_one_page(rig, cpu, dma=False):
    """Exactly one page on a CPU's list: the coordinator, which has none, allocates it, and the CPU frees it."""
    gfp = pages.GFP_ATOMIC | (pages.GFP_DMA if dma else 0)
    pfn = rig.call("page_alloc", 0, 0, gfp, on="coordinator")
    assert pfn >= 0
    rig.call("page_free", pfn, 0, on=cpu)


def ledger(rig):
    found = rig.vmstat()
    names = ["ipis_sent", *(f"ipis_avoided_{why}" for why in REASONS), "pcp_global_drain", "pcp_global_ipi_saved"]
    return {name: found[name] for name in names}


def moved(rig, before):
    return {name: value - before[name] for name, value in ledger(rig).items()}


def cal(rig):
    return sum(rig.interrupts()["CAL"])


def machine(cpus, variant=None, **options):
    changes = {"pcp-drain": variant} if variant else {}
    return Rig(cpus, **{"memory": 64 << 20, "patches": changes} | options)


@pytest.mark.parametrize("variant", ["mask-merged", "mask-private", "mask-mutex", "mask-spinlock", "mask-self-clear"])
def test_a_known_prime_number(variant):
    """23 times three of 7 CPUs hold one page each, and then two of them."""
    with machine(7, variant) as rig:
        for holders, sent, empty, saved in (((1, 3, 6), 69, 92, 0), ((2, 5), 46, 115, 23)):
            before, interrupts = ledger(rig), cal(rig)
            for _ in range(23):
                for cpu in holders:
                    put_one_page(rig, cpu)
                assert rig.call("drain_all_pages", -1, on="coordinator") in (0, len(holders))
                assert pages.counts() == [0] * 7
            assert moved(rig, before) == {
                "ipis_sent": sent,
                "ipis_avoided_empty": empty,
                "ipis_avoided_offline": 0,
                "ipis_avoided_self": 0,
                "ipis_avoided_other": 0,
                "pcp_global_drain": 23,
                "pcp_global_ipi_saved": saved,
            }
            rig.settle()
            assert cal(rig) - interrupts == sent


# Interrupts of one drain of N CPUs of which k others than the initiator have pages: kernel-facts 13.
LEDGER = {
    "3.3": lambda n, k: n,
    "3.4": lambda n, k: k,
    "4.10": lambda n, k: k,
    "4.11": lambda n, k: 0,
    "4.12": lambda n, k: 0,
    "6.0": lambda n, k: 0,
}


@pytest.mark.parametrize("kernel", LEDGER)
@pytest.mark.parametrize("initiator", [0, "coordinator"])
def test_interrupts_of_a_drain(kernel, initiator):
    cpus = 6
    with machine(cpus, kernel=kernel) as rig:
        for holders in ((), (0,), (4,), (0, 2, 5), range(cpus)):
            for cpu in holders:
                put_one_page(rig, cpu)
            before, interrupts, drained = cal(rig), ledger(rig), pages.counts()
            assert [count > 0 for count in drained] == [cpu in holders for cpu in range(cpus)]
            rig.call("drain_all_pages", -1, on=initiator)
            rig.settle()
            assert pages.counts() == [0] * cpus
            others = cpus - (initiator == 0)
            k = len([cpu for cpu in holders if cpu != initiator])
            expected = LEDGER[kernel](others, k)
            assert cal(rig) - before == expected
            change = moved(rig, interrupts)
            assert change["ipis_sent"] == expected
            # Of each possible CPU it is known why it was not interrupted.
            assert expected + sum(change[f"ipis_avoided_{why}"] for why in REASONS) == cpus
            assert check() == []


@pytest.mark.parametrize("kernel", ["3.3", "3.4", "4.10", "4.11", "6.0"])
@pytest.mark.parametrize("initiator", [0, "coordinator"])
def test_interrupts_of_invalidate_bh_lrus(kernel, initiator):
    cpus = 6
    with machine(cpus, kernel=kernel) as rig:
        for holders in ((), (0,), (3,), (0, 2, 5), range(cpus)):
            for cpu in holders:
                for block in range(cpu + 1):
                    assert rig.call("touch_block", block, on=cpu) == 0
            assert [len(buffer_head.cached_blocks(cpu)) for cpu in range(cpus)] == [
                cpu + 1 if cpu in holders else 0 for cpu in range(cpus)
            ]
            before = cal(rig)
            rig.call("invalidate_bh_lrus", 0, on=initiator)
            rig.settle()
            k = len([cpu for cpu in holders if cpu != initiator])
            assert cal(rig) - before == (cpus - (initiator == 0) if kernel == "3.3" else k)
            assert not any(buffer_head.cached_blocks(cpu) for cpu in range(cpus))


def test_a_mask_that_cannot_be_allocated():
    """Each CPU that must be called is called alone: as many interrupts, by the single vector."""
    with machine(5, kernel="3.4") as rig:
        for cpu in (0, 2, 4):
            rig.call("touch_block", 7, on=cpu)
        assert rig.call("invalidate_bh_lrus", 1, on=1) == 3
        rig.settle()
        assert [status.interrupts(cpu)["taken"][:2] for cpu in range(5)] == [[1, 0], [0, 0], [1, 0], [0, 0], [1, 0]]
        assert not any(buffer_head.cached_blocks(cpu) for cpu in range(5))


def test_a_buffer_lru_is_an_lru():
    with machine(1) as rig:
        for block in [*range(20), 10]:
            rig.call("touch_block", block, on=0)
        assert buffer_head.cached_blocks(0) == [10, 19, 18, 17, 16, 15, 14, 13, 12, 11, 9, 8, 7, 6, 5, 4]


@pytest.mark.parametrize("variant", VARIANTS)
def test_pages_that_were_there_are_gone(variant):
    """All variants, alone, but v6's: the pages of its earlier zones stay, and of those alone.

    By the kernel's formulas the lists of a DMA zone of 16 MiB hold nothing; a fraction makes room.
    """
    with machine(4, variant, append="percpu_pagelist_fraction=8") as rig:
        put_one_page(rig, 1)
        put_one_page(rig, 2, dma=True)
        put_one_page(rig, 3)
        put_one_page(rig, 3, dma=True)
        assert pages.counts() == [0, 1, 1, 2]
        asked = rig.call("drain_all_pages", -1, on=0)
        left = [0, 0, 1, 0] if variant == "mask-v6" else [0] * 4
        assert pages.counts() == left
        assert asked == {"all": 4, "mask-v6": 2}.get(variant, 3)
        assert check() == []


@pytest.mark.parametrize("variant", ["mask-merged", "workqueue", "remote", "all"])
def test_one_zone_only(variant):
    with machine(3, variant, append="percpu_pagelist_fraction=8") as rig:
        for cpu in (0, 1):
            put_one_page(rig, cpu)
            put_one_page(rig, cpu, dma=True)
        rig.call("drain_all_pages", 0, on=2)
        assert pages.counts() == [1, 1, 0]
        assert [pages.pageset(cpu, 0)["count"] for cpu in range(3)] == [0, 0, 0]


def test_a_kworker_does_not_wait_for_kworkers():
    with machine(2, "workqueue") as rig:
        put_one_page(rig, 1)
        assert rig.call("drain_in_kworker", on=0) == -1
        assert rig.vmstat()["pcp_drain_skipped"] == 1
        assert pages.counts() == [0, 1]


@pytest.mark.parametrize("variant", ["all", *MASKS])
def test_an_offline_cpu_is_not_interrupted(variant):
    """Its pages stay until it is declared dead; then they go back, and its bit in the static mask with them."""
    with machine(4, variant) as rig:
        for cpu in (1, 2):
            put_one_page(rig, cpu)
        rig.settle()
        slab_faces.set_online(2, False)
        before = ledger(rig)
        rig.call("drain_all_pages", -1, on=0)
        assert pages.counts() == [0, 0, 1, 0]
        change = moved(rig, before)
        sent = 2 if variant == "all" else 1
        assert (change["ipis_sent"], change["ipis_avoided_offline"], change["ipis_avoided_self"]) == (sent, 1, 1)
        assert change["ipis_avoided_empty"] == 2 - sent
        rig.call("page_alloc_cpu_dead", 2, on=0)
        assert pages.counts() == [0] * 4
        assert check() == []
        slab_faces.set_online(2, True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cpu_that_waits_for_a_lock_of_the_drainer(variant):
    """Its kworker is asleep in the kernel: by work item it is rescued by an interrupt, or both would wait for ever."""
    with machine(2, variant, limit=30) as rig:
        pages.watch_drains()
        put_one_page(rig, 1)
        taken = Words(1)
        rig.start("drain_under_lock", 1, taken.at(0), on=0)
        rig.wait_for(lambda: taken[0], "CPU 0 to take slab_mutex")
        rig.start("take_slab_mutex", on=1)
        assert rig.finish(0) >= 1
        rig.finish(1)
        assert pages.counts() == [0, 0]
        assert pages.watched_drains()["rescued"] == (variant == "workqueue")
        rig.settle()


def test_cpus_that_compute_drain_by_work():
    with machine(3, "workqueue") as rig:
        put_one_page(rig, 1)
        rig.start("spin_for", 200_000, on=2)
        rig.call("drain_all_pages", -1, on=0)
        assert pages.counts() == [0] * 3
        rig.finish(2)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in ("workqueue",)])
def test_a_cpu_with_interrupts_off_is_waited_for(variant):
    with machine(3, variant) as rig:
        put_one_page(rig, 1)
        words = rig.hold_irqs(1)
        rig.start("drain_all_pages", -1, on=0)
        if variant == "remote":
            rig.finish(0)
            assert pages.counts() == [0] * 3
        else:
            assert not rig.comes(lambda: rig.finished(0), 0.05)
        words[1] = 1
        rig.finish(1)
        if variant != "remote":
            rig.finish(0)
        assert pages.counts() == [0] * 3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("gate", ["off", "on"])
def test_all_cpus_drain_at_once(variant, gate):
    """Who waits for a lock must answer the interrupts of who holds it: nobody may hang, and no page is lost."""
    with machine(6, variant, gate=gate, limit=60) as rig:
        rig.call_on_all("drain_storm", 60)
        assert check() == []
        found = rig.vmstat()
        assert found["pcp_global_drain"] == 6 * 60
        if variant in ("mask-trylock", "workqueue", "remote"):
            assert found["pcp_drain_skipped"] < 6 * 60
        else:
            assert found["pcp_drain_skipped"] == 0
