"""Cross-calls: who runs what, in which state, counted how; and the oracles that say so."""

from __future__ import annotations

import pytest

from cpus import boot, selftest, status
from tests.machines import BOTH_OFF, TRANSPORTS, Log, Rig, Stuck


class TestSingle:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_runs_once_on_the_target_with_interrupts_off(self, ipi: str) -> None:
        with Rig(4, ipi=ipi) as rig:
            log = Log()
            assert rig.call("call_one", 2, 1, log.address, 1) == 0
            assert log.cpus() == [2]
            assert log.irqs_off() == [True]
            assert log.depths() == [1]
            assert rig.interrupts()["CAL"] == [0, 0, 1, 0]
            assert rig.requests() == {"enqueued": 1, "run": 1, "refused": 0, "pending": 0}

    def test_the_coordinator_calls_too(self) -> None:
        with Rig(4) as rig:
            log = Log()
            assert rig.call("call_one", 0, 1, log.address, 5, on="coordinator") == 0
            assert log.cpus() == [0] * 5

    def test_waiting_means_until_the_function_has_ended(self) -> None:
        with Rig(4) as rig:
            log = Log(waits=True)
            rig.start("call_one", 1, 1, log.address, 1, on=0)
            rig.wait_for(lambda: log.get("entered"), "the function to begin")
            assert not rig.finished(0)
            assert status.status(0)["waiting_for"] in ("acks", "nothing")
            log.release()
            assert rig.finish(0) == 0
            assert log.cpus() == [1]

    def test_not_waiting_means_at_once(self) -> None:
        with Rig(4) as rig:
            log = Log(waits=True)
            assert rig.call("call_one", 1, 0, log.address, 1, on=0) == 0
            rig.wait_for(lambda: log.get("entered"), "the function to begin")
            assert log.cpus() == []
            log.release()
            rig.settle()
            assert log.cpus() == [1]

    def test_own_cpu_is_a_direct_call_and_no_interrupt(self) -> None:
        with Rig(4) as rig:
            log = Log()
            assert rig.call("call_one", 3, 1, log.address, 2, on=3) == 0
            assert log.cpus() == [3, 3]
            assert log.irqs_off() == [True, True]
            assert log.depths() == [0, 0]
            assert sum(rig.interrupts()["CAL"]) == 0
            assert rig.requests()["enqueued"] == 0

    def test_a_request_in_use_is_waited_for(self) -> None:
        """The csd of calls that are not waited for is one per CPU: the second waits until the first was taken."""
        with Rig(4) as rig:
            section = rig.hold_irqs(1)
            first, second = Log(), Log()
            assert rig.call("call_one", 1, 0, first.address, 1, on=0) == 0
            rig.start("call_one", 1, 0, second.address, 1, on=0)
            rig.wait_for(lambda: status.status(0)["heartbeat"], "CPU 0 to be alive")
            assert status.interrupts(1)["queued"] == 1
            assert not rig.finished(0)
            section[1] = 1
            assert rig.finish(0) == 0
            rig.finish(1)
            rig.settle()
            assert (first.cpus(), second.cpus()) == ([1], [1])

    def test_a_request_is_free_before_its_function_runs(self) -> None:
        """Not waited for: unlocked, then run. So the sender may use it again while the function still runs."""
        with Rig(4) as rig:
            slow, quick = Log(waits=True), Log()
            rig.call("call_one", 1, 0, slow.address, 1, on=0)
            rig.wait_for(lambda: slow.get("entered"), "the function to begin")
            assert rig.call("call_one", 2, 0, quick.address, 1, on=0) == 0
            rig.wait_for(lambda: quick.cpus() == [2], "the second call to run")
            assert slow.cpus() == []
            slow.release()
            rig.settle()
            assert slow.cpus() == [1]


