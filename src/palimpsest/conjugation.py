r"""The equation of the project: ask :math:`s^{-1} \circ T \circ s` instead of :math:`T`.

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 2.3.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

Prompt = TypeVar("Prompt")
Answer = TypeVar("Answer")


class Conjugation(ABC, Generic[Prompt, Answer]):
    """An invertible transformation ``s`` of prompts, with the inverse that answers need.

    Subclasses set ``name`` and ``exact`` and write ``apply`` and ``invert``. They are pure: the
    same prompt always gives the same text, on every machine.
    """

    name: str
    """What the user types, unique in the registry."""

    exact: bool
    """Whether ``invert(apply(p)) == p`` for every prompt ``p``."""

    keeps: str = "everything"
    """What survives ``invert(apply(p))``, in words; for exact conjugations, everything."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON-serialisable parameters that, with the name, determine the behaviour."""
        return {}

    @property
    def fingerprint(self) -> str:
        """A hash, stable over processes and machines, of name and parameters."""
        text = json.dumps([self.name, self.parameters], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @abstractmethod
    def apply(self, prompt: Prompt) -> Prompt:
        """Return ``s(prompt)``."""

    @abstractmethod
    def invert(self, answer: Answer) -> Answer:
        """Return ``s⁻¹(answer)``."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Chain(Conjugation[Prompt, Answer]):
    """Conjugations one after the other; the inverse undoes the last one first.

    Args:
        links: The conjugations, in the order in which they are applied; at least one.
    """

    def __init__(self, links: Sequence[Conjugation[Prompt, Answer]]) -> None:
        if not links:
            raise ValueError("A Chain needs at least one conjugation; got none.")
        self.links = tuple(links)
        self.name = "|".join(link.name for link in self.links)
        self.exact = all(link.exact for link in self.links)
        lossy = [link for link in self.links if not link.exact]
        self.keeps = "; then ".join(link.keeps for link in lossy) or "everything"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The fingerprints of the links, in order."""
        return {"links": [link.fingerprint for link in self.links]}

    def apply(self, prompt: Prompt) -> Prompt:
        """Apply every link, first to last."""
        for link in self.links:
            prompt = link.apply(prompt)
        return prompt

    def invert(self, answer: Answer) -> Answer:
        """Invert every link, last to first."""
        for link in reversed(self.links):
            answer = link.invert(answer)
        return answer


def conjugate(
    model: Callable[[Prompt], Answer], conjugation: Conjugation[Prompt, Answer]
) -> Callable[[Prompt], Answer]:
    r"""Return the model asked under a conjugation: :math:`s^{-1} \circ T \circ s`.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> echo = conjugate(lambda prompt: prompt, parse_conjugation("leet"))
        >>> echo("Say 7 things.")
        'Say 7 things.'
    """

    def conjugated(prompt: Prompt) -> Answer:
        return conjugation.invert(model(conjugation.apply(prompt)))

    return conjugated


class Ensemble(Generic[Prompt, Answer]):
    """Ask under several conjugations and combine the answers into one.

    Args:
        conjugations: At least one.
        combine: Takes the inverted answers in the order of the conjugations; by default
            :func:`majority_vote` for text and :func:`mean` for everything else.

    Raises:
        ValueError: No conjugation was given.
    """

    def __init__(
        self,
        conjugations: Sequence[Conjugation[Prompt, Answer]],
        *,
        combine: Callable[[Sequence[Answer]], Answer] | None = None,
    ) -> None:
        if not conjugations:
            raise ValueError("An Ensemble needs at least one conjugation; got none.")
        self.conjugations = tuple(conjugations)
        self.combine = combine or _vote_or_mean

    def __call__(self, model: Callable[[Prompt], Answer]) -> Callable[[Prompt], Answer]:
        """Return the model that asks under every conjugation and combines the answers."""
        members = [conjugate(model, conjugation) for conjugation in self.conjugations]

        def asked(prompt: Prompt) -> Answer:
            return self.combine([member(prompt) for member in members])

        return asked


def majority_vote(answers: Sequence[Answer]) -> Answer:
    """Return the most frequent answer; of several, the one that was given first.

    Example:
        >>> majority_vote(["b", "a", "a", "b"])
        'b'
    """
    return Counter(answers).most_common(1)[0][0]


def mean(answers: Sequence[Any]) -> Any:
    """Return the arithmetic mean of numbers or arrays of one shape.

    Example:
        >>> mean([1.0, 3.0])
        2.0
    """
    return sum(answers[1:], start=answers[0]) / len(answers)


def _vote_or_mean(answers: Sequence[Any]) -> Any:
    return majority_vote(answers) if isinstance(answers[0], str) else mean(answers)
