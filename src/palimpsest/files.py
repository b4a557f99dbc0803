"""Files that users hand in, read within bounds, and files of ours, hashed and written whole."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from palimpsest.errors import UserError

STANDARD_INPUT = "standard input"

MOST_BYTES = 256 * 2**20
"""The largest file that is read at once, unless said otherwise."""

MOST_LINE_BYTES = 64 * 2**20
"""Of one line; a prompt of a hundred thousand words with four choices has two of them."""

TEMPORARY = ".palimpsest-tmp"
"""What the name of a file ends in while it is being written."""

_PERMISSIONS = "Check the path and its permissions."
_MARK = b"\xef\xbb\xbf"


@contextmanager
def reading(path: Path, *, name: str | None = None, hint: str = _PERMISSIONS) -> Iterator[None]:
    """Turn an error of the system about a file that is read into a :class:`UserError`."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"No file '{path}'.", hint="Check the path.") from None
    except OSError as error:
        raise unreadable(name or str(path), error, hint=hint) from error


def unreadable(name: object, error: OSError, *, hint: str = _PERMISSIONS) -> UserError:
    """Return the error for a file that the system does not give."""
    return UserError(f"{name} cannot be read: {error.strerror}.", hint=hint)


def too_large(
    path: Path,
    n_bytes: int,
    most_bytes: int,
    *,
    hint: str = "Split it, or cut out the lines that you need.",
) -> UserError:
    """Return the error for a file with too many bytes."""
    return UserError(
        f"{path} has {n_bytes / 2**20:,.0f} MiB; at most {most_bytes / 2**20:,.0f} MiB are read.",
        hint=hint,
    )


def read_bytes(path: Path, *, most_bytes: int = MOST_BYTES, hint: str = _PERMISSIONS) -> bytes:
    """Return a file's content.

    Args:
        path: Of the file.
        most_bytes: A longer file is refused, without being read.
        hint: What to do about a file that cannot be read.

    Raises:
        UserError: The file is missing, cannot be read, or is too long.
    """
    with reading(path, hint=hint):
        n_bytes = path.stat().st_size
        if n_bytes > most_bytes:
            raise too_large(path, n_bytes, most_bytes)
        return path.read_bytes()


def read_text(path: Path, *, most_bytes: int) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Args:
        path: Of the file; ``~`` is expanded.
        most_bytes: A longer file is refused, without being read to its end.

    Raises:
        UserError: The file is missing, cannot be read, is too long, or is not text.
    """
    with (
        reading(path, name=f"'{path}'", hint="Name a text file in UTF-8."),
        path.expanduser().open("rb") as file,
    ):
        return read_stream(file, f"'{path}'", most_bytes=most_bytes)


def read_stream(stream: BinaryIO, name: str, *, most_bytes: int) -> str:
    r"""Return the text of an open file, line ends as ``\n``; messages call it ``name``.

    Raises:
        UserError: It is too long, or is not text.

    Example:
        >>> import io
        >>> read_stream(io.BytesIO(b"Say it.\r\n"), STANDARD_INPUT, most_bytes=100)
        'Say it.\n'
    """
    data, name = stream.read(most_bytes + 1), name[:1].upper() + name[1:]
    if len(data) > most_bytes:
        raise UserError(
            f"{name} has more than {most_bytes:,} bytes.",
            hint="Send less: this much text would not fit into a model's context.",
        )
    try:
        text = data.removeprefix(_MARK).decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not text in UTF-8 (byte 0x{data[error.start]:02x} at {error.start:,}).",
            hint="Save it as UTF-8.",
        ) from None
    if "\0" in text:
        raise UserError(
            f"{name} is not text: it has a zero byte.", hint="Name a text file in UTF-8."
        )
    return text.replace("\r\n", "\n")


def parse_json(data: bytes, name: str, *, hint: str | None = None) -> Any:
    """Return the value in a JSON file; messages call it ``name``.

    Raises:
        UserError: It is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not valid JSON: {error}.", hint=hint) from error


def read_toml(path: Path, *, most_bytes: int = 2**24) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        UserError: It is missing, cannot be read, or is no TOML.
    """
    if not path.exists():
        raise UserError(f"There is no file '{path}'.", hint="Check the path.")
    try:
        return tomllib.loads(read_bytes(path, most_bytes=most_bytes).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is no TOML file: {error}.") from error


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's object with its place, file and line; blank lines are skipped.

    A line is read at a time, whatever the size of the file.

    Raises:
        UserError: The file cannot be read, a line is not a JSON object in UTF-8, or is longer than
            :data:`MOST_LINE_BYTES`.
    """
    with reading(path), path.open("rb") as file:
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
                line = line.removeprefix(_MARK)
            if not line.strip():
                continue
            try:
                yield place, parse_object(line)
            except ValueError as error:
                cut = (
                    "" if line.endswith(b"\n") else " It is the last line: the file may be cut off."
                )
                raise UserError(
                    f"{place}: {error}{cut}", hint="A log has one JSON object a line."
                ) from None


def lines_of(content: bytes) -> list[bytes]:
    """Return the lines of a file that was read, without a byte order mark."""
    return content.removeprefix(_MARK).split(b"\n")


def parse_object(line: bytes) -> dict[str, Any]:
    """Return a line's JSON object.

    Raises:
        ValueError: The line is not UTF-8, not JSON, something else than an object, or has a field
            twice.
    """
    try:
        value = json.loads(decoded(line), object_pairs_hook=_distinct, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno}).") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deeply.") from None
    if not isinstance(value, dict):
        raise ValueError("not an object in braces.")
    return value


def decoded(line: bytes) -> str:
    """Return the text of a line.

    Raises:
        ValueError: It is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte 0x{line[error.start]:02x}). Save it as UTF-8.") from None


def _integer(digits: str) -> int:
    if len(digits) > 4300:  # more than Python converts
        raise ValueError(f"the number {digits[:9]}… is too long. Write it as text, in quotes.")
    return int(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the field '{key}' comes twice.")
        found[key] = value
    return found


def digest(data: str | bytes) -> str:
    """Return a short hash of text or bytes, for fingerprints.

    Example:
        >>> digest("a")
        'ca978112ca1bbdca'
    """
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


def digest_json(value: Any) -> str:
    """Return a short hash of a value that JSON can write; the order of keys does not matter.

    Example:
        >>> digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
        True
    """
    return digest(json.dumps(value, sort_keys=True))


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of files, one behind the other; read in pieces, whatever their size.

    Raises:
        UserError: One of them cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        with reading(path), path.open("rb") as file:
            while block := file.read(2**20):
                whole.update(block)
    return whole.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is seen whole or not at all, and stays after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
