"""Text that users hand in, from a file or standard input: bounded, and checked to be text."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from palimpsest.errors import UserError

STANDARD_INPUT = "standard input"


def read_text(path: Path, *, most_bytes: int) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Args:
        path: Of the file; ``~`` is expanded.
        most_bytes: A longer file is refused, without being read to its end.

    Raises:
        UserError: The file is missing, cannot be read, is too long, or is not text.
    """
    try:
        with path.expanduser().open("rb") as file:
            return read_stream(file, f"'{path}'", most_bytes=most_bytes)
    except FileNotFoundError:
        raise UserError(f"No file '{path}'.", hint="Check the path.") from None
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be read: {error.strerror}.", hint="Name a text file in UTF-8."
        ) from error


def read_bytes(path: Path, *, most_bytes: int, hint: str) -> bytes:
    """Return a file's content.

    Args:
        path: Of the file.
        most_bytes: A longer file is refused, without being read.
        hint: What to do about a file that cannot be read.

    Raises:
        UserError: The file is missing, cannot be read, or is too long.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > most_bytes:
            raise UserError(
                f"{path} has {n_bytes / 2**20:,.0f} MiB; at most {most_bytes / 2**20:,.0f} MiB "
                "are read.",
                hint="Split it, or cut out the lines that you need.",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"No file '{path}'.", hint="Check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", hint=hint) from error


def read_stream(stream: BinaryIO, name: str, *, most_bytes: int) -> str:
    r"""Return the text of an open file, line ends as ``\n``; messages call it ``name``.

    Raises:
        UserError: It is too long, or is not text.

    Example:
        >>> import io
        >>> read_stream(io.BytesIO(b"Say it.\r\n"), STANDARD_INPUT, most_bytes=100)
        'Say it.\n'
    """
    data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UserError(
            f"{_sentence(name)} has more than {most_bytes:,} bytes.",
            hint="Send less: this much text would not fit into a model's context.",
        )
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{_sentence(name)} is not text in UTF-8 (byte 0x{data[error.start]:02x} "
            f"at {error.start:,}).",
            hint="Save it as UTF-8.",
        ) from None
    if "\0" in text:
        raise UserError(
            f"{_sentence(name)} is not text: it has a zero byte.", hint="Name a text file in UTF-8."
        )
    return text.replace("\r\n", "\n")


def _sentence(name: str) -> str:
    return name[:1].upper() + name[1:]
