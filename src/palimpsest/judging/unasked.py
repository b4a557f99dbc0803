"""Models that are not asked: what is not on file stays unanswered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from palimpsest.judging.workers import Workers
from palimpsest.lm import Likelihood, Prompt
from palimpsest.lm.models import Generation, LanguageModel


class Unasked(Workers):
    """Hands out models that answer nothing, so that whatever asks them lives on stored answers."""

    lacking = (
        "as no answer to them is there that this release would use",
        "The diagnosis itself, with the same --out, asks them.",
    )

    def hold(self, model: LanguageModel, *, n_held: int = 1) -> LanguageModel:
        """Return the model with its answers withheld."""
        del n_held  # nobody is asked
        return cast("LanguageModel", _Silent(model))


class _Silent:
    def __init__(self, model: LanguageModel) -> None:
        self._model: Any = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        """Answer no prompt."""
        for index in range(len(prompts)):
            yield index, Generation("", "failed", 0, 0.0)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return no likelihood."""
        return [[float("nan")] * len(each) for each in candidates]

    def likelihoods(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[Likelihood]]:
        """Return none either."""
        return [[Likelihood(float("nan"))] * len(each) for each in candidates]
