"""One row of ``nli``: a premise, a hypothesis and a label, in one language or in several."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.suites.nli.templates import LABELS, Label
from palimpsest.lm.suites.tables import Record, Table

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


class Version(NamedTuple):
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


class Pair(NamedTuple):
    """A premise and a hypothesis in one language, with their label."""

    place: str
    """File and line, for messages."""

    pair_id: str | None
    premise: str
    hypothesis: str
    label: Label


def versions(table: Table) -> Iterator[Version]:
    """Yield every row of a table in every language that it is in.

    Premise and hypothesis may each be a text, a mapping of languages to texts, or the two lists
    ``language`` and ``translation``, as in the hub's configuration ``all_languages``.

    Raises:
        UserError: A column is missing, there is no row, or there are too many languages.
    """
    if not table.records:
        raise UserError(f"{table.name} has no rows.", hint=A_ROW)
    premise, hypothesis, label = (
        _column(table, names) for names in (_PREMISE, _HYPOTHESIS, _LABEL)
    )
    texts = [
        (_by_language(record.fields.get(premise)), _by_language(record.fields.get(hypothesis)))
        for record in table.records
    ]
    # Of all rows: one that lacks a language of the others is noticed, not skipped.
    languages = dict.fromkeys(name for pair in texts for each in pair for name in each)
    if len(languages) > MOST_LANGUAGES:
        raise UserError(
            f"{table.name} has texts in {len(languages):,} languages; at most {MOST_LANGUAGES} "
            "are taken.",
            hint=A_ROW,
        )
    for record, (premises, hypotheses) in zip(table.records, texts, strict=True):
        for language in languages:
            yield Version(
                place=record.place if language is None else f"{record.place}, {language}",
                language=_first(record, _LANGUAGE) if language is None else language,
                pair_id=_first(record, _ID),
                premise=premises.get(language),
                hypothesis=hypotheses.get(language),
                label=record.fields.get(label),
            )


def _column(table: Table, names: Sequence[str]) -> str:
    for name in names:
        if name in table.columns:
            return name
    raise UserError(
        f"{table.name} has no column '{names[0]}'.{did_you_mean(names[0], table.columns)}",
        hint=f"It has: {', '.join(map(_shown, table.columns))[:300]}. {A_ROW}",
    )


def _first(record: Record, names: Sequence[str]) -> str | None:
    values = [record.fields[name] for name in names if record.fields.get(name) is not None]
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


def checked(version: Version, mistakes: list[str]) -> Pair | None:
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
    return Pair(version.place, version.pair_id, premise, hypothesis, label)


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
