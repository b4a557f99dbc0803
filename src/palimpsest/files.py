"""Files that users hand in, read within bounds, and files of ours, hashed and written whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext
from itertools import chain
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
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BLOCK_BYTES = 2**20
_BINARY = getattr(os, "O_BINARY", 0)
_BLANK = re.compile(r"[ \t\r\n]*")

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_PACKED = {
    b"\x1f\x8b": ("gzip", "gzip -dk"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"),
    b"BZh": ("bzip2", "bzip2 -dk"),
    b"\xfd7zXZ\0": ("xz", "xz -dk"),
    b"PK\x03\x04": ("zip", "unzip"),
}
"""How packed files begin: with what they are packed, and what unpacks them."""


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Look paths up from a folder for a while; from where we are if there is no such folder.

    For what was named in another process, perhaps on another machine.
    """
    with chdir(folder) if Path(folder).is_dir() else nullcontext():
        yield


@contextmanager
def reading(path: Path, *, name: str | None = None, hint: str = _PERMISSIONS) -> Iterator[None]:
    """Turn an error of the system about a file that is read into a :class:`UserError`."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"No file '{path}'.", hint="Check the path.") from None
    except OSError as error:
        raise unreadable(name or str(path), error, hint=hint) from error


@contextmanager
def opened(path: Path, *, name: str | None = None, hint: str = _PERMISSIONS) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, which must be a file or a link to one.

    A pipe or a device may give bytes without end, or none for ever: it is refused without waiting.

    Raises:
        UserError: The file is missing, cannot be read, or is something else.
    """
    with reading(path, name=name, hint=hint):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor has no path
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                kind = next((kind for is_it, kind in _KINDS if is_it(mode)), "something else")
                raise UserError(
                    f"{name or path} is {kind}; a file is needed.",
                    hint="Write what it gives into a file, and name that.",
                )
            yield file


def check_file(path: Path) -> None:
    """Raise :class:`UserError` as :func:`opened` does, for a file that another is going to read."""
    with opened(path):
        pass


def refuse_packed(path: Path, head: bytes | None = None) -> None:
    """Raise :class:`UserError` if a file of text begins as packed ones do.

    Args:
        path: Of the file.
        head: How it begins; by default it is read.
    """
    if head is None:
        with opened(path) as file:
            head = file.read(16)
    for mark, (packer, command) in _PACKED.items():
        if head.startswith(mark):
            raise UserError(
                f"{path} is packed with {packer}; packed text is not read.",
                hint=f"Unpack it first: {command} {path.name}",
            )


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
    with opened(path, hint=hint) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes > most_bytes:
            raise too_large(path, n_bytes, most_bytes)
        content = file.read(most_bytes + 1)  # some files of the system do not tell their size
    if len(content) > most_bytes:
        raise too_large(path, len(content), most_bytes)
    refuse_packed(path, content)
    return content


def read_text(path: Path, *, most_bytes: int) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Args:
        path: Of the file; ``~`` is expanded.
        most_bytes: A longer file is refused, without being read to its end.

    Raises:
        UserError: The file is missing, cannot be read, is too long, or is not text.
    """
    hint = "Name a text file in UTF-8."
    with opened(path.expanduser(), name=f"'{path}'", hint=hint) as file:
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


def read_toml(
    path: Path, *, most_bytes: int = 2**22, parse_float: Callable[[str], Any] = float
) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        UserError: It is missing, cannot be read, or is no TOML.
    """
    if not path.exists():
        raise UserError(f"There is no file '{path}'.", hint="Check the path.")
    content = read_bytes(path, most_bytes=most_bytes).removeprefix(_MARK)
    try:
        return tomllib.loads(content.decode(), parse_float=parse_float)
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is no TOML file: {error}.") from error


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's object with its place, file and line; blank lines are skipped.

    A line is read at a time, whatever the size of the file. A file that holds one list in brackets
    is read as a whole, and gives its items.

    Raises:
        UserError: The file cannot be read, a line is not a JSON object in UTF-8, or is longer than
            :data:`MOST_LINE_BYTES`; a list is longer than :data:`MOST_BYTES`.
    """
    if begins_list(path):
        yield from _list_items(path)
        return
    with opened(path) as file:
        number = 0
        while line := file.readline(MOST_LINE_BYTES + 1):
            number += 1
            place = f"{path}, line {number}"
            if len(line) > MOST_LINE_BYTES:
                raise _too_long(place)
            if number == 1:
                refuse_packed(path, line)
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


def begins_list(path: Path) -> bool:
    """Return whether a JSON file begins with a bracket."""
    with opened(path) as file:
        return file.read(_BLOCK_BYTES).removeprefix(_MARK).lstrip()[:1] == b"["


def _list_items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a file that holds one JSON list, with its place, file and item."""
    try:
        text = decoded(read_bytes(path).removeprefix(_MARK))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    read = json.JSONDecoder(object_pairs_hook=_distinct, parse_int=_integer).raw_decode
    at, number = _next(text, text.index("[") + 1), 0
    while text[at : at + 1] != "]":
        number += 1
        place = f"{path}, item {number}"
        try:
            value, at = read(text, at)
        except RecursionError:
            raise UserError(f"{place}: not JSON that can be read: nested too deeply.") from None
        except ValueError as error:
            cut = "" if text.rstrip().endswith("]") else " The file may be cut off."
            raise UserError(
                f"{place}: not JSON: {error}.{cut}", hint="Copy the file, or write it, again."
            ) from None
        if not isinstance(value, dict):
            raise UserError(f"{place}: not an object in braces.", hint="A log is a list of them.")
        yield place, value
        at = _next(text, at)
        if text[at : at + 1] not in (",", "]"):
            raise UserError(
                f"{place}: followed by neither a comma nor the end of the list. The file may be "
                "cut off.",
                hint="Copy the file, or write it, again.",
            )
        at = _next(text, at + 1) if text[at] == "," else at


