"""Scorer by prefix: the text with which an answer begins decides, as whole words.

Letter case counts, since capitals are what one of the tasks asks for.
"""

from __future__ import annotations

from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.lm.scoring.words import (
    accepted_form,
    compared_form,
    match_at_start,
    settled_form,
)
from palimpsest.records import Outcome


class PrefixScorer(Scorer):
    """The longest accepted text with which an answer begins, as whole words.

    If one text is accepted on both sides, no answer can tell the two tasks apart: it is scored
    ``broken``, and :attr:`ambiguous` says so beforehand.

    Example:
        >>> scorer = PrefixScorer(right=("What",), intruding=("12",))
        >>> [scorer.outcome(answer) for answer in ("What is", "12.", "Whatever", "120")]
        ['right', 'intruded', 'broken', 'broken']
        >>> scorer.decided("12"), scorer.decided("12 ")
        (False, True)
    """

    def set_up(self) -> None:
        """Order the accepted texts, longest first."""
        self._right = frozenset(map(accepted_form, self.right))
        self._intruding = frozenset(map(accepted_form, self.intruding))
        texts = sorted(self._right | self._intruding, key=lambda text: (-len(text), text))
        # Longest first, so that the first match wins.
        self._sides = [
            (text, self.of_side(text in self._right, text in self._intruding)) for text in texts
        ]

    @property
    def ambiguous(self) -> bool:
        """Whether some text is accepted on both sides."""
        return bool(self._right & self._intruding)

    @property
    def separable(self) -> bool:
        """Whether every accepted answer is scored as what it is, alone and followed by others.

        It is not where one side's text is merely the beginning of the other's, as with
        ``New`` and ``New York``: there a longer answer could turn one into the other.
        """
        if not self._right:
            return False
        return not any(
            match_at_start(shorter, longer, whole=True) == "yes"
            or match_at_start(longer, shorter, whole=True) == "yes"
            for shorter in self._right
            for longer in self._intruding
        )

    def outcome(self, answer: str) -> Outcome:
        """Return what the answer is, taken as complete."""
        text = compared_form(answer)
        for expected, side in self._sides:
            if match_at_start(expected, text, whole=True) == "yes":
                return side
        return "broken"

    def decided(self, certain_text: str) -> bool:
        """Return whether no continuation of ``certain_text`` can change the outcome."""
        text = settled_form(certain_text)
        # What each text would make of the answer, longest first, up to one that surely matches.
        possible: set[Outcome] = set()
        for expected, side in self._sides:
            match match_at_start(expected, text, whole=False):
                case "yes":
                    return possible <= {side}
                case "open":
                    possible.add(side)
                case "no":
                    pass
        return possible <= {"broken"}
