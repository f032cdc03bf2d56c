"""emu patches [NAME]: the patches there are, or all about one of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cpus.patch_table import SWITCHES, Switch
from emu import patches
from emu.parser import Parser
from emu.published import claims

DESCRIPTION = "Show the patches that can be switched, or one of them in full."
EPILOG = """\
A patch is switched with --patch NAME[=VARIANT] and --revert NAME of `emu run`.
`safe` says whether an invariant can be broken with a variant: no, yes, or
explorer-only where only the exploration of interleavings can show it.

examples:
  emu patches
  emu patches pcp-drain
  emu patches --kernel 4.4 --json | jq -r '.patches[] | "\\(.name) \\(.value)"'
"""
THREADS = {
    "000": "slab: avoid IPIs when creating kmem caches (2017)",
    "001": "slub: make dead caches discard free slabs immediately (2015, 2016)",
    "002": "mm/slab: reduce lock contention in alloc path (2016)",
    "003": "slab: make memcg slab destruction scalable (2017)",
    "004": "mm: only IPI CPUs to drain local pages if they exist (2011, 2012)",
}


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu patches", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("name", metavar="NAME", nargs="?", help="all about this patch")
    made.add_argument("--kernel", metavar="X.Y", default="4.12", help="values as of this version (default 4.12)")
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    patches.check_kernel(args.kernel, "slub")
    chosen = [patches.find_switch(args.name)] if args.name else list(SWITCHES)
    values = patches.defaults(args.kernel)
    if args.json:
        from emu.results import to_json

        rows = [as_dict(switch, values[switch.name]) for switch in chosen]
        sys.stdout.write(to_json({"schema": 1, "kernel": args.kernel, "patches": rows}).decode())
    elif args.name:
        sys.stdout.write(in_full(chosen[0], values[chosen[0].name], args.kernel))
    else:
        sys.stdout.write(overview(values, args.kernel))
    return 0


def as_dict(switch: Switch, value: str) -> dict[str, object]:
    """One row of the table, for JSON."""
    row: dict[str, object] = dict(switch._asdict())
    row["values"] = [
        {"name": v.name, "doc": v.doc, "safe": v.safe, "unless": "=".join(v.unless) if v.unless else None}
        for v in switch.values
    ]
    row["defaults"] = [{"kernel": first, "value": chosen} for first, chosen in switch.defaults]
    return {"value": value} | row | {"published": claims(switch.name, switch.thread)}


def overview(values: dict[str, str], kernel: str) -> str:
    """One line for each patch, under its thread."""
    lines = []
    for thread, subject in THREADS.items():
        lines.append(f"{thread}  {subject}")
        for switch in SWITCHES:
            if switch.thread == thread:
                number = f"{switch.series:>2}" if switch.series else "  "
                released = f"since {switch.first}" if switch.first else "unmerged"
                lines.append(f"  {number} {switch.name:<22} {values[switch.name]:<18} {released}")
        lines.append("")
    lines.append(f"Values are those of Linux {kernel}; numbers are those of --series.")
    return "\n".join(lines) + "\n"


def in_full(switch: Switch, value: str, kernel: str) -> str:
    """Everything about one patch."""
    released = f"first in Linux {switch.first}" if switch.first else "never released"
    lines = [
        switch.name,
        *wrapped(switch.title),
        *wrapped(f"{switch.author}, {switch.date}, {released}"),
        *wrapped(f"thread {switch.thread}: {THREADS[switch.thread]}"),
        *wrapped(switch.doc),
        "",
        "variants",
    ]
    for v in switch.values:
        unless = f", unless {v.unless[0]}={v.unless[1]}" if v.unless else ""
        safe = "" if v.safe == "yes" else f" [safe: {v.safe}{unless}]"
        lines += wrapped(f"{v.name:<18} {v.doc}{safe}", 21)
    lines += ["", "by version"]
    lines += [f"  since {first:<6} {chosen}" for first, chosen in switch.defaults]
    lines += ["", "published"]
    for claim in claims(switch.name, switch.thread):
        lines += wrapped(claim, 4)
    lines += ["", f"Linux {kernel}: {value}"]
    lines.append(f"--patch {switch.name} is {switch.applied}, --revert {switch.name} is {switch.reverted}")
    return "\n".join(lines) + "\n"


def wrapped(text: str, indent: int = 2) -> list[str]:
    """Lines of at most 80 columns, indented by two and then by INDENT."""
    import textwrap

    # Only at blanks: the names have hyphens.
    return textwrap.wrap(text, 80, initial_indent="  ", subsequent_indent=" " * indent, break_on_hyphens=False)