def _next(text: str, at: int) -> int:
    """Return where the next text that is not blank begins."""
    match = _BLANK.match(text, at)
    return match.end() if match else at


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text with their ends, in UTF-8 or, with its mark, UTF-16.

    Raises:
        UserError: The file cannot be read, is another kind of text, or a line is longer than
            :data:`MOST_LINE_BYTES`.
    """
    with opened(path) as file:
        head = file.read(16)
        file.seek(0)
        refuse_packed(path, head)
        encoding = "utf-16" if head.startswith(_UTF16_MARKS) else "utf-8-sig"
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            number = 0
            try:
                while line := text.readline(MOST_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MOST_LINE_BYTES:
                        raise _too_long(f"{path}, line {number}")
                    yield line
            except UnicodeError as error:
                byte = (
                    f" (byte 0x{error.object[error.start]:02x})"
                    if isinstance(error, UnicodeDecodeError)
                    else ""
                )
                raise UserError(
                    f"{path} is not UTF-8{byte}.",
                    hint="Save it as UTF-8; spreadsheets call that 'CSV UTF-8'.",
                ) from None


def csv_records(path: Path, *, delimiters: str, hint: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each row of a CSV file, and the number of its last line.

    A line without any field has none; empty lines at the beginning are left out.

    Args:
        path: Of the file.
        delimiters: What may stand between fields, the usual one first: the one is taken that the
            first line has most of, outside quotation marks, or that a line ``sep=`` names.
        hint: What to do about a file that is no CSV.

    Raises:
        UserError: It is malformed, or a row is longer than :data:`MOST_LINE_BYTES`.
    """
    n_lines = n_characters = 0

    def counted() -> Iterator[str]:
        nonlocal n_lines, n_characters
        for line in text_lines(path):
            n_lines, n_characters = n_lines + 1, n_characters + len(line)
            if n_characters > MOST_LINE_BYTES:
                raise UserError(
                    f"{path}, line {n_lines}: a row of more than {MOST_LINE_BYTES / 2**20:.0f} "
                    "MiB.",
                    hint="Check the quotation marks: one may be open since the row's first line.",
                )
            yield line

    lines = counted()
    first = next(filter(str.strip, lines), "")
    if said := re.fullmatch(r"sep=(.)\s*", first, re.I):  # what Excel writes and obeys
        delimiter, first = said[1], next(lines, "")
    else:
        delimiter = max(delimiters, key=re.sub(r'"[^"]*"', "", first).count)
    reader = csv.reader(chain([first] if first else [], lines), delimiter=delimiter, strict=True)
    try:
        while (fields := _wide(reader)) is not None:
            n_characters = 0
            yield n_lines, fields
    except csv.Error as error:
        raise UserError(f"{path}: not {path.suffix[1:].upper()}: {error}.", hint=hint) from None


def _wide(reader: Iterator[list[str]]) -> list[str] | None:
    """Return the next row, whose fields may be longer than the module's limit for all readers."""
    limit = csv.field_size_limit(MOST_LINE_BYTES)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _too_long(place: str) -> UserError:
    return UserError(
        f"{place}: longer than {MOST_LINE_BYTES / 2**20:.0f} MiB.",
        hint="A log has one answer a line; check that this is one.",
    )


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
        with opened(path) as file:
            while block := file.read(_BLOCK_BYTES):
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
