"""Diagnosis of a pair: both models asked, their answers compared, the run folder written."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.agreement import (
    agreement_with_people,
    disagreements,
)
from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.anytime import analyse_rounds
from palimpsest.judging.conclude import Elsewhere, OpenRun, model_info, open_run, suite_info
from palimpsest.judging.evaluation import (
    EvaluationProgress,
)
from palimpsest.judging.floor import cells_at_floor, without_cells
from palimpsest.judging.inference import InferenceLog, check_measurable
from palimpsest.judging.lacking import Lacking, without_failed
from palimpsest.judging.pairing import PLAIN
from palimpsest.judging.rounds import ask_in_rounds, joined, read_order, write_order
from palimpsest.judging.samples import (
    Samples,
    averaged,
    evaluate_samples,
    without_incomplete,
)
from palimpsest.judging.subject import (
    DiagnosisPlan,
    configuration,
    known_beforehand,
    prepare_diagnosis,
)
from palimpsest.judging.via import Via
from palimpsest.judging.warnings import find_oddities
from palimpsest.judging.whole import Whole
from palimpsest.judging.workers import Workers
from palimpsest.lm.models import (
    Budget,
    Chargeable,
    LanguageModel,
    ScriptedModel,
)
from palimpsest.lm.suites import Suite
from palimpsest.records import (
    Agreement,
    AnswerRow,
    AnswerStore,
    FloorCell,
    ModelInfo,
    Results,
    StoredAnswers,
    columns_of,
    taken,
)

if TYPE_CHECKING:
    from palimpsest.report import Drawing


class DiagnosisProgress(Protocol):
    """Told how far a diagnosis has come."""

    def __call__(self, role: str, n_done: int, n_total: int, n_reused: int, /) -> None:
        """Show it; the role is ``base`` or ``tuned``."""


_NOTHING_TO_LOSE = (
    "In no cell can the base model do what is asked, so nothing was asked under conjugations."
)


def diagnose(
    base: str | LanguageModel,
    tuned: str | LanguageModel,
    *,
    suite: str | Suite | None = None,
    via: Sequence[str] | None = None,
    out: Path | str | None = None,
    limit: int | None = None,
    scorer: str | None = None,
    whole: Whole = "sample",
    samples: str | Samples | None = None,
    inference: bool = False,
    noise_floor: int = 0,
    until_sure: bool = False,
    min_fidelity: float = 0.0,
    budget: Budget | None = None,
    workers: Workers | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
    command: str = "palimpsest.diagnose(…)",
    progress: DiagnosisProgress | None = None,
    notify: Callable[[Sequence[str]], None] | None = None,
    extra_figures: Sequence[Drawing] = (),
    elsewhere: Elsewhere | None = None,
) -> Results:
    """Say which abilities a tuned model kept, suppressed or lost.

    Args:
        base: The model before tuning: a spec such as ``./base`` or ``hf:ID,dtype=bfloat16``.
        tuned: The model after tuning.
        suite: A suite, or its spec; by default ``abilities``, of the embedded pair ``rosetta``.
        via: Conjugations to try; by default every other language of the suite and
            :data:`ALWAYS_VIA`.
        out: The run folder. Answers in it are used again, and the report is written there; without
            one, nothing is kept.
        limit: At most so many source examples a cell.
        scorer: Scores all answers, in place of those that the examples name: a name in ``SCORERS``.
        whole: How many wrong answers are asked to their end though their score is settled: a
            sample of each cell under each way of asking, all, or none. Right ones end early.
        samples: How many answers of each prompt are drawn, and how:
            ``K,temperature=…[,top_p=…][,seed=…]``, for models that are used so. By default one,
            greedily.
        inference: Measure as well how much probability each model gives to the right task and to
            others at the beginning of its answers (:mod:`palimpsest.judging.inference`).
        noise_floor: Ask the base model so many times again, plainly, as another machine would: a
            fall within what changes by itself is called none.
        until_sure: Ask in rounds, until the verdict on every cell is sure or its examples are used
            up (:mod:`palimpsest.judging.rounds`). Both models are in memory together.
        min_fidelity: Leave out, of both models alike, prompts whose round trip through a
            conjugation has a lower chrF, from 0 to 1.
        budget: Stop before the requests to endpoints cost more; every answer is kept.
        workers: Who hold models that are computed here; by default this process does. The answers
            are the same.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        command: Recorded as the way to repeat the run.
        progress: Called after every answer.
        notify: Called once, before anything is asked, with those warnings that are known by then.
        extra_figures: Shown in the report after its own.
        elsewhere: What is known of the answers where other runs gave them, as shards: the models
            are then not looked at.

    Raises:
        BudgetExceededError: The next request would cost more than is left of the budget.
        UserError: A model, suite or conjugation that cannot be used, or a folder that cannot be
            written.

    Example:
        >>> pair = {"base": "rosetta:base", "tuned": "rosetta:tuned"}
        >>> results = diagnose(**pair, suite="rosetta", via=["fr"], limit=5)
        >>> results.plain.base.n
        20
    """
    started = time.monotonic()
    _check_fidelity(min_fidelity)
    how = _How(whole, inference, noise_floor, until_sure, min_fidelity, workers or Workers())
    plan = prepare_diagnosis(base, tuned, suite, via, limit, scorer, samples)
    how.check(plan.samples)
    _check_noise(noise_floor, plan.models["base"])
    _charge(plan.models, budget)
    if inference:
        for model in plan.models.values():
            check_measurable(model, plan.suite)
    method: dict[str, Any] = {"seed": seed, "n_resamples": n_resamples, "started": started}
    with open_run(out, command, **method, workers=workers, elsewhere=elsewhere) as run:
        run.record(**configuration(plan), **how.recorded)
        warnings = known_beforehand(plan) if elsewhere is None else list(elsewhere.warnings)
        if notify is not None:
            notify(warnings)
        found = _ask_and_analyse(plan, run, how, progress)
        return run.conclude(
            found.rows,
            found.analysis,
            models=_infos(plan.models, found.rows),
            suite=suite_info(plan.suite, n_source_examples=_n_source(found.suite)),
            warnings=[*warnings, *found.warnings],
            at_floor=found.at_floor,
            conjugations={via.name: via.conjugation.facts() for via in plan.vias},
            min_fidelity=min_fidelity,
            agreements=found.agreements,
            samples=None if plan.samples is None else plan.samples.recorded,
            cost_usd=None if budget is None else float(budget.spent_usd),
            extra_figures=extra_figures,
        )


class _How(NamedTuple):
    """How a pair is asked and judged; as the arguments of :func:`diagnose`."""

    whole: Whole
    inference: bool
    noise_floor: int
    until_sure: bool
    min_fidelity: float
    workers: Workers

    def check(self, samples: Samples | None) -> None:
        """Refuse what does not go together."""
        if self.noise_floor and samples is not None:
            raise UserError(
                "--noise-floor asks whether greedy answers change by themselves; samples do so by "
                "design, and their intervals say how much.",
                hint="Leave out --noise-floor, or --samples.",
            )
        if self.until_sure and self.inference:
            raise UserError(
                "--inference measures all prompts, and --until-sure asks no more than it must.",
                hint="Leave out one of them.",
            )

    @property
    def recorded(self) -> dict[str, object]:
        """What the run folder says of it."""
        return {
            "inference": self.inference,
            "min_fidelity": self.min_fidelity,
            "noise_floor": self.noise_floor,
            "until_sure": self.until_sure,
        }


class _Found(NamedTuple):
    """What was asked, and what it shows."""

    rows: Sequence[AnswerRow]
    analysis: Analysis
    suite: Suite
    """Without the cells at the floor."""
    at_floor: list[FloorCell]
    agreements: list[Agreement]
    warnings: list[str]


def _ask_and_analyse(
    plan: DiagnosisPlan, run: OpenRun, how: _How, progress: DiagnosisProgress | None
) -> _Found:
    if how.until_sure:
        return _ask_until_sure(plan, run, how, progress)
    inferred = InferenceLog(run.folder.path if run.is_kept else None) if how.inference else None
    answered = ask_models(
        plan,
        run.store,
        how.whole,
        inferred,
        how.workers,
        progress,
        noise_floor=how.noise_floor,
    )
    suite, rows = answered.suite, answered.rows
    agreements = agreement_with_people(suite)
    warnings = [*answered.notes, *find_oddities(rows, suite, plan.vias)]
    analysis = analyse(
        averaged(rows, plan.samples),
        vias=plan.vias[1:],
        cells=suite.cells,
        chance=suite.chance,
        seed=run.seed,
        n_resamples=run.n_resamples,
        min_fidelity=how.min_fidelity,
        again=answered.again,
    )
    if inferred is not None:
        analysis = inferred.added_to(analysis, suite, seed=run.seed, n_resamples=run.n_resamples)
    warnings += [*disagreements(agreements), *analysis.warnings]
    return _Found(rows, analysis, suite, answered.at_floor, agreements, warnings)


class _Turns:
    """Asks both models in turns; notes every answer, and whatever got none."""

    def __init__(
        self, plan: DiagnosisPlan, run: OpenRun, how: _How, progress: DiagnosisProgress | None
    ) -> None:
        self._plan = plan
        self._run = run
        self._whole = how.whole
        self._progress = progress
        self._told = _Told()
        self.models = {
            role: how.workers.hold(model, n_held=2) for role, model in plan.models.items()
        }
        self._parts: list[StoredAnswers] = []
        self.lacking = Lacking()

    def __call__(
        self, role: str, via: Via, suite: Suite, number: int, again: int = 0
    ) -> Sequence[AnswerRow]:
        """Ask as :data:`.rounds.Ask` has it."""
        name = f"{role}, again {again}" if again else f"{role}, round {number}"
        stored = evaluate_samples(
            self._plan.samples,
            self.models[role],
            suite,
            [via],
            store=self._run.store,
            role=role,
            settings=self._plan.settings,
            whole="none" if again else self._whole,
            again=again,
            progress=None if self._progress is None else self._told.of(name, self._progress),
        )
        if not again:
            self._parts.append(stored)
        together = averaged(stored, self._plan.samples)
        answered = {source for (source,) in columns_of(together, "source_id")}
        for example in via.examples(suite):
            if example.source_id not in answered:
                self.lacking.add(example.source_id, f"{role}, {via.name}")
        return together

    @property
    def rows(self) -> Sequence[AnswerRow]:
        """Every answer but those of other batches."""
        return joined(self._parts)


def _ask_until_sure(
    plan: DiagnosisPlan, run: OpenRun, how: _How, progress: DiagnosisProgress | None
) -> _Found:
    """Ask both models in turns, a round at a time."""
    ask = _Turns(plan, run, how, progress)
    with ExitStack() as stack:
        for model in ask.models.values():
            stack.enter_context(closing(model))
        found = ask_in_rounds(
            plan.suite,
            plan.vias,
            ask,
            recorded=read_order(run.folder),
            keep=partial(write_order, run.folder),
            min_fidelity=how.min_fidelity,
        )
        asked = {
            source for via, source in columns_of(found.rows, "via", "source_id") if via == PLAIN
        }
        suite = replace(
            plan.suite, examples=tuple(e for e in plan.suite.examples if e.source_id in asked)
        )
        times = range(1, how.noise_floor + 1)
        again = [ask("base", plan.vias[0], suite, 0, number) for number in times]
    analysis = analyse_rounds(
        found,
        vias=plan.vias[1:],
        seed=run.seed,
        n_resamples=run.n_resamples,
        min_fidelity=how.min_fidelity,
        chance=plan.suite.chance,
        again=again,
    )
    if plan.samples is not None and analysis.until_sure is not None:
        counts = {name: plan.samples.n * getattr(analysis.until_sure, name) for name in _COUNTS}
        analysis = analysis._replace(until_sure=analysis.until_sure.model_copy(update=counts))
    agreements = agreement_with_people(suite)
    warnings = [
        *ask.lacking.notes,
        *find_oddities(ask.rows, suite, plan.vias),
        *disagreements(agreements),
        *analysis.warnings,
    ]
    return _Found(ask.rows, analysis, suite, [], agreements, warnings)


_COUNTS = ("n_answers", "n_all")


def _check_fidelity(least: float) -> None:
    if not 0 <= least <= 1:
        raise UserError(
            f"The least fidelity is {least}; expected a fraction from 0 to 1.",
            hint="Write 0.6 for 60 %.",
        )


def _check_noise(n_times: int, base: LanguageModel) -> None:
    if n_times < 0:
        raise UserError(
            f"The base model cannot be asked again {n_times} times; expected 1 or more.",
            hint="Write --noise-floor 2, or leave it out.",
        )
    if n_times and isinstance(base, ScriptedModel):
        raise UserError(
            f"The base model '{base.spec}' answers by rule: asked again it says the same, so there "
            "is no noise to measure.",
            hint="Leave out --noise-floor, or name a model that computes its answers.",
        )


def _infos(models: Mapping[str, LanguageModel], rows: Sequence[AnswerRow]) -> dict[str, ModelInfo]:
    def of(role: str) -> Sequence[AnswerRow]:
        mine = (name == role for (name,) in columns_of(rows, "role"))
        return taken(rows, np.flatnonzero(np.fromiter(mine, bool, len(rows))))

    return {role: model_info(model, of(role)) for role, model in models.items()}


def _charge(models: Mapping[str, LanguageModel], budget: Budget | None) -> None:
    if budget is None:
        return
    paid = [model for model in models.values() if isinstance(model, Chargeable)]
    if not paid:
        raise UserError(
            "A budget was given, but neither model costs anything: both run here.",
            hint="Leave out --budget, or name an endpoint: openai:MODEL@URL",
        )
    for model in paid:
        model.charge_to(budget)


class _Told:
    """How far a model has come over several calls: what an earlier one asked is not used again."""

    def __init__(self) -> None:
        self._n_asked: dict[str, int] = defaultdict(int)

    def of(self, role: str, progress: DiagnosisProgress) -> EvaluationProgress:
        """Return what tells of a model's next call."""
        n_before = self._n_asked[role]

        def tell(n_done: int, n_total: int, n_reused: int) -> None:
            self._n_asked[role] = n_before + n_done - n_reused
            progress(role, n_done, n_total, max(n_reused - n_before, 0))

        return tell


