"""Scorer by equality: the whole answer is an accepted text, or it is not accepted."""

from __future__ import annotations

from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.lm.scoring.words import accepted_form, settled_form
from palimpsest.records import Outcome


class ExactScorer(Scorer):
    r"""The whole answer, up to white space around it; letter case and punctuation count.

    Example:
        >>> scorer = ExactScorer(right=("Paris",), intruding=("London",))
        >>> [scorer.outcome(answer) for answer in (" Paris\n", "Paris.", "London")]
        ['right', 'broken', 'intruded']
    """

    def set_up(self) -> None:
        """Take the accepted texts in the form in which they are compared."""
        self._right = frozenset(map(accepted_form, self.right))
        self._intruding = frozenset(map(accepted_form, self.intruding))

    def outcome(self, answer: str) -> Outcome:
        """Return whose text the answer is."""
        text = accepted_form(answer)
        return self.of_side(text in self._right, text in self._intruding)

    def decided(self, certain_text: str) -> bool:
        """Return whether no accepted text begins so."""
        text = settled_form(certain_text).rstrip()
        return not any(each.startswith(text) for each in (*self._right, *self._intruding))
