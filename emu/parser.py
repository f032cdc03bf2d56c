"""Our argparse: errors in one line and exit code 1, near misses named, help in 80 columns with units and defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from emu.errors import UsageError, did_you_mean, one_line
from emu.options import MIB, OPTIONS, Option

WIDTH = 80


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of one width everywhere, so that it can be compared and pasted."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=WIDTH)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of leaving the program."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", Formatter)
        # An abbreviation would change its meaning with the next option that is added.
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message, and the nearest option for one that is not known."""
        raise UsageError(f"{self.prog}: {one_line(message.removeprefix('argument '))}; see `{self.prog} --help`")

    def parse_all(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse options and operands in any order; UsageError for what is left over."""
        args, rest = self.parse_known_intermixed_args(argv)
        if rest:
            self.unknown(rest)
        return args

    def unknown(self, rest: Sequence[str]) -> NoReturn:
        """Complain about the first of the arguments that nobody wanted."""
        options = [arg for arg in rest if arg.startswith("-")]
        if not options:
            raise UsageError(f"{self.prog}: unexpected operand {one_line(rest[0])!r}; see `{self.prog} --help`")
        name = options[0].partition("=")[0]
        hint = did_you_mean(name, self._option_string_actions)
        raise UsageError(f"{self.prog}: no option {one_line(name)!r}{hint or f'; see `{self.prog} --help`'}")


def add_common_options(parser: argparse.ArgumentParser, defaults: Mapping[str, Any] | None = None) -> None:
    """Add the options of emu/options.py. Values stay text: emu/config.py reads and checks them."""
    group = parser.add_argument_group("machine and run")
    for option in OPTIONS:
        help_text = described(option, (defaults or {}).get(option.name, option.default))
        flag = f"--{option.name}"
        if option.kind == "flag" and option.default is None:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, dest=option.field, help=help_text)
        elif option.kind == "flag":
            group.add_argument(flag, action="store_const", const=True, dest=option.field, help=help_text)
        elif option.kind == "list":
            group.add_argument(flag, action="append", metavar=option.metavar, dest=option.field, help=help_text)
        else:
            metavar = option.metavar or "|".join(option.choices)
            group.add_argument(flag, metavar=metavar, dest=option.field, help=help_text)


def described(option: Option, default: Any) -> str:
    """An option's help with its default."""
    if default in (None, "", False):
        return option.help
    shown = f"{default // MIB}M" if option.kind == "size" else f"{default:g}" if isinstance(default, float) else default
    return f"{option.help} (default {shown})"


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Option -> what the command line said, of those it did say."""
    found = {option.name: getattr(args, option.field, None) for option in OPTIONS}
    return {name: value for name, value in found.items() if value is not None}
