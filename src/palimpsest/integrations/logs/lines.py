"""Parts that the readers of logs share: first objects, fingerprints, texts without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from palimpsest.files import digest, json_lines, sha256_of

_SECRET = re.compile(r"((?:[\w-]*(?:key|token|secret|password))\"?'?\s*[=:]\s*)[^,\s}]+", re.I)


def first_object(path: Path) -> dict[str, Any]:
    """Return the first object of a file of JSON lines; empty if there is none."""
    return next((fields for _, fields in json_lines(path)), {})


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a hash of the content of files, whatever they are called and in whatever order."""
    hashes = sorted(sha256_of(path) for path in paths)
    return digest("".join(hashes))


def without_secrets(text: str) -> str:
    """Return what a log says of a run without the keys that it may have been given.

    Example:
        >>> without_secrets("model=gpt,api_key=abc,via=leet")
        'model=gpt,api_key=…,via=leet'
    """
    return _SECRET.sub(r"\1…", text)
