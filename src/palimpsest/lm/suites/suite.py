"""What a suite is: examples with a known right answer and known wrong ones, perhaps in parallel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.scoring.scorers import DEFAULT_SCORER


@dataclass(frozen=True)
class Example:
    """One prompt with the answers that show which task the model inferred."""

    source_id: str
    """Identifies the item; its versions in other languages share it."""

    cell: str
    """The group that it is reported in, such as ``repeat/math``."""

    language: str
    """A BCP 47 tag, or the name of a text conjugation (``leet``) for a rewritten language."""

    prompt: Prompt
    """What is sent, before any conjugation."""

    answers: Mapping[str, tuple[str, ...]]
    """Accepted answers for each ability. The first ability is the one under test: its answers
    are *right*; the answers of every other ability are *intruded*."""

    whole_answers: Mapping[str, str] = field(default_factory=dict)
    """For abilities whose accepted answers are but the beginning of a longer one: the longer one.

    A translator may render the first word of a sentence otherwise than that word alone; under a
    conjugation that is not exact, as many words of the whole answer's image are accepted too."""

    choices: tuple[str, ...] = ()
    """The answers to choose among. If there are any, and the model can score continuations, the
    likeliest one is its answer; each follows the prompt after a space."""

    scorer: str = DEFAULT_SCORER
    """What says to which ability an answer belongs: a name in ``SCORERS``."""

    @property
    def right(self) -> tuple[str, ...]:
        """The answers of the ability under test."""
        return next(iter(self.answers.values()))

    @property
    def intruding(self) -> tuple[str, ...]:
        """The answers of all other abilities."""
        return tuple(text for texts in list(self.answers.values())[1:] for text in texts)

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides how an answer to it is asked for and scored."""
        parts = [_plain(self.prompt), list(map(list, self.answers.items()))]
        parts += [list(self.choices), list(map(list, self.whole_answers.items()))]
        # The default is left out, so that answers of before there were others are still found.
        return _digest([*parts, *([] if self.scorer == DEFAULT_SCORER else [self.scorer])])


@dataclass(frozen=True)
class Suite:
    """A set of examples; the same ``source_id`` may come in several languages."""

    name: str
    """What the user typed, with its options."""

    examples: tuple[Example, ...]
    """All examples in all languages."""

    source_language: str = "en"
    """The language of the plain prompts; every ``source_id`` exists in it."""

    max_new_tokens: int = 10
    """How much the model may say (the paper's setting is 10)."""

    stop: tuple[str, ...] = ("\n",)
    """An answer ends before the first of these."""

    chance: float | None = None
    """The accuracy of guessing, as a fraction, where that is meaningful."""

    description: str = ""
    """One sentence for listings and the report."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the suite was built with: seed, counts, files and their hashes."""

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages present, the source language first."""
        found = dict.fromkeys(example.language for example in self.examples)
        found.pop(self.source_language, None)
        return (self.source_language, *found)

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """The cells present, in order of first appearance."""
        return tuple(dict.fromkeys(example.cell for example in self.examples))

    def in_language(self, language: str) -> Sequence[Example]:
        """Return the examples in one language, in the order of the suite."""
        return [example for example in self.examples if example.language == language]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every example and of how answers are cut."""
        parts = [(e.source_id, e.cell, e.language, e.fingerprint) for e in self.examples]
        return _digest([parts, self.max_new_tokens, self.stop, self.source_language])

    @property
    def key(self) -> str:
        """What the answers to its examples are kept under, whichever and however many they are.

        Only the source language, which says what a conjugation is applied to. An answer depends
        on nothing else of a suite but its own example and how answers are cut, and has the
        fingerprints of both in its own key. So a suite with more examples, or another suite with
        the same ones, finds the answers that there are.
        """
        return self.source_language


def _plain(prompt: Prompt) -> Any:
    if isinstance(prompt, str):
        return prompt
    return [[message.role, message.content] for message in prompt if isinstance(message, Message)]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:16]
