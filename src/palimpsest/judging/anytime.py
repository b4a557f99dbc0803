"""Analysis of a run in rounds: the figures with confidence sequences, and verdicts by evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from palimpsest.judging.analysis import Analysis, Findings, Study, ViaFacts, disagreement, seen
from palimpsest.judging.pairing import PLAIN, PairedAnswers
from palimpsest.judging.rounds import FIRST_ROUND, PairedScores, Rounds
from palimpsest.judging.sequential import Decision, Sequences, ViaSequences, sequences
from palimpsest.judging.verdicts import (
    Judgement,
    doubt,
    kept_reason,
    lost_reason,
    noise_floor,
    unless,
)
from palimpsest.judging.wording import between, change_of, is_graded, manages, percent, quoted
from palimpsest.records import (
    THRESHOLDS,
    AnswerRow,
    Arm,
    Cell,
    CellRounds,
    ConjugationResult,
    Plain,
    UntilSure,
    score_of,
)
from palimpsest.stats import holm

_OPEN = {
    "ability": "whether the base model can do it at all",
    "fall": f"whether it fell by less or more than {100 * THRESHOLDS.kept_margin:g} points",
    "recovery": "how much of it comes back",
}


class _Sample(NamedTuple):
    """The examples that a verdict stands on."""

    plain: Sequence[str]
    under: Mapping[str, Sequence[str]]
    decision: Decision


def analyse_rounds(
    found: Rounds,
    *,
    vias: Sequence[ViaFacts],
    seed: int = 0,
    n_resamples: int = 10_000,
    min_fidelity: float = 0.0,
    chance: float | None = None,
    again: Sequence[Sequence[AnswerRow]] = (),
) -> Analysis:
    """Return what a run in rounds says; arguments as for :func:`~palimpsest.judging.analyse`.

    All cells together are judged on the examples that were asked evenly of each.
    """
    answers = PairedAnswers(found.rows, min_fidelity=min_fidelity)
    judged = PairedScores(min_fidelity)
    judged.add(found.rows)
    asked = [via for via in vias if via.name != PLAIN]
    sources = answers.paired(PLAIN)
    study = Study(
        answers,
        asked,
        seed,
        n_resamples,
        chances={} if chance is None else dict.fromkeys(sources, chance),
        again=[{row.key.source_id: score_of(row) for row in each} for each in again],
    )
    judge = _Judge(study, judged)
    samples = {
        cell.name: _Sample(
            cell.order[: cell.n_plain],
            {via: order[: cell.n_under[via]] for via, order in cell.versions.items()},
            cell.decision,
        )
        for cell in found.cells
    }
    each = {name: judge.of(sample) for name, sample in samples.items()}
    even = {via: found.even[via] for via in found.even if via != PLAIN}
    overall = judge.of(_Sample(found.even[PLAIN], even, found.overall))
    if len(each) == 1:
        [overall] = each.values()
    adjusted = holm([one.plain.p_value for one in each.values()])
    cells = [
        Cell(name=name, p_holm=p, **one._asdict())
        for (name, one), p in zip(each.items(), adjusted, strict=True)
    ]
    warnings = [*disagreement(cells), *seen(overall, cells)]
    told = until_sure(found)
    return Analysis(cells=cells, warnings=warnings, until_sure=told, **overall._asdict())


class _Judge:
    def __init__(self, study: Study, judged: PairedScores) -> None:
        self._study = study
        self._judged = judged

    def of(self, sample: _Sample) -> Findings:
        """Return figures and verdict on the examples of a cell, or of all."""
        plain_sources = self._judged.counted(PLAIN, sample.plain)
        under = {
            via: counted
            for via, sources in sample.under.items()
            if (counted := self._judged.counted(via, sources))
        }
        now = sequences(self._judged.scores(plain_sources, under), n_vias=len(self._study.vias))
        plain = _at_any_time(self._study.plain(plain_sources), now)
        fell = now.fall[0] > 0
        results = [
            _under_at_any_time(
                self._study.conjugation(via, under[via.name]), now.under[via.name], fell
            )
            for via in self._study.vias
            if via.name in under
        ]
        adjusted = holm([one.p_value for one in results])
        results = [
            one.model_copy(update={"p_holm": p}) for one, p in zip(results, adjusted, strict=True)
        ]
        if sample.decision.verdict in ("suppressed", "lost"):
            looked = self._study.looked(PLAIN, plain_sources)
            plain = plain.model_copy(update={"looked": looked})
        if sample.decision.verdict == "lost":
            results = [
                one.model_copy(update={"looked": self._study.looked(one.name, under[one.name])})
                for one in results
            ]
        judgement = judge_decision(sample.decision, plain, results)
        return Findings(plain, results, None, judgement.verdict, judgement.reason)


def _at_any_time(plain: Plain, now: Sequences) -> Plain:
    return plain.model_copy(
        update={
            "base": _arm(plain.base, now.base),
            "tuned": _arm(plain.tuned, now.tuned),
            "forgetting_ci95": now.fall,
            "forgetting_newcombe95": None if is_graded(plain) else now.fall,
            "p_value": now.p_value,
            "at_any_time": True,
        }
    )


def _arm(arm: Arm, ends: tuple[float, float]) -> Arm:
    return arm.model_copy(update={"ci95": ends})


def _under_at_any_time(
    found: ConjugationResult, now: ViaSequences, fell: bool
) -> ConjugationResult:
    low, high = now.recovery
    known = fell and low is not None and high is not None
    return found.model_copy(
        update={
            "base": _arm(found.base, now.base),
            "tuned": _arm(found.tuned, now.tuned),
            "recovery": found.recovery if known else None,
            "recovery_ci95": (low, high) if known else None,
            "did_ci95": now.did,
            "p_value": now.p_value,
        }
    )


def judge_decision(
    decision: Decision, plain: Plain, conjugations: Sequence[ConjugationResult]
) -> Judgement:
    """Return the verdict with its reason.

    Args:
        decision: What the evidence says.
        plain: Base against tuned, with confidence sequences.
        conjugations: Likewise.
    """
    by_name = {one.name: one for one in conjugations}
    if decision.verdict in ("suppressed", "lost") and plain.forgetting_hull95[0] <= noise_floor(
        plain
    ):
        return Judgement(
            "inconclusive",
            f"{change_of(plain)}, but {percent(noise_floor(plain))} of the base model's own "
            "answers change when it is asked again: a fall within that noise is none.",
        )
    if decision.verdict == "kept":
        return Judgement("kept", kept_reason(plain, THRESHOLDS.kept_margin))
    if decision.verdict == "suppressed" and decision.via in by_name:
        return unless(doubt(plain), "suppressed", _back(plain, by_name[decision.via]))
    able = [by_name[name] for name in decision.able if name in by_name]
    if decision.verdict == "lost":
        return unless(doubt(plain, able), "lost", lost_reason(plain, able))
    return Judgement("inconclusive", _undecided(decision, plain, conjugations, able))


def _back(plain: Plain, found: ConjugationResult) -> str:
    if found.recovery is None or found.recovery_ci95 is None:
        return f"{change_of(plain)}; under '{found.name}' more than half of it comes back."
    mostly = "" if found.recovery >= THRESHOLDS.mostly_below else "mostly "
    return (
        f"{change_of(plain)}; under '{found.name}' {percent(found.recovery)} of it comes back "
        f"({between(found.recovery_ci95)}, with all conjugations together), so it is {mostly}"
        "hidden, not gone."
    )


def _undecided(
    decision: Decision,
    plain: Plain,
    conjugations: Sequence[ConjugationResult],
    able: Sequence[ConjugationResult],
) -> str:
    """Return why nothing is said, of a cell that is decided so or whose prompts are used up."""
    if decision.why == "cannot":
        return (
            f"The base model itself {manages(plain, 'only ')} ({between(plain.base.ci95)}), so "
            "there is hardly an ability to forget."
        )
    change = change_of(plain)
    if decision.why == "no conjugation":
        return f"{change}; without a conjugation nothing shows whether it is hidden or lost."
    if decision.why == "none able":
        return (
            f"{change}; under {quoted(conjugations)} the base model does not keep the ability "
            "either, so nothing shows whether it is hidden or lost."
        )
    if decision.why == "other ability":
        return (
            f"{change}; under {quoted(able)} the tuned model still gives the other ability's "
            "answer, so its failure there shows no loss."
        )
    if decision.why == "between":
        return (
            f"{change}; more than {percent(THRESHOLDS.lost_below)} of it comes back and nowhere "
            f"more than {percent(THRESHOLDS.suppressed_above)}, which no further prompt would "
            "settle."
        )
    return f"{change}; the prompts are used up before it is sure {_OPEN[decision.why]}."


def until_sure(found: Rounds) -> UntilSure:
    """Return how the rounds went."""
    return UntilSure(
        alpha=THRESHOLDS.alpha,
        first_round=FIRST_ROUND,
        n_rounds=found.n_rounds,
        cells=[
            CellRounds(
                name=cell.name,
                n_rounds=cell.n_rounds,
                n_plain=cell.n_plain,
                n_under={via: cell.n_under[via] for via in cell.versions},
                n_available=len(cell.order),
                is_decided=cell.decision.verdict is not None,
                why=cell.decision.why,
            )
            for cell in found.cells
        ],
        n_answers=len(found.rows),
        n_all=2
        * sum(
            len(order) for cell in found.cells for order in (cell.order, *cell.versions.values())
        ),
    )
