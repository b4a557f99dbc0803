"""Ranking of conjugations for prompts without labels, by what brings the base's answers back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.recommend.evidence import (
    Collected,
    RecommendProgress,
    SentPrompts,
    collect,
    send,
)
from palimpsest.judging.recommend.prompts import read_prompts
from palimpsest.judging.recommend.score import Term, estimate
from palimpsest.judging.via import Via, distinct_vias, parse_via
from palimpsest.judging.workers import Workers
from palimpsest.lm import texts_of
from palimpsest.lm.conjugations import CONJUGATIONS
from palimpsest.lm.models import LanguageModel, load_model
from palimpsest.lm.suites import Suite

SCHEMA = "palimpsest.recommendation/2"

FEW_PROMPTS = 20
"""With fewer, conjugations are hardly told apart."""

UNCHANGED = "leaves every prompt as it is"
NOTHING_LOST = "both models answer alike: there is nothing to bring back"
UNCONFIRMED = (
    "the base gives none of its answers under any conjugation as well: none can be trusted"
)
"""Why a conjugation is not recommended."""


@dataclass(frozen=True)
class Ranked:
    """One conjugation with what speaks for it."""

    name: str
    """As in ``--via``."""

    kind: str
    """``exact``, ``lossy`` or ``native``."""

    excluded: str | None
    """Why it is not recommended, if it is not."""

    score: Term
    """Share of the base's answers that it brings back, of those that the tuned model does not give
    plainly; see :mod:`palimpsest.judging.recommend.score`."""

    cost: float
    """Length of the conjugated prompts as a multiple of the plain ones'."""

    best_share: float
    """Share of bootstrap resamples in which its score is the highest."""

    n_prompts: int
    """Prompts that count."""

    @property
    def is_clear(self) -> bool:
        """Whether it brings any answer back."""
        return self.score.value > 0


@dataclass(frozen=True)
class Recommendation:
    """The ranking, the best first and the excluded last."""

    tuned: str
    """Spec of the tuned model."""

    base: str
    """Spec of the base model."""

    prompts: str
    """The file, or the suite's name."""

    n_prompts: int
    """Plain prompts."""

    cost_unit: str
    """What :attr:`Ranked.cost` counts: the tuned model's ``tokens``, or ``bytes``."""

    candidates: tuple[Ranked, ...]
    """All that were tried."""

    warnings: tuple[str, ...]
    """Whatever a reader must know before trusting the ranking."""

    seed: int
    """Of the bootstrap."""

    n_resamples: int
    """Of the bootstrap."""

    @property
    def ranked(self) -> tuple[Ranked, ...]:
        """The conjugations that are not excluded."""
        return tuple(one for one in self.candidates if one.excluded is None)

    def to_json(self) -> dict[str, Any]:
        """Return what ``palimpsest recommend --json`` prints; undefined numbers are null."""
        values = asdict(self)
        values["candidates"] = [
            {**asdict(one), "score": one.score._asdict()} for one in self.candidates
        ]
        return {"schema": SCHEMA, **_defined(values)}


