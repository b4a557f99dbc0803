"""The wording of ``icl-vs-if`` and of ``nli`` in every language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

from pydantic import TypeAdapter

from palimpsest.lm.conjugations import parse_conjugation

T = TypeVar("T")

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


def _read(name: str, kind: type[T]) -> Mapping[str, T]:
    """Return the wordings of a suite by language, in the order of its file."""
    text = Path(__file__).with_name("data").joinpath(name).read_text("utf-8")
    read = TypeAdapter(kind).validate_python
    return MappingProxyType({name: read(entry) for name, entry in tomllib.loads(text).items()})


_WRITTEN = _read("icl_vs_if.toml", TaskWording)

# The names under which the paper published its sentences: leetspeak and pig latin.
TASK_WORDINGS: Mapping[str, TaskWording] = MappingProxyType(
    {
        **_WRITTEN,
        "ls": replace(_WRITTEN["en"], conjugation="leet-paper"),
        "pl": replace(_WRITTEN["en"], conjugation="pig-latin-paper"),
    }
)
"""Languages that sentence files may be written in. ``pl`` is the paper's pig latin, not Polish."""

INFERENCE_WORDINGS = _read("nli.toml", InferenceWording)
"""Languages that rows of ``nli`` may be asked in, English first."""
