r"""Inference measured: how much probability a model gives to each task that it could infer.

For a prompt with right and intruding answers, the first tokens of all answers are divided by whose
answer they open (:mod:`palimpsest.judging.openings`): :math:`p_r` on right ones, :math:`p_i` on
those of other abilities, the rest elsewhere. Over a set of prompts

.. math:: \hat g = \sum p_i \,/\, \sum (p_r + p_i)

is the paper's :math:`g(P)` as the model has it. The change of :math:`\log (p_i / p_r)` from base to
tuned is the *shift of inference*: mass moved from one task to another. The change of the
log-likelihood, per token, of the rest of the right answer once its opening is forced is *drift*:
ability lost in the narrow sense. The two are what "mass forgetting" and "drift of old components"
are in a mixture (arXiv 2603.12163).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.judging.analysis import Analysis
from palimpsest.judging.evaluation import prepare, questions_for
from palimpsest.judging.openings import Openings, forced
from palimpsest.judging.questions import Question, Settings
from palimpsest.judging.via import Via
from palimpsest.lm import TextCache
from palimpsest.lm.models import LanguageModel, TellsIfAsked, TellsNextTokens
from palimpsest.lm.suites import Suite
from palimpsest.records import InferenceArm, InferenceResult
from palimpsest.stats import (
    N_PSEUDO,
    Array,
    Interval,
    bootstrap_means,
    expanded_confidence,
    percentile_interval,
)

VERSION = 1
"""Part of every key. Raise it when the same model gets other masses."""

N_TOKENS = 512
"""The likeliest tokens that are looked at; how much is left of the mass is reported."""

LEAST = 1e-5
"""Probability below which a token is not looked at."""

FOLLOWED = 1e-4
"""Mass from which on an opening that does not tell yet is followed one token further."""

DEEPEST = 8
"""Tokens after which it is followed no further."""

FLOOR = 1e-4
"""Added to both masses before their log-odds are taken, so that a zero has some."""

MOST_UNSEEN = 0.05
"""Mean mass that may be left unseen without a warning."""

_N_TOGETHER = 64

Progress = Callable[[int, int], None]
"""Told how many questions of how many are measured."""


class Masses(NamedTuple):
    """Probability of the beginnings of a model's answers to one prompt."""

    right: float
    intruding: float
    other: float
    """All else: what is not looked at included."""
    unseen: float
    """What was not looked at."""


class Inferred(NamedTuple):
    """What one prompt tells of a model's inference."""

    masses: Masses
    rest: float | None
    """Natural-log likelihood, per token, of the rest of the right answer after its opening."""

    @property
    def log_odds(self) -> float:
        """Natural-log odds of the other task against the right one."""
        return math.log((self.masses.intruding + FLOOR) / (self.masses.right + FLOOR))


def masses(model: TellsNextTokens, openings: Sequence[Openings]) -> list[Masses]:
    """Return the masses of the openings after each question's prompt.

    An opening that does not tell yet is followed by its next tokens, whose probabilities are
    multiplied with its own, as long as it has a mass of :data:`FOLLOWED`. Where no next token is
    told at all, as whatever tells them dies of the prompt, the masses are not a number.
    """
    silent: set[int] = set()
    sums: list[dict[str, float]] = [defaultdict(float) for _ in openings]
    held: list[tuple[int, tuple[int, ...], float]] = [(i, (), 1.0) for i in range(len(openings))]
    while held:
        told = model.next_tokens(
            [openings[index].question.sent for index, _, _ in held],
            [beginning for _, beginning, _ in held],
            n=N_TOKENS,
        )
        following = []
        for (index, _, mass), tokens in zip(held, told, strict=True):
            left = mass
            if not tokens:
                silent.add(index)
            for token in tokens:
                p = mass * math.exp(token.log_probability)
                if p < LEAST:
                    break
                side = openings[index].side(token.text, ended=token.ends)
                if side is not None:
                    sums[index][side] += p
                elif p >= FOLLOWED and len(token.tokens) < DEEPEST:
                    following.append((index, token.tokens, p))
                else:
                    continue
                left -= p
            sums[index]["unseen"] += max(left, 0.0)
        held = following
    return [
        Masses(*[math.nan] * 4)
        if index in silent
        else Masses(s["right"], s["intruding"], s["other"] + s["unseen"], s["unseen"])
        for index, s in enumerate(sums)
    ]


