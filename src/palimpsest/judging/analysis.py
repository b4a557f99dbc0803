"""Analysis of paired answers: forgetting, recovery and verdict, overall and for each cell."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from palimpsest.errors import UserError
from palimpsest.judging.explanations import described
from palimpsest.judging.looking import look
from palimpsest.judging.pairing import PLAIN, ROLES, AnswerTable, PairedAnswers
from palimpsest.judging.verdicts import judge
from palimpsest.records import (
    THRESHOLDS,
    AnswerRow,
    Arm,
    Best,
    Cell,
    ConjugationResult,
    Guessing,
    InferenceResult,
    Looked,
    Noise,
    Plain,
    UntilSure,
    Verdict,
    columns_of,
    points,
)
from palimpsest.stats import (
    Arms,
    adjust_for_guessing,
    adjusted_forgetting_interval,
    choose_best,
    estimate_forgetting,
    estimate_recovery,
    holm,
    in_first_half,
    is_binary,
    mean_interval,
    named_stream,
    wilson_interval,
)

Array = npt.NDArray[np.float64]


class ViaFacts(Protocol):
    """What the analysis must know of a way of asking."""

    @property
    def name(self) -> str:
        """As in the answer rows."""

    @property
    def exact(self) -> bool:
        """Whether every prompt comes back unchanged."""

    @property
    def keeps(self) -> str:
        """What comes back, in words."""

    @property
    def native(self) -> bool | None:
        """Whether it is another language of the examples; ``None`` where nobody said it."""


class Analysis(NamedTuple):
    """The part of ``results.json`` that follows from the answers alone."""

    plain: Plain
    conjugations: list[ConjugationResult]
    cells: list[Cell]
    best: Best | None
    verdict: Verdict
    verdict_reason: str
    warnings: list[str]
    inference: Sequence[InferenceResult] = ()
    """Where it was measured: nothing above goes by it."""
    until_sure: UntilSure | None = None
    """How it was asked in rounds, if it was."""


def analyse(
    rows: Iterable[AnswerRow],
    *,
    vias: Sequence[ViaFacts],
    cells: Sequence[str] = (),
    seed: int = 0,
    n_resamples: int = 10_000,
    margin: float = THRESHOLDS.kept_margin,
    chance: float | Mapping[str, float] | None = None,
    min_fidelity: float = 0.0,
    again: Sequence[Sequence[AnswerRow]] = (),
) -> Analysis:
    """Compare the base and the tuned model on the examples that both have answered.

    Every comparison is paired by source example. The order of the rows does not matter, nor do the
    other conjugations in the run, except for the adjusted p-values and for which one is best.

    Args:
        rows: Answers of both roles, plain (``identity``) and under each via.
        vias: The conjugations to report, in this order; ``identity`` and repetitions are skipped.
        cells: The order in which to report cells; those not named follow by name.
        seed: Seed of the bootstrap; each conjugation has a stream of its own.
        n_resamples: Bootstrap resamples.
        margin: The largest fall of accuracy that counts as kept, a fraction.
        chance: The accuracy of guessing, of all examples alike or by source; those not named
            cannot be guessed. An ability is what the base model has beyond it.
        min_fidelity: Prompts that come back with a lower chrF, from 0 to 1, are left out under
            that via, of both models alike.
        again: The base model's plain answers of each further time that it was asked.

    Raises:
        UserError: No example was answered plainly by both models.
        ValueError: A model answered an example twice under one conjugation.
    """
    answers = PairedAnswers(rows, min_fidelity=min_fidelity)
    sources = answers.paired(PLAIN)
    if not sources:
        raise UserError(
            "No example was answered plainly by both models, so there is nothing to compare.",
            hint="Check that the suite is not empty and that both evaluations have run.",
        )
    asked = {via.name: via for via in vias if via.name != PLAIN}
    guessed = dict.fromkeys(sources, chance) if isinstance(chance, float | int) else chance or {}
    repeated = [_scores(each) for each in again]
    study = Study(answers, list(asked.values()), seed, n_resamples, margin, guessed, repeated)
    overall = study.of(sources)
    groups = answers.by_cell(sources, cells)
    found = [overall] if len(groups) == 1 else [study.of(group) for group in groups.values()]
    adjusted = holm([one.plain.p_value for one in found])
    by_cell = [
        Cell(name=name, p_holm=p, **one._asdict())
        for name, p, one in zip(groups, adjusted, found, strict=True)
    ]
    warnings = [
        *_missing(answers, sources, study.vias),
        *disagreement(by_cell),
        *seen(overall, by_cell),
    ]
    return Analysis(cells=by_cell, warnings=warnings, **overall._asdict())


class Findings(NamedTuple):
    """The analysis of one set of examples."""

    plain: Plain
    conjugations: list[ConjugationResult]
    best: Best | None
    verdict: Verdict
    verdict_reason: str


class Study(NamedTuple):
    """The answers with the settings of the analysis."""

    answers: AnswerTable
    vias: Sequence[ViaFacts]
    """Without the plain one."""
    seed: int = 0
    n_resamples: int = 10_000
    margin: float = THRESHOLDS.kept_margin
    chances: Mapping[str, float] = MappingProxyType({})
    """Of guessing right, by source; nothing for one that cannot be guessed."""
    again: Sequence[Mapping[str, float]] = ()
    """Scores of the base model by source, each further time that it was asked plainly."""

    def of(self, sources: Sequence[str]) -> Findings:
        """Analyse some of the source examples; all have plain answers of both models."""
        plain = self.plain(sources)
        pairs = {via.name: self.answers.shared(via.name, sources) for via in self.vias}
        found = [
            self.conjugation(via, pairs[via.name]).model_copy(
                update={"n_excluded": self.answers.n_excluded(via.name, sources)}
            )
            for via in self.vias
            if pairs[via.name]
        ]
        adjusted = holm([one.p_value for one in found])
        found = [
            one.model_copy(update={"p_holm": p}) for one, p in zip(found, adjusted, strict=True)
        ]
        best = self._best(pairs)
        chance = None if plain.adjusted is None else plain.adjusted.chance
        judgement = judge(plain, found, best, margin=self.margin, chance=chance)
        if judgement.verdict in ("suppressed", "lost"):
            plain = plain.model_copy(update={"looked": self.looked(PLAIN, sources)})
        if judgement.verdict == "lost":
            found = [
                one.model_copy(update={"looked": self.looked(one.name, pairs[one.name])})
                for one in found
            ]
        judgement = judge(plain, found, best, margin=self.margin, chance=chance)
        return Findings(plain, found, best, judgement.verdict, judgement.reason)

    def looked(self, via: str, sources: Sequence[str]) -> Looked | None:
        """Return what the tuned model's wrong answers under a way of asking look like."""
        prompts = _PlainPrompts(self.answers, sources)
        return look(self.answers.rows("tuned", via, sources), prompts, len(sources))

    def plain(self, sources: Sequence[str]) -> Plain:
        """Compare both models, asked plainly."""
        base, tuned = (self.answers.scores(role, PLAIN, sources) for role in ROLES)
        found = estimate_forgetting(
            base,
            tuned,
            _clusters(sources),
            rng=named_stream(self.seed, "plain"),
            n_resamples=self.n_resamples,
        )
        return Plain(
            base=self._arm("base", PLAIN, sources),
            tuned=self._arm("tuned", PLAIN, sources),
            forgetting=found.value,
            forgetting_ci95=found.interval,
            forgetting_newcombe95=found.newcombe,
            p_value=found.p_value,
            n_lost=found.flips.lost,
            n_gained=found.flips.gained,
            adjusted=self._adjusted(base, tuned, sources),
            noise=self._noise(base, sources),
        )

    def _noise(self, base: Array, sources: Sequence[str]) -> Noise | None:
        """Return what of the base model's answers changes by itself, if it was asked again."""
        there = [at for at, s in enumerate(sources) if all(s in each for each in self.again)]
        if not self.again or not there:
            return None
        first = base[there]
        later = np.array([[each[sources[at]] for at in there] for each in self.again])
        changes = np.abs(later - first).mean(axis=0)
        interval = mean_interval(
            changes,
            _clusters([sources[at] for at in there]),
            rng=named_stream(self.seed, "noise"),
            n_resamples=self.n_resamples,
        )
        return Noise(
            n_times=len(self.again),
            n=len(there),
            n_lost=int(np.sum(later < first)),
            n_gained=int(np.sum(later > first)),
            floor=float(changes.mean()),
            ci95=interval,
        )

    def _adjusted(self, base: Array, tuned: Array, sources: Sequence[str]) -> Guessing | None:
        """Take guesses off, where the examples can be guessed."""
        if not self.chances:
            return None
        chances = np.array([self.chances.get(source, 0.0) for source in sources])
        if not chances.any():
            return None
        found = adjust_for_guessing(base, tuned, chances)
        interval = adjusted_forgetting_interval(
            base,
            tuned,
            chances,
            _clusters(sources),
            rng=named_stream(self.seed, "guessing"),
            n_resamples=self.n_resamples,
        )
        return Guessing(
            chance=float(np.mean(chances)),
            base=found.base,
            tuned=found.tuned,
            forgetting=found.forgetting,
            forgetting_ci95=interval,
            lost=found.lost,
            gained=found.gained,
        )

    def conjugation(self, via: ViaFacts, sources: Sequence[str]) -> ConjugationResult:
        """Compare them under a conjugation; both answered all of these sources under it."""
        arms = self._arms(via.name, sources)
        found = estimate_recovery(
            arms,
            _clusters(sources),
            rng=named_stream(self.seed, f"conjugation {via.name}"),
            n_resamples=self.n_resamples,
        )
        back = _returned(arms)
        return ConjugationResult(
            name=via.name,
            exact=via.exact,
            keeps=via.keeps,
            native=via.native,
            base=self._arm("base", via.name, sources),
            tuned=self._arm("tuned", via.name, sources),
            recovery=found.recovery,
            recovery_ci95=found.recovery_interval,
            did=found.did,
            did_ci95=found.did_interval,
            p_value=found.p_value,
            p_holm=found.p_value,
            n_lost=found.flips.lost,
            n_gained=found.flips.gained,
            n_fell=None if back is None else back[0],
            n_returned=None if back is None else back[1],
            round_trip=self.answers.mean_of("round_trip", via.name, sources),
            fidelity=self.answers.mean_of("fidelity", via.name, sources),
            survival=self.answers.mean_of("survival", via.name, sources),
        )

    def _best(self, pairs: Mapping[str, Sequence[str]]) -> Best | None:
        """Choose a conjugation on the first half of the sources, measure it on the second."""
        all_first = {s for s in set().union(*pairs.values()) if in_first_half(s)}
        first = {name: [s for s in found if s in all_first] for name, found in pairs.items()}
        second = {name: [s for s in found if s not in all_first] for name, found in pairs.items()}
        candidates = [name for name in pairs if first[name] and second[name]]
        if not candidates:
            return None
        scores = {name: _net_gain(self._arms(name, first[name])) for name in candidates}
        name = choose_best(scores)
        sources = second[name]
        found = estimate_recovery(
            self._arms(name, sources),
            _clusters(sources),
            rng=named_stream(self.seed, f"best {name}"),
            n_resamples=self.n_resamples,
        )
        return Best(
            name=name,
            n_selection=len(first[name]),
            n_report=len(sources),
            tuned_plain=self._arm("tuned", PLAIN, sources),
            tuned=self._arm("tuned", name, sources),
            base_plain=self._arm("base", PLAIN, sources),
            base=self._arm("base", name, sources),
            recovery=found.recovery,
            recovery_ci95=found.recovery_interval,
            did=found.did,
            did_ci95=found.did_interval,
            p_value=found.p_value,
        )

    def _arms(self, via: str, sources: Sequence[str]) -> Arms:
        return Arms(
            base=self.answers.scores("base", PLAIN, sources),
            tuned=self.answers.scores("tuned", PLAIN, sources),
            base_under=self.answers.scores("base", via, sources),
            tuned_under=self.answers.scores("tuned", via, sources),
        )

    def _arm(self, role: str, via: str, sources: Sequence[str]) -> Arm:
        scores = self.answers.scores(role, via, sources)
        outcomes = self.answers.outcomes(role, via, sources)
        n = len(sources)
        accuracy = float(scores.sum()) / n
        # Of a graded answer, what is wrong of it counts.
        intruded = float((1 - scores) @ np.array([each == "intruded" for each in outcomes])) / n
        if is_binary(scores):
            interval = wilson_interval(int(scores.sum()), n)
            broken = outcomes.count("broken") / n
        else:
            rng = named_stream(self.seed, f"{role} {via}")
            interval = mean_interval(
                scores, _clusters(sources), rng=rng, n_resamples=self.n_resamples
            )
            broken = max(0.0, 1 - accuracy - intruded)
        return Arm(
            n=n,
            accuracy=accuracy,
            ci95=interval,
            intruded=intruded,
            attempted=min(intruded, self.answers.n_attempted(role, via, sources) / n),
            broken=broken,
            flags=self.answers.flags(role, via, sources),
        )


