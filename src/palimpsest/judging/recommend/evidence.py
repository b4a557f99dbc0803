"""Evidence for a ranking of conjugations: prompts under each, and how likely they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from palimpsest.errors import UserError
from palimpsest.judging.recommend.score import Evidence
from palimpsest.judging.via import Via
from palimpsest.lm import Exchange, Prompt, texts_of
from palimpsest.lm.models import LanguageModel, ScoringUnavailableError
from palimpsest.lm.suites import Suite
from palimpsest.stats import Array

_BATCH = 256
"""Texts scored between two reports of progress."""


class ScoringProgress(Protocol):
    """Told how far the scoring of one model has come."""

    def __call__(self, role: str, n_done: int, n_total: int, /) -> None:
        """Show it; the role is ``base`` or ``tuned``."""


@dataclass(frozen=True)
class SentPrompts:
    """The prompts under one conjugation."""

    via: Via
    """How they are asked."""

    texts: Sequence[str | None]
    """As the model sees them; ``None`` where the suite has no version in the via's language."""

    fidelity: Array
    """chrF of the round trip of each; 1 in another language, where there is none."""

    survival: Array
    """Share of the protected spans of each that it still has; 1 for exact conjugations."""

    flags: Mapping[str, int]
    """What the conjugation flags, and for how many prompts."""


@dataclass(frozen=True)
class Likelihoods:
    """What one model says of texts."""

    bits: Mapping[str, float]
    """Bits of each text; infinite where it does not fit into the context."""

    n_tokens: Mapping[str, int] | None
    """Tokens of each text; ``None`` where the back end has no tokenizer to ask."""

    vocabulary: frozenset[str] | None
    """The tokens that there are; ``None`` as above."""


@dataclass(frozen=True)
class Study:
    """The plain prompts and what the models say of all texts.

    Raises:
        UserError: No plain prompt fits into the contexts of all models.
    """

    plain: Sequence[str]
    """The prompts as plain text."""

    found: Mapping[str, Likelihoods]
    """By role: ``tuned``, and ``base`` if there is one."""

    def __post_init__(self) -> None:
        if not self.fits.any():
            raise UserError(
                f"None of the {len(self.plain)} prompts fits into the context of the models.",
                hint="Shorten the prompts, or use models with a longer context.",
            )

    @cached_property
    def fits(self) -> npt.NDArray[np.bool_]:
        """Which plain prompts fit into the contexts of all models; the others are left out."""
        bits = [[one.bits[text] for text in self.plain] for one in self.found.values()]
        return np.asarray(np.isfinite(bits).all(axis=0))

    def evidence(self, sent: SentPrompts) -> Evidence:
        """Return what is known of one conjugation, on the prompts that fit."""
        tuned = self.found["tuned"].bits
        base = self.found["base"].bits if "base" in self.found else tuned

        def bits(of: Mapping[str, float], texts: Sequence[str | None]) -> Array:
            return np.array([of[text] if text else np.nan for text in texts])[self.fits]

        return Evidence(
            n_bytes=np.array([float(_n_bytes(text)) for text in self.plain])[self.fits],
            plain_base=bits(base, self.plain),
            plain_tuned=bits(tuned, self.plain),
            base=bits(base, sent.texts),
            tuned=bits(tuned, sent.texts),
            fidelity=sent.fidelity[self.fits],
            has_base="base" in self.found,
        )

    def n_changed(self, sent: SentPrompts) -> int:
        """Return how many prompts a conjugation changes."""
        return sum(text != plain for text, plain in zip(sent.texts, self.plain, strict=True))

    def mean_survival(self, sent: SentPrompts) -> float:
        """Return the mean share of protected spans that a conjugation leaves."""
        counts = self._counts(sent)
        return float(np.mean(sent.survival[counts])) if counts.any() else math.nan

    def cost(self, sent: SentPrompts) -> float:
        """Return the length of conjugated prompts over that of plain ones, in tokens or bytes."""
        n_tokens = self.found["tuned"].n_tokens
        counts = self._counts(sent)

        def total(texts: Sequence[str | None]) -> int:
            used = [text for text, counted in zip(texts, counts, strict=True) if text and counted]
            return sum(_n_bytes(text) if n_tokens is None else n_tokens[text] for text in used)

        before = total(self.plain)
        return total(sent.texts) / before if before else math.nan

    def _counts(self, sent: SentPrompts) -> npt.NDArray[np.bool_]:
        counts = self.fits.copy()
        counts[self.fits] = self.evidence(sent).included
        return counts


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def plain_text(prompt: Prompt) -> str:
    """Return a prompt as the text whose likelihood is taken: messages without their template."""
    return "\n\n".join(texts_of(prompt))


def send(via: Via, suite: Suite) -> SentPrompts:
    """Conjugate every prompt of a suite, in the order of its source language.

    Raises:
        UserError: The suite has none in the via's language, or a plugin fails on a prompt.
    """
    exchange = Exchange(via.conjugation)
    versions = {example.source_id: example.prompt for example in via.examples(suite)}
    ids = [example.source_id for example in suite.in_language(suite.source_language)]
    exchange.prepare(prompts=[text for prompt in versions.values() for text in texts_of(prompt)])
    sent = {key: exchange.send(prompt) for key, prompt in versions.items()}
    fidelity, kept = np.ones(len(ids)), np.ones(len(ids))
    if not via.conjugation.exact:
        exchange.prepare(answers=[text for each in sent.values() for text in texts_of(each)])
        for row, key in enumerate(ids):
            if key in sent:
                _, fidelity[row], kept[row] = exchange.fidelity(versions[key], sent[key])
    flags = Counter(
        flag for prompt in versions.values() for flag in exchange.flags(texts_of(prompt))
    )
    texts = [plain_text(sent[key]) if key in sent else None for key in ids]
    return SentPrompts(via, texts, fidelity, kept, flags)


def score_texts(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    role: str,
    progress: ScoringProgress | None = None,
) -> Likelihoods:
    """Return how likely a model finds each text from its beginning, then close the model.

    Raises:
        UserError: The model is opened with a chat template, which plain text does not go through.
        ScoringUnavailableError: The back end cannot tell.
    """
    if model.chat:
        raise UserError(
            f"'{model.spec}' is opened with chat=true, but the likelihood of a prompt is that of "
            "its plain text.",
            hint="Leave out chat=true.",
        )
    bits: dict[str, float] = {}
    with closing(model):
        try:
            for start in range(0, len(texts), _BATCH):
                batch = texts[start : start + _BATCH]
                scores = model.score([""] * len(batch), [[text] for text in batch])
                values = (-score / math.log(2) for [score] in scores)
                bits.update(zip(batch, values, strict=True))
                if progress is not None:
                    progress(role, len(bits), len(texts))
        except ScoringUnavailableError as error:
            raise ScoringUnavailableError(
                f"Conjugations are ranked by the likelihood of whole prompts. {error.message}",
                hint=error.hint,
            ) from error
        counts = model.count_tokens(texts)
        n_tokens = None if counts is None else dict(zip(texts, counts, strict=True))
        return Likelihoods(bits, n_tokens, model.vocabulary())
