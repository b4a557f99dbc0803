"""What the fields of a log's row say: numbers, keys, languages, and whether two are the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from palimpsest import files
from palimpsest.errors import UserError
from palimpsest.judging.compare.logged import LogOptions
from palimpsest.lm.translators.languages import base_language, is_language

LANGUAGE_FIELDS = ("lang", "language")
"""Fields that say in which language an item is."""


def as_number(value: Any) -> float | None:
    """Return a number, or a truth value as 0 or 1, as a float; ``None`` for anything else.

    Example:
        >>> as_number(True), as_number(10**400), as_number("1")
        (1.0, inf, None)
    """
    if not isinstance(value, bool | int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def digest(*parts: Any) -> str:
    """Return a short hash of texts and of whatever JSON can write.

    Example:
        >>> digest("a", 1) == digest("a", 1) != digest("a1")
        True
    """
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, default=str)
    return files.digest(text)


def find_field(fields: Mapping[str, Any], path: str) -> Any:
    """Return a field by its name, or by names joined by dots that lead into it; else ``None``.

    Example:
        >>> find_field({"doc": {"id": 7}, "a.b": 1}, "doc.id"), find_field({"a.b": 1}, "a.b")
        (7, 1)
    """
    if path in fields:
        return fields[path]
    head, dot, rest = path.partition(".")
    below = fields.get(head)
    return find_field(below, rest) if dot and isinstance(below, Mapping) else None


def language_of(fields: Mapping[str, Any], options: LogOptions) -> str | None:
    """Return the language of an item, if its fields say it.

    Example:
        >>> language_of({"lang": "fr"}, LogOptions()), language_of({"lang": "rust"}, LogOptions())
        ('fr', None)
    """
    if options.language is not None:
        value = find_field(fields, options.language)
        return None if value in (None, "") else str(value)
    said = [fields.get(name) for name in LANGUAGE_FIELDS]
    return next((one for one in said if isinstance(one, str) and _is_code(one)), None)


def _is_code(text: str) -> bool:
    return is_language(base_language(text))


def key_of(fields: Mapping[str, Any], options: LogOptions, place: str) -> str:
    """Return the key of an item by the fields that the user chose.

    Raises:
        UserError: One is missing.
    """
    values = []
    for name in options.key:
        value = find_field(fields, name)
        if value is None or value == "":
            raise UserError(
                f"{place}: no field '{name}', which --key asks for.",
                hint=f"There are: {', '.join(map(str, fields))}.",
            )
        values.append(value if isinstance(value, str) else json.dumps(value, default=str))
    return " / ".join(values)
