"""The layout generator's reading of .pxd files, and what the compiled result says."""

import subprocess
import sys
from pathlib import Path

import pytest

from buildtools.layout import Resolver, render
from buildtools.pxd import LayoutError, parse
from buildtools.stand_in import stand_ins


def fields(text: str, struct: str = "s") -> list[tuple[str, str | None, int]]:
    """(name, type, dimensions) of each field of a struct."""
    return [(f.name, f.type, f.dims) for f in parse(text, "ipc/x.pxd").structs[struct]]


def kinds(text: str, struct: str = "s") -> dict[str, tuple[str, str | None]]:
    """Field name -> (kind, nested struct)."""
    decl = parse(text, "ipc/x.pxd")
    resolver = Resolver([decl])
    return {f.name: resolver.kind(decl, f) for f in decl.structs[struct]}


def struct(line: str) -> str:
    return f"cdef struct s:\n    {line}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("long a", [("a", "long", 0)]),
        ("long a, b", [("a", "long", 0), ("b", "long", 0)]),
        ("unsigned long flags  # why", [("flags", "unsigned long", 0)]),
        ("unsigned int a", [("a", "unsigned", 0)]),
        ("long long int a", [("a", "long long", 0)]),
        ("const char *name", [("name", None, 0)]),
        ("void **pp, *p", [("pp", None, 0), ("p", None, 0)]),
        ("char pad[128 - 72]", [("pad", "char", 1)]),
        ("char names[4][16]", [("names", "char", 2)]),
        ("node *nodes[MAX_NODES]", [("nodes", None, 1)]),
        ("void *entry[0]", [("entry", None, 1)]),
        ("void (*func)(void *, int) noexcept nogil", [("func", None, 0)]),
        ("void (*table[4])(void *) noexcept nogil", [("table", None, 1)]),
        ("memory.header h", [("h", "memory.header", 0)]),
    ],
)
def test_field_forms(line: str, expected: list) -> None:
    assert fields(struct(line)) == expected


@pytest.mark.parametrize(
    "line",
    [
        "IF FOO:",
        "if FOO:",
        "union u:",
        "long a = 3",
        "long",
        "long words[NR // 2]",
    ],
)
def test_unreadable_field_names_file_and_line(line: str) -> None:
    with pytest.raises(LayoutError, match=r"^ipc/x\.pxd:2: "):
        parse(struct(line), "ipc/x.pxd")


@pytest.mark.parametrize(
    "text",
    [
        "IF FOO:\n    cdef struct s:\n        long a\n",
        "cdef struct s: long a\n",
        "cdef union u:\n    long a\n",
        "cdef:\n    struct s:\n        long a\n",
        "cdef enum:\n    1A = 2\n",
    ],
)
def test_unreadable_block_is_refused(text: str) -> None:
    with pytest.raises(LayoutError, match=r"^ipc/x\.pxd:[12]: "):
        parse(text, "ipc/x.pxd")


def test_unknown_type_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"ipc/x\.pxd:2: field a: unknown type 'foo_t'"):
        kinds(struct("foo_t a"))


def test_kinds() -> None:
    text = """
from libc.stdint cimport uint8_t
from posix.signal cimport sigset_t
cdef extern from *:
    '''
    typedef volatile long vlong;  struct hidden { int a; };
    '''
    ctypedef long vlong
    ctypedef struct siginfo_t:
        int si_code
ctypedef void (*smp_func)(void *) noexcept nogil
ctypedef smp_func handler
cdef enum state:
    OFF, ON
cdef struct inner:
    long a
cdef struct s:
    vlong word
    uint8_t byte
    char letter
    char text[8]
    double ratio
    handler func
    state now
    inner nested
    sigset_t mask
    siginfo_t info
"""
    assert kinds(text) == {
        "word": ("i", None),
        "byte": ("u", None),
        "letter": ("i", None),
        "text": ("c", None),
        "ratio": ("f", None),
        "func": ("p", None),
        "now": ("i", None),
        "nested": ("s", "inner"),
        "mask": ("s", None),
        "info": ("s", None),
    }


