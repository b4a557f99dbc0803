"""Files of JSON lines, read one line at a time, whatever their size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lm.suites.rows import parse_object

MOST_LINE_BYTES = 64 * 2**20
"""Of one line; a prompt of a hundred thousand words with four choices has two of them."""

_SECRET = re.compile(r"((?:[\w-]*(?:key|token|secret|password))\"?'?\s*[=:]\s*)[^,\s}]+", re.I)


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's object with its place, file and line; blank lines are skipped.

    Raises:
        UserError: The file cannot be read, a line is not a JSON object in UTF-8, or is longer than
            :data:`MOST_LINE_BYTES`.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MOST_LINE_BYTES + 1):
                number += 1
                place = f"{path}, line {number}"
                if len(line) > MOST_LINE_BYTES:
                    raise UserError(
                        f"{place}: longer than {MOST_LINE_BYTES / 2**20:.0f} MiB.",
                        hint="A log has one answer a line; check that this is one.",
                    )
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield place, _parsed(line, place)
    except OSError as error:
        raise unreadable(path, error) from error


def _parsed(line: bytes, place: str) -> dict[str, Any]:
    try:
        return parse_object(line)
    except ValueError as error:
        whole = "" if line.endswith(b"\n") else " It is the last line: the file may be cut off."
        raise UserError(
            f"{place}: {error}{whole}", hint="A log has one JSON object a line."
        ) from None


def first_object(path: Path) -> dict[str, Any]:
    """Return the first object of a file of JSON lines; empty if there is none."""
    return next((fields for _, fields in json_lines(path)), {})


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a hash of the content of files, whatever they are called and in whatever order."""
    hashes = sorted(_sha256(path) for path in paths)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that the system does not give."""
    return UserError(
        f"{path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
    )


def without_secrets(text: str) -> str:
    """Return what a log says of a run without the keys that it may have been given.

    Example:
        >>> without_secrets("model=gpt,api_key=abc,via=leet")
        'model=gpt,api_key=…,via=leet'
    """
    return _SECRET.sub(r"\1…", text)
