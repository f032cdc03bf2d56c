"""Writes cpus/switches.pxd, the constants by which compiled code names switches, from cpus/patch_table.py."""

from pathlib import Path

from cpus.patch_table import FIRST_INDEX, SWITCHES

HEADER = """\
# Generated from cpus/patch_table.py by buildtools/switches.py: do not edit.
#
# A switch's own constant is its index in the page of switches, for switch_on() and switch_value() of ipc/memory;
# the constants below it are its values. SLAB_CREATE_NO_IPI_ON is what switch_value(SLAB_CREATE_NO_IPI) gives when on.

cdef enum:
"""


def generate(path: Path) -> None:
    """Write the declarations to PATH, and leave it alone if they have not changed."""
    text = render()
    # Its time stamp decides what is compiled again.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def render() -> str:
    """Return the text of cpus/switches.pxd."""
    lines: list[str] = []
    seen: set[str] = set()
    for index, switch in enumerate(SWITCHES, FIRST_INDEX):
        name = constant(switch.name)
        rows = [(name, index)] + [(f"{name}_{constant(v.name)}", i) for i, v in enumerate(switch.values)]
        for text, number in rows:
            if text in seen:
                raise ValueError(f"cpus/patch_table.py: two switches or values make the constant {text}")
            seen.add(text)
            lines.append(f"    {text} = {number}")
        lines.append("")
    return HEADER + "\n".join(lines[:-1]) + "\n"


def constant(name: str) -> str:
    """`slab-create-no-ipi` -> `SLAB_CREATE_NO_IPI`."""
    return name.upper().replace("-", "_")