class TestMany:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_all_others_once_each(self, ipi: str) -> None:
        with Rig(8, ipi=ipi) as rig:
            log = Log()
            assert rig.call("call_each", 1, log.address, 1, on=3) == 7
            assert sorted(log.cpus()) == [0, 1, 2, 4, 5, 6, 7]
            assert all(log.irqs_off())
            assert rig.interrupts()["CAL"] == [1, 1, 1, 0, 1, 1, 1, 1]

    @pytest.mark.parametrize(("on", "targets"), [(0, 7), (5, 7), ("coordinator", 8)])
    def test_a_kick_costs_n_minus_one_from_a_cpu_and_n_from_the_coordinator(self, on: int | str, targets: int) -> None:
        with Rig(8) as rig:
            assert rig.kick_all_cpus_sync(on=on) == targets
            assert sum(rig.interrupts()["CAL"]) == targets
            assert rig.since_boot("kicks") == 1
            assert rig.vmstat()["ipis_sent"] == targets

    def test_each_cpu_runs_it_here_too_after_the_others(self) -> None:
        with Rig(6) as rig:
            log = Log()
            assert rig.call("call_each", 1, log.address, 0, on=2) == 5
            assert sorted(log.cpus()) == list(range(6))
            assert log.cpus()[-1] == 2
            assert log.depths()[-1] == 0
            assert all(log.irqs_off())
            assert rig.interrupts()["CAL"][2] == 0

    def test_each_cpu_from_the_coordinator_is_in_no_mask(self) -> None:
        with Rig(6) as rig:
            log = Log()
            assert rig.call("call_each", 1, log.address, 0, on="coordinator") == 6
            assert sorted(log.cpus()) == list(range(6))

    @pytest.mark.parametrize(
        ("mask", "here", "expected"),
        [
            ([], 0, []),
            ([0], 0, []),
            ([3], 0, [3]),
            ([0, 3], 0, [3]),
            ([1, 2, 5], 0, [1, 2, 5]),
            (range(8), 7, list(range(7))),
            ([6, 7, 8, 900], 0, [6, 7]),
        ],
    )
    def test_many_takes_the_online_others_of_the_mask(self, mask: list[int], here: int, expected: list[int]) -> None:
        with Rig(8) as rig:
            log = Log()
            assert rig.call("call_mask", rig.mask(mask), 1, log.address, 0, on=here) == len(expected)
            assert sorted(log.cpus()) == expected
            assert sum(rig.interrupts()["CAL"]) == len(expected)

    def test_each_of_a_mask_runs_it_here_only_if_asked_for(self) -> None:
        with Rig(8) as rig:
            with_me, without = Log(), Log()
            assert rig.call("call_mask", rig.mask([1, 4, 6]), 1, with_me.address, 1, on=4) == 2
            assert rig.call("call_mask", rig.mask([1, 6]), 1, without.address, 1, on=4) == 2
            assert sorted(with_me.cpus()) == [1, 4, 6]
            assert sorted(without.cpus()) == [1, 6]

    def test_not_waited_for(self) -> None:
        with Rig(8) as rig:
            section = rig.hold_irqs(5)
            log = Log()
            assert rig.call("call_each", 0, log.address, 1, on=0) == 7
            rig.wait_for(lambda: len(log.cpus()) == 6, "the six others")
            assert 5 not in log.cpus()
            section[1] = 1
            rig.finish(5)
            rig.settle()
            assert sorted(log.cpus()) == [1, 2, 3, 4, 5, 6, 7]

    def test_more_than_64_cpus(self) -> None:
        with Rig(130) as rig:
            log = Log()
            assert rig.call("call_mask", rig.mask([0, 63, 64, 127, 128, 129]), 1, log.address, 1, on=64) == 5
            assert sorted(log.cpus()) == [0, 63, 64, 127, 128, 129]
            assert rig.kick_all_cpus_sync(on=129) == 129

    def test_one_cpu_has_nobody_to_call(self) -> None:
        with Rig(1) as rig:
            log = Log()
            assert rig.kick_all_cpus_sync() == 0
            assert rig.call("call_each", 1, log.address, 0) == 0
            assert log.cpus() == [0]
            assert rig.kick_all_cpus_sync(on="coordinator") == 1


class TestConditional:
    @pytest.mark.parametrize("no_mask", [False, True], ids=["mask", "no memory for a mask"])
    def test_only_those_that_want_it(self, no_mask: bool) -> None:
        with Rig(8) as rig:
            wanted = [0, 2, 3, 7]
            log = Log(mask=rig.mask(wanted))
            assert rig.call("call_cond", 1, log.address, no_mask, on=0) == 3
            assert sorted(log.cpus()) == wanted
            assert rig.interrupts()["CAL"] == [0, 0, 1, 1, 0, 0, 0, 1]
            assert rig.vmstat()["ipis_avoided_empty"] == 4

    def test_nobody_wants_it(self) -> None:
        with Rig(8) as rig:
            log = Log(mask=rig.mask([]))
            assert rig.call("call_cond", 1, log.address, 0, on=0) == 0
            assert log.cpus() == []
            assert sum(rig.interrupts()["CAL"]) == 0