class _PlainPrompts(Mapping[str, str]):
    """The plain prompts that the tuned model got, by source: read when they are wanted."""

    def __init__(self, answers: AnswerTable, sources: Sequence[str]) -> None:
        self._answers = answers
        self._sources = sources

    def __getitem__(self, source: str) -> str:
        [row] = self._answers.rows("tuned", PLAIN, [source])
        return row.prompt

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def _scores(rows: Iterable[AnswerRow]) -> dict[str, float]:
    """Return the scores of answers by their source."""
    columns = columns_of(rows, "source_id", "outcome", "score")
    return {source: points(outcome, score) for source, outcome, score in columns}


def _clusters(sources: Sequence[str]) -> npt.NDArray[Any]:
    """Return numbers that sort as the names do, which takes longer to sort."""
    if all(first < second for first, second in itertools.pairwise(sources)):
        return np.arange(len(sources))
    return np.unique(np.asarray(sources), return_inverse=True)[1]


def _returned(arms: Arms) -> tuple[int, int] | None:
    """Return how many examples the tuned model lost, and how many of them come back."""
    if not is_binary(*arms):
        return None
    lost = (arms.base == 1) & (arms.tuned == 0)
    return int(lost.sum()), int((lost & (arms.tuned_under == 1)).sum())


def _net_gain(arms: Arms) -> float:
    """Return what a conjugation gives the tuned model, less what it gives the base model as well.

    A conjugation that costs the base model something gets no credit for that: what counts is the
    accuracy that the user gets back.
    """
    base, tuned, base_under, tuned_under = (float(np.mean(arm)) for arm in arms)
    return (tuned_under - tuned) - max(base_under - base, 0.0)