class Answered(NamedTuple):
    """What both models said, and what was asked in the end."""

    rows: Sequence[AnswerRow]
    """In the store."""
    suite: Suite
    """Without the cells at the floor."""
    at_floor: list[FloorCell]
    notes: list[str]
    again: list[StoredAnswers]
    """The base model's plain answers of each further time."""


def ask_models(
    plan: DiagnosisPlan,
    store: AnswerStore,
    whole: Whole,
    inferred: InferenceLog | None,
    workers: Workers,
    progress: DiagnosisProgress | None,
    *,
    noise_floor: int = 0,
) -> Answered:
    """Ask one model after the other, so that only one need be in memory.

    Where the suite wants it, the base model is asked plainly first, and what it cannot do is asked
    of nothing else. That depends on its plain answers alone, so a resumed run decides alike.
    """

    def ask(
        role: str, suite: Suite, vias: Sequence[Via], again: int = 0, *, first: bool = False
    ) -> StoredAnswers:
        name = f"{role}, again {again}" if again else role
        return evaluate_samples(
            None if plan.samples is None else replace(plan.samples, n=1) if first else plan.samples,
            held[role],
            suite,
            vias,
            store=store,
            role=role,
            settings=plan.settings,
            whole="none" if again else whole,
            again=again,
            progress=None if progress is None else told.of(name, progress),
        )

    told = _Told()
    held = {role: workers.hold(model) for role, model in plan.models.items()}
    suite, vias, notes = plan.suite, plan.vias, []
    at_floor: list[FloorCell] = []
    asked: list[StoredAnswers] = []
    repeated: list[StoredAnswers] = []
    for role, model in plan.models.items():
        with closing(model):
            if role == "base" and suite.skips_floor and len(vias) > 1:
                at_floor = cells_at_floor(ask(role, suite, vias[:1], first=True), suite)
                if len(at_floor) == len(suite.cells):
                    notes = [_NOTHING_TO_LOSE]
                    at_floor, vias = [], vias[:1]
                suite = without_cells(suite, [cell.name for cell in at_floor])
            asked.append(ask(role, suite, vias))
            if role == "base":
                repeated = [ask(role, suite, vias[:1], n) for n in range(1, noise_floor + 1)]
            if inferred is not None:
                tell = None if progress is None else partial(_told, progress, f"{role}, inference")
                inferred.measure(role, held[role], suite, vias, plan.settings, tell)
    answered = reduce(StoredAnswers.and_then, asked)
    rows, failed = without_failed(answered, suite, vias, list(held), workers)
    rows, incomplete = without_incomplete(rows, plan.samples)
    return Answered(rows, suite, at_floor, [*notes, *failed, *incomplete], repeated)


def _n_source(suite: Suite) -> int:
    return len(suite.in_language(suite.source_language))


def _told(progress: DiagnosisProgress, name: str, n_done: int, n_total: int) -> None:
    progress(name, n_done, n_total, 0)
