"""Scorer by number: the number that an answer comes to, however it is written."""

from __future__ import annotations

from palimpsest.errors import UserError
from palimpsest.lm.scoring.numbers import final_number, first_number
from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.lm.scoring.words import accepted_form, compared_form, match_at_start
from palimpsest.records import Outcome


class NumberScorer(Scorer):
    r"""The last number of an answer (the first: ``number:first``), with or without its unit.

    What stands in ``\boxed{}`` or behind a phrase like *the answer is* goes before the last.
    An accepted text of another ability that is no number counts where an answer begins with it.

    Example:
        >>> scorer = NumberScorer(right=("1200",), intruding=("35",))
        >>> answers = ("3 × 400 = 1,200 kg", "**35**", "1200 or 35", "12")
        >>> [scorer.outcome(answer) for answer in answers]
        ['right', 'intruded', 'broken', 'broken']
    """

    arguments = ("first", "last")
    reads_on = True

    def set_up(self) -> None:
        """Read the accepted numbers."""
        language = self.asked.language
        numbers = {text: final_number(text, language) for text in (*self.right, *self.intruding)}
        for text in self.right:
            if numbers[text] is None:
                raise UserError(
                    f"The scorer 'number' cannot use the accepted answer '{text}': no number.",
                    hint="Write a number, or choose another scorer: palimpsest list scorers",
                )
        self._right = [number for text in self.right if (number := numbers[text])]
        self._intruding = [number for text in self.intruding if (number := numbers[text])]
        self._texts = [accepted_form(text) for text in self.intruding if not numbers[text]]
        self._find = first_number if self.argument == "first" else final_number

    def outcome(self, answer: str) -> Outcome:
        """Return whose number the answer comes to."""
        found = self._find(answer, self.asked.language)
        text = compared_form(answer) if self._texts else ""
        return self.of_side(
            found is not None and any(map(found.equals, self._right)),
            (found is not None and any(map(found.equals, self._intruding)))
            or any(match_at_start(each, text, whole=True) == "yes" for each in self._texts),
        )
