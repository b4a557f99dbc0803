"""Scorer by a task of lm-evaluation-harness: its filters, and one of its metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lm.scoring import Asked, ChosenAnswer, Scorer
from palimpsest.records import Outcome


class HarnessScorer(Scorer):
    """The filters and the metric of a task of the suite ``lm-eval``; for that suite alone."""

    arguments = None
    reads_on = True
    of_texts = False
    of_files = False

    def __init__(
        self,
        right: Sequence[str],
        intruding: Sequence[str],
        argument: str = "",
        asked: Asked | None = None,
    ) -> None:
        super().__init__(right, intruding, argument, asked)
        if self.asked.item is None:
            raise UserError(
                "The scorer 'lm-eval' judges the answers of the suite lm-eval alone: without the "
                "task there are no filters and no metric.",
                hint="Ask for another metric of the task with: --suite lm-eval:TASK,metric=NAME",
            )
        self._document: Any = self.asked.item

    def outcome(self, answer: str) -> Outcome:
        """Return ``right`` for the best value of the metric."""
        return _outcome(self._document.grade_of_text(answer))

    def grade(self, answer: str) -> float | None:
        """Return the value of the metric."""
        value: float = self._document.grade_of_text(answer)
        return value

    def of_likelihoods(self, scores: Sequence[float]) -> ChosenAnswer | None:
        """Return the choice that the metric takes, and its value."""
        if all(score == -math.inf for score in scores):
            return ChosenAnswer("", "broken", 0.0)
        grade: float = self._document.grade_of_likelihoods(scores)
        return ChosenAnswer(self._document.choice(scores), _outcome(grade), grade)

    @property
    def ambiguous(self) -> bool:
        """Never said: the metric need not be about accepted texts."""
        return False


def _outcome(grade: float) -> Outcome:
    return "right" if grade >= 1 else "broken"
