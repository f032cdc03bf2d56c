"""A run's outcome as text for people, and what --dry-run prints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from emu import patches, results
from emu.errors import EmuError, one_line
from emu.format import count, nanoseconds, plain, size, table
from emu.runner import Outcome, Runner, memory_limit
from emu.workload import Workload


def text(workload: Workload, outcome: Outcome, quiet: bool, verbose: bool) -> str:
    """The report: the workload's own table, one line on the run, one on the host; more with VERBOSE."""
    document = outcome.document
    if outcome.error is not None and not document["result"] and not document["interrupts"]["CAL"]:
        return ""  # nothing was started: stderr says why
    parts = [rendered(workload, document["result"], outcome.rows)]
    if not quiet:
        parts.append("\n".join([run_line(document), host_line(document), *violation_lines(document)]))
    if verbose:
        parts += [part for part in (interrupts(document), locks(document), latencies(document)) if part]
    parts += [f"/proc/{name}:\n{content.rstrip()}" for name, content in document.get("proc", {}).items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def text_to_keep(workload: Workload, outcome: Outcome) -> str:
    """The workload's own table for the run's folder: `emu show` must not run a workload's code to read a result."""
    try:
        return rendered(workload, outcome.document["result"], outcome.rows)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return plain(outcome.document["result"])


def rendered(workload: Workload, result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The result as the workload shows it; of several variants, each under its name."""
    if not result:
        return ""
    if not rows:
        own = {key: value for key, value in result.items() if key not in ("repeats", "spread")}
        return str(workload.call("render", own) or plain(own)) + spread(result)
    whole = workload.call("render_rows", rows)
    if whole is not None:
        return str(whole)
    parts = []
    for row in rows:
        own = {key: value for key, value in row.items() if key not in ("variant", "patches", "safe", "verdict")}
        head = f"{row['variant']} (safe: {row['safe']}, {row['verdict']})"
        # A row of a result that is rows itself cannot be shown by the workload's own table.
        body = plain(own) if "render" not in vars(workload.module) or _is_part(workload, own) else None
        parts.append(f"{head}\n{body if body is not None else workload.call('render', own)}")
    return "\n\n".join(parts)


def _is_part(workload: Workload, own: Mapping[str, Any]) -> bool:
    try:
        workload.call("render", own)
    except (KeyError, TypeError):
        return True
    return False


def spread(result: Mapping[str, Any]) -> str:
    """The figures that differed between repeats."""
    found: Mapping[str, Mapping[str, float]] = result.get("spread", {})
    if not found:
        return ""
    rows = [(path, *(f"{s[key]:g}" for key in ("median", "q1", "q3", "min", "max"))) for path, s in found.items()]
    head = ("figure", "median", "q1", "q3", "min", "max")
    return f"\n\n{result['repeats']} repeats; the figures above are medians\n" + table(head, rows)


def run_line(document: Mapping[str, Any]) -> str:
    """Verdict and configuration in one line."""
    config = document["config"]
    changed = patches.difference(patches.defaults(config["kernel"]), config["patches"])
    extra = "".join(f", {name}={new}" for name, (_, new) in changed.items())
    return (
        f"{document['verdict']}: {config['cpus']} CPUs, Linux {config['kernel']}, {config['allocator']}, "
        f"{config['ipi']}, seed {document['seed']}, {nanoseconds(document['elapsed_ns'])}{extra}"
    )


def host_line(document: Mapping[str, Any]) -> str:
    """What the times are times of: this host's signals and queues, and what plain C reaches with them."""
    host = document["host"]
    floors = [
        f"{name:<8}  {nanoseconds(floor['p50'])} p50, {nanoseconds(floor['p99'])} p99"
        for name, floor in host["ipi_floor_ns"].items()
    ]
    crowd = ", more CPUs than cores" if host["oversubscribed"] else ""
    line = f"host: {host['allowed_cpus']} cores, delivery {host['delivery']}, {host['running']} running{crowd}"
    machine = document.get("machine") or {}
    if machine:
        line += (
            f"\nmachine: booted in {nanoseconds(machine['boot_ns'])}, took {size(machine['memory_bytes'])} "
            f"({size(machine['metadata_bytes'])} kernel metadata)"
        )
    return "\n".join([line, *(["floor of an interrupt in C:", *(f"  {text}" for text in floors)] if floors else [])])


def violation_lines(document: Mapping[str, Any]) -> list[str]:
    """Each violation, and how to see it again."""
    found = [f"violation {row['invariant']}: {row['text']}" for row in document["violations"]]
    command = document["command"]
    again = command if "--seed" in command else f"{command} --seed {document['seed']}"
    return [*found, f"again: {again}"] if found else []


def interrupts(document: Mapping[str, Any]) -> str:
    """Counts of the last machine."""
    rows = [(kind, count(sum(row)), count(max(row, default=0))) for kind, row in document["interrupts"].items()]
    ipis = ", ".join(f"{name} {value}" for name, value in document["ipis"].items())
    return table(("interrupts", "all CPUs", "most on one"), rows) + f"\nvectors: {ipis}"


def locks(document: Mapping[str, Any]) -> str:
    """Lock statistics of the last machine."""
    rows = [
        (name, count(row["acquisitions"]), count(row["contended"]), *_wait_and_hold(row))
        for name, row in document["locks"].items()
    ]
    head = ("lock", "taken", "contended", "wait p50", "p99", "max", "hold p50", "p99", "max")
    return table(head, rows) if rows else ""


def _wait_and_hold(row: Mapping[str, Any]) -> list[str]:
    return [nanoseconds(row[kind][share]) for kind in ("wait_ns", "hold_ns") for share in ("p50", "p99", "max")]


def latencies(document: Mapping[str, Any]) -> str:
    """Latencies of the last machine."""
    rows = [
        (name, count(row["count"]), *(nanoseconds(row[f"{share}_ns"]) for share in ("p50", "p90", "p99", "max")))
        for name, row in document["latency"].items()
    ]
    return table(("latency", "count", "p50", "p90", "p99", "max"), rows) if rows else ""


def report_problems(outcome: Outcome) -> None:
    """What stderr says at the end."""
    if isinstance(outcome.error, EmuError):
        lines = [line for line in str(outcome.error).splitlines() if line.strip()]
        sys.stderr.write(f"emu: {lines[0]}{' ' + lines[-1].strip() if len(lines) > 1 else ''}\n")
    elif outcome.document["verdict"] == "interrupted":
        sys.stderr.write("emu: interrupted; what is printed is partial\n")
    elif outcome.exit_code == 7:
        first = outcome.document["warnings"][0]
        sys.stderr.write(f"emu: figures not trustworthy (--strict): {one_line(first)}\n")


def dry_run(runner: Runner, as_json: bool) -> str:
    """What would be run: every option, every switch, and the memory it needs."""
    config = runner.config
    need = runner.workload.call("memory_need", config, runner.args)
    limit = config.max_segment or memory_limit()
    memory = {
        "metadata_bytes": need.metadata_bytes if need else None,
        "ram_bytes": need.ram_bytes if need else config.memory,
        "limit_bytes": limit,
    }
    if as_json:
        document = {"workload": runner.workload.name, "config": config.as_dict(), "memory_need": memory}
        return results.to_json(document | {"variants": runner.choices}).decode()
    defaults = patches.defaults(config.kernel)
    values = {name: value for name, value in config.as_dict().items() if name != "patches"}
    lines = [f"workload {runner.workload.name}"]
    lines += [f"  {name.replace('_', '-')} = {_shown(name, value)}" for name, value in values.items()]
    lines.append(f"switches of Linux {config.kernel}")
    for name, value in config.patches.items():
        changed = f"  (Linux {config.kernel}: {defaults[name]})" if value != defaults[name] else ""
        lines.append(f"  {name} = {value}{changed}")
    lines += [f"  unsafe ({row.safe}): {row.switch} = {row.value}" for row in patches.unsafe(config.patches)]
    if runner.wanted.mode != "once":
        lines.append(f"variants: {', '.join(runner.choices)}")
    known = f"metadata {size(need.metadata_bytes)}, " if need else ""
    lines.append(f"memory: {known}RAM up to {size(memory['ram_bytes'] or 0)}, limit {size(limit)}")
    return "\n".join(lines) + "\n"


def _shown(name: str, value: object) -> str:
    if value is None:
        return "not set"
    if name in ("memory", "max_segment") and isinstance(value, int):
        return size(value)
    return str(value) if value not in ("", {}) else "none"
