"""Lameter's slab benchmark of 2009, before and after each patch of 2016.

"mm/slab: reduce lock contention in alloc path" (Joonsoo Kim, 2016, merged in
Linux 4.7) quotes its line `Kmalloc N*alloc N*free`: all CPUs allocate 10,000
objects, wait for each other, and free them. The published figures of a level
are printed beside its own.

  1 single              one CPU: allocate all, then free all in the same order
  2 single-pair         one CPU: allocate and free, again and again
  3 concurrent          all CPUs: allocate all; meet; free all
  4 concurrent-pair     all CPUs: allocate and free
  5 remote-free         all but CPU 0 allocate; CPU 0 frees everybody's
  6 1-alloc-n-free      CPU 0 allocates, the others free what they are given

Times are cycles of this host's counter, per operation; with more CPUs than host
cores they include the turns of others. Test 6 leaves most of its objects, as
the original does; they are freed after the clock has stopped.

result: rows [{test, size, series, alloc_cycles, free_cycles,
list_lock_acquisitions, list_lock_per_growing_refill, ...}]
  alloc_cycles, free_cycles    means over the CPUs, as `Average=` has them
  cpu                          [[phase 1, phase 2], ...] of each CPU
  list_lock_acquisitions       of both phases
  list_lock_per_growing_refill of phase 1: what a refill took that had to grow
  expected_per_growing_refill  the same without contention, by the switches
  list_lock_contended, list_lock_hold_cycles, list_lock_wait_cycles
  refills, growing_refills, leaked, published {alloc, free}

examples:
  emu run slab-test --series 6,7,10,11
  emu run slab-test --tests concurrent --sizes 256,4096 --cpus 8 --series 0..11
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.errors import ResourceError, UsageError, did_you_mean, one_line
from emu.format import significant, table
from emu.units import parse_integer
from emu.workload import Need
from workloads import _slab_series as series
from workloads import slab_test_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"cpus": 2, "memory": 1 << 30}
LEVELS = True
COUNT = 10_000
SINGLE_SIZES = tuple(8 << i for i in range(12))
CONCURRENT_SIZES = tuple(8 << i for i in range(10))
KMALLOC_MAX = 4 << 20


class Test(NamedTuple):
    """One of the six."""

    name: str
    number: int  # TEST_* of slab_test_loop
    title: str
    label: str  # as the benchmark prints it, with the size for {}
    phases: int
    sizes: tuple[int, ...]


TESTS = (
    Test("single", 0, "1. Kmalloc: Repeatedly allocate then free test", "", 2, SINGLE_SIZES),
    Test("single-pair", 1, "2. Kmalloc: alloc/free test", "", 1, SINGLE_SIZES),
    Test("concurrent", 2, "Concurrent allocs", "Kmalloc N*alloc N*free({})", 2, CONCURRENT_SIZES),
    Test("concurrent-pair", 3, "", "Kmalloc N*(alloc free)({})", 1, CONCURRENT_SIZES),
    Test("remote-free", 4, "Remote free test", "N*remote free({})", 2, CONCURRENT_SIZES),
    Test("1-alloc-n-free", 5, "1 alloc N free test", "1 alloc N free({})", 1, CONCURRENT_SIZES),
)
NAMES = {test.name: test for test in TESTS}
# Where no object is freed while others are allocated, so that each acquisition is a refill's.
REFILLS_ALONE = ("single", "concurrent", "remote-free")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("slab-test")
    own.add_argument("--tests", metavar="A,B", help=f"which of {','.join(NAMES)} (default all)")
    own.add_argument("--sizes", metavar="N,M", help="object sizes in bytes, 1 to 4194304 (default 8 to 16384, or 4096)")
    own.add_argument("--count", metavar="N", default=str(COUNT), help=f"objects per CPU, 1 to 10^6 (default {COUNT})")
    own.add_argument(
        "--form", choices=("full", "average"), default="average", help="each CPU's figures, or the mean (default)"
    )


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is started."""
    tests_of(args)
    count_of(args)
    sizes_of(args, ())
    series.check(config)


