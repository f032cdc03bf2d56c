"""The ledger of calls: exact sums, call sites by name, waits under locks."""

import time

import pytest

from cpus import slab_faces, status
from emu import ledger
from tests.machines import Rig


def by_site(found):
    sums = {}
    for row in found["rows"]:
        into = sums.setdefault(row["site"], dict.fromkeys(ledger.SUMS, 0))
        for name in ledger.SUMS:
            into[name] += row[name]
    return sums


def test_sent_is_what_vmstat_counts():
    with Rig(4, kernel="4.11") as rig:
        for i in range(5):
            cache = rig.kmem_cache_create(f"c{i}", 192)
        rig.kick_all_cpus_sync(on=2)
        rig.kick_all_cpus_sync(on="coordinator")
        found = ledger.collect(4)
        assert cache.name == "c4"
        assert sum(row["sent"] for row in found["rows"]) == rig.vmstat()["ipis_sent"]
        assert sum(row["served"] for row in found["victims"]) == rig.requests()["run"]
        sites = by_site(found)
        # Every creation kicked the three others, under slab_mutex.
        assert sites["publish_arrays"]["sent"] % 3 == 0
        assert sites["publish_arrays"]["sent"] >= 15
        assert {row["locks"] for row in found["rows"] if row["site"] == "publish_arrays"} == {"slab_mutex"}
        assert found["dropped"] == 0


def test_kicks_are_under_the_name_of_their_caller():
    with Rig(3) as rig:
        before = sum(row["sent"] for row in ledger.collect(3)["rows"] if not row["locks"])
        for _ in range(7):
            rig.kick_all_cpus_sync(on=0)
        rows = [row for row in ledger.collect(3)["rows"] if not row["locks"]]
        assert sum(row["sent"] for row in rows) - before == 14
        assert {row["function"] for row in rows} == {"do_nothing"}


def test_no_kick_for_a_new_cache_since_412():
    with Rig(3, kernel="4.12") as rig:
        before = ledger.collect(3)
        rig.kmem_cache_create("c", 192)
        after = ledger.collect(3)
        assert by_site(before).get("publish_arrays") == by_site(after).get("publish_arrays")
        assert rig.vmstat()["ipis_avoided_no_previous"] >= 2


def test_shrink_sends_to_all_whether_they_hold_something_or_not():
    with Rig(4) as rig:
        cache = rig.kmem_cache_create("c", 192)
        rig.call("kmem_cache_shrink", cache.address, on=1)
        (row,) = [row for row in ledger.collect(4)["rows"] if row["function"] == "do_drain"]
        assert (row["site"], row["sent"], row["self"], row["waits"]) == ("drain_cpu_caches", 3, 1, 1)


def test_others_blocked_behind_a_kick_under_slab_mutex():
    """Two CPUs create caches at the same time: whoever comes second waits while the first waits for answers."""
    with Rig(4, kernel="4.11") as rig:
        deadline = time.monotonic() + 60
        blocked = 0
        while not blocked and time.monotonic() < deadline:
            rig.run("tests.cpus.test_ledger:create_caches", n=20)
            under = [row for row in ledger.collect(4)["rows"] if "slab_mutex" in row["locks"]]
            blocked = sum(row["blocked"] for row in under)
        assert blocked > 0
        assert 0 < sum(row["blocked_ns"] for row in under) <= 4 * sum(row["wait_ns"] for row in under)


def create_caches(cpu, n):
    """A body: caches come and go."""
    for i in range(n):
        slab_faces.destroy_cache(slab_faces.create_cache(f"c{cpu.id}-{i}", 64))


def test_who_is_offline_is_spared():
    with Rig(4, on_cpu_death="continue") as rig:
        cache = rig.kmem_cache_create("c", 192)
        rig.kill(3)
        rig.wait_for(lambda: status.status(3)["dead"], "CPU 3 to be noticed as dead")
        assert sum(row["offline"] for row in ledger.collect(4)["rows"]) == 0
        rig.call("kmem_cache_shrink", cache.address, on=0)
        rig.kick_all_cpus_sync(on=0)
        spared = {row["function"]: (row["sent"], row["offline"]) for row in ledger.collect(4)["rows"] if row["offline"]}
        assert spared == {"do_drain": (2, 1), "do_nothing": (2, 1)}


def test_nobody_is_blocked_without_a_lock():
    with Rig(4) as rig:
        for _ in range(20):
            rig.kick_all_cpus_sync(on=0)
        assert sum(row["blocked"] for row in ledger.collect(4)["rows"]) == 0


def test_what_was_dropped_is_said():
    assert ledger.of(
        {
            "config": {},
            "ledger": {
                "rows": [{"site": "a", "function": "f", "locks": "", "wait_max_ns": 0} | dict.fromkeys(ledger.SUMS, 1)],
                "victims": [],
                "dropped": 3,
            },
        }
    )["dropped"] == 3


@pytest.mark.parametrize("damage", [{"rows": [{"site": 1}]}, {"rows": 3}, [], {"rows": [{}], "victims": []}])
def test_a_damaged_ledger(damage):
    from emu.errors import UsageError

    with pytest.raises(UsageError, match="--ipis"):
        ledger.of({"config": {}, "ledger": damage})

