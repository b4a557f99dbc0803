"""Models that are not asked, nor even opened: what is not on file stays unanswered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from palimpsest.judging.workers import Workers
from palimpsest.lm import Prompt
from palimpsest.lm.models import DrawsAnswers, Generation, ScoringUnavailableError


class Unasked(Workers):
    """Holds models that answer nothing, and knows why answers are lacking then."""

    lacking = (
        "as the shards brought no answer to them that this release would use",
        "The commands of those shards, run again, ask them; then merge again.",
    )


class RecordedModel(DrawsAnswers):
    """A model as a run recorded it: its name and facts are known, and nobody is asked.

    No file of it is looked at, no device chosen and no address contacted, so that it can stand for
    a model of another machine, and for one that somebody else names.

    Args:
        spec: What the user wrote.
        fingerprint: Under which its answers are kept.
        facts: What it said of itself.
        scores: Whether it could say how likely a given answer is.

    Example:
        >>> model = RecordedModel("./base", "4f1c", {"device": "cuda"}, scores=True)
        >>> [answer.finish for _, answer in model.generate(["What is 5 plus 7?"])]
        ['failed']
    """

    chat = False

    def __init__(
        self, spec: str, fingerprint: str, facts: Mapping[str, str], *, scores: bool
    ) -> None:
        self.spec = spec
        self.fingerprint = fingerprint
        self._facts = dict(facts)
        self._scores = scores

    def describe(self) -> Mapping[str, str]:
        """Return what the model said of itself."""
        return self._facts

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        """Answer no prompt."""
        for index in range(len(prompts)):
            yield index, Generation("", "failed", 0, 0.0)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return no likelihood.

        Raises:
            ScoringUnavailableError: The model could tell none either.
        """
        if not self._scores:
            raise ScoringUnavailableError(f"'{self.spec}' gave no likelihoods.")
        return [[float("nan")] * len(each) for each in candidates]

    def count_tokens(self, texts: Sequence[str]) -> None:
        """Say that there is no tokenizer here."""

    def vocabulary(self) -> None:
        """Say that there is no tokenizer here."""

    def close(self) -> None:
        """Free nothing."""
