"""Places of the rows of ``nli``: one file or many, a folder a language, splits of a dataset."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import unreadable
from palimpsest.lm.suites import tables
from palimpsest.lm.suites.templates import INFERENCE_WORDINGS

Split = Literal["train", "validation", "test"]

DEFAULT_SPLIT: Split = "validation"
"""The one that the paper's code asks."""

SPLITS = "dataset_dict.json"
"""What ``DatasetDict.save_to_disk`` leaves in a folder."""

# xnli.dev.tsv, validation.parquet, test-00000-of-00002.parquet
_SPLIT_FILE = re.compile(
    r"(?:xnli\.)?(?P<split>train|validation|dev|test)(?:-(?P<shard>\d+)-of-(?P<shards>\d+))?"
)

_LAYOUTS = (
    "Name a file of rows (.tsv, .jsonl, .parquet), a folder with one a language (en.tsv, fr.tsv, "
    "…), or a folder saved by 'datasets'."
)

_MOST_NAMES = 8

_SUFFIXES = tuple(suffix for suffix in tables.SUFFIXES if suffix != ".csv")
"""XNLI comes in no CSV file, whose quotation marks would be read otherwise."""


class TableSource(NamedTuple):
    """The files of one table."""

    paths: tuple[Path, ...]
    """Files or folders for :func:`tables.read_table`, one behind the other."""

    language: str | None
    """What the path says about the language, if anything."""


def find_sources(path: Path, split: Split | None = None) -> list[TableSource]:
    """Return the tables that a path stands for.

    Args:
        path: A file, or a folder with a file, a folder or a dataset for each language, or with
            the splits of one dataset.
        split: Which one, where there are several; by default :data:`DEFAULT_SPLIT`.

    Raises:
        UserError: There is nothing of the kind, no such split, or the choice is not clear.
    """
    try:
        return _found(path, split)
    except OSError as error:
        raise unreadable(path, error) from error


def _found(path: Path, split: Split | None) -> list[TableSource]:
    if not path.exists():
        raise UserError(f"No file or folder '{path}'.", hint=_LAYOUTS)
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise UserError(f"{path} is not a file of rows that can be read.", hint=_LAYOUTS)
        _no_splits(path, split)
        return [TableSource((path,), _language(path))]
    by_language = _by_language(path)
    if not by_language:
        return [TableSource(_of_split(path, split), _language(path))]
    if all(place.is_file() for place in by_language.values()):
        _no_splits(path, split)
    return [
        TableSource((place,) if place.is_file() else _of_split(place, split), language)
        for language, place in by_language.items()
    ]


def _no_splits(path: Path, split: Split | None) -> None:
    if split is not None:
        raise UserError(
            f"{path} is not divided into splits, so split={split} cannot be chosen.",
            hint="Leave split out, or name the folder that has the splits.",
        )


def _language(path: Path) -> str | None:
    """Return the language that the path of a table names: en.tsv, en/test.parquet, xnli/en/."""
    names = (path.name.partition(".")[0], path.parent.name)
    return next((name for name in names if name in INFERENCE_WORDINGS), None)


def _by_language(folder: Path) -> dict[str, Path]:
    """Return the files or folders that are named like languages, in the order of the wordings."""
    found: dict[str, list[Path]] = defaultdict(list)
    for place in sorted(folder.iterdir()):
        if place.is_dir():
            found[place.name].append(place)
        elif place.suffix in _SUFFIXES:
            found[place.name.removesuffix(place.suffix)].append(place)
    for language in INFERENCE_WORDINGS:
        if len(found[language]) > 1:
            raise _ambiguous(folder, f"the language '{language}'", found[language])
    return {language: found[language][0] for language in INFERENCE_WORDINGS if found[language]}


def _ambiguous(folder: Path, what: str, places: Iterable[Path]) -> UserError:
    names = ", ".join(place.name for place in places)
    return UserError(
        f"{folder} has {what} several times: {names}.",
        hint="Name one of them, or move the others away.",
    )


def _of_split(folder: Path, split: Split | None) -> tuple[Path, ...]:
    """Return the tables of one split of a folder that is no matter of language."""
    if tables.is_saved_dataset(folder):
        _no_splits(folder, split)
        return (folder,)
    found = _saved_splits(folder) if (folder / SPLITS).is_file() else _split_files(folder)
    if not found:
        names = sorted(place.name for place in folder.iterdir())
        there = f"; it has: {', '.join(names[:_MOST_NAMES])}" if names else ""
        there += ", …" if len(names) > _MOST_NAMES else ""
        raise UserError(f"{folder} has no rows that can be read{there}.", hint=_LAYOUTS)
    default = next(iter(found)) if len(found) == 1 else DEFAULT_SPLIT
    chosen: str = default if split is None else split
    if chosen not in found:
        raise UserError(
            f"{folder} has no split '{chosen}'.{did_you_mean(chosen, found)}",
            hint=f"It has: {', '.join(found)}. Choose one with split=…",
        )
    return found[chosen]


def _saved_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the splits that ``DatasetDict.save_to_disk`` wrote, each in a folder of its own."""
    names = tables.saved_facts(folder / SPLITS, lambda about: list(map(str, about["splits"])))
    # A name that leads elsewhere is no folder of this one.
    inside = {place.name for place in folder.iterdir() if tables.is_saved_dataset(place)}
    return {name: (folder / name,) for name in names if name in inside}


def _split_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the splits that are files, such as those of a dataset's repository."""
    found: dict[str, list[tuple[Path, re.Match[str]]]] = defaultdict(list)
    for place in sorted(folder.iterdir()):
        match = _SPLIT_FILE.fullmatch(place.name.removesuffix(place.suffix))
        if match is not None and place.suffix in _SUFFIXES and place.is_file():
            found[match["split"].replace("dev", "validation")].append((place, match))
    return {split: _shards(folder, split, files) for split, files in found.items()}


def _shards(folder: Path, split: str, files: list[tuple[Path, re.Match[str]]]) -> tuple[Path, ...]:
    places = tuple(place for place, _ in files)
    n_shards = files[0][1]["shards"]
    kinds = {(place.suffix, match["shards"]) for place, match in files}
    if len(kinds) > 1 or (n_shards is None and len(files) > 1):
        raise _ambiguous(folder, f"the split '{split}'", places)
    if n_shards is not None and len(files) != int(n_shards):
        raise UserError(
            f"{folder} has {len(files)} of the {int(n_shards)} files of the split '{split}'.",
            hint="Download the others as well.",
        )
    return places
