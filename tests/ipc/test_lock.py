"""Locks between processes: they exclude, they count, they know their owner, they are let go of."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cpus import selftest, status
from cpus.layout import CONSTANTS, STRUCTS
from tests.machines import DELIVERY, MUTEX, NO_LOCK, READ, SPIN, WRITE, Rig, Stuck, Words

ROUNDS = 20_000
NAMES = {SPIN: "spin", MUTEX: "mutex", WRITE: "write"}
BIAS = CONSTANTS["OWNER_BIAS"]


def word_of(lock: int, struct: str, name: str) -> int:
    found = next(f for f in STRUCTS[struct].fields if f.name == name)
    at = lock + found.offset
    return selftest.peek_int(at) if found.size == 4 else selftest.peek(at)


def owner(lock: int, kind: int) -> int:
    """The context that a lock says it belongs to; None if to nobody."""
    if kind == SPIN:
        word = word_of(lock, "spinlock", "word") & ~CONSTANTS["SLEEPERS"]
    elif kind == MUTEX:
        word = word_of(lock, "mutex", "owner")
    else:
        word = word_of(lock, "rwsem", "writer")
    return word - BIAS if word else None


class TestExclusion:
    @pytest.mark.parametrize("kind", NAMES, ids=NAMES.get)
    @pytest.mark.parametrize("delivery", DELIVERY[:2])
    @pytest.mark.parametrize("cpus", [2, 6])
    def test_a_counter_comes_out_exact(self, kind: int, delivery: dict, cpus: int) -> None:
        with Rig(cpus, **delivery) as rig:
            lock = rig.new_lock(kind)
            counter = Words(1)
            # Again until the host has let two of them run at the same time.
            for times in range(1, 50):
                rig.call_on_all("count_locked", lock, kind, counter.address, ROUNDS, 5)
                assert counter[0] == times * cpus * ROUNDS
                found = status.lock_statistics()["workload_lock"]
                assert found["acquisitions"] == found["hold"]["count"] == counter[0]
                if found["contended"]:
                    break
            assert 0 < found["contended"] <= found["acquisitions"]
            assert owner(lock, kind) is None

    def test_planted_no_lock_loses_counts(self) -> None:
        """Plant 15: the same counter without a lock does not come out."""
        with Rig(4) as rig:
            counter = Words(1)
            rig.call_on_all("count_locked", 0, NO_LOCK, counter.address, ROUNDS, 5)
            assert counter[0] < 4 * ROUNDS

    @pytest.mark.parametrize("kind", NAMES, ids=NAMES.get)
    def test_the_coordinator_takes_part(self, kind: int) -> None:
        with Rig(3) as rig:
            lock = rig.new_lock(kind)
            counter = Words(1)
            for cpu in range(3):
                rig.start("count_locked", lock, kind, counter.address, ROUNDS, 5, on=cpu)
            rig.call("count_locked", lock, kind, counter.address, ROUNDS, 5, on="coordinator")
            for cpu in range(3):
                rig.finish(cpu)
            assert counter[0] == 4 * ROUNDS

    @pytest.mark.parametrize(("reads", "writes", "torn"), [(READ, WRITE, False), (NO_LOCK, WRITE, True)])
    def test_readers_see_no_half_write(self, reads: int, writes: int, torn: bool) -> None:
        """The second row is the plant: readers without the lock see halves."""
        with Rig(4) as rig:
            lock = rig.new_lock(WRITE)
            pair = Words(2)
            for cpu in (0, 1):
                rig.start("write_pairs", lock, pair.address, 5000, writes, on=cpu)
            for cpu in (2, 3):
                rig.start("read_pairs", lock, pair.address, 5000, reads, on=cpu)
            seen = [rig.finish(cpu) for cpu in range(4)]
            assert pair.all() == [10_000, 10_000]
            assert (seen[2] + seen[3] > 0) == torn
            if not torn:
                found = status.lock_statistics()["workload_lock"]
                assert found["acquisitions"] == 20_000
                assert found["hold"]["count"] == 10_000, "of writers; a read lock has no one time of being held"

    def test_readers_share(self) -> None:
        with Rig(3) as rig:
            lock = rig.new_lock(WRITE)
            words = Words(3)
            for cpu in (0, 1):
                rig.start("hold_lock", lock, READ, words.at(cpu), words.at(2), on=cpu)
            rig.wait_for(lambda: words[0] and words[1], "both readers to be in")
            assert word_of(lock, "rwsem", "count") == 2
            writer = Words(2)
            rig.start("hold_lock", lock, WRITE, writer.at(0), writer.at(1), on=2)
            rig.wait_for(lambda: status.status(2)["waiting_for"] == "lock", "the writer to wait")
            assert writer[0] == 0
            words[2] = 1
            rig.wait_for(lambda: writer[0], "the writer to be in")
            assert owner(lock, WRITE) == 2
            writer[1] = 1
            for cpu in range(3):
                rig.finish(cpu)


class TestOwner:
    @pytest.mark.parametrize("kind", NAMES, ids=NAMES.get)
    @pytest.mark.parametrize("cpu", [0, 2])
    def test_it_is_recorded_and_listed(self, kind: int, cpu: int) -> None:
        with Rig(3) as rig:
            lock = rig.new_lock(kind)
            words = Words(2)
            assert owner(lock, kind) is None
            rig.start("hold_lock", lock, kind, words.at(0), words.at(1), on=cpu)
            rig.wait_for(lambda: words[0], "the lock to be taken")
            assert owner(lock, kind) == cpu
            assert status.status(cpu)["holds"] == ["workload_lock"]
            assert status.status(cpu)["irq_off"] == (kind == SPIN)
            assert status.status(cpu)["preempt_count"] == (kind == SPIN)
            words[1] = 1
            rig.finish(cpu)
            assert owner(lock, kind) is None
            assert status.status(cpu)["holds"] == []

    @pytest.mark.parametrize("kind", [SPIN, MUTEX], ids=NAMES.get)
    def test_trylock(self, kind: int) -> None:
        with Rig(2) as rig:
            lock = rig.new_lock(kind)
            words = Words(2)
            assert rig.call("try_lock", lock, kind, on=1) == 1
            rig.start("hold_lock", lock, kind, words.at(0), words.at(1), on=0)
            rig.wait_for(lambda: words[0], "the lock to be taken")
            assert rig.call("try_lock", lock, kind, on=1) == 0
            assert rig.call("try_lock", lock, kind, on="coordinator") == 0
            assert status.status(1)["holds"] == []
            assert owner(lock, kind) == 0
            words[1] = 1
            rig.finish(0)
            assert rig.call("try_lock", lock, kind, on="coordinator") == 1
            found = status.lock_statistics()["workload_lock"]
            assert (found["acquisitions"], found["contended"]) == (3, 0), "a try that failed is no acquisition"

    def test_a_waiter_is_told_apart_from_the_owner(self) -> None:
        with Rig(2) as rig:
            lock = rig.new_lock(MUTEX)
            first, second = Words(2), Words(2)
            rig.start("hold_lock", lock, MUTEX, first.at(0), first.at(1), on=0)
            rig.wait_for(lambda: first[0], "the lock to be taken")
            rig.start("hold_lock", lock, MUTEX, second.at(0), second.at(1), on=1)
            rig.wait_for(lambda: status.status(1)["waiting_for"] == "lock", "CPU 1 to wait")
            assert status.status(1)["waiting_on"] == lock
            assert status.status(0)["waiting_for"] == "nothing"
            assert owner(lock, MUTEX) == 0
            first[1] = 1
            rig.wait_for(lambda: second[0], "the lock to change hands")
            assert owner(lock, MUTEX) == 1
            second[1] = 1
            for cpu in (0, 1):
                rig.finish(cpu)
            found = status.lock_statistics()["workload_lock"]
            assert (found["acquisitions"], found["contended"]) == (2, 1)
            assert found["wait"]["count"] == 1
            assert found["wait"]["max"] <= found["hold"]["max"] * 2, "it waited while the other held it"

    def test_a_mutex_waiter_serves_interrupts(self) -> None:
        with Rig(4) as rig:
            lock = rig.new_lock(MUTEX)
            first, second = Words(2), Words(2)
            rig.start("hold_lock", lock, MUTEX, first.at(0), first.at(1), on=0)
            rig.wait_for(lambda: first[0], "the lock to be taken")
            rig.start("hold_lock", lock, MUTEX, second.at(0), second.at(1), on=1)
            rig.wait_for(lambda: status.status(1)["waiting_for"] == "lock", "CPU 1 to wait")
            assert rig.kick_all_cpus_sync(on=2) == 3
            assert not rig.finished(1)
            first[1] = second[1] = 1
            for cpu in (0, 1):
                rig.finish(cpu)


# --- the order in which locks are taken ---------------------------------------------------------


def lock_order(cpus: Iterable[int]) -> dict[int, set[int]]:
    """From the event rings: lock -> locks that somebody took while holding it."""
    after: dict[int, set[int]] = {}
    for cpu in cpus:
        held: list[int] = []
        for _, event, lock in status.last_events(cpu, 1 << 20):
            if event == CONSTANTS["EV_LOCK_TAKEN"]:
                for outer in held:
                    after.setdefault(outer, set()).add(lock)
                held.append(lock)
            elif event == CONSTANTS["EV_LOCK_RELEASED"] and lock in held:
                held.remove(lock)
    return after


def circles(after: dict[int, set[int]]) -> list[int]:
    """Locks that can be reached from themselves: a deadlock that has only not happened yet."""

    def reach(lock: int) -> set[int]:
        seen: set[int] = set()
        queue = [lock]
        while queue:
            for further in after.get(queue.pop(), ()):
                if further not in seen:
                    seen.add(further)
                    queue.append(further)
        return seen

    return sorted(lock for lock in after if lock in reach(lock))


class TestOrder:
    @pytest.mark.parametrize(("inverted", "found"), [(False, 0), (True, 2)], ids=["sound", "plant 17"])
    def test_an_inversion_shows_without_a_deadlock(self, inverted: bool, found: int) -> None:
        """Plant 17: one CPU takes A then B, another B then A, and not even at the same time."""
        with Rig(2, trace_records=4096) as rig:
            a, b = rig.new_lock(SPIN), rig.new_lock(SPIN)
            rig.call("lock_pairs", a, b, 0, 10, on=0)
            rig.call("lock_pairs", *((b, a) if inverted else (a, b)), 0, 10, on=1)
            after = lock_order(range(2))
            assert after[a] >= {b}
            assert len(circles(after)) == found

    def test_a_deadlock_is_reported_with_who_holds_what(self) -> None:
        """Plant 17 where it happens: both are named with two locks, held or about to be taken."""
        with pytest.raises(Stuck, match=r"(?s)cpu 0: .*holds=\['workload_lock', 'workload_lock'\].*cpu 1: .*holds=\["):  # noqa: PT012
            with Rig(2, limit=3) as rig:
                a, b = rig.new_lock(SPIN), rig.new_lock(SPIN)
                words = Words(3)
                rig.start("lock_pairs", a, b, words.at(0), 1, words.at(2), on=0)
                rig.start("lock_pairs", b, a, words.at(1), 1, words.at(2), on=1)
                rig.wait_for(lambda: words[0] and words[1], "each to hold one")
                words[2] = 1
                rig.finish(0)

    def test_both_are_listed_in_the_order_of_taking(self) -> None:
        with Rig(2) as rig:
            inner = Words(2)
            outer = Words(2)
            a, b = selftest.slab_mutex(), rig.new_lock(SPIN)
            rig.start("hold_lock", b, SPIN, inner.at(0), inner.at(1), on=1)
            rig.wait_for(lambda: inner[0], "CPU 1 to hold the inner lock")
            rig.start("hold_two", a, MUTEX, b, SPIN, outer.at(0), outer.at(1), on=0)
            rig.wait_for(lambda: len(status.status(0)["holds"]) == 2, "CPU 0 to reach for the second")
            assert status.status(0)["holds"] == ["slab_mutex", "workload_lock"]
            assert outer[0] == 0
            inner[1] = outer[1] = 1
            for cpu in (0, 1):
                rig.finish(cpu)
