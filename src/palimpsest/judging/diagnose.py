"""Diagnose a pair: ask both models, compare the answers, write the run folder."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from palimpsest.errors import UserError
from palimpsest.judging.analysis import analyse
from palimpsest.judging.evaluate import Settings, evaluate, settings_for
from palimpsest.judging.via import Via, distinct_vias, parse_via
from palimpsest.judging.warnings import find_oddities
from palimpsest.lm.conjugations import CONJUGATIONS
from palimpsest.lm.models.budget import Budget, Chargeable
from palimpsest.lm.models.huggingface.pair import check_pair
from palimpsest.lm.models.protocol import LanguageModel, can_score
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.suite import Suite
from palimpsest.records.answers import AnswerRow
from palimpsest.records.finished import keep_finished
from palimpsest.records.provenance import commit_of, platform_facts, versions
from palimpsest.records.results import ModelInfo, Provenance, Results, SuiteInfo, Usage
from palimpsest.records.run_folder import RunFolder
from palimpsest.records.store import AnswerStore
from palimpsest.report.writing import write_report

if TYPE_CHECKING:
    from palimpsest.report.figure import Drawing

ALWAYS_VIA = ("leet", "pig-latin")
"""Text conjugations that are tried by default, whatever the suite's languages."""

ROLES = ("base", "tuned")


class DiagnosisProgress(Protocol):
    """Told how far a diagnosis has come."""

    def __call__(self, role: str, n_done: int, n_total: int, n_reused: int) -> None:
        """Show it; the role is ``base`` or ``tuned``."""


@dataclass(frozen=True)
class _Run:
    """Everything that is asked, and how it is concluded."""

    suite: Suite
    vias: tuple[Via, ...]
    """Plain first."""
    models: dict[str, LanguageModel]
    settings: Settings
    min_fidelity: float
    seed: int
    n_resamples: int
    command: str
    budget: Budget | None