def tests_of(args: argparse.Namespace) -> list[Test]:
    """The tests of --tests, in the benchmark's order."""
    if args.tests is None:
        return list(TESTS)
    names = args.tests.split(",")
    for name in names:
        if name not in NAMES:
            raise UsageError(f"--tests: {one_line(name)!r} is not one of {', '.join(NAMES)}{did_you_mean(name, NAMES)}")
    return [test for test in TESTS if test.name in names]


def count_of(args: argparse.Namespace) -> int:
    """--count as a number."""
    return _number(args.count, "--count", 10**6)


def sizes_of(args: argparse.Namespace, default: tuple[int, ...]) -> tuple[int, ...]:
    """--sizes as numbers, or the test's own."""
    if args.sizes is None:
        return default
    return tuple(_number(text, "--sizes", KMALLOC_MAX) for text in args.sizes.split(","))


def _number(text: str, option: str, most: int) -> int:
    try:
        number = parse_integer(text)
    except ValueError as error:
        raise UsageError(f"{option}: {one_line(text)!r} {error}") from None
    if not 1 <= number <= most:
        raise UsageError(f"{option}: {number} is not from 1 to {most}")
    return number


def plan(args: argparse.Namespace) -> list[tuple[Test, int]]:
    """Every test with every of its sizes."""
    return [(test, size) for test in tests_of(args) for size in sizes_of(args, test.sizes)]


def live_bytes(test: Test, size: int, count: int, cpus: int) -> int:
    """Most that lives at one time, in slabs: an object takes a power of two, and a slab may lose an eighth."""
    each = max(32, 1 << (size - 1).bit_length()) * 9 // 8
    holders = {"single": 1, "concurrent": cpus, "remote-free": cpus - 1, "1-alloc-n-free": cpus - 1}
    return holders.get(test.name, 0) * count * each


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """The largest test's objects, the CPUs' vectors, and the machine."""
    count, cpus = count_of(args), config.cpus
    objects = max(live_bytes(test, size, count, cpus) for test, size in plan(args))
    machine = (32 << 20) + cpus * ((256 << 10) + 64 * cpus)
    return Need(8 * count * cpus + machine, objects + (8 << 20) + cpus * (2 << 20))


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """All tests, on a machine of its own for each level."""
    rows: list[dict[str, Any]] = []
    result = {"rows": rows, "count": count_of(args), "form": args.form}
    ctx.partial = result
    levels = series.chosen(ctx.config)
    with ctx.progress("tests", len(levels) * len(plan(args))) as progress:
        for level in levels:
            values = series.values_of(ctx.config, level)
            with ctx.boot(patches=values) as machine:
                label = level if level is not None else series.level_of(values)
                for row in measure(ctx, machine, args, values, label if ctx.config.allocator == "slab" else None):
                    rows.append(row)
                    progress.advance()
            if ctx.interrupted:
                break
    return result


def measure(
    ctx: RunContext, machine: Machine, args: argparse.Namespace, values: dict[str, str], level: int | None
) -> Iterator[dict[str, Any]]:
    """The rows of one machine."""
    wanted, count = plan(args), count_of(args)
    if not loop.prepare(count):
        raise ResourceError("slab-test: the CPUs' vectors do not fit into the segment; raise --max-segment")
    bench = Bench(machine)
    bench.warm_up(wanted, count)
    for test, size in wanted:
        if ctx.interrupted:
            return
        if test.name == "1-alloc-n-free" and machine.cpus == 1:
            continue  # nobody is there to free
        yield row_of(test, size, count, bench.run(test, size), values, level)


