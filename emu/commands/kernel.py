"""emu kernel X.Y [X.Y]: what a kernel version implies, or how two differ."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cpus.patch_table import MEMCG_CACHES, NEWEST
from emu import patches
from emu.errors import NotSupportedError
from emu.parser import Parser

DESCRIPTION = "Show every switch as a kernel version had it, or how two versions differ."
EPILOG = """\
examples:
  emu kernel 4.11
  emu kernel 4.11 4.12
  emu kernel 4.6 4.7 --json | jq .difference
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu kernel", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("kernel", metavar="X.Y", help=f"a version from 3.0 to {NEWEST['slub']}")
    made.add_argument("other", metavar="X.Y", nargs="?", help="what to compare it with")
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    described = {version: describe(version) for version in (args.kernel, args.other) if version}
    if args.json:
        from emu.results import to_json

        document: dict[str, object] = {"schema": 1, "kernels": described}
        if args.other:
            pairs = patches.difference(patches.defaults(args.kernel), patches.defaults(args.other))
            document["difference"] = {name: list(pair) for name, pair in pairs.items()}
        sys.stdout.write(to_json(document).decode())
    elif args.other:
        sys.stdout.write(compared(args.kernel, args.other))
    else:
        sys.stdout.write(in_full(args.kernel))
    return 0


def describe(kernel: str) -> dict[str, object]:
    """What a version is, as data; NotSupportedError if it is not modelled."""
    patches.check_kernel(kernel, "slub", "emu kernel")
    values = patches.defaults(kernel)
    return {
        "allocators": allocators(kernel),
        "memcg_caches": has_memcg_caches(kernel),
        "patches": values,
        "unsafe": [row._asdict() for row in patches.unsafe(values)],
    }


def allocators(kernel: str) -> list[str]:
    """The allocators a version has."""
    found = []
    for name in NEWEST:
        try:
            patches.check_kernel(kernel, name)
            found.append(name)
        except NotSupportedError:
            continue
    return found


def has_memcg_caches(kernel: str) -> bool:
    """Whether a version has per-memcg kmem caches."""
    try:
        patches.require_memcg_caches(kernel)
    except NotSupportedError:
        return False
    return True


def in_full(kernel: str) -> str:
    """One version, a line for each switch."""
    described = describe(kernel)
    values = patches.defaults(kernel)
    first, gone = MEMCG_CACHES
    memcg = "yes" if has_memcg_caches(kernel) else f"no (only from {first} to before {gone})"
    lines = [f"Linux {kernel}: {', '.join(allocators(kernel))}; per-memcg caches: {memcg}", ""]
    lines += [f"  {name:<22} {value}" for name, value in values.items()]
    lines += [""] if described["unsafe"] else []
    lines += [f"unsafe ({row.safe}): {row.switch} = {row.value}" for row in patches.unsafe(values)]
    return "\n".join(lines) + "\n"


def compared(old: str, new: str) -> str:
    """What changed from OLD to NEW."""
    changed = patches.difference(patches.defaults(old), patches.defaults(new))
    lines = [f"  {name:<22} {before} -> {after}" for name, (before, after) in changed.items()]
    if allocators(old) != allocators(new):
        lines.append(f"  {'allocators':<22} {', '.join(allocators(old))} -> {', '.join(allocators(new))}")
    if has_memcg_caches(old) != has_memcg_caches(new):
        had, has = ("yes" if has_memcg_caches(version) else "no" for version in (old, new))
        lines.append(f"  {'per-memcg caches':<22} {had} -> {has}")
    head = f"Linux {old} -> {new}: {len(lines)} {'difference' if len(lines) == 1 else 'differences'}"
    return "\n".join([head, *lines]) + "\n"
