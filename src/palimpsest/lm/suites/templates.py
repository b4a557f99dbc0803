"""The wording of ``icl-vs-if`` and of ``nli`` in every language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from palimpsest.lm.conjugations import parse_conjugation

Task = Literal["repeat", "capitalise"]
Operation = Literal["sum", "difference", "product"]

TASKS: tuple[Task, ...] = ("repeat", "capitalise")
OPERATIONS: tuple[Operation, ...] = ("sum", "difference", "product")


@dataclass(frozen=True)
class TaskWording:
    """How prompts are worded in one language."""

    tasks: Mapping[Task, str]
    """The instruction line of each in-context task."""

    labels: tuple[str, str]
    """What stands before an input and before an output."""

    questions: Mapping[Operation, str]
    """A question for each operation, with ``{first}`` and ``{second}``."""

    conjugation: str = "identity"
    """Rewrites all of the above, once the numbers are in place."""

    def instruction(self, task: Task) -> str:
        """Return the line that says what to do."""
        return self._written(self.tasks[task])

    def question(self, operation: Operation, first: int, second: int) -> str:
        """Return the question for the outcome of an operation."""
        return self._written(self.questions[operation].format(first=first, second=second))

    def turn(self, text: str, output: str = "") -> str:
        r"""Return an input with its output; without one, the output label stays open.

        Example:
            >>> TASK_WORDINGS["fr"].turn("Bonjour.")
            'Entrée : Bonjour.\nSortie :'
        """
        input_label, output_label = map(self._written, self.labels)
        return f"{input_label} {text}\n{output_label} {output}".rstrip(" ")

    def _written(self, text: str) -> str:
        return parse_conjugation(self.conjugation).apply(text)


_ENGLISH = TaskWording(
    tasks={
        "repeat": "Repeat the input.",
        "capitalise": "Write the input in capital letters.",
    },
    labels=("Input:", "Output:"),
    questions={
        "sum": "What is {first} plus {second}?",
        "difference": "What is {first} minus {second}?",
        "product": "What is {first} times {second}?",
    },
)

TASK_WORDINGS: Mapping[str, TaskWording] = MappingProxyType(
    {
        "en": _ENGLISH,
        "fr": TaskWording(
            tasks={
                "repeat": "Répète l'entrée.",
                "capitalise": "Écris l'entrée en lettres majuscules.",
            },
            labels=("Entrée :", "Sortie :"),
            questions={
                "sum": "Combien font {first} plus {second} ?",
                "difference": "Combien font {first} moins {second} ?",
                "product": "Combien font {first} fois {second} ?",
            },
        ),
        "es": TaskWording(
            tasks={
                "repeat": "Repite la entrada.",
                "capitalise": "Escribe la entrada en letras mayúsculas.",
            },
            labels=("Entrada:", "Salida:"),
            questions={
                "sum": "¿Cuánto es {first} más {second}?",
                "difference": "¿Cuánto es {first} menos {second}?",
                "product": "¿Cuánto es {first} por {second}?",
            },
        ),
        "nl": TaskWording(
            tasks={
                "repeat": "Herhaal de invoer.",
                "capitalise": "Schrijf de invoer in hoofdletters.",
            },
            labels=("Invoer:", "Uitvoer:"),
            questions={
                "sum": "Hoeveel is {first} plus {second}?",
                "difference": "Hoeveel is {first} min {second}?",
                "product": "Hoeveel is {first} keer {second}?",
            },
        ),
        "de": TaskWording(
            tasks={
                "repeat": "Wiederhole die Eingabe.",
                "capitalise": "Schreibe die Eingabe in Großbuchstaben.",
            },
            labels=("Eingabe:", "Ausgabe:"),
            questions={
                "sum": "Wie viel ist {first} plus {second}?",
                "difference": "Wie viel ist {first} minus {second}?",
                "product": "Wie viel ist {first} mal {second}?",
            },
        ),
        "hu": TaskWording(
            tasks={
                "repeat": "Ismételd meg a bemenetet.",
                "capitalise": "Írd le a bemenetet csupa nagybetűvel.",
            },
            labels=("Bemenet:", "Kimenet:"),
            questions={
                "sum": "Mennyi {first} plusz {second}?",
                "difference": "Mennyi {first} mínusz {second}?",
                # "5-ször 7" would need a suffix in harmony with each number.
                "product": "Mennyi {first} és {second} szorzata?",
            },
        ),
        # The names under which the paper published its sentences: leetspeak and pig latin.
        "ls": TaskWording(_ENGLISH.tasks, _ENGLISH.labels, _ENGLISH.questions, "leet-paper"),
        "pl": TaskWording(_ENGLISH.tasks, _ENGLISH.labels, _ENGLISH.questions, "pig-latin-paper"),
    }
)
"""Languages that sentence files may be written in. ``pl`` is the paper's pig latin, not Polish."""


Label = Literal["entailment", "neutral", "contradiction"]

LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
"""In the order of XNLI's numbers 0, 1 and 2."""


@dataclass(frozen=True)
class InferenceWording:
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
            >>> INFERENCE_WORDINGS["de"].prompt("Es schneit.", "Es ist warm.")
            'Es schneit.\nFrage: Es ist warm. Wahr, Falsch oder Weder?\nAntwort:'
        """
        return f"{premise}\n{self.question} {hypothesis} {self.options}\n{self.answer}"

    def choice(self, label: Label) -> str:
        """Return the answer for a label."""
        return self.choices[LABELS.index(label)]


# As in code_xnli/xnli.py of the paper's own code, github.com/kothasuhas/understanding-forgetting,
# letter for letter: French has "Question" and no space before colon or question mark, Spanish no
# inverted mark.
INFERENCE_WORDINGS: Mapping[str, InferenceWording] = MappingProxyType(
    {
        "en": InferenceWording(
            question="Question:",
            options="True, False or Neither?",
            answer="Answer:",
            choices=("True", "Neither", "False"),
        ),
        "fr": InferenceWording(
            question="Question:",
            options="Vrai, Faux ou Ni?",
            answer="Réponse:",
            choices=("Vrai", "Ni", "Faux"),
        ),
        "es": InferenceWording(
            question="Pregunta:",
            options="Verdadero, Falso o Ni?",
            answer="Respuesta:",
            choices=("Verdadero", "Ni", "Falso"),
        ),
        "de": InferenceWording(
            question="Frage:",
            options="Wahr, Falsch oder Weder?",
            answer="Antwort:",
            choices=("Wahr", "Weder", "Falsch"),
        ),
    }
)
"""Languages that rows may be asked in, English first."""
