"""Ranking of conjugations for prompts without labels, by what the models find likely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.recommend.evidence import (
    Likelihoods,
    ScoringProgress,
    SentPrompts,
    Study,
    plain_text,
    score_texts,
    send,
)
from palimpsest.judging.recommend.prompts import read_prompts
from palimpsest.judging.recommend.score import Gates, Term, estimate
from palimpsest.judging.via import Via, distinct_vias, parse_via
from palimpsest.lm.conjugations import CONJUGATIONS
from palimpsest.lm.models import LanguageModel, load_model
from palimpsest.lm.suites import Suite

SCHEMA = "palimpsest.recommendation/1"

FEW_PROMPTS = 20
"""With fewer, intervals of a bootstrap are too narrow to be believed."""


@dataclass(frozen=True)
class Ranked:
    """One conjugation with what speaks for and against it."""

    name: str
    """As in ``--via``."""

    kind: str
    """``exact``, ``lossy`` or ``native``."""

    excluded: str | None
    """Why it is not recommended, if it is not."""

    shift: Term
    """Fall of the log-odds that a prompt is one of the tuning's, in bits per plain byte."""

    handling: Term
    """Share of what the base model knows about plain prompts that it still knows, 0 to 1."""

    fidelity: Term
    """Mean chrF of the prompts' round trip, 0 to 1."""

    score: Term
    """Their product; see :mod:`palimpsest.judging.recommend.score`."""

    survival: float
    """Mean share of protected spans that the conjugated prompts still have; 1 if exact."""

    cost: float
    """Length of the conjugated prompts as a multiple of the plain ones'."""

    best_share: float
    """Share of bootstrap resamples in which its score is the highest."""

    n_prompts: int
    """Prompts that count."""

    @property
    def is_clear(self) -> bool:
        """Whether the score is above zero, its whole interval included."""
        return self.score.ci95 is not None and self.score.ci95.low > 0