class Bench:
    """A machine's CPUs, running one test after the other in step."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.entries: dict[str, int] = loop.entry_points()
        self.done = 0

    def run(self, test: Test, size: int) -> dict[str, Any]:
        """One test on all CPUs; what each needed."""
        failed = any(self.machine.call_on_all(self.entries["run_test"], test.number, size, self.done))
        self.done += 1
        if failed:
            have = self.machine.config["memory"] >> 20
            raise ResourceError(f"slab-test: {test.name}, {size} bytes: no memory left; raise --memory (it is {have}M)")
        return dict(loop.outcome())

    def warm_up(self, wanted: Sequence[tuple[Test, int]], count: int) -> None:
        """Use as much memory as the largest test will, and let each process see it: a host's page fault costs more
        than any allocation."""
        cpus = self.machine.cpus
        largest = max(wanted, key=lambda pair: live_bytes(pair[0], pair[1], count, cpus))
        self.run(*largest)
        self.machine.call_on_all(self.entries["touch_ram"], self.machine.config["memory"])


def row_of(
    test: Test, size: int, count: int, found: Mapping[str, Any], values: dict[str, str], level: int | None
) -> dict[str, Any]:
    """One line of the result."""
    working = found["cpus"][:1] if test.name.startswith("single") else found["cpus"]
    cpu = [[phase[0] // count for phase in phases[: test.phases]] for phases in working]
    means = [sum(each[i] for each in cpu) // len(cpu) for i in range(test.phases)]
    first, second = found["phases"]
    row = {
        "test": test.name,
        "size": size,
        "series": level,
        "alloc_cycles": means[0],
        "free_cycles": means[1] if test.phases > 1 else None,
        "list_lock_acquisitions": first["acquisitions"] + second["acquisitions"],
        "list_lock_per_growing_refill": None,
        "expected_per_growing_refill": None,
        "list_lock_contended": first["contended"] + second["contended"],
        "list_lock_hold_cycles": ratio(
            first["hold_cycles"] + second["hold_cycles"], first["holds"] + second["holds"]
        ),
        "list_lock_wait_cycles": first["wait_cycles"] + second["wait_cycles"],
        "refills": first["refills"],
        "growing_refills": first["growing"],
        "leaked": found["leaked"],
        "cpu": cpu,
        "published": None,
    }
    if test.name in REFILLS_ALONE and level is not None:
        # A refill that finds something takes the lock once.
        row["list_lock_per_growing_refill"] = ratio(
            first["acquisitions"] - (first["refills"] - first["growing"]), first["growing"]
        )
        row["expected_per_growing_refill"] = series.locks_per_growing_refill(values)
    if test.name == "concurrent" and (figures := series.published(level, size)):
        row["published"] = {"alloc": figures[0], "free": figures[1]}
    return row


def ratio(part: float, whole: float) -> float | None:
    """PART / WHOLE, or None of nothing."""
    return part / whole if whole else None


# --- for people ---------------------------------------------------------------------------------


def line(row: Mapping[str, Any], count: int, form: str) -> str:
    """One line as the benchmark prints it."""
    test = NAMES[row["test"]]
    if test.name == "single":
        head = f"{count} times kmalloc({row['size']})"
        return f"{head} -> {row['alloc_cycles']} cycles kfree -> {row['free_cycles']} cycles"
    if test.name == "single-pair":
        return f"{count} times kmalloc({row['size']})/kfree -> {row['alloc_cycles']} cycles"
    label = test.label.format(row["size"])
    means = [row["alloc_cycles"], row["free_cycles"]][: test.phases]
    average = f"Average={'/'.join(map(str, means))}"
    if form == "average":
        return f"{label}: {average}"
    each = " ".join(f"{cpu}={'/'.join(map(str, phases))}" for cpu, phases in enumerate(row["cpu"]))
    return f"{label}: {each} {average}"


def render(result: Mapping[str, Any]) -> str:
    """The benchmark's own output for each level, then the levels beside each other."""
    rows, parts = result["rows"], []
    for level in dict.fromkeys(row["series"] for row in rows):
        own = [row for row in rows if row["series"] == level]
        head = [] if level is None else [f"after patch {level} of the series" if level else "before the series"]
        parts.append("\n".join(head + list(lines(own, result["count"], result["form"]))))
    parts += [part for part in (compared(rows), ratios(rows), locks(rows)) if part]
    return "\n\n".join(parts)