def _missing(answers: PairedAnswers, sources: Sequence[str], vias: Sequence[ViaFacts]) -> list[str]:
    """Say how many examples each comparison had to leave out."""
    warnings = []
    n_seen = len(answers.seen())
    if n_seen > len(sources):
        warnings.append(
            f"{n_seen - len(sources)} of {n_seen} examples are left out everywhere: "
            "not both models answered them plainly."
        )
    for via in vias:
        n_excluded = answers.n_excluded(via.name, sources)
        if n_excluded:
            warnings.append(
                f"{n_excluded} of {len(sources)} examples are left out under '{via.name}', of "
                "both models alike: their prompts come back with less than the least fidelity."
            )
        n_absent = len(sources) - len(answers.shared(via.name, sources)) - n_excluded
        if n_absent == len(sources):
            warnings.append(f"'{via.name}' is left out: no example has answers of both models.")
        elif n_absent:
            warnings.append(
                f"{n_absent} of {len(sources)} examples are left out under '{via.name}': "
                "not both models answered them."
            )
    return warnings


def seen(overall: Findings, cells: Sequence[Cell]) -> list[str]:
    """Say what the wrong answers show, and where nobody could look at them."""
    several = cells if len(cells) > 1 else []
    looks = [("asked plainly", overall.plain.looked, overall.plain)]
    looks += [(f"under '{one.name}'", one.looked, overall.plain) for one in overall.conjugations]
    looks += [(f"asked plainly in {one.name}", one.plain.looked, one.plain) for one in several]
    return [
        f"The tuned model {asked}: {what}"
        for asked, looked, plain in looks
        if looked is not None and (what := _sight(looked, plain))
    ]


def _sight(looked: Looked, plain: Plain) -> str:
    if looked.explained >= THRESHOLDS.explained_said_from * plain.forgetting:
        return f"{described(looked)}, which is no sign of a loss."
    unseen = looked.n_wrong if not looked.n_looked else 0
    if unseen >= THRESHOLDS.explained_at_most * plain.forgetting * plain.tuned.n:
        return (
            f"{unseen} wrong answers were ended before anybody could look at them, so right ones "
            "that come late would not be seen. Ask for them with --whole all."
        )
    return ""


def disagreement(cells: Sequence[Cell]) -> list[str]:
    """Say so where the overall verdict averages over cells that went different ways."""
    groups: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.verdict != "inconclusive":
            groups[cell.verdict].append(cell.name)
    if len(groups) < 2:
        return []
    listed = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in groups.items())
    return [f"The cells differ ({listed}): the overall verdict is about their average."]
