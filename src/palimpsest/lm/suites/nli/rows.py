"""Rows of ``nli``: premise, hypothesis and label, aligned over the languages they are in."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import UserError, did_you_mean, raise_mistakes
from palimpsest.lm.suites.nli.files import Split, TableSource, find_sources
from palimpsest.lm.suites.tables import SourceRow, Table, read_table
from palimpsest.lm.suites.templates import INFERENCE_WORDINGS, LABELS, Label

MOST_CHARACTERS = 10_000
"""The longest premise or hypothesis."""

MOST_LANGUAGES = 100
"""The most languages that one table may hold; XNLI has 15."""

A_ROW = (
    "A row has a premise, a hypothesis and a label: entailment, neutral or contradiction, "
    "or 0, 1 or 2 for these."
)

# What XNLI calls them on its site and on the hub, and in its machine-translated training rows.
_PREMISE = ("premise", "sentence1")
_HYPOTHESIS = ("hypothesis", "sentence2", "hypo")
_LABEL = ("label", "gold_label")
_LANGUAGE = ("language",)
_ID = ("pairID",)

COLUMNS = (*_PREMISE, *_HYPOTHESIS, *_LABEL, *_LANGUAGE, *_ID)
"""The columns that a table of rows may have; others are not read."""

_MEANINGS: Mapping[str, Label] = {
    **{label: label for label in LABELS},
    **{str(number): label for number, label in enumerate(LABELS)},
    "contradictory": "contradiction",  # as the machine-translated training rows have it
}

_BREAKS = re.compile(r"[\t\n\r\v\f\x85\u2028\u2029]")


class TableVersion(NamedTuple):
    """A row in one language, as it was found."""

    place: str
    """File and line, for messages."""

    language: str | None
    """What the row says about its language, if anything."""

    pair_id: str | None
    """What XNLI calls ``pairID``: shared by all languages."""

    premise: Any
    hypothesis: Any
    label: Any


class InferencePair(NamedTuple):
    """A premise and a hypothesis in one language, with their label."""

    place: str
    """File and line, for messages."""

    pair_id: str | None
    premise: str
    hypothesis: str
    label: Label


def versions(table: Table) -> Iterator[TableVersion]:
    """Yield every row of a table in every language that it is in.

    Premise and hypothesis may each be a text, a mapping of languages to texts, or the two lists
    ``language`` and ``translation``, as in the hub's configuration ``all_languages``.

    Raises:
        UserError: A column is missing, there is no row, or there are too many languages.
    """
    if not table.rows:
        raise UserError(f"{table.name} has no rows.", hint=A_ROW)
    premise, hypothesis, label = (
        _column(table, names) for names in (_PREMISE, _HYPOTHESIS, _LABEL)
    )
    texts = [
        (_by_language(row.fields.get(premise)), _by_language(row.fields.get(hypothesis)))
        for row in table.rows
    ]
    # Of all rows: one that lacks a language of the others is noticed, not skipped.
    languages = dict.fromkeys(name for pair in texts for each in pair for name in each)
    if len(languages) > MOST_LANGUAGES:
        raise UserError(
            f"{table.name} has texts in {len(languages):,} languages; at most {MOST_LANGUAGES} "
            "are taken.",
            hint=A_ROW,
        )
    for row, (premises, hypotheses) in zip(table.rows, texts, strict=True):
        for language in languages:
            yield TableVersion(
                place=row.place if language is None else f"{row.place}, {language}",
                language=_first(row, _LANGUAGE) if language is None else language,
                pair_id=_first(row, _ID),
                premise=premises.get(language),
                hypothesis=hypotheses.get(language),
                label=row.fields.get(label),
            )


def _column(table: Table, names: Sequence[str]) -> str:
    for name in names:
        if name in table.columns:
            return name
    raise UserError(
        f"{table.name} has no column '{names[0]}'.{did_you_mean(names[0], table.columns)}",
        hint=f"It has: {', '.join(map(_shown, table.columns))[:300]}. {A_ROW}",
    )


def _first(row: SourceRow, names: Sequence[str]) -> str | None:
    values = [row.fields[name] for name in names if row.fields.get(name) is not None]
    return _shown(str(values[0]).strip()) if values else None


def _shown(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _by_language(value: Any) -> Mapping[str | None, Any]:
    if not isinstance(value, Mapping) or not value:
        return {None: value}
    languages, translations = value.get("language"), value.get("translation")
    if isinstance(languages, list) and isinstance(translations, list):
        # Where one list is longer than the other, a text is missing, which is noticed later.
        found = dict(itertools.zip_longest(map(str, languages), translations))
    else:
        found = {str(language): text for language, text in value.items()}
    return {language and _shown(language): text for language, text in found.items()}


def checked(version: TableVersion, mistakes: list[str]) -> InferencePair | None:
    """Return a version as a pair; or nothing, with its mistakes added to the list.

    Accents are composed (NFC), and line breaks inside a text become spaces, since the prompt has
    each text in a line.
    """
    premise, problem = _text(version.premise)
    problems = [f"premise: {problem}"] if problem else []
    hypothesis, problem = _text(version.hypothesis)
    problems += [f"hypothesis: {problem}"] if problem else []
    label = _label(version.label)
    problems += [_label_problem(version.label)] if label is None else []
    mistakes += [f"{version.place}, {problem}" for problem in problems]
    if label is None or problems:
        return None
    return InferencePair(version.place, version.pair_id, premise, hypothesis, label)


def _text(value: Any) -> tuple[str, str]:
    """Return a text and what is wrong with it."""
    if value is None:
        return "", "missing."
    if not isinstance(value, str):
        return "", f"expected text, not {str(value)[:40]}."
    if len(value) > MOST_CHARACTERS:
        return "", f"{len(value):,} characters; at most {MOST_CHARACTERS:,} are taken."
    try:
        value.encode()
    except UnicodeEncodeError:
        return "", "half of a surrogate pair, which is no character."
    lines = map(str.strip, _BREAKS.split(unicodedata.normalize("NFC", value)))
    text = " ".join(filter(None, lines))
    return text, "" if text else "empty."


def _label(value: Any) -> Label | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return _MEANINGS.get(str(value).strip().lower())


def _label_problem(value: Any) -> str:
    if value is None:
        return "label: missing."
    if value in ("-", -1, "-1"):
        return f"label: {value} says that the annotators did not agree. Leave such rows out."
    guess = did_you_mean(value, _MEANINGS) if isinstance(value, str) else ""
    return f"label: {str(value)[:40]!r} is none of {', '.join(LABELS)}, 0, 1, 2.{guess}"


class ParallelPairs(NamedTuple):
    """The same pairs in several languages."""

    pairs: Mapping[str, Mapping[str, InferencePair]]
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
    raise_mistakes(gathered.mistakes, hint=A_ROW)
    chosen = gathered.chosen(source)
    return ParallelPairs(_aligned({name: gathered.pairs[name] for name in chosen}), gathered.sha256)


def _check_languages(languages: Sequence[str] | None, source: str) -> None:
    for name in (source, *(languages or ())):
        if name not in INFERENCE_WORDINGS:
            raise UserError(
                f"There is no wording of the question in '{name}'."
                f"{did_you_mean(name, INFERENCE_WORDINGS)}",
                hint=f"There is one in: {', '.join(INFERENCE_WORDINGS)}.",
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
        self.pairs: defaultdict[str, list[InferencePair]] = defaultdict(list)
        self.seen: dict[str, None] = {}
        self.sha256: dict[str, str] = {}
        self.mistakes: list[str] = []

    def add(self, origin: TableSource) -> None:
        """Read the tables of one source, unless they are in a language that is not wanted."""
        if origin.language is not None:
            self.seen[origin.language] = None
            if self.languages is not None and origin.language not in self.languages:
                return
        only = self.languages[0] if self.languages and len(self.languages) == 1 else None
        for path in origin.paths:
            table = read_table(path, COLUMNS)
            self.sha256[table.name] = table.sha256
            self._add(table, origin.language or only)

    def _add(self, table: Table, fallback: str | None) -> None:
        for version in versions(table):
            language = version.language or fallback
            if language is None:
                raise UserError(
                    f"{table.name} does not say which language its rows are in.",
                    hint="Name the file after the language (en.tsv), add a column 'language', or "
                    "choose the one that it is: languages=en",
                )
            self.seen[language] = None
            if language in (self.languages or INFERENCE_WORDINGS):
                pair = checked(version, self.mistakes)
                self.pairs[language] += [pair] if pair is not None else []

    def chosen(self, source: str) -> list[str]:
        """Return the languages to ask in, the source language first."""
        found = [name for name in INFERENCE_WORDINGS if name in self.pairs]
        chosen = list(dict.fromkeys((source, *(self.languages or found))))
        for name in chosen:
            if name not in self.pairs:
                raise UserError(
                    f"There are no rows in '{name}' in {self.path}.",
                    hint=f"The languages there: {', '.join(self.seen)}. Of these, there is wording "
                    f"for: {', '.join(n for n in INFERENCE_WORDINGS if n in self.seen) or 'none'}. "
                    "Choose with languages=… and source=…",
                )
        return chosen


def _aligned(found: Mapping[str, Sequence[InferencePair]]) -> dict[str, dict[str, InferencePair]]:
    """Return the pairs by id, in the order of the first language."""
    has_ids = all(pair.pair_id for pairs in found.values() for pair in pairs)
    mistakes: list[str] = []
    keyed = {name: _keyed(name, pairs, has_ids, mistakes) for name, pairs in found.items()}
    source, *others = keyed
    for name in others:
        mistakes += _disagreements(source, keyed[source], name, keyed[name], has_ids=has_ids)
    raise_mistakes(mistakes, hint="Every language must have the same pairs, with the same labels.")
    return {name: {key: pairs[key] for key in keyed[source]} for name, pairs in keyed.items()}


def _keyed(
    language: str, pairs: Sequence[InferencePair], has_ids: bool, mistakes: list[str]
) -> dict[str, InferencePair]:
    if not has_ids:
        return {f"{number:06d}": pair for number, pair in enumerate(pairs, start=1)}
    keyed: dict[str, InferencePair] = {}
    for pair in pairs:
        first = keyed.setdefault(str(pair.pair_id), pair)
        if first is not pair:
            mistakes.append(
                f"{pair.place}: pairID '{pair.pair_id}' in '{language}' is in {first.place} too."
            )
    return keyed


def _disagreements(
    source: str,
    first: Mapping[str, InferencePair],
    language: str,
    other: Mapping[str, InferencePair],
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
