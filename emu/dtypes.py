"""numpy dtypes of the shared structs, made from the layout that the C compiler reported."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cpus.layout import STRUCTS

if TYPE_CHECKING:
    import numpy as np


@cache
def dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of struct NAME: every field at its compiled offset, with the compiled size.

    Nested structs are nested dtypes, arrays are sub-arrays, pointers are uint64, text is bytes.
    """
    # Late, since CPUs are forked before numpy is imported.
    import numpy as np

    struct = STRUCTS[name]
    return np.dtype(
        {
            "names": [field.name for field in struct.fields],
            "formats": [_format(field) for field in struct.fields],
            "offsets": [field.offset for field in struct.fields],
            "itemsize": struct.size,
        }
    )


def _format(field: Any) -> Any:
    """Return the numpy format of one field."""
    base: Any
    if field.kind == "s":
        base = dtype(field.nested) if field.nested else f"V{field.size}"
    elif field.kind == "c":
        base = f"S{field.size}"
    else:
        base = f"{'u' if field.kind == 'p' else field.kind}{field.size}"
    return base if field.count == 1 else (base, (field.count,))