def _defined(value: Any) -> Any:
    """Return a value for JSON: undefined numbers are null."""
    if isinstance(value, Mapping):
        return {key: _defined(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def recommend(
    tuned: str | LanguageModel,
    *,
    base: str | LanguageModel,
    prompts: str | Path | Suite,
    via: Sequence[str] | None = None,
    limit: int | None = None,
    workers: Workers | None = None,
    seed: int = 0,
    n_resamples: int = 2000,
    progress: RecommendProgress | None = None,
) -> Recommendation:
    """Rank conjugations by how promising they look for prompts whose answers nobody knows.

    Args:
        tuned: The model after tuning, as a spec or opened; it is closed in the end.
        base: The model before tuning, likewise: its answers stand for the right ones.
        prompts: A file of prompts, or a suite whose answers are ignored.
        via: Conjugations to rank; by default the other languages of the prompts and every
            registered conjugation but translations.
        limit: At most so many prompts of the file, the first ones.
        workers: Who hold the models, as for :func:`palimpsest.diagnose`.
        seed: Of the bootstrap.
        n_resamples: Bootstrap resamples.
        progress: Called as prompts are answered.

    Raises:
        UserError: No prompts, none that the base answers, or a model or conjugation that cannot be
            used.

    Example:
        >>> pair = {"base": "rosetta:base", "tuned": "rosetta:tuned"}
        >>> from palimpsest import load_suite
        >>> found = recommend(prompts=load_suite("rosetta:n=3"), via=["rot13", "leet"], **pair)
        >>> [one.name for one in found.ranked]
        ['leet', 'rot13']
    """
    suite = prompts if isinstance(prompts, Suite) else read_prompts(Path(prompts), limit=limit)
    vias = _vias(via, suite)
    models = {
        role: load_model(model) if isinstance(model, str) else model
        for role, model in (("base", base), ("tuned", tuned))
    }
    sent = [send(each, suite) for each in vias]
    hold = (workers or Workers()).hold
    held = {role: hold(model) for role, model in models.items()}
    collected = collect(held, suite, sent, progress)
    plain = [example.prompt for example in suite.in_language(suite.source_language)]
    unit, lengths = _lengths(models["tuned"], suite, sent)
    rng = np.random.default_rng(seed)
    candidates = _rank(sent, collected, lengths, rng, n_resamples)
    return Recommendation(
        tuned=models["tuned"].spec,
        base=models["base"].spec,
        prompts=suite.name,
        n_prompts=len(plain),
        cost_unit=unit,
        candidates=candidates,
        warnings=(
            *_about_models(models),
            *collected.left_out,
            *_about_prompts(collected),
            *_about_candidates(sent, candidates),
        ),
        seed=seed,
        n_resamples=n_resamples,
    )


def _vias(specs: Sequence[str] | None, suite: Suite) -> list[Via]:
    if specs is None:
        texts = [name for name in CONJUGATIONS if name != "identity"]
        languages = [f"native:{language}" for language in suite.languages[1:]]
        specs = [*languages, *texts]
    parsed = distinct_vias([parse_via(spec, suite) for spec in specs])
    vias = [each for each in parsed if each.name != "identity"]
    if not vias:
        raise UserError(
            "There is no conjugation to rank.", hint="Name some, such as: --via leet --via fr"
        )
    return vias


def _rank(
    sent: Sequence[SentPrompts],
    collected: Collected,
    lengths: Sequence[float],
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[Ranked, ...]:
    """Return the candidates in order, those out of the ranking last."""
    reasons = [
        UNCHANGED if not one.n_changed else None if np.isfinite(each).any() else NOTHING_LOST
        for one, each in zip(sent, collected.returned, strict=True)
    ]
    eligible = [reason is None for reason in reasons]
    estimates = estimate(collected.returned, eligible, rng=rng, n_resamples=n_resamples)
    candidates = [
        Ranked(
            name=one.via.name,
            kind="native" if one.via.native else "exact" if one.via.exact else "lossy",
            excluded=reason,
            cost=cost,
            **found._asdict(),
        )
        for one, reason, cost, found in zip(sent, reasons, lengths, estimates, strict=True)
    ]
    return tuple(sorted(candidates, key=_order))


def _order(one: Ranked) -> tuple[bool, float, float]:
    score = one.score.value
    return one.excluded is not None, math.inf if math.isnan(score) else -score, one.cost


def _lengths(
    model: LanguageModel, suite: Suite, sent: Sequence[SentPrompts]
) -> tuple[str, list[float]]:
    """Return the unit of lengths, and each conjugation's as a multiple of the plain prompts'."""
    plain = [example.prompt for example in suite.in_language(suite.source_language)]
    pairs = [
        [(p, s) for p, s in zip(plain, one.prompts, strict=True) if s is not None] for one in sent
    ]
    prompts = dict.fromkeys(prompt for each in pairs for pair in each for prompt in pair)
    texts = ["\n".join(texts_of(prompt)) for prompt in prompts]
    counts = model.count_tokens(texts)
    unit = "bytes" if counts is None else "tokens"
    if counts is None:
        counts = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    length = dict(zip(prompts, counts, strict=True))
    return unit, [
        sum(length[s] for _, s in each) / max(sum(length[p] for p, _ in each), 1) for each in pairs
    ]


def _about_models(models: Mapping[str, LanguageModel]) -> list[str]:
    if models["base"].fingerprint == models["tuned"].fingerprint:
        return ["Base and tuned are the same model: nothing was lost."]
    return []


def _about_prompts(collected: Collected) -> list[str]:
    n, sentences = collected.n_counting, []
    if n and not collected.is_confirmed:
        sentences.append(
            "The base gives none of its answers under a conjugation with an inverse as well, so "
            "that none is confirmed and all count, wrong ones too. Try --via leet or another that "
            "it can read."
        )
    if 0 < n < FEW_PROMPTS:
        left_out = collected.n_different - n
        unsure = f"; {left_out} more have an answer that the base does not confirm" * bool(left_out)
        sentences.append(
            f"Only {n} prompts count, which are answered otherwise by the tuned model than by the "
            f"base{unsure}. That is few to rank by; give more, so that there are at least "
            f"{FEW_PROMPTS}."
        )
    return sentences


def _about_candidates(sent: Sequence[SentPrompts], candidates: Sequence[Ranked]) -> list[str]:
    sentences = [
        f"{n} prompts under '{one.via.name}' are flagged: {flag}."
        for one in sent
        for flag, n in one.flags.items()
    ]
    sentences += [note for one in sent for note in one.via.conjugation.notes()]
    if candidates[0].excluded is not None:
        sentences.append("No conjugation is left to recommend.")
    elif not candidates[0].is_clear:
        sentences.append("No conjugation brings any of the base's answers back.")
    return list(dict.fromkeys(sentences))
