"""The series of 2016, "mm/slab: reduce lock contention in alloc path" (Kim): its levels and its published figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu import patches
from emu.errors import UsageError

if TYPE_CHECKING:
    from emu.config import RunConfig

# Cycles of alloc and free in `Kmalloc N*alloc N*free`, by object size, after so many of the eleven patches. The cover
# letter calls the first column "before"; patches 1 to 6 do not touch what it measures.
SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
PUBLISHED: dict[int, tuple[tuple[int, int], ...]] = {
    0: (
        *((365, 806), (452, 690), (736, 886), (1167, 985)),
        *((2088, 1125), (4115, 1184), (8451, 1748), (16024, 2048)),
    ),
    7: (
        *((355, 750), (452, 812), (559, 1070), (1176, 980)),
        *((1939, 1189), (3521, 1278), (7152, 1838), (13438, 2013)),
    ),
    10: (
        *((248, 966), (261, 949), (314, 1016), (741, 1061)),
        *((1246, 1152), (2437, 1259), (4980, 1800), (9000, 2078)),
    ),
    11: (
        *((344, 792), (347, 882), (390, 959), (393, 1067)),
        *((683, 1229), (1295, 1325), (2513, 1664), (4742, 2172)),
    ),
}


def published(level: int | None, size: int) -> tuple[int, int] | None:
    """(alloc, free) cycles that were published for a level and a size; None where none were."""
    if level is None or size not in SIZES:
        return None
    column = max(after for after in PUBLISHED if after <= level)
    return PUBLISHED[column][SIZES.index(size)]


def values_of(config: RunConfig, level: int | None) -> dict[str, str]:
    """The switches of one level; --patch and --revert of the command line hold on every level. None: as configured."""
    if level is None:
        return dict(config.patches)
    first = patches.resolve_changes(config.kernel, config.allocator, {}, next(iter(config.levels), None))
    own = {name: new for name, (_, new) in patches.difference(first, config.patches).items()}
    return patches.override(dict(config.patches) | patches.series_values(level, config.patches), own)


def level_of(values: dict[str, str]) -> int | None:
    """The level that a set of switches is; None if it is none."""
    for level in range(patches.LAST_SERIES, -1, -1):
        wanted = patches.series_values(level, values)
        if all(values[name] == value for name, value in wanted.items()):
            return level
    return None


def chosen(config: RunConfig) -> list[int | None]:
    """The levels of a run: those of --series, or what the switches come to."""
    return list(config.levels) or [None]


def check(config: RunConfig) -> None:
    """Every level must be possible with the changes of the command line."""
    if config.levels and config.allocator != "slab":
        raise UsageError("--series: the series is SLAB's; use --allocator slab")
    for level in config.levels:
        values_of(config, level)


def locks_per_growing_refill(values: dict[str, str]) -> int:
    """list_lock acquisitions of a refill that has to grow when nobody else wants the lock: first look, colour, attach,
    second look, less what the patches save."""
    saved = ("racy-colour", "refill-private-slab", "lockless-grow")
    return 4 - sum(values[name] == "on" for name in saved)
