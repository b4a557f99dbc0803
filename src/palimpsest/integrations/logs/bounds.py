"""Bounds of logs that another library is going to read: unpacked size, number, and nesting."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from palimpsest.errors import UserError
from palimpsest.files import MOST_BYTES, opened, too_large

MOST_ENTRIES = 200_000
"""Of a zip file."""

MOST_UNPACKED_BYTES = 16 * 2**30
"""Of all files in a zip file together, unpacked."""

MOST_NESTED = 100
"""Lists and objects in one another in a JSON file. Readers in pieces keep the names of all of them
at every step: a file of 200 kB that is nothing but open brackets takes all memory."""

_BLOCK_BYTES = 2**20
_ZSTD = 93
_MOST_WINDOW_BYTES = 2**27
_FEW_BYTES = 512
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(ValueError, EOFError, OverflowError, NotImplementedError),
)
_MOST_DIRECTORY_BYTES = 512
"""Of one entry in the directory of a zip file, with a long name."""

_TEXT_ENDS = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WHOLE_TEXTS = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_PAIRS = re.compile(rb"\[\]|\{\}")
_NO_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^][{}"]++', re.DOTALL)


class Nesting:
    """How deeply lists and objects of a JSON file stand in one another, which comes in pieces.

    Args:
        name: Of the file, for messages.

    Example:
        >>> nesting = Nesting("a.json")
        >>> for piece in (b'{"a": [{"b": "[', b'[[["}]', b"}"):
        ...     nesting.feed(piece)
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._open = b""
        self._rest = b""
        self._in_text = False

    def feed(self, piece: bytes) -> None:
        """Look at the next piece.

        Raises:
            UserError: More than :data:`MOST_NESTED` are open at its end, or open and end in it.
        """
        piece = self._rest + piece
        self._rest = b""
        if self._in_text:
            end = _TEXT_ENDS.match(piece)
            if end is None:
                self._keep_backslash(piece)
                return
            piece = piece[end.end() :]
        whole = _WHOLE_TEXTS.match(piece)
        n_whole = whole.end() if whole else 0
        self._in_text = n_whole < len(piece)
        if self._in_text:
            self._keep_backslash(piece[n_whole:])
        self._open += _NO_BRACKETS.sub(b"", piece[:n_whole])
        n_rounds = n_pairs = 1
        while n_pairs and n_rounds <= MOST_NESTED:  # a round takes off the innermost
            self._open, n_pairs = _PAIRS.subn(b"", self._open)
            n_rounds += 1
        if len(self._open) > MOST_NESTED or (n_pairs and _PAIRS.search(self._open)):
            raise UserError(
                f"{self._name} has more than {MOST_NESTED} lists and objects in one another.",
                hint="No log is nested as deeply as that; check who wrote it.",
            )

    def _keep_backslash(self, text: bytes) -> None:
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            self._rest = b"\\"


def check_json(path: Path, *, hint: str) -> None:
    """Look through a JSON file that is going to be read as a whole.

    Raises:
        UserError: It is longer than :data:`~palimpsest.files.MOST_BYTES`, or nested too deeply.
    """
    nesting, n_bytes = Nesting(str(path)), 0
    with opened(path) as file:
        if (n_all := os.fstat(file.fileno()).st_size) > MOST_BYTES:
            raise too_large(path, n_all, MOST_BYTES, hint=hint)
        while block := file.read(_BLOCK_BYTES):
            n_bytes += len(block)
            nesting.feed(block)
            if n_bytes > MOST_BYTES:
                raise too_large(path, n_bytes, MOST_BYTES, hint=hint)


