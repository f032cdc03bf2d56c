"""emu list: the workloads there are."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from emu.parser import Parser

DESCRIPTION = "List the workloads that `emu run` knows by name."
EPILOG = """\
Workloads of other packages are found through the entry point group
percpu_emu.workloads; any Python file can be run by its path.

examples:
  emu list
  emu list --json | jq -r '.workloads[].name'
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu list", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu import workload
    from emu.format import hanging
    from emu.results import to_json

    rows = [{"name": name, "module": module, "doc": summary(module)} for name, module in workload.names().items()]
    rows.sort(key=lambda row: row["name"])
    if args.json:
        sys.stdout.write(to_json({"schema": 1, "workloads": rows}).decode())
        return 0
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        sys.stdout.write(hanging(f"{row['name']:<{width}}  ", row["doc"]) + "\n")
    if not rows:
        sys.stderr.write("emu: no workloads are installed; a Python file can be run by its path\n")
    return 0


def summary(module: str) -> str:
    """First line of a module's docstring, without importing it: one that is broken must not hide the others."""
    try:
        spec = importlib.util.find_spec(module)
        source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        doc = ast.get_docstring(ast.parse(source)) or ""
    except (OSError, SyntaxError, ValueError, ModuleNotFoundError) as error:
        return f"(cannot be read: {type(error).__name__})"
    return doc.partition("\n")[0]
