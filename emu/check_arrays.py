"""Array caches: of CPUs, shared, alien. Bounds, tunables, and where each one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cpus.layout import CONSTANTS
from emu.raw_memory import Mask, RawMemory, Words, offset
from emu.validate import Findings

if TYPE_CHECKING:
    from emu.check_slab import Slabs

CPU, SHARED, ALIEN = range(3)
POISON = 0x6B6B6B6B
HEADER_WORDS = offset("array_cache", "entry") // 8
COUNTERS = ("allochit", "allocmiss", "allocfail", "freehit", "freemiss", "node_frees")
SIGNS = (1, 1, -1, -1, -1, -1)


@dataclass
class Arrays:
    """All arrays that are sound enough to be read, one row each."""

    address: Words
    cache: Words
    kind: Words
    where: Words  # CPU, or node
    node: Words  # whose objects it holds
    avail: Words
    given: Words  # handed out through it, less taken back
    names: list[str]

    def describe(self, row: int) -> str:
        """What array this is; -1 is none but a slab's freelist."""
        if row < 0:
            return "the slab's freelist"
        name = self.names[int(self.cache[row])]
        if self.kind[row] == CPU:
            return f"CPU {self.where[row]}'s array of {name}"
        if self.kind[row] == SHARED:
            return f"the shared array of {name}, node {self.where[row]}"
        return f"node {self.where[row]}'s alien cache of {name} for node {self.node[row]}"

    def handed_out(self, caches: int) -> Words:
        """Per cache: objects handed out through CPUs' arrays, less those taken back."""
        return np.bincount(self.cache, weights=self.given, minlength=caches).astype(np.int64)


