"""Evidence for a ranking of conjugations: the base's answers, and how likely they are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.recommend.score import Evidence
from palimpsest.judging.via import Via, parse_via
from palimpsest.lm import Exchange, Prompt, glue, texts_of
from palimpsest.lm.models import LanguageModel, ScoringUnavailableError
from palimpsest.lm.scoring import is_unspaced
from palimpsest.lm.suites import Suite
from palimpsest.stats import Array

_BATCH = 64
"""Prompts scored between two reports of progress."""

_PUNCTUATION = re.compile(r"(?<=\w)[^\w\s]+$")


class RecommendProgress(Protocol):
    """Told how far the questions to one model have come."""

    def __call__(self, role: str, n_done: int, n_total: int, /) -> None:
        """Show it; the role is ``base`` or ``tuned``."""


@dataclass(frozen=True)
class SentPrompts:
    """The prompts under one conjugation."""

    via: Via
    """How they are asked."""

    exchange: Exchange
    """How answers come back."""

    prompts: Sequence[Prompt | None]
    """As the model sees them; ``None`` where the suite has no version in the via's language."""

    n_changed: int
    """How many of them are other than the plain ones."""

    flags: Mapping[str, int]
    """What the conjugation flags, and for how many prompts."""


def opening(text: str) -> str:
    r"""Return an answer's first word, without the punctuation behind it.

    Where a script puts no spaces between words, the first character is one.

    Example:
        >>> [opening(text) for text in (" Paris, of course", "___ barks.", "巴黎。", "\n")]
        ['Paris', '___', '巴', '']
    """
    first, *_ = [*text.split(), ""]
    if is_unspaced(first[:1]):
        return first[0]
    return _PUNCTUATION.sub("", first)


def send(via: Via, suite: Suite) -> SentPrompts:
    """Conjugate every prompt of a suite, in the order of its source language.

    Raises:
        UserError: The suite has none in the via's language, or a plugin fails on a prompt.
    """
    exchange = Exchange(via.conjugation, suite.stop)
    plain = {e.source_id: e.prompt for e in suite.in_language(suite.source_language)}
    versions = {example.source_id: example.prompt for example in via.examples(suite)}
    exchange.prepare(prompts=[text for prompt in versions.values() for text in texts_of(prompt)])
    sent = {key: exchange.send(prompt) for key, prompt in versions.items()}
    if via.form is not None:
        sent = {key: via.form.of(prompt) for key, prompt in sent.items()}
    flags = Counter(
        flag for prompt in versions.values() for flag in exchange.flags(texts_of(prompt))
    )
    prompts = [sent.get(key) for key in plain]
    n_changed = sum(one != other for one, other in zip(prompts, plain.values(), strict=True))
    return SentPrompts(via, exchange, prompts, n_changed, flags)


class Asker:
    """One model with the prompts that it is asked, and how far that has come.

    Args:
        model: Closed by whoever opened it.
        role: ``base`` or ``tuned``.
        suite: How long answers may be, and where they end.
        n_total: Prompts that will be answered or scored.
        progress: Told after every prompt or batch.
    """

    def __init__(
        self,
        model: LanguageModel,
        role: str,
        suite: Suite,
        n_total: int,
        progress: RecommendProgress | None,
    ) -> None:
        self._model = model
        self._role = role
        self._suite = suite
        self._n_done, self._n_total = 0, n_total
        self._progress = progress

    def answers(self, sent: SentPrompts) -> list[str]:
        """Return the inverted answers, empty where there is no prompt."""
        asked = [(row, prompt) for row, prompt in enumerate(sent.prompts) if prompt is not None]
        found = [""] * len(sent.prompts)
        for index, answer in self._model.generate(
            [prompt for _, prompt in asked],
            max_new_tokens=self._suite.max_new_tokens,
            stop=sent.exchange.sent_stops,
        ):
            found[asked[index][0]] = sent.exchange.read(answer.text).text
            self._tell(1)
        return found

    def probabilities(self, sent: SentPrompts, openings: Sequence[str]) -> Array:
        """Return how likely an opening is after each prompt; NaN where one of the two is missing.

        Raises:
            ScoringUnavailableError: The back end cannot tell.
        """
        rows = [
            (row, prompt, glue(prompt) + text)
            for row, (prompt, text) in enumerate(zip(sent.prompts, openings, strict=True))
            if prompt is not None and text
        ]
        found = np.full(len(openings), np.nan)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            scores = scores_of(
                self._model, [prompt for _, prompt, _ in batch], [t for *_, t in batch]
            )
            for (row, *_), score in zip(batch, scores, strict=True):
                found[row] = math.exp(score) if math.isfinite(score) else math.nan
            self._tell(len(batch))
        self._tell(len(openings) - len(rows))
        return found

    def _tell(self, n: int) -> None:
        self._n_done += n
        if n and self._progress is not None:
            self._progress(self._role, self._n_done, self._n_total)


def scores_of(model: LanguageModel, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Return how likely one text is after each prompt, as a natural logarithm.

    Raises:
        ScoringUnavailableError: The back end cannot tell.
    """
    try:
        return [score for [score] in model.score(prompts, [[text] for text in texts])]
    except ScoringUnavailableError as error:
        raise ScoringUnavailableError(
            f"Conjugations are ranked by how likely answers are. {error.message}", hint=error.hint
        ) from error


def collect(
    models: Mapping[str, LanguageModel],
    suite: Suite,
    sent: Sequence[SentPrompts],
    progress: RecommendProgress | None = None,
) -> list[Evidence]:
    """Ask both models, one after the other, and return the evidence on each conjugation.

    Args:
        models: ``base`` and ``tuned``; closed in the end.
        suite: The prompts.
        sent: The same, conjugated.
        progress: Called as prompts are answered and openings scored.

    Raises:
        ScoringUnavailableError: A model tells no likelihoods.
        UserError: The base model has no answer to any prompt.
    """
    plain = send(parse_via("identity", suite), suite)
    native = [each for each in sent if each.via.native]
    n = len(plain.prompts)
    for model in models.values():
        scores_of(model, [], [])  # who cannot tell says so before anything is asked
    with closing(models["base"]) as model:
        base = Asker(model, "base", suite, n * (2 + len(native)), progress)
        texts = base.answers(plain)
        abroad = {each.via.name: base.answers(each) for each in native}
        before = base.probabilities(plain, list(map(opening, texts)))
    if np.isnan(before).all():
        raise UserError(
            f"The base model answers none of the {n} prompts: its answers are empty, or the "
            "prompts leave no room for one in its context.",
            hint="Shorten the prompts, or end them where an answer is to begin.",
        )
    with closing(models["tuned"]) as model:
        tuned = Asker(model, "tuned", suite, n * (2 + len(sent)), progress)
        intruding = list(map(opening, tuned.answers(plain)))
        after = tuned.probabilities(plain, list(map(opening, texts)))
        found = []
        for each in sent:
            under = tuned.probabilities(each, _openings(each, texts, abroad))
            if each.via.native:
                same = [opening(one) for one in abroad[each.via.name]]
                under = np.where(np.array(same) == np.array(intruding), under * 0, under)
            found.append(Evidence(before, after, under))
    return found


def _openings(
    sent: SentPrompts, texts: Sequence[str], abroad: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return how the base's answers begin as the model is to write them."""
    if sent.via.native:
        answers: Sequence[str] = abroad[sent.via.name]
    else:
        answers = [text.strip() for text in texts]
    sent.exchange.prepare(prompts=list(filter(None, answers)))
    return [opening(sent.exchange.apply(text)) for text in answers]