def diagnose(
    base: str | LanguageModel,
    tuned: str | LanguageModel,
    *,
    suite: str | Suite = "icl-vs-if",
    via: Sequence[str] | None = None,
    out: Path | str | None = None,
    limit: int | None = None,
    min_fidelity: float = 0.0,
    budget: Budget | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
    command: str = "palimpsest.diagnose(…)",
    progress: DiagnosisProgress | None = None,
    extra_figures: Sequence[Drawing] = (),
) -> Results:
    """Say which abilities a tuned model kept, suppressed or lost.

    Args:
        base: The model before tuning: a spec such as ``./base`` or ``hf:ID,dtype=bfloat16``.
        tuned: The model after tuning.
        suite: A suite, or its spec.
        via: Conjugations to try; by default every other language of the suite and
            :data:`ALWAYS_VIA`.
        out: The run folder. Answers in it are used again, and the report is written there; without
            one, nothing is kept.
        limit: At most so many source examples a cell.
        min_fidelity: Leave out, of both models alike, prompts whose round trip through a
            conjugation has a lower chrF, from 0 to 1.
        budget: Stop before the requests to endpoints cost more; every answer is kept.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        command: Recorded as the way to repeat the run.
        progress: Called after every answer.
        extra_figures: Shown in the report after its own.

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
    with ExitStack() as stack:
        run = _Run(
            *_prepare(base, tuned, suite, via, limit),
            min_fidelity=_fraction("least fidelity", min_fidelity),
            seed=seed,
            n_resamples=n_resamples,
            command=command,
            budget=budget,
        )
        if out is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palimpsest-")))
        else:
            path = Path(out)
        if budget is not None:
            _charge(run.models, budget)
        folder = RunFolder.create(path)
        store = stack.enter_context(AnswerStore(folder.answers))
        folder.record(_config(run))
        warnings = check_pair(run.models["base"], run.models["tuned"]) + _method(run)
        rows = _ask_all(run, store, progress)
        warnings += find_oddities(rows, run.suite, run.vias)
        results = _conclude(run, rows, warnings, started)
        keep_finished(folder, store, results, rows)
        if out is not None:
            write_report(folder.path, results, rows, extra_figures=extra_figures)
        return results


def rewrite_report(path: Path | str) -> Path:
    """Write the report of an earlier run anew and return its path.

    Raises:
        UserError: The folder is not a finished run.
    """
    folder = RunFolder.find(path)
    results = read_results(folder)
    with AnswerStore(folder.answers, read_only=True) as store:
        rows = store.run_rows()
    return write_report(folder.path, results, rows)


def read_results(folder: RunFolder) -> Results:
    """Read a run's ``results.json``.

    Raises:
        UserError: It is missing, or was written by a version with another schema.
    """
    if not folder.results.exists():
        raise UserError(
            f"The run in '{folder.path}' has not finished: it has no results.json.",
            hint="Run its command again; it continues where it stopped.",
        )
    try:
        return Results.model_validate_json(folder.results.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"'{folder.results}' does not follow the schema: {place}: {first['msg']}.",
            hint="Run the diagnosis again: the answers are kept, so it takes seconds.",
        ) from error


def default_vias(suite: Suite) -> list[str]:
    """Return what is tried when nothing is asked for: other languages, then text conjugations."""
    languages = [name for name in suite.languages[1:] if name not in CONJUGATIONS]
    return [*languages, *ALWAYS_VIA]


def _prepare(
    base: str | LanguageModel,
    tuned: str | LanguageModel,
    suite: str | Suite,
    via: Sequence[str] | None,
    limit: int | None,
) -> tuple[Suite, tuple[Via, ...], dict[str, LanguageModel], Settings]:
    built = load_suite(suite, limit=limit) if isinstance(suite, str) else suite
    specs = default_vias(built) if via is None else via
    vias = [parse_via(spec, built) for spec in ("identity", *specs)]
    models = {
        role: load_model(model) if isinstance(model, str) else model
        for role, model in zip(ROLES, (base, tuned), strict=True)
    }
    settings = settings_for(built, models.values())
    return built, tuple(distinct_vias(vias)), models, settings


def _method(run: _Run) -> list[str]:
    """Say so where answers are generated although they could have been chosen."""
    if run.settings.by_likelihood or not any(e.choices for e in run.suite.examples):
        return []
    mute = [f"'{model.spec}'" for model in run.models.values() if not can_score(model)]
    return [
        f"{' and '.join(mute)} cannot say how likely a given answer is, so both models' answers "
        "are generated and read by their beginning."
    ]


def _charge(models: Mapping[str, LanguageModel], budget: Budget) -> None:
    paid = [model for model in models.values() if isinstance(model, Chargeable)]
    if not paid:
        raise UserError(
            "A budget was given, but neither model costs anything: both run here.",
            hint="Leave out --budget, or name an endpoint: openai:MODEL@URL",
        )
    for model in paid:
        model.charge_to(budget)


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UserError(
            f"The {name} is {value}; expected a fraction from 0 to 1.",
            hint="Write 0.6 for 60 %.",
        )
    return value


def _config(run: _Run) -> dict[str, object]:
    return {
        "command": run.command,
        "models": {role: model.spec for role, model in run.models.items()},
        "fingerprints": {role: model.fingerprint for role, model in run.models.items()},
        "suite": run.suite.name,
        "suite_parameters": json.loads(json.dumps(dict(run.suite.parameters), default=str)),
        "via": [via.name for via in run.vias],
        "settings": run.settings.fingerprint,
        "by_likelihood": run.settings.by_likelihood,
        "min_fidelity": run.min_fidelity,
        "seed": run.seed,
        "n_resamples": run.n_resamples,
    }


def _ask_all(run: _Run, store: AnswerStore, progress: DiagnosisProgress | None) -> list[AnswerRow]:
    """Ask one model after the other, so that only one need be in memory."""
    rows: list[AnswerRow] = []
    for role, model in run.models.items():

        def show(n_done: int, n_total: int, n_reused: int, role: str = role) -> None:
            if progress is not None:
                progress(role, n_done, n_total, n_reused)

        with closing(model):
            rows += evaluate(
                model,
                run.suite,
                run.vias,
                store=store,
                role=role,
                settings=run.settings,
                progress=show,
            )
    return rows


def _conclude(
    run: _Run,
    rows: Sequence[AnswerRow],
    warnings: Sequence[str],
    started: float,
) -> Results:
    analysis = analyse(
        rows,
        vias=run.vias[1:],
        cells=run.suite.cells,
        seed=run.seed,
        n_resamples=run.n_resamples,
        chance=run.suite.chance,
        min_fidelity=run.min_fidelity,
    )
    infos = {
        role: ModelInfo(
            spec=model.spec,
            fingerprint=model.fingerprint,
            facts=dict(model.describe()),
            usage=_usage([row for row in rows if row.role == role]),
        )
        for role, model in run.models.items()
    }
    suite = run.suite
    return Results(
        base=infos["base"],
        tuned=infos["tuned"],
        suite=SuiteInfo(
            name=suite.name,
            fingerprint=suite.fingerprint,
            description=suite.description,
            source_language=suite.source_language,
            languages=list(suite.languages),
            n_source_examples=len(suite.in_language(suite.source_language)),
            chance=suite.chance,
        ),
        plain=analysis.plain,
        conjugations=analysis.conjugations,
        cells=analysis.cells,
        best=analysis.best,
        verdict=analysis.verdict,
        verdict_reason=analysis.verdict_reason,
        warnings=[*warnings, *analysis.warnings],
        provenance=Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=run.command,
            versions=versions(),
            platform=platform_facts(),
            commit=commit_of(Path.cwd()),
            seed=run.seed,
            n_resamples=run.n_resamples,
            conjugations={
                via.name: dict(facts) for via in run.vias if (facts := via.conjugation.facts())
            },
            min_fidelity=run.min_fidelity,
            cost_usd=None if run.budget is None else float(run.budget.spent_usd),
            seconds=round(time.monotonic() - started, 3),
        ),
    )


def _usage(rows: Sequence[AnswerRow]) -> Usage:
    # One answer may stand for several questions that were sent in the same form.
    asked = {(row.prompt, row.raw): row for row in rows}.values()
    sent = [row.n_prompt_tokens for row in asked]
    known = [n for n in sent if n is not None]
    return Usage(
        n_prompt_tokens=sum(known) if known and len(known) == len(sent) else None,
        n_answer_tokens=sum(row.n_answer_tokens for row in asked),
    )
