"""The labels of a prompt in another language, and nothing else."""

from __future__ import annotations

import re

from palimpsest.lm.conjugations import TextConjugation

PAIRS = {"Input": "Entrée", "Output": "Sortie"}
OTHER = PAIRS | {french: english for english, french in PAIRS.items()}
LABEL = re.compile(rf"\b(?:{'|'.join(OTHER)})\b")
LAST_WORD = re.compile(r"\w*\Z")


class FrenchLabels(TextConjugation):
    """French labels for English ones, and the other way round: Input becomes Entrée.

    Done twice it undoes itself, since a label is a whole word and stays one.

    Example:
        >>> FrenchLabels().apply("Input: I put the Inputs in.")
        'Entrée: I put the Inputs in.'
    """

    name = "french-labels"
    exact = True

    def apply(self, prompt: str) -> str:
        """Return the prompt with its labels swapped."""
        return LABEL.sub(lambda label: OTHER[label[0]], prompt)

    def invert(self, answer: str) -> str:
        """Return the answer with its labels swapped back."""
        return self.apply(answer)

    def certain(self, partial: str) -> str:
        """Return all but the last word, which may still become a label or cease to be one."""
        return self.invert(LAST_WORD.sub("", partial))