def check_zip(
    path: Path,
    wanted: Callable[[str], bool],
    *,
    most_bytes: int,
    hint: str = "Copy it again, or write it again.",
) -> None:
    """Unpack some files of a zip file into nothing, to know that another may unpack them.

    What the directory says of sizes is not believed: bytes are counted as they come out.

    Args:
        path: Of the zip file.
        wanted: Whether a file of that name is going to be read.
        most_bytes: Of each of these, unpacked.
        hint: What to do about a file that is no zip file.

    Raises:
        UserError: It is no zip file, has more than :data:`MOST_ENTRIES` files, or one of those
            wanted is larger or nested too deeply, or all together are larger than
            :data:`MOST_UNPACKED_BYTES`.
    """
    n_together = 0
    with opened(path) as file:
        try:
            for entry in _zip_entries(path, file):
                if not wanted(entry.filename):
                    continue
                n_bytes, nesting = 0, Nesting(f"{path}: '{entry.filename[:80]}'")
                for piece in _unpacked(file, entry):
                    nesting.feed(piece)
                    n_bytes, n_together = n_bytes + len(piece), n_together + len(piece)
                    if n_bytes > most_bytes or n_together > MOST_UNPACKED_BYTES:
                        most = most_bytes if n_bytes > most_bytes else MOST_UNPACKED_BYTES
                        raise UserError(
                            f"{path}: '{entry.filename[:80]}' unpacks to more than is read, "
                            f"{most / 2**20:,.0f} MiB.",
                            hint="A log is not as large as that; check who wrote it.",
                        )
        except _DAMAGED as error:
            raise UserError(
                f"{path} is no zip file that can be read: {str(error) or type(error).__name__}.",
                hint=hint,
            ) from error


def _zip_entries(path: Path, file: BinaryIO) -> list[zipfile.ZipInfo]:
    """Return the directory of a zip file, after a look at how long it is."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 2**16 - 100))
    tail = file.read()
    at, at_64 = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\7")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile("it has no end record")
    (n_bytes,) = struct.unpack_from("<I", tail, at + 12)
    if at_64 >= 0:
        (place,) = struct.unpack_from("<Q", tail, at_64 + 8)
        file.seek(min(place, end))
        n_bytes = max(n_bytes, struct.unpack_from("<Q", file.read(48), 40)[0])
    most = MOST_ENTRIES * _MOST_DIRECTORY_BYTES
    entries = [] if n_bytes > most else zipfile.ZipFile(file).infolist()
    if n_bytes > most or len(entries) > MOST_ENTRIES:
        raise UserError(
            f"{path} holds more than {MOST_ENTRIES:,} files; so many are not read.",
            hint="Split it: a log of fewer samples each.",
        )
    return entries


def _unpacked(file: BinaryIO, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield an entry's pieces as they are unpacked, each a few blocks at most."""
    file.seek(entry.header_offset)
    header = file.read(30)
    file.seek(sum(struct.unpack_from("<HH", header, 26)), os.SEEK_CUR)
    n_left = entry.compress_size

    def packed() -> bytes:
        nonlocal n_left
        block = file.read(min(n_left, 2**16))
        n_left = n_left - len(block) if block else 0
        return block

    if entry.compress_type == zipfile.ZIP_DEFLATED:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        while (rest := unpack.unconsumed_tail or packed()) and not unpack.eof:
            yield unpack.decompress(rest, _BLOCK_BYTES)
        # What a limit of output holds back comes without any more input.
        while not unpack.eof and (more := unpack.decompress(b"", _BLOCK_BYTES)):
            yield more
    elif entry.compress_type == _ZSTD:
        yield from _zstd_pieces(iter(packed, b""))
    else:
        yield from iter(packed, b"")


def _zstd_pieces(packed: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard  # comes with Inspect, whose logs are packed with it

    unpack = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES).decompressobj(
        read_across_frames=True
    )
    for block in packed:
        # A few bytes may unpack to as many as a block: no more of them at a time than are borne.
        for start in range(0, len(block), _FEW_BYTES):
            try:
                yield unpack.decompress(block[start : start + _FEW_BYTES])
            except zstandard.ZstdError as error:
                raise zipfile.BadZipFile(str(error)) from None
