"""The wording of ``nli`` in every language: the question, its answers, and its three labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Label = Literal["entailment", "neutral", "contradiction"]

LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
"""In the order of XNLI's numbers 0, 1 and 2."""


@dataclass(frozen=True)
class Wording:
    """How a premise and a hypothesis are put in one language."""

    question: str
    """What stands before the hypothesis, with its colon."""

    options: str
    """What stands behind the hypothesis."""

    answer: str
    """What the prompt ends in, with its colon."""

    choices: tuple[str, str, str]
    """The answers for entailment, neutral and contradiction."""

    def prompt(self, premise: str, hypothesis: str) -> str:
        r"""Return the prompt that asks whether the premise makes the hypothesis true.

        Example:
            >>> WORDINGS["de"].prompt("Es schneit.", "Es ist warm.")
            'Es schneit.\nFrage: Es ist warm. Wahr, Falsch oder Weder?\nAntwort:'
        """
        return f"{premise}\n{self.question} {hypothesis} {self.options}\n{self.answer}"

    def choice(self, label: Label) -> str:
        """Return the answer for a label."""
        return self.choices[LABELS.index(label)]


# As in code_xnli/xnli.py of the paper's own code, github.com/kothasuhas/understanding-forgetting,
# letter for letter: French has "Question" and no space before colon or question mark, Spanish no
# inverted mark.
WORDINGS: Mapping[str, Wording] = MappingProxyType(
    {
        "en": Wording(
            question="Question:",
            options="True, False or Neither?",
            answer="Answer:",
            choices=("True", "Neither", "False"),
        ),
        "fr": Wording(
            question="Question:",
            options="Vrai, Faux ou Ni?",
            answer="Réponse:",
            choices=("Vrai", "Ni", "Faux"),
        ),
        "es": Wording(
            question="Pregunta:",
            options="Verdadero, Falso o Ni?",
            answer="Respuesta:",
            choices=("Verdadero", "Ni", "Falso"),
        ),
        "de": Wording(
            question="Frage:",
            options="Wahr, Falsch oder Weder?",
            answer="Antwort:",
            choices=("Wahr", "Weder", "Falsch"),
        ),
    }
)
"""Languages that rows may be asked in, English first."""