class TestOffline:
    """A CPU that is not in the online mask is called by nobody."""

    def test_single_is_refused(self) -> None:
        with Rig(4, on_cpu_death="continue") as rig:
            rig.kill(2)
            rig.wait_for(lambda: status.status(2)["dead"], "CPU 2 to be noticed as dead")
            log = Log()
            assert rig.call("call_one", 2, 1, log.address, 1) == -1
            assert log.cpus() == []
            assert rig.requests() == {"enqueued": 1, "run": 0, "refused": 1, "pending": 0}

    def test_many_leaves_it_out(self) -> None:
        with Rig(8, on_cpu_death="continue") as rig:
            rig.kill(2)
            rig.wait_for(lambda: status.status(2)["dead"], "CPU 2 to be noticed as dead")
            log = Log()
            assert rig.call("call_each", 1, log.address, 0) == 6
            assert sorted(log.cpus()) == [0, 1, 3, 4, 5, 6, 7]
            assert rig.kick_all_cpus_sync() == 6
            assert rig.kick_all_cpus_sync(on="coordinator") == 7

    def test_planted_bit_left_set_after_death(self) -> None:
        """Plant 20: the CPU's bit comes back into the online mask. The judge says so."""
        with Rig(4, on_cpu_death="continue", judged=False) as rig:
            rig.kill(2)
            rig.wait_for(lambda: status.status(2)["dead"], "CPU 2 to be noticed as dead")
            assert "CPU 2: online" not in " ".join(rig.violations())
            rig.call("each_of_mask", 0, 0)
            from cpus.layout import CONSTANTS, STRUCTS

            online = next(f.offset for f in STRUCTS["segment_header"].fields if f.name == "online")
            selftest.poke(CONSTANTS["SEGMENT_BASE"] + online, 0b1111)
            assert "CPU 2: online True, dead True" in list(rig.violations())
            assert rig.kick_all_cpus_sync() == 3, "and it would be counted as a target"


@pytest.mark.parametrize(
    ("options", "merged"),
    [
        ({"kernel": "4.13"}, 1),
        ({"kernel": "4.14"}, 0),
        ({"kernel": "4.11", "patches": {"call-multicast": "if-queue-empty"}}, 0),
        ({"kernel": "4.14", "patches": {"call-multicast": "always"}}, 1),
    ],
    ids=["always (4.13)", "if empty (4.14)", "if empty (patch)", "always (reverted)"],
)
def test_coalescing_of_broadcasts(options: dict, merged: int) -> None:
    """Two senders, one target with interrupts off. Before 4.14 the second raises the vector again, and it merges."""
    with Rig(4, **options) as rig:
        section = rig.hold_irqs(3)
        log = Log()
        before = rig.ipis()
        mask = rig.mask([2, 3])
        rig.start("call_mask", mask, 1, log.address, 0, on=0)
        rig.wait_for(lambda: status.interrupts(3)["queued"] == 1, "the first request")
        rig.start("call_mask", mask, 1, log.address, 0, on=1)
        rig.wait_for(lambda: status.interrupts(3)["queued"] == 2, "the second request")
        rig.wait_for(lambda: log.cpus() == [2, 2], "CPU 2 to answer both")
        raised = [status.interrupts(cpu)["raised"][1] for cpu in (0, 1)]
        assert raised == [2, 1 + merged]
        assert "CALL_FUNCTION" in status.status(3)["pending"]
        assert rig.interrupts()["CAL"][3] == 0
        section[1] = 1
        for cpu in (3, 0, 1):
            rig.finish(cpu)
        rig.settle()
        assert sorted(log.cpus()) == [2, 2, 3, 3]
        assert rig.interrupts()["CAL"][3] == 1, "two requests, one interrupt"
        assert rig.ipis()["merged"] - before["merged"] == merged


def test_single_calls_merge_in_every_version() -> None:
    """since v2.6.39 a single call raises its vector only if the queue was empty."""
    with Rig(4, kernel="3.0") as rig:
        section = rig.hold_irqs(3)
        log = Log()
        for sender in (0, 1, 2):
            rig.call("call_one", 3, 0, log.address, 1, on=sender)
        assert status.interrupts(3)["queued"] == 3
        assert sum(sum(status.interrupts(cpu)["raised"][:2]) for cpu in (0, 1, 2)) == 1
        section[1] = 1
        rig.finish(3)
        rig.settle()
        assert log.cpus() == [3, 3, 3]
        assert rig.interrupts()["CAL"][3] == 1


def test_requests_run_in_the_order_they_came() -> None:
    with Rig(6) as rig:
        section = rig.hold_irqs(5)
        logs = [Log() for _ in range(4)]
        order = Log()
        for sender in range(4):
            rig.call("call_one", 5, 0, order.address if sender % 2 else logs[sender].address, 1, on=sender)
        section[1] = 1
        rig.finish(5)
        rig.settle()
        assert [len(log.cpus()) for log in logs] == [1, 0, 1, 0]
        assert order.cpus() == [5, 5]


def test_two_that_call_each_other_serve_each_other() -> None:
    with Rig(2) as rig:
        log = Log(size=1)
        rig.start("call_one", 1, 1, log.address, 200, on=0)
        rig.start("call_one", 0, 1, log.address, 200, on=1)
        assert (rig.finish(0), rig.finish(1)) == (0, 0)
        assert log.get("next") == 400


