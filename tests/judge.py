"""The invariants that hold for every quiet machine; a Rig of tests/machines looks at them when it ends."""

from __future__ import annotations

from collections.abc import Iterator

from cpus import selftest_kernel, status


def ipi_violations(cpus: int) -> Iterator[str]:
    """I7: raised = taken + merged + pending, for each vector; enqueued = run + refused + pending."""
    found = [status.interrupts(cpu) for cpu in range(-1, cpus)]
    for vector, name in enumerate(status.VECTORS):
        raised, taken, merged, pending = (
            sum(f[what][vector] for f in found) for what in ("raised", "taken", "merged", "pending")
        )
        if raised != taken + merged + pending:
            yield f"I7: {name}: raised {raised} != taken {taken} + merged {merged} + pending {pending}"
    enqueued, run, refused, queued = (sum(f[what] for f in found) for what in ("enqueued", "run", "refused", "queued"))
    if enqueued != run + refused + queued:
        yield f"I7: requests: enqueued {enqueued} != run {run} + refused {refused} + pending {queued}"


def state_violations(cpus: int) -> Iterator[str]:
    """I11 and the like: nothing held, nothing switched off, nobody waiting; a CPU is online or dead."""
    for cpu in range(-1, cpus):
        state = status.status(cpu)
        if cpu >= 0 and state["online"] == state["dead"]:
            yield f"CPU {cpu}: online {state['online']}, dead {state['dead']}"
        if state["dead"]:
            continue
        if state["holds"]:
            yield f"I11: CPU {cpu} still holds {state['holds']}"
        if state["irq_off"] or state["preempt_count"] or state["in_interrupt"]:
            yield f"CPU {cpu}: irq_off {state['irq_off']}, preempt_count {state['preempt_count']}"
        if state["waiting_for"] != "nothing":
            yield f"I14: CPU {cpu} waits for {state['waiting_for']}"
    if status.header()["broken"]:
        yield "the machine is marked broken"


def gate_violations(cpus: int) -> Iterator[str]:
    """No token is left with anybody, nobody queues for one, the gate is open."""
    gate = selftest_kernel.gate_state()
    if not gate["on"]:
        return
    if gate["held"] or gate["broadcast"] or gate["closing"]:
        yield f"gate: {gate}"
    slots = {cpu: status.status(cpu)["slot"] for cpu in range(cpus) if not status.status(cpu)["dead"]}
    if any(slot >= 0 for slot in slots.values()):
        yield f"gate: slots {slots}"


def lock_statistics_violations() -> Iterator[str]:
    """I17: contended <= acquisitions, a wait per contended acquisition, buckets sum to the count."""
    for name, found in status.lock_statistics().items():
        if not found["wait"]["count"] == found["contended"] <= found["acquisitions"]:
            yield f"I17: {name}: {found['wait']['count']} waits, {found['contended']} of {found['acquisitions']}"
        if found["hold"]["count"] > found["acquisitions"]:
            yield f"I17: {name}: held {found['hold']['count']} times, acquired {found['acquisitions']}"
        for kind in ("wait", "hold"):
            if sum(found[kind]["bucket"]) != found[kind]["count"]:
                yield f"I17: {name}: {kind} buckets sum to {sum(found[kind]['bucket'])} of {found[kind]['count']}"
