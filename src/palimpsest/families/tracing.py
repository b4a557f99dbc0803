"""Trace of a training: every checkpoint asked what the base was asked, also while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from palimpsest.errors import UserError
from palimpsest.families.steps import Step, find_steps, has_ended, output_folder
from palimpsest.families.target import Target, load_target
from palimpsest.families.training_curve import AskedCheckpoint, traced
from palimpsest.judging import (
    PLAIN,
    Analysis,
    Lacking,
    OpenRun,
    Via,
    Workers,
    analyse,
    default_vias,
    distinct_vias,
    evaluate_stored,
    examine_quickly,
    model_info,
    open_run,
    parse_via,
    settings_for,
)
from palimpsest.lm.models import LanguageModel, load_model
from palimpsest.lm.suites import Suite, default_suite, load_suite
from palimpsest.records import (
    THRESHOLDS,
    TRACE_FILE,
    StoredAnswers,
    Trace,
    columns_of,
    points,
)
from palimpsest.report import write_trace

PATIENCE_SECONDS = 3600.0
"""How long a training is watched without a new checkpoint."""

LOOK_SECONDS = 5.0
"""Between two looks into the folder of a training that is watched."""


class TraceProgress(Protocol):
    """Told how far the asking of one checkpoint has come."""

    def __call__(self, name: str, n_done: int, n_total: int, n_reused: int, /) -> None:
        """Show it; the name is ``base`` or ``step N``."""


@dataclass
class _Tracing:
    """The questions, what was answered so far, and where it is kept."""

    run: OpenRun
    suite: Suite
    vias: Sequence[Via]
    """Plain first."""
    target: Target | None
    margin: float
    workers: Workers
    progress: TraceProgress | None
    asked: dict[int, AskedCheckpoint] = field(default_factory=dict)
    """By step; 0 is the base."""
    rows: dict[int, StoredAnswers] = field(default_factory=dict)
    """Answers on the suite, by step."""
    warnings: list[str] = field(default_factory=list)
    lacking: Lacking = field(default_factory=Lacking)
    """Examples of the suite that some checkpoint has not answered: no figure stands on them."""
    lacking_of_target: Lacking = field(default_factory=Lacking)
    _compared_so: dict[int, tuple[frozenset[str], Analysis]] = field(default_factory=dict)
    """By step: without which examples it was compared, and what that says."""

    def ask(self, step: int, model: LanguageModel) -> None:
        """Ask a checkpoint whatever the store has no answer to."""
        with closing(model):
            held = self.workers.hold(model)
            rows = self._rows(step, held)
            target = self._target_scores(step, held)
        scores: dict[str, dict[str, float]] = {via.name: {} for via in self.vias}
        cells: dict[str, str] = {}
        read = ("via", "source_id", "cell", "outcome", "score")
        for via, source, cell, outcome, score in columns_of(rows, *read):
            scores[via][source] = points(outcome, score)
            if via == PLAIN:
                cells[source] = cell
        self.rows[step] = rows
        self.asked[step] = AskedCheckpoint(
            step=step,
            model=model_info(model, rows),
            scores=scores,
            cells=cells,
            target=target,
            analysis=None,
        )

    def found(self, *, is_running: bool) -> Trace:
        """Return what the checkpoints that were asked say, and write it.

        Raises:
            UserError: No example was answered by all of them.
        """
        trace = traced(
            self._comparable(),
            suite=self.suite,
            vias=self.vias,
            target=self.target,
            margin=self.margin,
            seed=self.run.seed,
            n_resamples=self.run.n_resamples,
            is_running=is_running,
            warnings=[*self.warnings, *self.lacking.notes, *self.lacking_of_target.notes],
            provenance=self.run.provenance(
                {via.name: via.conjugation.facts() for via in self.vias}
            ),
        )
        self.run.folder.write_text(TRACE_FILE, trace.to_json() + "\n")
        if self.run.is_kept:
            write_trace(self.run.folder.path, trace)
        return trace

    def _comparable(self) -> list[AskedCheckpoint]:
        """Return what is known of each checkpoint, on the examples that all have answered."""
        gone = self.lacking.sources
        if gone >= {each.source_id for each in self.suite.examples}:
            raise UserError(
                f"No example of '{self.suite.name}' was answered by all checkpoints. "
                + " ".join(self.lacking.notes),
                hint="Ask with --engine here to see what happens to the process.",
            )
        found = []
        for step in sorted(self.asked):
            one = self.asked[step]
            if gone:
                one = one._replace(
                    scores={
                        via: {name: score for name, score in mine.items() if name not in gone}
                        for via, mine in one.scores.items()
                    }
                )
            found.append(one._replace(analysis=self._compared(step, gone) if step else None))
        return found

    def _rows(self, step: int, model: LanguageModel) -> StoredAnswers:
        rows = evaluate_stored(
            model,
            self.suite,
            self.vias,
            store=self.run.store,
            role="tuned" if step else "base",
            settings=settings_for(self.suite, [model]),
            progress=self._tell(step, "suite"),
        )
        self.lacking.note(_name(step), rows, self.suite, self.vias)
        return rows

    def _target_scores(self, step: int, model: LanguageModel) -> dict[str, float] | None:
        if self.target is None:
            return None
        plain = [parse_via(PLAIN, self.target.suite)]
        rows = evaluate_stored(
            model,
            self.target.suite,
            plain,
            store=self.run.store,
            role="tuned" if step else "base",
            settings=self.target.settings([model]),
            whole="none",
            progress=self._tell(step, "target"),
        )
        self.lacking_of_target.note(f"{_name(step)}, target", rows, self.target.suite, plain)
        return self.target.scores(rows)

    def _tell(self, step: int, what: str) -> Callable[[int, int, int], None] | None:
        progress = self.progress
        if progress is None:
            return None
        name = _name(step) if self.target is None else f"{_name(step)}, {what}"
        return lambda n_done, n_total, n_reused: progress(name, n_done, n_total, n_reused)

    def _compared(self, step: int, gone: frozenset[str]) -> Analysis:
        """Return the comparison of a checkpoint with the base, without some examples."""
        if step not in self._compared_so or self._compared_so[step][0] != gone:
            rows = self.rows[0].and_then(self.rows[step])
            found = analyse(
                [row._replace(cell="all") for row in rows if row.key.source_id not in gone],
                vias=self.vias[1:],
                seed=self.run.seed,
                n_resamples=self.run.n_resamples,
                margin=self.margin,
                chance=self.suite.chance,
            )
            self._compared_so[step] = gone, found
        return self._compared_so[step][1]


def _name(step: int) -> str:
    """Return what a checkpoint is called."""
    return f"step {step:,}" if step else "base"


def trace(
    base: str,
    checkpoints: Sequence[str],
    *,
    suite: str | Suite | None = None,
    via: Sequence[str] | None = None,
    target: str | None = None,
    out: Path | str | None = None,
    limit: int | None = None,
    margin: float = THRESHOLDS.kept_margin,
    watch: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
    look_seconds: float = LOOK_SECONDS,
    workers: Workers | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
    command: str = "palimpsest.families.trace(…)",
    progress: TraceProgress | None = None,
    notify: Callable[[Sequence[str]], None] | None = None,
    told: Callable[[Trace], None] | None = None,
) -> Trace:
    """Say when in a training an ability went, and how long a conjugation still reads it back.

    Args:
        base: Spec of the model before the training.
        checkpoints: Specs of checkpoints, or a Trainer's output folder.
        suite: What is asked; by default as in a diagnosis.
        via: Conjugations; by default as in a diagnosis.
        target: What is tuned for, a suite or ``text:FILE``; without one it is not asked.
        out: The run folder. Answers in it are used again, those of a diagnosis as well.
        limit: At most so many source examples a cell.
        margin: The largest fall that counts as none, a fraction.
        watch: Also ask checkpoints that come while this runs; one that is still being written
            waits. It ends when the newest one says that the training is over, or when none has
            come for a while.
        patience_seconds: That while.
        look_seconds: Between two looks.
        workers: Who hold the models, as for :func:`palimpsest.diagnose`.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        command: Recorded as the way to repeat the run.
        progress: Called after every answer.
        notify: Called once, with those warnings on base and first checkpoint that are known before
            it is asked.
        told: Called with what is known so far, each time that it has grown.

    Raises:
        UserError: A model, suite or conjugation that cannot be used, no checkpoint, or a folder
            that cannot be written.

    Example:
        >>> found = trace("rosetta:base", ["rosetta:tuned"], suite="rosetta", via=[], limit=10)
        >>> found.first_clear_fall
        1
    """
    started = time.monotonic()
    chosen = suite or default_suite(base, *checkpoints)
    built = load_suite(chosen, limit=limit) if isinstance(chosen, str) else chosen
    specs = default_vias(built) if via is None else via
    vias = distinct_vias([parse_via(spec, built) for spec in (PLAIN, *specs)])
    aim = None if target is None else load_target(target, limit=limit)
    _check(checkpoints, watch)
    method: dict[str, Any] = {"seed": seed, "n_resamples": n_resamples, "started": started}
    with open_run(out, command, **method, workers=workers) as run:
        run.folder.record(run.folder.config or {"command": command})
        tracing = _Tracing(run, built, vias, aim, margin, workers or Workers(), progress)
        opened = load_model(base)
        tracing.ask(0, opened)
        steps = _watched(base, checkpoints, patience_seconds, look_seconds) if watch else None
        for batch in steps or [find_steps(base, checkpoints)]:
            for each in batch:
                try:
                    model = _different(each, opened)
                    if len(tracing.asked) == 1:
                        tracing.warnings += _findings(opened, model, built)
                        if notify is not None:
                            notify(tracing.warnings)
                    tracing.ask(each.step, model)
                except UserError:
                    if not watch or each.folder is None or each.folder.exists():
                        raise
                    tracing.warnings.append(_gone(each))
                    continue
                if watch and told is not None:
                    told(tracing.found(is_running=True))
        if len(tracing.asked) < 2:
            raise _none(checkpoints)
        return tracing.found(is_running=False)


def _watched(
    base: str, checkpoints: Sequence[str], patience_seconds: float, look_seconds: float
) -> Iterator[list[Step]]:
    """Yield checkpoints as they come, until the training ends or none has come for a while."""
    folder = output_folder(checkpoints)
    assert folder is not None
    seen: set[int] = set()
    last = time.monotonic()
    while True:
        new = [each for each in find_steps(base, checkpoints) if each.step not in seen]
        if new:
            yield new
            seen |= {each.step for each in new}
            last = time.monotonic()
        elif has_ended(folder) or time.monotonic() - last >= patience_seconds:
            return
        else:
            time.sleep(look_seconds)


def _check(checkpoints: Sequence[str], watch: bool) -> None:
    if not checkpoints:
        raise UserError(
            "No checkpoint was named.",
            hint="Name a Trainer's output folder, or checkpoints one by one.",
        )
    if watch and output_folder(checkpoints) is None:
        raise UserError(
            f"'{' '.join(checkpoints)}' cannot be watched.",
            hint="Name one folder in which a training writes checkpoint-100 and so on.",
        )


def _none(checkpoints: Sequence[str]) -> UserError:
    return UserError(
        f"There is no checkpoint in '{' '.join(checkpoints)}' that is wholly written.",
        hint="Wait for the first, with --watch, or name a folder that has some.",
    )


def _gone(step: Step) -> str:
    return (
        f"The checkpoint of step {step.step:,} was removed before it was asked: the training keeps "
        "only its newest ones (save_total_limit)."
    )


def _findings(base: LanguageModel, first: LanguageModel, suite: Suite) -> list[str]:
    """Return what a reader must know of base and first checkpoint."""
    found = examine_quickly({"base": base, "tuned": first}, suite)
    return [each.sentence for each in found if each.severity in ("note", "no verdict")]


def _different(step: Step, base: LanguageModel) -> LanguageModel:
    """Open a checkpoint.

    Raises:
        UserError: It cannot be opened, or is the base itself.
    """
    model = load_model(step.spec)
    if model.fingerprint == base.fingerprint:
        raise UserError(
            f"The checkpoint of step {step.step}, '{step.spec}', is the base itself.",
            hint="If it was to be an adapter, it has not been applied: hf:BASE,adapter=FOLDER",
        )
    return model
