"""Scorer by a task of lm-evaluation-harness: its filters, and one of its metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lm import TIED, Likelihood
from palimpsest.lm.scoring import ScoredAnswer, Scorer
from palimpsest.records import Outcome


class HarnessScorer(Scorer):
    """The filters and the metric of a task of the suite ``lm-eval``; for that suite alone."""

    arguments = None
    reads_on = True
    of_texts = False
    of_files = False

    def set_up(self) -> None:
        """Take the document that is judged by."""
        if self.asked.item is None:
            raise UserError(
                "The scorer 'lm-eval' judges the answers of the suite lm-eval alone: without the "
                "task there are no filters and no metric.",
                hint="Ask for another metric of the task with: --suite lm-eval:TASK,metric=NAME",
            )
        self._document: Any = self.asked.item

    def score(self, answer: str) -> ScoredAnswer:
        """Return the value of the metric, the best of which is ``right``."""
        return _scored(self._document.grade_of_text(answer))

    def outcome(self, answer: str) -> Outcome:
        """Return ``right`` for the best value of the metric."""
        return self.score(answer).outcome

    def grade(self, answer: str) -> float | None:
        """Return the value of the metric."""
        return self.score(answer).grade

    def of_likelihoods(self, likelihoods: Sequence[Likelihood]) -> tuple[str, ScoredAnswer] | None:
        """Return the choice that the metric takes, and its value."""
        if all(each.log_probability == -math.inf for each in likelihoods):
            return "", _scored(0.0)
        answer, is_tie = self._document.choice(likelihoods)
        scored = _scored(self._document.grade_of_likelihoods(likelihoods))
        return answer, scored._replace(flags=(TIED,)) if is_tie else scored

    @property
    def ambiguous(self) -> bool:
        """Never said: the metric need not be about accepted texts."""
        return False


def _scored(grade: float) -> ScoredAnswer:
    return ScoredAnswer("right" if grade >= 1 else "broken", grade)
