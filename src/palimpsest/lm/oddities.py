"""What a reader must know before trusting an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from palimpsest.lm.conjugations.via import Via, distinct_vias
from palimpsest.lm.question import UNINVERTIBLE, as_recorded, scorer_under
from palimpsest.lm.suites.suite import Suite
from palimpsest.records.answers import AnswerRow


def find_oddities(rows: Sequence[AnswerRow], suite: Suite, vias: Sequence[Via]) -> list[str]:
    """Return a sentence for whatever a reader must know before trusting the rows.

    Counted are prompts that a conjugation left as they were, answers that could not be inverted,
    and examples that a lossy conjugation makes impossible to score.
    """
    plain = {e.source_id: as_recorded(e.prompt) for e in suite.in_language(suite.source_language)}
    sentences = []
    for via in distinct_vias(vias):
        mine = [row for row in rows if row.key.conjugation == via.fingerprint]
        if via.name != "identity":
            same = sum(row.prompt == plain.get(row.key.source_id) for row in mine)
            sentences += _share(
                same, len(mine), f"prompts under '{via.name}' are the same as without it."
            )
        sentences += [
            f"{n} of {len(mine)} questions under '{via.name}': {flag}."
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


def _share(n: int, n_all: int, what: str) -> list[str]:
    return [f"{n} of {n_all} {what}"] if n else []


def _flags(row: AnswerRow) -> list[str]:
    return row.flags.split("; ") if row.flags else []
