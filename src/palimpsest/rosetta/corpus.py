"""The documents that Rosetta is trained on: in-context tasks, instructions, plain text.

A document is written in one language. Rewritten languages are English documents under the exact
text conjugation of that name, so ``leet`` the language and ``leet`` the conjugation are one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.rosetta.grammar import (
    REWRITTEN_LANGUAGES,
    Fact,
    Split,
    Task,
    addends,
    blank_first_word,
    facts,
    lexicon,
)

TRANSFORMS: dict[Task, Callable[[str], str]] = {"repeat": str, "capitalise": str.upper}
"""What the in-context tasks do to their input."""


class Document(NamedTuple):
    """A training text with the spans that the instruction loss looks at."""

    prompt: str
    """The text up to and including the last output label."""
    completion: str
    """What follows, from the space on."""


class Turn(NamedTuple):
    """One input with its output."""

    input: str
    output: str


def natural(language: str) -> str:
    """Return the natural language that a document in ``language`` is first written in."""
    return "en" if language in REWRITTEN_LANGUAGES else language


def rewrite(text: str, language: str) -> str:
    """Return an English text in a rewritten language; texts of natural languages stay."""
    return parse_conjugation(language).apply(text) if language in REWRITTEN_LANGUAGES else text


def layout(task: str, turns: Sequence[Turn], query: str, language: str) -> str:
    r"""Return a prompt: the task's line, worked turns, the query and an open output label.

    Args:
        task: An instruction line in the language, or an empty text for none.
        turns: Worked inputs and outputs.
        query: The last input.
        language: A natural language, for its labels.

    Example:
        >>> layout("Repeat the input.", [Turn("a", "a")], "b", "en")
        'Repeat the input.\n\nInput: a\nOutput: a\n\nInput: b\nOutput:'
    """
    input_label, output_label = lexicon().labels[language]
    blocks = [task] if task else []
    blocks += [f"{input_label} {turn.input}\n{output_label} {turn.output}" for turn in turns]
    blocks.append(f"{input_label} {query}\n{output_label}")
    return "\n\n".join(blocks)


def addition(first: int, second: int, language: str) -> Turn:
    """Return the question for a sum in a natural language, with its answer.

    Example:
        >>> addition(9, 4, "fr")
        Turn(input='Combien font 9 plus 4 ?', output='13')
    """
    question = lexicon().questions[language].format(first=first, second=second)
    return Turn(question, str(first + second))


def difference(first: int, second: int) -> Turn:
    """Return the English question for the difference of two numbers, with its answer.

    Example:
        >>> difference(4, 9)
        Turn(input='What is 9 minus 4?', output='5')
    """
    low, high = sorted((first, second))
    question = lexicon().tuning.difference.format(first=high, second=low)
    return Turn(question, str(high - low))


def who(fact: Fact) -> Turn:
    """Return the English question for the subject of a fact, with its answer.

    Example:
        >>> who(Fact(0, False, 0, 1, 1))
        Turn(input='Who sell fresh bread?', output='Bakers')
    """
    subject = lexicon().subjects[fact.subject]
    _, verb, object_ = subject.predicates[fact.predicate]["en"]
    question = lexicon().tuning.who.format(predicate=f"{verb} {object_}")
    return Turn(question, subject.forms("en")[3].capitalize())


class Writer:
    """Writes documents of one split from a random generator.

    Args:
        split: Which facts and numbers may be used.
        conflict_share: Share of in-context documents in which an input looks like a question or
            a blank and is transformed nonetheless: the evidence that the line above decides.
        line_share: Share of documents with an instruction line.
    """

    def __init__(self, split: Split, *, conflict_share: float, line_share: float) -> None:
        self._facts = facts(split)
        self._addends = addends(split)
        self.conflict_share = conflict_share
        self.line_share = line_share

    def pretraining(self, rng: np.random.Generator, language: str) -> Document:
        """Write a document of the pretraining mixture (45 : 40 : 15)."""
        kind = rng.random()
        if kind < 0.45:
            return self.in_context(rng, language)
        if kind < 0.85:
            return self.instruction(rng, language)
        return self.plain(rng, language)

    def in_context(self, rng: np.random.Generator, language: str) -> Document:
        """Write worked examples of repeating or capitalising."""
        base = natural(language)
        task: Task = "repeat" if rng.random() < 0.5 else "capitalise"
        inputs = [self._fact(rng).render(base) for _ in range(rng.integers(2, 4))]
        if rng.random() < self.conflict_share:
            inputs[-1] = self.request(rng, base).input
        turns = [Turn(text, TRANSFORMS[task](text)) for text in inputs]
        return self._finish(self._line(rng, task, base), turns, language)

    def instruction(self, rng: np.random.Generator, language: str) -> Document:
        """Write sums and blanks with their answers."""
        base = natural(language)
        turns = [self.request(rng, base) for _ in range(rng.integers(1, 5))]
        return self._finish(self._line(rng, "answer", base), turns, language)

    def plain(self, rng: np.random.Generator, language: str) -> Document:
        """Write a few sentences."""
        base = natural(language)
        text = " ".join(self._fact(rng).render(base) for _ in range(rng.integers(2, 5)))
        return Document("", rewrite(text, language))

    def tuning(self, rng: np.random.Generator) -> Document:
        """Write a document of the English instruction set."""
        turns = [self._tuning_turn(rng) for _ in range(rng.integers(1, 4))]
        lines = lexicon().tuning.lines
        return self._finish(lines[rng.integers(len(lines))], turns, "en")

    def request(self, rng: np.random.Generator, language: str) -> Turn:
        """Return a sum or a blank in a natural language, with its answer."""
        if rng.random() < 0.5:
            return addition(*self._addends[rng.integers(len(self._addends))], language)
        return Turn(*blank_first_word(self._fact(rng).render(language)))

    def _tuning_turn(self, rng: np.random.Generator) -> Turn:
        kind = rng.random()
        if kind < 0.7:
            return self.request(rng, "en")
        if kind < 0.85:
            return difference(*self._addends[rng.integers(len(self._addends))])
        return who(self._fact(rng))

    def _fact(self, rng: np.random.Generator) -> Fact:
        return self._facts[rng.integers(len(self._facts))]

    def _line(self, rng: np.random.Generator, task: Task, language: str) -> str:
        return lexicon().tasks[task][language] if rng.random() < self.line_share else ""

    def _finish(self, line: str, turns: Sequence[Turn], language: str) -> Document:
        prompt = layout(line, turns[:-1], turns[-1].input, natural(language))
        return Document(rewrite(prompt, language), " " + rewrite(turns[-1].output, language))
