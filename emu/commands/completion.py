"""emu completion SHELL: what a shell needs to complete the command line; and the man page, from the same parser."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence

from emu.errors import NotSupportedError, UsageError, did_you_mean, one_line
from emu.parser import Parser

DESCRIPTION = "Print the completion script of a shell, or the man page."
EPILOG = """\
Completes commands, options and their choices, files and workloads' names. Needs
shtab, the man page argparse-manpage: pip install 'percpu-emu[shell]'.

examples:
  emu completion bash > ~/.local/share/bash-completion/completions/emu
  emu completion zsh > ~/.zfunc/_emu         (with fpath+=~/.zfunc in .zshrc)
  emu completion man > ~/.local/share/man/man1/emu.1
"""
# An option whose values are all in its help, as slab|slub: emu/config.py checks them, argparse does not.
CHOICES = re.compile(r"[a-z]+(\|[a-z]+)+")
SHELLS = ("bash", "zsh", "man")
# What each operand is, where it is no word of ours: completed as files are.
FILES = ("config", "output", "runs", "words")
PREAMBLE = {
    "bash": """
_emu_workloads() {
  compgen -W "$(emu list --json 2>/dev/null | tr ',' '\\n' | sed -n 's/.*"name":"\\([^"]*\\)".*/\\1/p')" -- "$1"
  compgen -f -X '!*.py' -- "$1"
}
""",
    "zsh": """
_emu_workloads() {
  local -a names
  names=(${(f)"$(emu list --json 2>/dev/null | tr ',' '\\n' | sed -n 's/.*"name":"\\([^"]*\\)".*/\\1/p')"})
  _alternative "workloads:workload:(${names})" "files:file:_files -g '*.py'"
}
""",
}
WORKLOAD = {"bash": "_emu_workloads", "zsh": "_emu_workloads"}


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu completion", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    if args.shell not in SHELLS:
        hint = did_you_mean(args.shell, SHELLS)
        raise UsageError(f"emu completion: {one_line(args.shell)!r} is not one of {', '.join(SHELLS)}{hint}")
    sys.stdout.write(man_page() if args.shell == "man" else completion(args.shell))
    return 0


def completion(shell: str) -> str:
    """The script, made by shtab from the parser."""
    need("shtab", "shtab")
    import shtab

    whole = full_parser()
    for each in parsers(whole):
        for action in each._actions:
            if action.dest == "workload":
                action.complete = WORKLOAD  # type: ignore[attr-defined]
            elif action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.choices is None and isinstance(action.metavar, str) and CHOICES.fullmatch(action.metavar):
                action.choices = action.metavar.split("|")
    return str(shtab.complete(whole, shell, preamble=PREAMBLE[shell])) + "\n"


def man_page() -> str:
    """The manual page, made by argparse-manpage from the parser."""
    need("argparse_manpage", "argparse-manpage")
    from argparse_manpage.manpage import Manpage

    from emu import __version__
    from emu.cli import DESCRIPTION as ABOUT

    whole = full_parser()
    for each in parsers(whole)[1:]:
        # argparse's own usage is many lines that a paragraph would run together; the options stand below it.
        operands = [f" {action.metavar}" for action in each._actions if not action.option_strings and action.metavar]
        each.usage = f"{each.prog} [OPTION ...]{''.join(operands)}"
    data = {
        "project_name": "percpu-emu",
        "version": __version__,
        "manual_title": "percpu-emu",
        "manual_section": "1",
        "description": "emulate the per-CPU memory caches of Linux",
        "long_description": " ".join(ABOUT.split()),
        "format": "pretty",
    }
    notes = "".join(note(each) for each in parsers(whole)[1:] if each.epilog)
    head, comments, rest = str(Manpage(whole, _data=data)).partition(".SH COMMENTS")
    return f"{head.rstrip()}\n{notes}{comments}{rest}".rstrip() + "\n"


def note(command: argparse.ArgumentParser) -> str:
    """What stands below a command's options: overhead, exit codes, examples, line by line as in its help."""
    escaped = (command.epilog or "").strip().replace("\\", "\\e").replace("-", "\\-")
    # A line that begins with one of these would be a request to roff.
    lines = [f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines()]
    return "\n".join([f".SH NOTES \\fI\\,'{command.prog}'\\/\\fR", ".nf", *lines, ".fi", ""])


def full_parser() -> Parser:
    """The parser of `emu` with those of all its commands."""
    from emu.cli import top_parser

    return top_parser(full=True)


def parsers(whole: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    found = [whole]
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [each for part in action.choices.values() for each in parsers(part)]
    return found


def need(module: str, package: str) -> None:
    """Refuse, naming the extra, if a package is not installed."""
    if importlib.util.find_spec(module) is None:
        raise NotSupportedError(f"emu completion needs {package}: pip install 'percpu-emu[shell]'")
