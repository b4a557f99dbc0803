"""Scorer by containing: an accepted text counts wherever it stands in the answer.

For models that answer in sentences: ``The capital of France is Paris.`` Letter case does not count.
"""

from __future__ import annotations

from collections.abc import Iterator

from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.lm.scoring.words import accepted_form, compared_form, places, settled_form
from palimpsest.records import Outcome


class ContainsScorer(Scorer):
    """An accepted text anywhere in the answer, as whole words, in any case; not both sides'.

    An accepted text within a longer one does not count: ``New`` is not found in ``New York`` where
    that is accepted, too.

    Example:
        >>> scorer = ContainsScorer(right=("Paris",), intruding=("London",))
        >>> answers = ("The capital is PARIS.", "Not London.", "London? No, Paris.", "A parish.")
        >>> [scorer.outcome(answer) for answer in answers]
        ['right', 'intruded', 'broken', 'broken']
    """

    def set_up(self) -> None:
        """Fold the accepted texts."""
        self._right = frozenset(accepted_form(text).casefold() for text in self.right)
        self._intruding = frozenset(accepted_form(text).casefold() for text in self.intruding)

    def outcome(self, answer: str) -> Outcome:
        """Return whose texts the answer contains, taken as complete."""
        text = compared_form(answer).casefold()
        right, intruding = (
            set(_spans(side, text, whole=True)) for side in (self._right, self._intruding)
        )
        return self.of_side(_not_within(right, intruding), _not_within(intruding, right))

    def decided(self, certain_text: str) -> bool:
        """Return whether a text was found, and none of the other side could be found beside it."""
        if self._right and self._intruding:
            return False
        text = settled_form(certain_text).casefold()
        return any(_spans(self._right or self._intruding, text, whole=False))


def _spans(texts: frozenset[str], answer: str, *, whole: bool) -> Iterator[tuple[int, int]]:
    for text in texts:
        for start in places(text, answer, whole=whole):
            yield start, start + len(text)


def _not_within(mine: set[tuple[int, int]], others: set[tuple[int, int]]) -> bool:
    """Say whether a span stands in none of the others that is longer."""
    return any(
        not any(
            start <= first and last <= end and (start, end) != (first, last)
            for start, end in others
        )
        for first, last in mine
    )
