"""Warnings on an evaluation: whatever a reader must know before trusting it."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import eq
from typing import NamedTuple

from palimpsest.judging.questions import UNINVERTIBLE, as_recorded, scorer_under
from palimpsest.judging.via import Via, distinct_vias
from palimpsest.lm import TIED
from palimpsest.lm.suites import Suite
from palimpsest.records import ATTEMPTED, AnswerRow, answer_flag, blocks_of, columns_of

CONSTANT_SHARE = 0.95
"""From this share of one and the same choice on, it is said."""

_ENOUGH = 10
_MOST_LISTED = 10


def find_oddities(rows: Sequence[AnswerRow], suite: Suite, vias: Sequence[Via]) -> list[str]:
    """Return a sentence for whatever a reader must know before trusting the rows.

    Counted are prompts that a conjugation left as they were, answers that could not be inverted,
    examples that a lossy conjugation makes impossible to score, and choices that do not depend on
    the prompt.
    """
    tallies, chosen = _counted(rows, suite)
    sentences = _constant(rows, chosen)
    ambiguous = _Ambiguous(suite)
    for via in distinct_vias(vias):
        mine = tallies[via.fingerprint]
        if via.name != "identity":
            sentences += _share(
                mine.n_same, mine.n, f"prompts under '{via.name}' are the same as without it."
            )
        sentences += [
            f"{n} of {mine.n} questions under '{via.name}': {flag}{mine.listed(flag, n)}."
            for flag, n in mine.flags.items()
        ]
        sentences += via.conjugation.notes()
        sentences += _share(
            mine.n_failed,
            mine.n,
            f"answers under '{via.name}' could not be inverted, which is a bug in that "
            "conjugation; they are scored broken.",
        )
        sentences += _share(
            ambiguous.n(via),
            len(via.examples(suite)),
            f"examples under '{via.name}' have an answer that counts for both abilities; "
            "it is scored broken.",
        )
    return sentences


def _counted(
    rows: Sequence[AnswerRow], suite: Suite
) -> tuple[Mapping[str, _Tally], Mapping[tuple[str, str], _Majority]]:
    """Return what is counted by conjugation, and what was chosen by role and way of asking."""
    plain = {e.source_id: as_recorded(e.prompt) for e in suite.in_language(suite.source_language)}
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    chosen: dict[tuple[str, str], _Majority] = defaultdict(_Majority)
    for seen in map(_Seen._make, blocks_of(rows, *_Seen._fields)):
        for (conjugation, finish), n in Counter(
            zip(seen.conjugation, seen.finish, strict=True)
        ).items():
            tallies[conjugation].n += n
            tallies[conjugation].n_failed += n * (finish == UNINVERTIBLE)
        same = map(eq, map(plain.get, seen.source_id), seen.prompt)
        for conjugation, n in Counter(itertools.compress(seen.conjugation, same)).items():
            tallies[conjugation].n_same += n
        for at in itertools.compress(itertools.count(), seen.flags):
            tallies[seen.conjugation[at]].add(seen.flags[at], seen.source_id[at], seen.role[at])
        if "chosen" in seen.finish:
            for at, (finish, answer) in enumerate(zip(seen.finish, seen.answer, strict=True)):
                if finish == "chosen" and answer:
                    chosen[seen.role[at], seen.via[at]].add(answer)
    return tallies, chosen


class _Seen(NamedTuple):
    """What is read of some answers; the names are those of its columns."""

    source_id: Sequence[str]
    conjugation: Sequence[str]
    role: Sequence[str]
    via: Sequence[str]
    prompt: Sequence[str]
    answer: Sequence[str]
    finish: Sequence[str]
    flags: Sequence[str]


class _Tally:
    """What is counted of the answers under one way of asking."""

    def __init__(self) -> None:
        self.n = self.n_same = self.n_failed = 0
        self.flags: Counter[str] = Counter()
        self._tied: list[str] = []

    def add(self, flags: str, source: str, role: str) -> None:
        """Count the flags of an answer; attempts at another ability stand in the tables."""
        found = [flag for flag in flags.split("; ") if flag != answer_flag(ATTEMPTED)]
        self.flags.update(found)
        if answer_flag(TIED) in found and len(self._tied) < _MOST_LISTED:
            self._tied.append(f"{source} ({role})")

    def listed(self, flag: str, n: int) -> str:
        """Return where the ties are; of other flags, numbers say enough."""
        if flag != answer_flag(TIED):
            return ""
        others = f" and {n - _MOST_LISTED} more" if n > _MOST_LISTED else ""
        return f": {', '.join(self._tied)}{others}"


class _Ambiguous:
    """How many examples have an answer that counts for both abilities."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._exactly: dict[str | None, int] = {}

    def n(self, via: Via) -> int:
        """Return how many under a way of asking; exact ones leave what is expected as it is."""
        conjugation = via.conjugation
        if not conjugation.exact or conjugation.rephrases:
            return self._counted(via)
        if via.language not in self._exactly:
            self._exactly[via.language] = self._counted(via)
        return self._exactly[via.language]

    def _counted(self, via: Via) -> int:
        examples = via.examples(self._suite)
        return sum(scorer_under(via.conjugation, e).ambiguous for e in examples)


class _Majority:
    """The one text that may make up most of many, found without keeping them.

    Source: Boyer and Moore, MJRTY, in Automated Reasoning (1991), 105–117.
    """

    def __init__(self) -> None:
        self.text = ""
        self.lead = self.n = 0

    def add(self, text: str) -> None:
        self.n += 1
        if text == self.text:
            self.lead += 1
        elif self.lead:
            self.lead -= 1
        else:
            self.text, self.lead = text, 1

    @property
    def may_be_constant(self) -> bool:
        """Whether so many may be the same: then it leads all others by nearly as many."""
        return self.n >= _ENOUGH and self.lead >= (2 * CONSTANT_SHARE - 1) * self.n - 1


def _constant(rows: Sequence[AnswerRow], chosen: Mapping[tuple[str, str], _Majority]) -> list[str]:
    """Say so where a model chooses the same answer nearly always."""
    suspected = {place: each.text for place, each in chosen.items() if each.may_be_constant}
    if not suspected:
        return []
    counts: Counter[tuple[str, str]] = Counter()
    for role, via, finish, answer in columns_of(rows, "role", "via", "finish", "answer"):
        if finish == "chosen" and suspected.get((role, via)) == answer:
            counts[role, via] += 1
    sentences = []
    for (role, via), answer in suspected.items():
        n, n_all = counts[role, via], chosen[role, via].n
        if n >= CONSTANT_SHARE * n_all:
            asked = "asked plainly" if via == "identity" else f"under '{via}'"
            sentences.append(
                f"The {role} model {asked} chooses '{answer}' for {n} of {n_all} prompts, "
                "whatever they say: its accuracy is that of this one answer."
            )
    return sentences


def _share(n: int, n_all: int, what: str) -> list[str]:
    return [f"{n} of {n_all} {what}"] if n else []
