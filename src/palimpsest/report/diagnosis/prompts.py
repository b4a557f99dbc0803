"""Answers as the report's page carries them: compact, bounded, inert JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from palimpsest.records import IN_ANSWER, taken
from palimpsest.report.diagnosis.sampling import SourceIndex
from palimpsest.report.text import conjugation_label

if TYPE_CHECKING:
    from palimpsest.records import AnswerRow

MAX_BYTES = 3 * 2**20
"""Of all answers on the page, which stays below 5 MB with its figures."""

MAX_CHARACTERS = 8_000
"""Of one prompt or answer; longer ones lose their middle."""

OUTCOMES = ("right", "intruded", "broken")

_UNSAFE = re.compile(
    "[<>&\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""What could end the script element, hide in an editor, or not be UTF-8 at all."""


class PromptData(NamedTuple):
    """The JSON for the page, and what it leaves out."""

    json: str
    n_answers: int
    """Answers in the JSON."""
    n_answers_left_out: int
    n_texts_clipped: int


def prompt_data(
    rows: Sequence[AnswerRow],
    *,
    max_bytes: int = MAX_BYTES,
    max_characters: int = MAX_CHARACTERS,
    tells_abilities: bool = True,
    from_logs: bool = False,
    seed: int = 0,
) -> PromptData:
    """Return the answers for the page, base and tuned side by side.

    Where not everything fits, whole source examples are left out: those are kept that
    :meth:`.SourceIndex.drawn` has first.

    Args:
        rows: Answers of both roles, in any order.
        max_bytes: Bound for the JSON.
        max_characters: Bound for a single text.
        tells_abilities: Whether wrong answers are told apart, as intruded or broken.
        from_logs: Whether another program scored the answers.
        seed: Of the sample, where not everything fits.
    """
    kept: dict[int, list[str]] = {}
    n_bytes = n_answers = n_clipped = 0
    sources = SourceIndex(rows)
    encoder = _Encoder(max_characters, sources)
    for source, mine in _read(rows, sources, seed):
        items = [encoder.item(pair) for pair in _pairs(mine)]
        size = sum(len(item.encode()) + 1 for item in items)
        if kept and n_bytes + size > max_bytes:
            break
        kept[source] = items
        n_bytes += size
        n_answers += len(mine)
        n_clipped = encoder.n_clipped
    in_order = itertools.chain.from_iterable(kept[source] for source in sorted(kept))
    facts = {"abilities": tells_abilities, "logged": from_logs}
    head = script_json({**encoder.names(), **facts})
    return PromptData(
        json=f'{head[:-1]},"items":[{",".join(in_order)}]}}',
        n_answers=n_answers,
        n_answers_left_out=len(rows) - n_answers,
        n_texts_clipped=n_clipped,
    )


def script_json(value: Any) -> str:
    r"""Return JSON that may stand inside a script element, whatever strings it holds.

    Example:
        >>> script_json("</script>")
        '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


Answers = dict[str, "AnswerRow"]
"""The answers of each role to one example asked in one way."""

_N_READ = 100
"""Examples that are read together."""


def _read(
    rows: Sequence[AnswerRow], sources: SourceIndex, seed: int
) -> Iterator[tuple[int, Sequence[AnswerRow]]]:
    """Yield the examples in the order in which the page takes them, with all their answers."""
    drawn = iter(sources.drawn(seed))
    while some := list(itertools.islice(drawn, _N_READ)):
        places = [sources.positions(source) for source in some]
        read = iter(taken(rows, np.concatenate(places)))
        for source, mine in zip(some, places, strict=True):
            yield source, list(itertools.islice(read, len(mine)))


def _pairs(rows: Iterable[AnswerRow]) -> Iterable[Answers]:
    """Return the answers to one example, those to the same question together."""
    pairs: dict[tuple[str, str, str], Answers] = {}
    for row in rows:
        pairs.setdefault((row.via, row.cell, row.language), {})[row.role] = row
    return pairs.values()


def _any_row(pair: Answers) -> AnswerRow:
    return next(iter(pair.values()))


def _flags(row: AnswerRow) -> list[str]:
    return row.flags.split("; ") if row.flags else []


def _distortion(row: AnswerRow) -> list[Any] | None:
    """Return how much a conjugation took from a prompt, if anything."""
    flags = "; ".join(flag for flag in _flags(row) if not flag.startswith(IN_ANSWER))
    if row.fidelity is None or (row.round_trip and not flags):
        return None
    return [
        round(row.fidelity, 4),
        None if row.survival is None else round(row.survival, 4),
        flags,
    ]


class _Encoder:
    """Writes pairs as JSON arrays and keeps the tables of names that these point into."""

    def __init__(self, max_characters: int, sources: SourceIndex) -> None:
        self.max_characters = max_characters
        self.n_clipped = 0
        self._cells, self._vias, self._languages = (
            {name: at for at, name in enumerate(names)}
            for names in (sources.cells, sources.vias, sources.languages)
        )

    def names(self) -> dict[str, Any]:
        """Return the tables of names."""
        return {
            "cells": list(self._cells),
            "vias": [conjugation_label(via) for via in self._vias],
            "languages": list(self._languages),
            "outcomes": OUTCOMES,
        }

    def item(self, pair: Answers) -> str:
        """Return an item as JSON.

        It is ``[source, cell, via, language, prompt, right, intruding, base, tuned, distortion]``;
        the last is null for a prompt that comes back whole, else ``[fidelity, survival, flags]``.
        """
        first = _any_row(pair)
        return script_json(
            [
                first.key.source_id,
                self._cells[first.cell],
                self._vias[first.via],
                self._languages[first.language],
                self._clipped(first.prompt),
                self._texts(first.right_answers),
                self._texts(first.intruding_answers),
                *(self._answer(pair.get(role), first) for role in ("base", "tuned")),
                _distortion(first),
            ]
        )

    def _answer(self, row: AnswerRow | None, first: AnswerRow) -> list[Any] | None:
        """Return ``[outcome, raw, inverted, finish, milliseconds, prompt, flags]``.

        ``inverted`` is null where it equals ``raw``, ``prompt`` where it is the pair's. A graded
        score follows.
        """
        if row is None:
            return None
        return [
            OUTCOMES.index(row.outcome),
            self._clipped(row.raw),
            None if row.answer == row.raw else self._clipped(row.answer),
            row.finish,
            round(1000 * row.latency_seconds, 1),
            None if row.prompt == first.prompt else self._clipped(row.prompt),
            "; ".join(flag for flag in _flags(row) if flag.startswith(IN_ANSWER)),
            *([] if row.score is None else [round(row.score, 4)]),
        ]

    def _texts(self, listed: str) -> list[str]:
        """Return the texts in a JSON list, as one text if they are too long together."""
        texts = json.loads(listed)
        if sum(map(len, texts)) <= self.max_characters:
            return list(texts)
        return [self._clipped("\n".join(texts))]

    def _clipped(self, text: str) -> str:
        excess = len(text) - self.max_characters
        if excess <= 0:
            return text
        self.n_clipped += 1
        half = self.max_characters // 2
        note = f"\n[… {len(text) - 2 * half:,} characters are in answers.sqlite only …]\n"
        return text[:half] + note + text[len(text) - half :]
