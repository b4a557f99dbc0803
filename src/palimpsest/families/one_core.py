"""Linear algebra of scipy on one core, while other work has the rest.

The threads of scipy's OpenBLAS wait for one another actively. Where something else computes beside
them, such as torch's own threads or another matrix, a decomposition of a few hundred columns takes
ten times as long on two cores as on one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

_LOCK = Lock()
_inside: list[int] = []
"""The number of threads before, once for everyone who is inside."""


@contextmanager
def one_blas_core() -> Iterator[None]:
    """Let scipy's matrix products and decompositions use one core; threads may overlap in it.

    Where scipy comes with another library than OpenBLAS, nothing happens.
    """
    library = _openblas()
    if library is None:
        yield
        return
    with _LOCK:
        _inside.append(_inside[0] if _inside else library.scipy_openblas_get_num_threads())
        library.scipy_openblas_set_num_threads(1)
    try:
        yield
    finally:
        with _LOCK:
            before = _inside.pop()
            if not _inside:
                library.scipy_openblas_set_num_threads(before)


@cache
def _openblas() -> Any:
    """Return the library that scipy's wheel brings along, or ``None``."""
    import scipy

    home = Path(scipy.__file__).parent
    for folder in (home.parent / "scipy.libs", home / ".dylibs"):
        for path in sorted(folder.glob("libscipy_openblas*")):
            library = ctypes.CDLL(str(path))
            if hasattr(library, "scipy_openblas_set_num_threads"):
                return library
    return None