def test_constants() -> None:
    text = "cdef enum:\n    A = 1\n    B = A << (2)  # c\n    C, D = 7\ncdef enum: E = 1\ncpdef enum N:\n    F\n"
    decl = parse(text, "ipc/x.pxd")
    assert decl.constants == {"A": 2, "B": 3, "C": 4, "D": 4, "E": 5, "F": 7}
    assert decl.enums == {"N"}


def test_forward_declarations_functions_and_c_text_are_passed_over() -> None:
    text = (
        'cdef extern from *:\n    """\n    cdef struct no:\n    """\n    struct c_struct:\n        int a\n'
        "cdef struct s\nctypedef packed struct s:\n    pass\n"
        "cdef void *get(s *p,\n                long n) noexcept nogil\n"
        "cdef inline long hot(s *p) noexcept nogil:\n    if p:\n        return 1\n    return 0\n"
    )
    decl = parse(text, "ipc/x.pxd")
    assert decl.structs == {"s": []}
    assert decl.opaque == {"c_struct"}


def test_one_name_in_two_files_is_refused() -> None:
    one, two = parse(struct("long a"), "ipc/a.pxd"), parse(struct("long a"), "cpus/b.pxd")
    with pytest.raises(LayoutError, match=r"cpus/b\.pxd: s is declared in ipc/a\.pxd already"):
        render([one, two])


def test_nothing_is_typed_by_hand() -> None:
    """Offsets, sizes and counts are expressions that the C compiler evaluates."""
    source = render([parse(struct("inner many[NR]") + "cdef struct inner:\n    long a\n", "ipc/x.pxd")])
    assert "<long><size_t>&p.many[0] - 4096" in source
    assert "sizeof(p.many) // sizeof(p.many[0])" in source
    assert "many/s/inner" in source


def test_stand_ins_have_types_and_constants_only() -> None:
    one = (
        "cdef long a(long x) noexcept nogil\n"
        "cdef inline long b(long x,  # why\n           long y) noexcept nogil:\n"
        "    if x:\n\n        return a(y)\n# about s\ncdef struct s:\n    long a\n"
        "cdef long table[4]\ncdef enum: E = 1\n"
    )
    two = "from ipc.one cimport (a,  # why\n    b, s)\nfrom ipc.one cimport table, E\nfrom ipc.one cimport a\n"
    made = stand_ins({Path("ipc/one.pxd"): one, Path("cpus/two.pxd"): two})
    assert made[Path("ipc/one.pxd")].split("\n")[7:] == ["cdef struct s:", "    long a", "", "cdef enum: E = 1", ""]
    assert not made[Path("ipc/one.pxd")][:7].strip()
    assert made[Path("cpus/two.pxd")].split("\n") == ["from ipc.one cimport s", "", "from ipc.one cimport E", "", ""]


class TestCompiled:
    """The module as built from the project's own declarations."""

    def test_importing_it_loads_no_kernel(self) -> None:
        script = "import sys, cpus.layout; print(*(m for m in sys.modules if m.startswith(('ipc.', 'cpus.'))))"
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert run.stdout.split() == ["cpus.layout"]

    def test_fields_are_in_order_and_inside(self) -> None:
        from cpus.layout import STRUCTS

        assert STRUCTS
        for name, struct in STRUCTS.items():
            end = 0
            for field in struct.fields:
                assert field.offset >= end, (name, field)
                end = field.offset + field.size * field.count
            assert end <= struct.size, name

    def test_nested_sizes_agree(self) -> None:
        from cpus.layout import STRUCTS

        for struct in STRUCTS.values():
            for field in struct.fields:
                if field.nested:
                    assert field.size == STRUCTS[field.nested].size

    def test_dtypes(self) -> None:
        from cpus.layout import STRUCTS
        from emu.dtypes import dtype

        for name, struct in STRUCTS.items():
            made = dtype(name)
            assert made.itemsize == struct.size
            assert dtype(name) is made
            for field in struct.fields:
                base, offset = made.fields[field.name][:2]
                assert (offset, base.itemsize) == (field.offset, field.size * field.count)
