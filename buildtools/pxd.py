"""Reads the struct and enum declarations of a .pxd file.

Not a Cython parser: it knows the few forms that the project uses, and refuses, naming file and line,
whatever it cannot be sure about, because a field that is silently skipped would be a wrong layout.
"""

import re
from dataclasses import dataclass, field

STRUCT = re.compile(r"(?:cdef|ctypedef)\s+(?:public\s+|api\s+)*(?:packed\s+)?struct\s+(\w+)\s*(?:\"[^\"]*\")?\s*:(.*)")
ENUM = re.compile(r"(?:cdef|cpdef|ctypedef)\s+(?:public\s+)?enum(?:\s+(?:class\s+)?(\w+))?\s*(?:\"[^\"]*\")?\s*:(.*)")
TYPEDEF = re.compile(r"ctypedef\s+(?!struct\b|packed\b|enum\b|union\b|fused\b|class\b)(.+)")
EXTERN_TYPE = re.compile(r"(?:ctypedef\s+|cdef\s+)?(?:packed\s+)?(?:struct|union)\s+(\w+)")
CIMPORT = re.compile(r"from\s+([\w.]+)\s+cimport\s+(.+)")
FUNCTION_POINTER = re.compile(r".*?\(\s*\*\s*(\w+)\s*((?:\[[^\]]*\]\s*)*)\)\s*\(.*\)[\w\s+*?-]*")
DECLARATOR = re.compile(r"(?P<stars>[\s*]*)(?P<name>[A-Za-z_]\w*)\s*(?P<dims>(?:\[[^\]]*\]\s*)*)")
FIRST = re.compile(r"(?P<type>[A-Za-z_][\w.]*(?:\s+[A-Za-z_][\w.]*)*?)(?P<rest>\s*\*.*|\s+[A-Za-z_]\w*\s*(?:\[.*)?)")
TRIPLE_QUOTED = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)


class LayoutError(Exception):
    """A declaration that the layout generator cannot describe."""


@dataclass
class Field:
    """One field as declared: `type` is None for pointers of every kind."""

    name: str
    type: str | None
    dims: int
    line: int


@dataclass
class Declarations:
    """What one .pxd file declares."""

    path: str
    structs: dict[str, list[Field]] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)  # name -> line
    enums: set[str] = field(default_factory=set)
    typedefs: dict[str, str | None] = field(default_factory=dict)  # None: a function or object pointer
    opaque: set[str] = field(default_factory=set)  # foreign structs: size known to the compiler only


def parse(text: str, path: str) -> Declarations:
    """Collect the declarations of one .pxd file."""
    found = Declarations(path)
    for number, header, body in blocks(text):
        if re.match(r"(IF|ELIF|ELSE)\b", header):
            raise LayoutError(f"{path}:{number}: conditional compilation: structs must be the same in every build")
        if STRUCT.fullmatch(header) or ENUM.fullmatch(header):
            check_division(path, [(number, header), *body])
        if match := STRUCT.fullmatch(header):
            found.structs[match[1]] = struct_fields(path, number, match, body)
        elif match := ENUM.fullmatch(header):
            if match[1]:
                found.enums.add(match[1])
            items = [(number, match[2]), *body] if match[2].strip() else body
            found.constants.update(enum_items(path, items))
        elif match := TYPEDEF.fullmatch(header):
            add_typedef(found, number, match[1])
        elif match := CIMPORT.fullmatch(header):
            add_cimports(found, match)
        elif re.match(r"cdef\s+extern\b", header):
            add_extern(found, body)
        elif re.match(r"(cdef\s*:|(cdef|ctypedef)\s+.*\b(struct|union)\b.*:$)", header):
            check_nothing_hidden(path, number, header, body)
    return found


def blocks(text: str) -> list[tuple[int, str, list[tuple[int, str]]]]:
    """Split into top-level statements: (line number, first line, [(line number, indented line)])."""
    text = TRIPLE_QUOTED.sub(lambda match: '""' + "\n" * match[0].count("\n"), text)
    found: list[tuple[int, str, list[tuple[int, str]]]] = []
    depth, start = 0, 0
    joined = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].rstrip()
        if not line.strip():
            continue
        start = start if depth else number
        joined = f"{joined} {line.strip()}" if depth else line
        depth = sum(joined.count(c) for c in "([{") - sum(joined.count(c) for c in ")]}")
        if depth > 0:
            continue
        depth = 0
        if joined[0].isspace() and found:
            found[-1][2].append((start, joined.strip()))
        else:
            found.append((start, joined.strip(), []))
    return found