def rests(model: LanguageModel, questions: Sequence[Question]) -> list[float | None]:
    """Return the log-likelihood per token of the rest of each right answer, its opening forced."""
    pairs = [forced(question) for question in questions]
    known = [row for row, pair in enumerate(pairs) if pair is not None]
    texts = [pair for pair in pairs if pair is not None]
    found: list[float | None] = [None] * len(questions)
    counts = model.count_tokens([whole[len(opening) :] for opening, whole in texts])
    if not known or counts is None:
        return found
    scores = model.score([questions[row].sent for row in known], texts)
    for row, (opening, whole), n in zip(known, scores, counts, strict=True):
        if n and math.isfinite(whole):
            found[row] = (whole - opening) / n
    return found


def check_measurable(model: LanguageModel, suite: Suite) -> None:
    """Raise unless inference can be measured in a model.

    A model that runs here is asked nothing, an endpoint for the next tokens of one prompt.

    Raises:
        UserError: The model does not say which tokens may come next.
    """
    _telling(model)
    if isinstance(model, TellsIfAsked):
        model.check_tells(suite.examples[0].prompt)


def _telling(model: LanguageModel) -> TellsNextTokens:
    if not isinstance(model, TellsNextTokens):
        raise UserError(
            f"Inference cannot be measured in '{model.spec}': it does not say which tokens may "
            "come next and how likely each is.",
            hint="Give models that run here (hf:, vllm:, rosetta:), or an endpoint that honours "
            "logprobs. Without --inference, answers are judged as before.",
        )
    return model


def measure(
    model: LanguageModel,
    suite: Suite,
    vias: Sequence[Via],
    *,
    settings: Settings | None = None,
    kept: TextCache | None = None,
    progress: Progress | None = None,
) -> dict[tuple[str, str], Inferred]:
    """Return what every question tells that has answers on both sides, by via and source.

    Questions that whatever tells the next tokens dies of are left out.

    Args:
        model: Asked for its next tokens and for likelihoods.
        suite: The examples.
        vias: How to ask.
        settings: By default those of the suite.
        kept: Where what was measured is kept, and looked up before a model is asked.
        progress: Called after every batch.

    Raises:
        UserError: The model does not say which tokens may come next.
    """
    telling = _telling(model)
    questions = list(questions_for(model.fingerprint, suite, vias, settings or Settings.of(suite)))
    prepare(questions)
    opened = [each for each in map(Openings.of, questions) if each is not None]
    keys = [_key(each) for each in opened]
    kept = kept or TextCache(None)
    found = {key: _read(text) for key, text in kept.get(keys).items()}
    missing = [(key, each) for key, each in zip(keys, opened, strict=True) if key not in found]
    for start in range(0, len(missing), _N_TOGETHER):
        batch = missing[start : start + _N_TOGETHER]
        asked = [each for _, each in batch]
        pairs = zip(
            masses(telling, asked), rests(model, [each.question for each in asked]), strict=True
        )
        new = {
            key: Inferred(told, rest)
            for (key, _), (told, rest) in zip(batch, pairs, strict=True)
            if not math.isnan(told.right)
        }
        kept.put({key: json.dumps(value) for key, value in new.items()})
        found |= new
        if progress is not None:
            progress(len(found), len(opened))
    return {
        (each.question.via.name, each.question.key.source_id): found[key]
        for key, each in zip(keys, opened, strict=True)
        if key in found
    }


def _key(opened: Openings) -> bytes:
    key = [VERSION, *opened.question.key, opened.question.example.scoring.to_json()]
    return bytes.fromhex(digest_json([*key, opened.right, opened.intruding]))


def _read(text: str) -> Inferred:
    values, rest = json.loads(text)
    return Inferred(Masses(*values), rest)


def compare(
    base: Mapping[tuple[str, str], Inferred],
    tuned: Mapping[tuple[str, str], Inferred],
    *,
    vias: Iterable[str],
    sources: Iterable[str],
    seed: int = 0,
    n_resamples: int = 10_000,
) -> list[InferenceResult]:
    """Compare two models under each via, on those of the sources that both have.

    Intervals are percentiles of a bootstrap over source examples, the same resamples for both
    models. Those of masses and ĝ have :data:`~palimpsest.stats.N_PSEUDO` pseudo-clusters: the few
    prompts on which a model infers otherwise than on the rest decide ĝ, and a small sample often
    has none of them. Those of shift and drift, which are not bounded, are widened by
    :func:`~palimpsest.stats.expanded_confidence`. A via without such sources is left out.
    """
    wanted = list(sources)
    found = []
    for via in vias:
        keys = [(via, s) for s in wanted if (via, s) in base and (via, s) in tuned]
        if keys:
            pairs = [(base[key], tuned[key]) for key in keys]
            rng = np.random.default_rng([seed, len(via), *via.encode()])
            found.append(_compared(via, pairs, rng, n_resamples))
    return found