@dataclass(frozen=True)
class Recommendation:
    """The ranking, the best first and the excluded last."""

    tuned: str
    """Spec of the tuned model."""

    base: str | None
    """Spec of the base model, if there is one."""

    prompts: str
    """The file, or the suite's name."""

    n_prompts: int
    """Plain prompts that fit into the models' contexts."""

    cost_unit: str
    """What :attr:`Ranked.cost` counts: the tuned model's ``tokens``, or ``bytes``."""

    candidates: tuple[Ranked, ...]
    """All that were tried."""

    warnings: tuple[str, ...]
    """Whatever a reader must know before trusting the ranking."""

    gates: Gates
    """What a conjugation must reach."""

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
        values = {**asdict(self), "gates": self.gates._asdict()}
        terms = ("shift", "handling", "fidelity", "score")
        values["candidates"] = [
            {**asdict(one), **{term: getattr(one, term)._asdict() for term in terms}}
            for one in self.candidates
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
    prompts: str | Path | Suite,
    base: str | LanguageModel | None = None,
    via: Sequence[str] | None = None,
    limit: int | None = None,
    gates: Gates | None = None,
    seed: int = 0,
    n_resamples: int = 2000,
    progress: ScoringProgress | None = None,
) -> Recommendation:
    """Rank conjugations by how promising they look for prompts whose answers nobody knows.

    Args:
        tuned: The model after tuning, as a spec or opened; it is closed in the end.
        prompts: A file of prompts, or a suite whose answers are ignored.
        base: The model before tuning. Without it the ranking is a rule of thumb.
        via: Conjugations to rank; by default the other languages of the prompts and every
            registered conjugation but translations.
        limit: At most so many prompts of the file, the first ones.
        gates: What a conjugation must reach to be ranked.
        seed: Of the bootstrap.
        n_resamples: Bootstrap resamples.
        progress: Called as texts are scored.

    Raises:
        UserError: No prompts, none that fits into the context, a model or conjugation that cannot
            be used; :class:`ScoringUnavailableError` if a model tells no likelihoods.

    Example:
        >>> pair = {"base": "rosetta:base", "tuned": "rosetta:tuned"}
        >>> from palimpsest import load_suite
        >>> found = recommend(prompts=load_suite("rosetta:n=3"), via=["fr", "rot13"], **pair)
        >>> [one.name for one in found.ranked]
        ['fr']
    """
    suite = prompts if isinstance(prompts, Suite) else read_prompts(Path(prompts), limit=limit)
    vias = _vias(via, suite)
    opened = {
        role: load_model(model) if isinstance(model, str) else model
        for role, model in (("base", base), ("tuned", tuned))
        if model is not None
    }
    sent = [send(each, suite) for each in vias]
    plain = [plain_text(e.prompt) for e in suite.in_language(suite.source_language)]
    texts = dict.fromkeys([*plain, *(text for one in sent for text in one.texts if text)])
    found = {
        role: score_texts(model, list(texts), role=role, progress=progress)
        for role, model in opened.items()
    }
    study = Study(plain, found)
    gates = gates or Gates()
    candidates = _rank(study, sent, gates, np.random.default_rng(seed), n_resamples)
    return Recommendation(
        tuned=opened["tuned"].spec,
        base=opened["base"].spec if "base" in opened else None,
        prompts=suite.name,
        n_prompts=int(study.fits.sum()),
        cost_unit="bytes" if found["tuned"].n_tokens is None else "tokens",
        candidates=candidates,
        warnings=(
            *_about_models(opened, found),
            *_about_prompts(suite, study),
            *_about_candidates(sent, candidates),
        ),
        gates=gates,
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
    study: Study,
    sent: Sequence[SentPrompts],
    gates: Gates,
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[Ranked, ...]:
    """Return the candidates in order, those out of the ranking last."""
    evidence = [study.evidence(one) for one in sent]
    reasons = [
        gates.why_excluded(each, n_changed=study.n_changed(one))
        for each, one in zip(evidence, sent, strict=True)
    ]
    eligible = [reason is None for reason in reasons]
    estimates = estimate(evidence, eligible, rng=rng, n_resamples=n_resamples)
    candidates = [
        Ranked(
            name=one.via.name,
            kind=_kind(one.via),
            excluded=reason,
            survival=study.mean_survival(one),
            cost=study.cost(one),
            n_prompts=each.n_prompts,
            **found._asdict(),
        )
        for one, each, reason, found in zip(sent, evidence, reasons, estimates, strict=True)
    ]
    return tuple(sorted(candidates, key=_order))


def _kind(via: Via) -> str:
    if via.language is not None:
        return "native"
    return "exact" if via.exact else "lossy"


def _order(one: Ranked) -> tuple[bool, float, float]:
    score = one.score.value
    return one.excluded is not None, math.inf if math.isnan(score) else -score, one.cost


def _about_models(
    opened: Mapping[str, LanguageModel], found: Mapping[str, Likelihoods]
) -> list[str]:
    if "base" not in opened:
        return [
            "Without a base model the ranking is a rule of thumb: what is unfamiliar to the tuned "
            "model need not be far from its tuning. On the embedded pair, where the truth is "
            "known, it put the usable conjugations in the wrong order (docs/how-to/recommend.md)."
        ]
    if opened["base"].fingerprint == opened["tuned"].fingerprint:
        return ["Base and tuned are the same model: every shift is zero."]
    one, other = (found[role].vocabulary for role in ("base", "tuned"))
    if one != other:
        return [
            "Base and tuned have different tokenizers. Bits of whole texts are comparable all the "
            "same, as they do not depend on how a text is divided."
        ]
    return []


def _about_prompts(suite: Suite, study: Study) -> list[str]:
    sentences = []
    n_long, n = int((~study.fits).sum()), int(study.fits.sum())
    if n_long:
        sentences.append(f"{n_long} of {n + n_long} prompts are too long for the models' context.")
    if n < FEW_PROMPTS:
        sentences.append(f"Intervals from {n} prompts are too narrow; give at least {FEW_PROMPTS}.")
    if any(not isinstance(example.prompt, str) for example in suite.examples):
        sentences.append("Messages are ranked as plain text, without their chat template.")
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
        sentences.append(
            "No conjugation clearly takes these prompts away from the tuning: the interval of the "
            "best score reaches down to zero or below."
        )
    return list(dict.fromkeys(sentences))
