"""Lazy faces of packages: what others may import of one, loaded when it is first used.

``import palimpsest`` and ``--help`` must not load torch, scipy or an HTTP client, so a package's
``__init__`` imports the names of its face under ``TYPE_CHECKING`` alone, where type checkers read
them, and has :func:`lazy_face` import each from its module on demand (PEP 562).
"""

from __future__ import annotations

import ast
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any


def lazy_face(package: MutableMapping[str, Any]) -> None:
    """Give a package the names that its ``__init__`` imports under ``TYPE_CHECKING``.

    Args:
        package: Its ``globals()``.

    Example:
        >>> import palimpsest.stats
        >>> "wilson_interval" in dir(palimpsest.stats)
        True
    """
    source = package["__spec__"].loader.get_source(package["__name__"])
    homes = {
        alias.asname or alias.name: node.module
        for block in ast.parse(source).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package['__name__']}' has no attribute '{name}'")
        package[name] = getattr(import_module(homes[name]), name)
        return package[name]

    package["__getattr__"] = load
    package["__dir__"] = lambda: sorted({*package, *homes})