def struct_fields(path, number, match, body) -> list[Field]:
    """Fields of one struct, in order."""
    if match[2].strip():
        raise LayoutError(f"{path}:{number}: struct {match[1]}: put the fields on lines of their own")
    return [entry for line, text in body if text != "pass" for entry in field_line(f"{path}:{line}", line, text)]


def field_line(where: str, number: int, text: str) -> list[Field]:
    """Fields declared by one line of a struct."""
    if match := FUNCTION_POINTER.fullmatch(text):
        return [Field(match[1], None, match[2].count("["), number)]
    first = FIRST.fullmatch(pieces(text)[0])
    if first is None or re.match(r"(if|IF|elif|ELIF|else|ELSE|union|struct|cdef|ctypedef)\b", text):
        raise LayoutError(f"{where}: cannot read this field: {text!r}")
    base = normal_type(first["type"])
    found = []
    for declarator in [first["rest"], *pieces(text)[1:]]:
        match = DECLARATOR.fullmatch(declarator.strip())
        if match is None:
            raise LayoutError(f"{where}: cannot read this field: {text!r}")
        found.append(Field(match["name"], None if "*" in match["stars"] else base, match["dims"].count("["), number))
    return found


def pieces(text: str) -> list[str]:
    """Split at the commas that are not inside brackets."""
    return re.split(r",(?![^\[]*\])", text)


def normal_type(text: str) -> str:
    """`const unsigned long int` -> `unsigned long`."""
    words = [word for word in text.split() if word not in ("const", "volatile", "signed", "struct")]
    if len(words) > 1 and words[-1] == "int":
        words.pop()
    return " ".join(words or ["int"])


def enum_items(path: str, lines) -> dict[str, int]:
    """Constants of one enum block -> line number."""
    found = {}
    for number, text in lines:
        for item in re.split(r",(?![^(]*\))", text):
            name = item.split("=", 1)[0].strip()
            if re.fullmatch(r"[A-Za-z_]\w*(?:\s+\"[^\"]*\")?", name) and name != "pass":
                found[name.split()[0]] = number
            elif name and name != "pass":
                raise LayoutError(f"{path}:{number}: cannot read this constant: {item.strip()!r}")
    return found


def add_typedef(found: Declarations, number: int, text: str) -> None:
    """Note `ctypedef TYPE NAME`, also of function pointers."""
    if "(" in text:
        if match := FUNCTION_POINTER.fullmatch(text):
            found.typedefs[match[1]] = None
        return
    for entry in field_line(f"{found.path}:{number}", number, re.sub(r'\s*"[^"]*"', "", text)):
        found.typedefs[entry.name] = entry.type


def add_cimports(found: Declarations, match: re.Match) -> None:
    """A type that comes from outside the project is known by its size only."""
    if match[1].split(".")[0] not in ("", "ipc", "cpus"):
        names = (name.split(" as ")[-1].strip(" ()") for name in match[2].split(","))
        found.opaque.update(name for name in names if name)


def add_extern(found: Declarations, body) -> None:
    """Typedefs of a `cdef extern` block; its structs are C's, so only their size is known."""
    for number, text in body:
        if match := TYPEDEF.fullmatch(text):
            add_typedef(found, number, match[1])
        elif match := EXTERN_TYPE.match(text):
            found.opaque.add(match[1])


def check_division(path, lines) -> None:
    """Cython copies the expression into C as it is, where // begins a comment."""
    for number, text in lines:
        if "//" in text:
            raise LayoutError(f"{path}:{number}: // reaches the C compiler as a comment here: use >>, or a constant")


def check_nothing_hidden(path, number, header, body) -> None:
    """Refuse structs in forms that are not read above, rather than leave them out."""
    for line, text in [(number, header), *body]:
        if re.search(r"\b(struct|union|enum)\b", text) and text.endswith(":"):
            raise LayoutError(f"{path}:{line}: cannot read {text!r}: only top-level `cdef struct NAME:`, `cdef enum:`")