class TestPlants:
    """Each oracle above is worth something: it catches a fault of the kind it is there for."""

    def answers_before_work(self, rig: Rig) -> bool:
        """Whether a call that waits returns while its function still runs."""
        log = Log(waits=True)
        rig.start("call_one", 1, 1, log.address, 1, on=0)
        rig.wait_for(lambda: log.get("entered"), "the function to begin")
        early = rig.comes(lambda: rig.finished(0), 0.5)
        log.release()
        rig.finish(0)
        return early

    def test_sound(self) -> None:
        with Rig(4) as rig:
            assert not self.answers_before_work(rig)

    def test_ack_before_work(self) -> None:
        """Plant 7."""
        with Rig(4) as rig:
            rig.plant("ack before work")
            assert self.answers_before_work(rig)

    def overwritten(self, rig: Rig) -> bool:
        """Whether a second request takes the place of one that has not run."""
        first, second = Log(), Log()
        section = rig.hold_irqs(1)
        rig.call("call_one", 1, 0, first.address, 1, on=0)
        rig.start("call_one", 1, 0, second.address, 1, on=0)
        section[1] = 1
        rig.finish(1)
        rig.finish(0)
        rig.settle()
        return (first.cpus(), second.cpus()) != ([1], [1])

    @pytest.mark.parametrize(("fault", "caught"), [(None, False), ("unlock early", True)])
    def test_request_overwritten_while_pending(self, fault: str | None, caught: bool) -> None:
        """Plant 8."""
        with Rig(4) as rig:
            if fault:
                rig.plant(fault, on=[1])
            assert self.overwritten(rig) == caught

    @pytest.mark.parametrize("fault", ["lost request", "run twice", "uncounted"])
    def test_the_sums_show(self, fault: str) -> None:
        with Rig(4) as rig:
            rig.plant(fault, on=[3])
            section = rig.hold_irqs(3)
            log = Log()
            for sender in (0, 1, 2):
                rig.call("call_one", 3, 0, log.address, 1, on=sender)
            section[1] = 1
            rig.finish(3)
            rig.settle()
            if fault == "run twice":
                assert len(log.cpus()) == 6
            else:
                assert any(line.startswith("I7") for line in rig.violations())

    @pytest.mark.parametrize("ipi", ["signal", "mqueue"])
    def test_a_lost_doorbell_is_stuck_and_says_who(self, ipi: str) -> None:
        """Plant 9, without the second ring: the watch finds it, and its report names the CPU that was not told."""
        with pytest.raises(Stuck, match=r"cpu [12]: .*pending=\['CALL_FUNCTION"):  # noqa: PT012
            with Rig(3, ipi=ipi, limit=2) as rig:
                rig.plant("no ring", on=[0])
                rig.call("call_many", 50, 1, 0, on=0)

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_a_lost_doorbell_costs_a_delay_and_nothing_else(self, ipi: str) -> None:
        """Plant 9, with the second ring: nothing is lost, the repokes show it."""
        with Rig(3, ipi=ipi, poll_limit_ms=20) as rig:
            rig.plant("lossy ring", on=[0])
            log = Log()
            for _ in range(30):
                assert rig.call("call_each", 1, log.address, 1, on=0) == 2
            assert log.get("next") == 60
            assert rig.ipis()["repokes"] + rig.ipis()["fallback"] > 0
            rig.judge()

    def test_a_notification_that_is_not_asked_for_again(self) -> None:
        """Plant 9 where it is easy to make: mqueue's notification fires once."""
        with pytest.raises(Stuck, match="pending="):  # noqa: PT012
            with Rig(2, ipi="mqueue", hz=0, limit=3) as rig:  # a tick would look after it
                rig.plant("no rearm", on=[1])
                # The target computes: an idle one gets its messages without a notification.
                rig.start("spin_for", 100_000_000, on=1)
                rig.call("call_many", 20, 1, 0, on=0)

    def test_a_handler_that_ignores_interrupts_off(self) -> None:
        """Plant 10."""
        with Rig(2) as rig:
            assert self.run_within_section(rig) == 0
            rig.plant("ignore irq off", on=[1])
            assert self.run_within_section(rig) == 1

    def run_within_section(self, rig: Rig) -> int:
        """Requests that ran in an irq-off section."""
        section = rig.hold_irqs(1, BOTH_OFF)
        log = Log()
        rig.call("call_one", 1, 0, log.address, 1, on=0)
        rig.comes(log.cpus, 0.3)
        section[1] = 1
        within = rig.finish(1) & 0xFFFFFFFF
        rig.settle()
        assert log.cpus() == [1]
        return within


def test_boot_of_this_process_is_the_coordinator() -> None:
    with Rig(2):
        assert boot.this_id() == -1
