"""The caches, as slabtop shows them; a root's children are added to it, as /proc/slabinfo does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emu.monitor import slab, slub
from emu.monitor.lines import Line, bar, count, row, size
from emu.monitor.pane import Budget, Figure, Look, Pane
from emu.monitor.reading import Reading
from emu.raw_memory import Words

WIDTHS = (-18, 6, 6, 4, 7, 6, 6, 6, 6, 4)
HEAD = ("name", "objs", "active", "use", "objsize", "slabs", "size", "shared", "arrays", "kids")
NUMBERS = ("num", "gfporder")


class Row(NamedTuple):
    """One root cache with its children."""

    name: str
    objects: int
    active: int
    size: int
    slabs: int
    bytes: int
    shared: int
    arrays: int  # objects in per-CPU arrays
    room: int
    children: int
    sound: bool

    @property
    def use(self) -> float:
        """Share of the objects that are handed out."""
        return self.active / self.objects if self.objects > 0 else 0.0


class Caches(Pane):
    """Caches, one a row."""

    name = "Caches"
    sorts = ("objs", "active", "use", "objsize", "slabs", "size", "shared", "arrays", "kids", "name")
    figures = (
        Figure("objs", "Objects in the cache's slabs, handed out or not.", "/proc/slabinfo num_objs; slabtop OBJS"),
        Figure(
            "active",
            "Objects not on a slab's free list: in use, or in an array cache.",
            "/proc/slabinfo active_objs; slabtop ACTIVE",
        ),
        Figure("use", "active / objs.", "slabtop USE"),
        Figure("objsize", "Bytes an object takes with its padding.", "/proc/slabinfo objsize; slabtop OBJ SIZE"),
        Figure("slabs", "Slabs, full, partial and free.", "/proc/slabinfo num_slabs; slabtop SLABS"),
        Figure("size", "Bytes of all slabs; SLUB: of all objects in them.", "slabtop CACHE SIZE"),
        Figure("shared", "Objects in the nodes' shared arrays.", "/proc/slabinfo sharedavail"),
        Figure(
            "arrays",
            "Objects in the CPUs' array caches, children included. SLUB: slabs that CPUs hold for themselves.",
            "array_cache.avail; /sys/kernel/slab/NAME/cpu_slabs",
        ),
        Figure("kids", "Child caches that memcgs have of it.", "/sys/kernel/slab/NAME/cgroup; memcg_params.children"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.budget = Budget()

    def read(self, now: Reading) -> None:
        """All caches, as often as that is cheap: children are found by walking lists."""
        if not self.budget.due():
            return
        with self.budget:
            self.rows = read_caches(now)

    def draw(self, look: Look) -> list[Line]:
        """The table, its totals first."""
        found = [r for r in self.rows if self.wanted(r.name)]
        found.sort(key=lambda r: r.name)
        found.sort(key=self._key, reverse=self.sorted_by != "name")
        objects, active = sum(r.objects for r in found), sum(r.active for r in found)
        total = sum(r.bytes for r in found)
        old = f", {self.budget.age:.0f} s old" if self.budget.age >= 1 else ""
        spare = max(0, min(look.width - 80, 40))
        head: list[Line] = [
            [(f"{len(found)} caches, {count(objects)} objects, {count(active)} active, {size(total)}{old}", "")],
            [(row(HEAD, WIDTHS) + ("  arrays full" if spare else ""), "head")],
        ]
        lines = [self._line(r, look, spare) for r in found]
        return head + self.scrolled(lines, look.height - len(head))

    def _key(self, r: Row) -> float | str:
        keys = {
            "objs": r.objects, "active": r.active, "use": r.use, "objsize": r.size, "slabs": r.slabs, "size": r.bytes,
            "shared": r.shared, "arrays": r.arrays, "kids": r.children,
        }  # fmt: skip
        return keys.get(self.sorted_by, r.name)

    def _line(self, r: Row, look: Look, spare: int) -> Line:
        cells = (
            r.name, count(r.objects), count(r.active), f"{r.use:.0%}", str(r.size), count(r.slabs), size(r.bytes),
            count(r.shared), count(r.arrays), count(r.children),
        )  # fmt: skip
        line: Line = [(row(cells, WIDTHS), "" if r.sound else "bad")]
        if not r.sound:
            line.append((" ?", "bad"))
        elif spare and r.room:
            line.append(("  " + bar(r.arrays / r.room, spare - 2, look.ascii_only), "good"))
        return line


def read_caches(now: Reading) -> list[Row]:
    """One row per root cache."""
    memory, nodes = now.memory, int(now.memory.header["nr_nodes"])
    roots = slab.root_caches(memory)
    rows = []
    for root, name in zip(roots.tolist(), slab.names(memory, roots), strict=True):
        whole = np.concatenate([np.array([root], dtype=np.int64), slab.children_of(memory, root)])
        sound = bool(slab.sound(memory, whole[:1])[0])
        # A child that is being made or taken down has no geometry, or poison for one.
        family = whole[slab.sound(memory, whole)]
        of = {key: slab.field(memory, family, key) for key in NUMBERS}
        size, children = int(slab.field(memory, whole[:1], "size")[0]), len(whole) - 1
        if now.slub():
            rows.append(slub_row(now, name, family, size, children, sound))
            continue
        counts = slab.node_counts(memory, family, nodes)
        avail, room = slab.arrays(memory, family, now.nr_cpus)
        objects = int((counts["total_slabs"] * of["num"]).sum())
        free, slabs = int(counts["free_objects"].sum()), int(counts["total_slabs"].sum())
        pages = counts["total_slabs"] << of["gfporder"]
        rows.append(
            Row(
                name=name,
                objects=objects,
                active=objects - free,
                size=size,
                slabs=slabs,
                bytes=int(pages.sum()) * 4096,
                shared=int(counts["shared"].sum()),
                arrays=int(avail.sum()),
                room=int(room.sum()),
                children=children,
                sound=sound,
            )
        )
    return rows


def slub_row(now: Reading, name: str, family: Words, size: int, children: int, sound: bool) -> Row:
    """A row of SLUB's. Slabs of one cache may be of several orders, so their bytes are those of its objects."""
    if not slub.KNOWN:
        return Row(name, 0, 0, size, 0, 0, 0, 0, 0, children, False)
    found = slub.counts(now.memory, family, int(now.memory.header["nr_nodes"]), now.nr_cpus)
    return Row(
        name=name,
        objects=found["objects"],
        active=found["active"],
        size=size,
        slabs=found["slabs"],
        bytes=found["objects"] * size,
        shared=0,
        arrays=found["held"],
        room=now.nr_cpus * len(family),
        children=children,
        sound=sound and 0 <= found["active"] <= found["objects"],
    )