def lines(rows: Sequence[Mapping[str, Any]], count: int, form: str) -> Iterator[str]:
    """The lines of one level, under the benchmark's headings."""
    title = ""
    for row in rows:
        test = NAMES[row["test"]]
        if test.title and test.title != title:
            title = test.title
            yield title
        yield line(row, count, form)


def concurrent(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], Mapping[str, Any]]:
    """(level, size) -> row, of the test that the series quotes."""
    wanted = [row for row in rows if row["test"] == "concurrent" and row["series"] is not None]
    return {(row["series"], row["size"]): row for row in wanted}


def compared(rows: Sequence[Mapping[str, Any]]) -> str:
    """Kmalloc N*alloc N*free, alloc/free cycles: each level, and what was published for it."""
    found = concurrent(rows)
    levels, sizes = list(dict.fromkeys(level for level, _ in found)), list(dict.fromkeys(size for _, size in found))
    if not found:
        return ""
    body = []
    for size in sizes:
        cells: list[str] = [str(size)]
        for level in levels:
            if (level, size) not in found:  # interrupted there
                cells += ["-", "-"]
                continue
            row = found[level, size]
            printed = row["published"]
            cells.append(f"{row['alloc_cycles']}/{row['free_cycles']}")
            cells.append(f"{printed['alloc']}/{printed['free']}" if printed else "-")
        body.append(cells)
    head = ["N*alloc N*free", *(text for level in levels for text in (f"level {level}", "published"))]
    return table(head, body)


def ratios(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many times faster an allocation is at the last level than at the first, here and as published."""
    found = concurrent(rows)
    levels = list(dict.fromkeys(level for level, _ in found))
    if len(levels) < 2:
        return ""
    first, last = min(levels), max(levels)
    body = []
    for size in dict.fromkeys(size for level, size in found if level == last):
        before, after = found[first, size], found[last, size]
        cells = [str(size)]
        for kind in ("alloc", "free"):
            cells.append(times(before[f"{kind}_cycles"], after[f"{kind}_cycles"]))
            printed = (before["published"] or {}).get(kind), (after["published"] or {}).get(kind)
            cells.append(times(*printed) if all(printed) else "-")
        body.append(cells)
    head = (f"level {first} / {last}", "alloc", "published", "free", "published")
    return table(head, body)


def times(before: float | None, after: float | None) -> str:
    """16024, 4742 -> 3.38x."""
    return f"{significant(before / after)}x" if before and after else "-"


def locks(rows: Sequence[Mapping[str, Any]]) -> str:
    """list_lock in the first phase of the tests that only allocate, summed over sizes."""
    body = []
    for level in dict.fromkeys(row["series"] for row in rows):
        own = [row for row in rows if row["series"] == level and row["list_lock_per_growing_refill"] is not None]
        if not own:
            continue
        grown = sum(row["growing_refills"] for row in own)
        taken = sum(row["list_lock_per_growing_refill"] * row["growing_refills"] for row in own)
        held = [row["list_lock_hold_cycles"] for row in own if row["list_lock_hold_cycles"]]
        body.append(
            (
                level,
                grown,
                significant(taken / grown, 4),
                own[0]["expected_per_growing_refill"],
                sum(row["list_lock_contended"] for row in own),
                significant(sum(held) / len(held)) if held else "-",
            )
        )
    head = ("level", "growing refills", "list_lock per one", "uncontended", "contended", "hold cycles")
    return table(head, body) if body else ""
