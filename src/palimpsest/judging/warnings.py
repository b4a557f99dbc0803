"""Warnings on an evaluation: whatever a reader must know before trusting it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from palimpsest.judging.questions import UNINVERTIBLE, as_recorded, scorer_under
from palimpsest.judging.via import Via, distinct_vias
from palimpsest.lm import TIED
from palimpsest.lm.suites import Suite
from palimpsest.records import ATTEMPTED, AnswerRow, answer_flag

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
    sentences = _constant(rows)
    plain = {e.source_id: as_recorded(e.prompt) for e in suite.in_language(suite.source_language)}
    for via in distinct_vias(vias):
        mine = [row for row in rows if row.key.conjugation == via.fingerprint]
        if via.name != "identity":
            same = sum(row.prompt == plain.get(row.key.source_id) for row in mine)
            sentences += _share(
                same, len(mine), f"prompts under '{via.name}' are the same as without it."
            )
        sentences += [
            f"{n} of {len(mine)} questions under '{via.name}': {flag}{_listed(mine, flag)}."
            for flag, n in Counter(flag for row in mine for flag in _flags(row)).items()
        ]
        sentences += via.conjugation.notes()
        failed = sum(row.finish == UNINVERTIBLE for row in mine)
        sentences += _share(
            failed,
            len(mine),
            f"answers under '{via.name}' could not be inverted, which is a bug in that "
            "conjugation; they are scored broken.",
        )
        examples = via.examples(suite)
        ambiguous = sum(scorer_under(via.conjugation, e).ambiguous for e in examples)
        sentences += _share(
            ambiguous,
            len(examples),
            f"examples under '{via.name}' have an answer that counts for both abilities; "
            "it is scored broken.",
        )
    return sentences


def _constant(rows: Sequence[AnswerRow]) -> list[str]:
    """Say so where a model chooses the same answer nearly always."""
    chosen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row.finish == "chosen" and row.answer:
            chosen[row.role, row.via].append(row.answer)
    sentences = []
    for (role, via), answers in chosen.items():
        [(answer, n)] = Counter(answers).most_common(1)
        if len(answers) >= _ENOUGH and n >= CONSTANT_SHARE * len(answers):
            asked = "asked plainly" if via == "identity" else f"under '{via}'"
            sentences.append(
                f"The {role} model {asked} chooses '{answer}' for {n} of {len(answers)} prompts, "
                "whatever they say: its accuracy is that of this one answer."
            )
    return sentences


def _listed(rows: Sequence[AnswerRow], flag: str) -> str:
    """Return where the ties are; of other flags, numbers say enough."""
    if flag != answer_flag(TIED):
        return ""
    found = [f"{row.key.source_id} ({row.role})" for row in rows if flag in row.all_flags]
    others = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    return f": {', '.join(found[:_MOST_LISTED])}{others}"


def _share(n: int, n_all: int, what: str) -> list[str]:
    return [f"{n} of {n_all} {what}"] if n else []


def _flags(row: AnswerRow) -> list[str]:
    """Return what is worth a sentence; attempts at another ability stand in the tables."""
    return [flag for flag in row.all_flags if flag != answer_flag(ATTEMPTED)]