def read_arrays(raw: RawMemory, findings: Findings, slabs: Slabs, root: int) -> Arrays:
    """All arrays of all caches, checked (I4, I9). What cannot be read safely is reported and left out."""
    parts = [_cpu_arrays(raw, findings, slabs, root), _shared_arrays(raw, slabs), _alien_arrays(raw, findings, slabs)]
    address, cache, kind, where, node = (np.concatenate(column) for column in zip(*parts, strict=True))
    unread = np.zeros(len(address), np.int64)
    every = Arrays(address, cache, kind, where, node, unread, unread, slabs.names)
    good = raw.in_heap(address, HEADER_WORDS * 8)
    blocks = np.flatnonzero(kind == SHARED)
    good[blocks] &= raw.is_block(address[blocks])
    lost = np.flatnonzero(~good)
    findings.add_each("I9", lost, lambda i: f"{every.describe(i)}: points to {address[i]:#x}, which is not allocated")
    header = raw.gather(np.where(good, address, int(slabs.caches[0]) if len(slabs.caches) else root), HEADER_WORDS)
    avail, limit = header[:, 0] & 0xFFFFFFFF, header[:, 0] >> 32 & 0xFFFFFFFF
    batch = header[:, 1] & 0xFFFFFFFF
    freed = good & (limit == POISON)
    findings.add_each("I9", np.flatnonzero(freed), lambda i: f"{every.describe(i)}: was freed")
    good &= ~freed
    _check_tunables(findings, slabs, every, good, limit, batch)
    long = np.flatnonzero(good & (avail > limit))
    findings.add_each("I4", long, lambda i: f"{every.describe(i)}: {avail[i]} objects, but room for {limit[i]}")
    good &= (avail <= limit) & raw.in_heap(address, HEADER_WORDS * 8 + avail * 8)
    at = [offset("array_cache", name) // 8 for name in COUNTERS]
    given = (header[:, at] * np.array(SIGNS)).sum(axis=1)
    keep = np.flatnonzero(good)
    given = np.where(kind == CPU, given, 0)
    address, cache, kind, where, node, avail, given = (
        column[keep] for column in (address, cache, kind, where, node, avail, given)
    )
    return Arrays(address, cache, kind, where, node, avail, given, slabs.names)


def _check_tunables(findings: Findings, slabs: Slabs, every: Arrays, good: Mask, limit: Words, batch: Words) -> None:
    """A CPU's array has its cache's limit and batchcount, a shared one room for shared * batchcount."""
    table = slabs.table[every.cache]
    wanted = np.where(every.kind == CPU, table["limit"], limit)
    wanted = np.where(every.kind == SHARED, table["shared"] * table["batchcount"], wanted)
    wrong = np.flatnonzero(good & (limit != wanted))
    findings.add_each("I4", wrong, lambda i: f"{every.describe(i)}: its limit is {limit[i]}, not {wanted[i]}")
    cpu = good & (every.kind == CPU)
    wrong = np.flatnonzero(cpu & ((batch != table["batchcount"]) | (batch > limit)))
    findings.add_each(
        "I4",
        wrong,
        lambda i: (
            f"{every.describe(i)}: its batchcount is {batch[i]}, its limit {limit[i]}, "
            f"the cache's batchcount {table['batchcount'][i]}"
        ),
    )


Part = tuple[Words, Words, Words, Words, Words]


def _cpu_arrays(raw: RawMemory, findings: Findings, slabs: Slabs, root: int) -> Part:
    cpus = int(raw.header["nr_cpus"])
    pointers = raw.gather(slabs.caches + offset("kmem_cache", "cpu_cache"), cpus + 1)
    dummy = root + offset("slab_system", "coordinator_cache")
    wrong = np.flatnonzero(pointers[:, 0] != dummy)
    findings.add_each("I4", wrong, lambda c: f"{slabs.name(c)}: the coordinator's array is not the empty one")
    if raw.word(dummy) != 0:
        findings.add("I4", "the coordinator's empty array holds something")
    at = CONSTANTS["CPU_AREA"] + CONSTANTS["CPU_STRIDE"] * np.arange(1, cpus + 1)
    home = raw.gather(at + offset("cpu", "node"), 1)[:, 0]
    cache, cpu = (grid.reshape(-1) for grid in np.indices((len(slabs.caches), cpus)))
    blocks = slabs.table["cpu_arrays"].astype(np.int64)
    freed = np.flatnonzero(~raw.is_block(blocks))
    findings.add_each("I9", freed, lambda c: f"{slabs.name(c)}: the block of its CPUs' arrays is not allocated")
    pointers = pointers[:, 1:].reshape(-1)
    return pointers, cache, np.full(len(cache), CPU), cpu, home[cpu]


def _shared_arrays(raw: RawMemory, slabs: Slabs) -> Part:
    cache, node = np.nonzero(slabs.nodes)
    pointers = raw.gather(slabs.nodes[cache, node] + offset("kmem_cache_node", "shared"), 1)[:, 0]
    some = pointers != 0
    return pointers[some], cache[some], np.full(int(some.sum()), SHARED), node[some], node[some]


def _alien_arrays(raw: RawMemory, findings: Findings, slabs: Slabs) -> Part:
    cache, node = np.nonzero(slabs.nodes)
    tables = raw.gather(slabs.nodes[cache, node] + offset("kmem_cache_node", "alien"), 1)[:, 0]
    some = (tables != 0) & (tables != CONSTANTS["BAD_ALIEN_MAGIC_VALUE"])
    cache, node, tables = cache[some], node[some], tables[some]
    good = raw.is_block(tables)
    findings.add_each(
        "I9",
        np.flatnonzero(~good),
        lambda i: f"{slabs.name(cache[i])}, node {node[i]}: its alien caches are not allocated",
    )
    cache, node, tables = cache[good], node[good], tables[good]
    aliens = raw.gather(tables, slabs.pages.nr_nodes)
    row, target = np.nonzero(aliens)
    pointers = aliens[row, target] + offset("alien_cache", "ac")
    return pointers, cache[row], np.full(len(row), ALIEN), node[row], target