def _compared(
    via: str,
    pairs: Sequence[tuple[Inferred, Inferred]],
    rng: np.random.Generator,
    n_resamples: int,
) -> InferenceResult:
    shifts = np.array([t.log_odds - b.log_odds for b, t in pairs])
    drifts = np.array(
        [t.rest - b.rest for b, t in pairs if b.rest is not None and t.rest is not None]
    )
    told = np.array([[*b.masses, *t.masses] for b, t in pairs], dtype=np.float64)
    columns = np.clip(told, 0.0, 1.0)  # sums of probabilities, rounded
    means = bootstrap_means(
        columns, np.arange(len(columns)), rng=rng, n_resamples=n_resamples, n_pseudo=N_PSEUDO
    )
    return InferenceResult(
        via=via,
        base=_arm(columns[:, :4], means[:, :4]),
        tuned=_arm(columns[:, 4:], means[:, 4:]),
        shift=float(shifts.mean()),
        shift_ci95=_expanded_interval(shifts, rng, n_resamples),
        n_drift=len(drifts),
        drift=float(drifts.mean()) if len(drifts) else None,
        drift_ci95=_expanded_interval(drifts, rng, n_resamples) if len(drifts) else None,
    )


def _expanded_interval(values: Array, rng: np.random.Generator, n_resamples: int) -> Interval:
    n = len(values)
    means = bootstrap_means(values[:, None], np.arange(n), rng=rng, n_resamples=n_resamples)
    return percentile_interval(means[:, 0], confidence=expanded_confidence(n))


def _arm(columns: Array, means: Array) -> InferenceArm:
    right, intruding, other, unseen = columns.mean(axis=0).tolist()
    both = right + intruding
    shares = means[:, 1] / np.maximum(means[:, 0] + means[:, 1], np.finfo(float).tiny)
    return InferenceArm(
        n=len(columns),
        right=right,
        right_ci95=percentile_interval(means[:, 0]),
        intruding=intruding,
        intruding_ci95=percentile_interval(means[:, 1]),
        other=other,
        other_ci95=percentile_interval(means[:, 2]),
        unseen=unseen,
        g=intruding / both if both else None,
        g_ci95=percentile_interval(shares) if both else None,
    )


def _of_unseen(found: Sequence[InferenceResult]) -> Iterator[str]:
    arms = ((each.via, role, getattr(each, role)) for each in found for role in ("base", "tuned"))
    via, role, most = max(arms, key=lambda each: each[2].unseen, default=("", "", None))
    if most is not None and most.unseen > MOST_UNSEEN:
        yield (
            f"Inference: up to {most.unseen:.0%} of the probability ({role} model, {via}) lies on "
            "tokens that were not told or not looked at; the masses are lower bounds there."
        )


class InferenceLog:
    """The inference of both models of a run, kept in its folder so that the run can go on.

    Args:
        folder: Of the run; without one, nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        path = None if folder is None else folder / "inference.sqlite"
        self._kept = TextCache(path, "measurements of inference")
        self._found: dict[str, dict[tuple[str, str], Inferred]] = {}
        self._vias: list[str] = []

    def measure(
        self,
        role: str,
        model: LanguageModel,
        suite: Suite,
        vias: Sequence[Via],
        settings: Settings,
        progress: Progress | None = None,
    ) -> None:
        """Measure one model under every via, as far as that was not done before.

        Raises:
            UserError: The model does not say which tokens may come next.
        """
        self._vias = [via.name for via in vias]
        self._found[role] = measure(
            model, suite, vias, settings=settings, kept=self._kept, progress=progress
        )

    def added_to(
        self, analysis: Analysis, suite: Suite, *, seed: int, n_resamples: int
    ) -> Analysis:
        """Return an analysis with what was measured, overall and in each cell."""
        self._kept.close()
        cells: dict[str, list[str]] = defaultdict(list)
        for example in suite.in_language(suite.source_language):
            cells[example.cell].append(example.source_id)
        among = partial(
            compare, self._found["base"], self._found["tuned"],
            vias=self._vias, seed=seed, n_resamples=n_resamples,
        )  # fmt: skip
        overall = among(sources=[source for each in cells.values() for source in each])
        notes = [] if overall else ["No example has answers on both sides: no inference measured."]
        notes += _of_unseen(overall)
        return analysis._replace(
            inference=overall,
            cells=[
                cell.model_copy(update={"inference": among(sources=cells[cell.name])})
                for cell in analysis.cells
            ],
            warnings=[*analysis.warnings, *self._kept.notes(), *notes],
        )
