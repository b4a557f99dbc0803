"""The rows of ``nli`` in several languages: read from wherever they are, aligned and checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.suites.nli.files import Source, Split, find_sources
from palimpsest.lm.suites.nli.rows import A_ROW, COLUMNS, Pair, checked, versions
from palimpsest.lm.suites.nli.templates import WORDINGS
from palimpsest.lm.suites.rows import report
from palimpsest.lm.suites.tables import Table, read_table


class ParallelPairs(NamedTuple):
    """The same pairs in several languages."""

    pairs: Mapping[str, Mapping[str, Pair]]
    """Languages, the source language first, to ids to pairs, in the same order in each."""

    sha256: Mapping[str, str]
    """Files and folders to the hashes of their contents."""


def read_pairs(
    path: Path,
    *,
    languages: Sequence[str] | None = None,
    source: str = "en",
    split: Split | None = None,
) -> ParallelPairs:
    """Read aligned pairs from wherever a path leads.

    Rows with the same ``pairID`` are the same pair; without that column, rows in the same place.

    Args:
        path: See :func:`palimpsest.lm.suites.nli.files.find_sources`.
        languages: Which to read; by default all that there are, of those with a wording.
        source: The language of the plain prompts, which must be one of them.
        split: Which split of a dataset.

    Raises:
        UserError: A table cannot be read, a row is malformed, a language is missing, or the
            languages do not agree on rows and labels. The message names file and line.
        MissingExtraError: Parquet or Arrow without ``pyarrow``.
    """
    _check_languages(languages, source)
    sources = find_sources(path, split)
    gathered = _Gathered(path, languages)
    for origin in sources:
        gathered.add(origin)
    report(gathered.mistakes, hint=A_ROW)
    chosen = gathered.chosen(source)
    return ParallelPairs(_aligned({name: gathered.pairs[name] for name in chosen}), gathered.sha256)


def _check_languages(languages: Sequence[str] | None, source: str) -> None:
    for name in (source, *(languages or ())):
        if name not in WORDINGS:
            raise UserError(
                f"There is no wording of the question in '{name}'.{did_you_mean(name, WORDINGS)}",
                hint=f"There is one in: {', '.join(WORDINGS)}.",
            )
    if languages and source not in languages:
        raise UserError(
            f"The languages {'+'.join(languages)} lack '{source}', that of the plain prompts.",
            hint=f"Write languages={'+'.join([source, *languages])}, or source={languages[0]}",
        )


class _Gathered:
    """Pairs by language, with what is wrong so far."""

    def __init__(self, path: Path, languages: Sequence[str] | None) -> None:
        self.path = path
        self.languages = languages
        self.pairs: defaultdict[str, list[Pair]] = defaultdict(list)
        self.seen: dict[str, None] = {}
        self.sha256: dict[str, str] = {}
        self.mistakes: list[str] = []

    def add(self, origin: Source) -> None:
        """Read the tables of one source, unless they are in a language that is not wanted."""
        if origin.language is not None:
            self.seen[origin.language] = None
            if self.languages is not None and origin.language not in self.languages:
                return
        only = self.languages[0] if self.languages and len(self.languages) == 1 else None
        for path in origin.paths:
            table = read_table(path, COLUMNS)
            self.sha256[table.name] = table.sha256
            self._add(table, origin.language, origin.language or only)

    def _add(self, table: Table, named: str | None, fallback: str | None) -> None:
        for version in versions(table):
            language = version.language or fallback
            if language is None:
                raise UserError(
                    f"{table.name} does not say which language its rows are in.",
                    hint="Name the file after the language (en.tsv), add a column 'language', or "
                    "choose the one that it is: languages=en",
                )
            self.seen[language] = None
            if language in (self.languages or WORDINGS):
                pair = checked(version, self.mistakes)
                self.pairs[language] += [pair] if pair is not None else []

    def chosen(self, source: str) -> list[str]:
        """Return the languages to ask in, the source language first."""
        found = [name for name in WORDINGS if name in self.pairs]
        chosen = list(dict.fromkeys((source, *(self.languages or found))))
        for name in chosen:
            if name not in self.pairs:
                raise UserError(
                    f"There are no rows in '{name}' in {self.path}.",
                    hint=f"The languages there: {', '.join(self.seen)}. Of these, there is wording "
                    f"for: {', '.join(n for n in WORDINGS if n in self.seen) or 'none'}. "
                    "Choose with languages=… and source=…",
                )
        return chosen


def _aligned(found: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, Pair]]:
    """Return the pairs by id, in the order of the first language."""
    has_ids = all(pair.pair_id for pairs in found.values() for pair in pairs)
    mistakes: list[str] = []
    keyed = {name: _keyed(name, pairs, has_ids, mistakes) for name, pairs in found.items()}
    source, *others = keyed
    for name in others:
        mistakes += _disagreements(source, keyed[source], name, keyed[name], has_ids=has_ids)
    report(mistakes, hint="Every language must have the same pairs, with the same labels.")
    return {name: {key: pairs[key] for key in keyed[source]} for name, pairs in keyed.items()}


def _keyed(
    language: str, pairs: Sequence[Pair], has_ids: bool, mistakes: list[str]
) -> dict[str, Pair]:
    if not has_ids:
        return {f"{number:06d}": pair for number, pair in enumerate(pairs, start=1)}
    keyed: dict[str, Pair] = {}
    for pair in pairs:
        first = keyed.setdefault(str(pair.pair_id), pair)
        if first is not pair:
            mistakes.append(
                f"{pair.place}: pairID '{pair.pair_id}' in '{language}' is in {first.place} too."
            )
    return keyed


def _disagreements(
    source: str,
    first: Mapping[str, Pair],
    language: str,
    other: Mapping[str, Pair],
    *,
    has_ids: bool,
) -> list[str]:
    mistakes = []
    if len(first) != len(other):
        mistakes.append(
            f"There are {len(other)} rows in '{language}', but {len(first)} in '{source}'."
        )
    for key, pair in first.items():
        if key in other and other[key].label != pair.label:
            mistakes.append(
                f"{other[key].place}: the label is {other[key].label}, but {pair.label} in "
                f"{pair.place}."
            )
    if has_ids:
        sides = ((first, other, language), (other, first, source))
        mistakes += [
            f"{mine[key].place}: its pairID '{key}' is missing in '{name}'."
            for mine, theirs, name in sides
            for key in mine
            if key not in theirs
        ]
    return mistakes
