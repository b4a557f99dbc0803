"""Parallel sentences: a folder with one text file a language, aligned by line."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.files import read_bytes

BUILT_IN = Path(__file__).with_name("data") / "sentences"
"""The package's own sentences."""

MOST_BYTES = 64 * 2**20
"""The largest file of sentences."""


@dataclass(frozen=True)
class Sentences:
    """The same sentences in several languages."""

    lines: Mapping[str, tuple[str, ...]]
    """Languages to sentences; the same place means the same sentence."""

    sha256: Mapping[str, str]
    """Languages to the hashes of their files."""

    def __len__(self) -> int:
        return len(next(iter(self.lines.values())))


def sentence_languages(folder: Path) -> tuple[str, ...]:
    """Return the languages that a folder has files for, English first.

    Raises:
        UserError: There is no such folder, or it has no ``en.txt``.
    """
    if not folder.is_dir():
        raise UserError(
            f"No folder '{folder}' with sentences.",
            hint="Name a folder with one file a language: en.txt, fr.txt, …",
        )
    found = sorted(
        path.stem for path in folder.glob("*.txt") if path.is_file() and path.name[0] != "."
    )
    if "en" not in found:
        raise UserError(
            f"The folder '{folder}' has no en.txt; it has: "
            f"{', '.join(f'{stem}.txt' for stem in found) or 'no .txt files'}.",
            hint="English is the language of the plain prompts. Add its sentences, line by line.",
        )
    return ("en", *(language for language in found if language != "en"))


def read_sentences(folder: Path, languages: Sequence[str]) -> Sentences:
    """Read the files of some languages.

    White space at the ends of lines is dropped, accents are composed (NFC), and a byte order mark
    or Windows line ends do not matter.

    Args:
        folder: Where ``en.txt`` and others are.
        languages: Which to read; ``en`` must be one of them.

    Raises:
        UserError: A file is missing, unreadable or not UTF-8, has an empty line, or has not as many
            lines as ``en.txt``. The message names file and line.
    """
    found = sentence_languages(folder)
    for language in languages:
        if language not in found:
            raise UserError(
                f"The folder '{folder}' has no {language}.txt.",
                hint=f"It has sentences in: {', '.join(found)}.",
            )
    contents = {
        language: read_bytes(
            folder / f"{language}.txt", most_bytes=MOST_BYTES, hint="Check its permissions."
        )
        for language in languages
    }
    lines = {
        language: _lines(folder / f"{language}.txt", content)
        for language, content in contents.items()
    }
    for language, sentences in lines.items():
        if len(sentences) != len(lines["en"]):
            raise UserError(
                f"{folder / language}.txt has {_n_lines(sentences)}, but "
                f"{folder / 'en'}.txt has {_n_lines(lines['en'])}.",
                hint="The same line must hold the same sentence in every file.",
            )
    hashes = {language: hashlib.sha256(data).hexdigest() for language, data in contents.items()}
    return Sentences(lines, hashes)


def _lines(path: Path, content: bytes) -> tuple[str, ...]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8 (byte 0x{error.object[error.start]:02x}).",
            hint="Save the file as UTF-8.",
        ) from error
    # Not str.splitlines: it also splits at characters that editors do not count as line ends.
    lines = unicodedata.normalize("NFC", text).removesuffix("\n").split("\n")
    stripped = tuple(line.strip() for line in lines)
    if "" in stripped:
        raise UserError(
            f"{path}, line {stripped.index('') + 1}: empty.",
            hint="Remove the line from every file, or fill it in.",
        )
    return stripped


def _n_lines(sentences: Sequence[str]) -> str:
    return f"{len(sentences)} line{'s' if len(sentences) != 1 else ''}"
