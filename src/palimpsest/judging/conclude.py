"""A run in its folder, and its end: provenance, results and report, written and read again."""

from __future__ import annotations

import math
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import ValidationError

from palimpsest.errors import UserError
from palimpsest.judging.analysis import Analysis
from palimpsest.judging.pooling import pool_cells
from palimpsest.judging.samples import averaged
from palimpsest.records import (
    Agreement,
    AnswerRow,
    AnswerStore,
    Drawn,
    FloorCell,
    ModelInfo,
    Provenance,
    Results,
    RunFolder,
    Sittings,
    SuiteInfo,
    Usage,
    blocks_of,
    commit_of,
    last_written,
    platform_facts,
    sit_down,
    versions,
)
from palimpsest.report import write_report

if TYPE_CHECKING:
    from palimpsest.judging.workers import Workers
    from palimpsest.lm.models import LanguageModel
    from palimpsest.lm.suites import Suite
    from palimpsest.report import Drawing


class Elsewhere(NamedTuple):
    """What is known of answers that were given in other runs: nobody is asked for them now."""

    warnings: Sequence[str] = ()
    """What those runs found of the pair, before they asked it and while they did."""

    seconds: float | None = None
    """How long all their sittings took; ``None`` where that is not known."""


@dataclass(frozen=True)
class OpenRun:
    """A run that has begun; get one with :func:`open_run`."""

    folder: RunFolder
    store: AnswerStore
    is_kept: bool
    """Whether the folder outlives the run, and the report is written."""

    command: str
    """Recorded as the way to repeat the run."""

    seed: int
    n_resamples: int
    started: float
    """By the monotonic clock."""
    sittings: Sittings
    n_before: int
    """Answers that were in the store."""

    workers: Workers | None = None
    """Who hold the models, where this process does not."""

    asks: bool = True
    """Whether new answers are this sitting's; not if they are taken from other runs."""

    def record(self, **config: object) -> None:
        """Write what is going to be asked, and how it is concluded, into the folder."""
        method = {"seed": self.seed, "n_resamples": self.n_resamples}
        self.folder.record({"command": self.command, **config, **method})

    def provenance(
        self,
        conjugations: Mapping[str, Mapping[str, str]],
        *,
        min_fidelity: float = 0.0,
        cost_usd: float | None = None,
    ) -> Provenance:
        """Return what is needed to repeat the run; the arguments as for :meth:`conclude`."""
        return Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self.command,
            versions=versions(),
            platform=platform_facts(),
            commit=commit_of(Path.cwd()),
            seed=self.seed,
            n_resamples=self.n_resamples,
            conjugations={name: dict(facts) for name, facts in conjugations.items() if facts},
            min_fidelity=min_fidelity,
            cost_usd=cost_usd,
            crew=None if self.workers is None else self.workers.record(),
            seconds=round(time.monotonic() - self.started, 3),
            seconds_in_all=self.seconds_in_all(),
        )

    def seconds_in_all(self) -> float | None:
        """Return how long all sittings that brought answers took, or ``None`` if there are none."""
        self.count()
        known = self.sittings.all
        return round(sum(known), 3) if known else None

    def count(self) -> None:
        """Tell the sitting how many answers it has brought."""
        self.sittings.n_new = len(self.store) - self.n_before if self.asks else 0

    def conclude(
        self,
        rows: Sequence[AnswerRow],
        analysis: Analysis,
        *,
        models: Mapping[str, ModelInfo],
        suite: SuiteInfo,
        warnings: Sequence[str],
        conjugations: Mapping[str, Mapping[str, str]],
        min_fidelity: float = 0.0,
        at_floor: Sequence[FloorCell] = (),
        agreements: Sequence[Agreement] = (),
        samples: Drawn | None = None,
        cost_usd: float | None = None,
        extra_figures: Sequence[Drawing] = (),
    ) -> Results:
        """Write results and report in place of those of the run before, and return the results.

        Args:
            rows: The answers that the results stand on; the store has them.
            analysis: What they say.
            models: What was asked, by role.
            suite: What it was asked.
            warnings: What a reader must know, that of the analysis included.
            conjugations: Facts on those that stand on something else, by name.
            min_fidelity: Of the prompts that count.
            at_floor: Cells of the suite that the base model cannot do; no answers are of them.
            agreements: Of the scorers with people.
            samples: How answers were drawn, if several of each prompt were.
            cost_usd: Of the requests to endpoints, where they have a price.
            extra_figures: Shown in the report after its own.
        """
        results = Results(
            base=models["base"],
            tuned=models["tuned"],
            suite=suite,
            **analysis._replace(warnings=list(warnings))._asdict(),
            at_floor=list(at_floor),
            samples=samples,
            pooled=pool_cells(analysis.cells, analysis.conjugations, analysis.best),
            agreements=list(agreements),
            provenance=self.provenance(conjugations, min_fidelity=min_fidelity, cost_usd=cost_usd),
        )
        self.folder.finish(self.store, results, rows)
        if self.is_kept:
            write_report(
                self.folder.path, results, averaged(rows, samples), extra_figures=extra_figures
            )
        return results


def model_info(model: LanguageModel, rows: Sequence[AnswerRow]) -> ModelInfo:
    """Return which model it was, and what its answers took."""
    return ModelInfo(
        spec=model.spec,
        fingerprint=model.fingerprint,
        facts=dict(model.describe()),
        usage=_usage(rows),
    )


def suite_info(suite: Suite, *, n_source_examples: int | None = None) -> SuiteInfo:
    """Return which suite it was.

    Args:
        suite: As it was asked for.
        n_source_examples: If only so many were asked of both models.
    """
    n_all = len(suite.in_language(suite.source_language))
    return SuiteInfo(
        name=suite.name,
        fingerprint=suite.fingerprint,
        description=suite.description,
        source_language=suite.source_language,
        languages=list(suite.languages),
        n_source_examples=n_all if n_source_examples is None else n_source_examples,
        chance=suite.chance,
    )


def _usage(rows: Sequence[AnswerRow]) -> Usage:
    # One answer may stand for several questions that were sent in the same form.
    asked, sent, said = array("q"), array("d"), array("q")
    names = ("prompt", "raw", "n_prompt_tokens", "n_answer_tokens")
    for prompts, raws, n_prompt_tokens, n_answer_tokens in blocks_of(rows, *names):
        asked.extend(map(hash, zip(prompts, raws, strict=True)))
        sent.extend(math.nan if n is None else n for n in n_prompt_tokens)
        said.extend(n_answer_tokens)
    _, newest = np.unique(np.array(asked[::-1], np.int64), return_index=True)
    n_sent = np.array(sent[::-1])[newest]
    return Usage(
        n_prompt_tokens=int(n_sent.sum()) if len(newest) and not np.isnan(n_sent).any() else None,
        n_answer_tokens=int(np.array(said[::-1], np.int64)[newest].sum()),
        n_shared=len(rows) - len(newest),
    )


@contextmanager
def open_run(
    out: Path | str | None,
    command: str,
    *,
    seed: int,
    n_resamples: int,
    started: float,
    workers: Workers | None = None,
    elsewhere: Elsewhere | None = None,
) -> Iterator[OpenRun]:
    """Open the folder and the answers of a run; without a folder, nothing is kept.

    Args:
        out: The folder.
        command: Recorded as the way to repeat the run.
        seed: Of the bootstrap.
        n_resamples: Of the bootstrap.
        started: By the monotonic clock.
        workers: Who hold the models, where this process does not.
        elsewhere: Of answers that are taken from other runs: their time is this run's, and what it
            takes itself is not.

    Raises:
        UserError: The folder cannot be written, or another run is writing in it.
    """
    with ExitStack() as stack:
        if out is None:
            path = stack.enter_context(tempfile.TemporaryDirectory(prefix="palimpsest-"))
        folder = RunFolder.create(path if out is None else out)
        written = last_written(folder)
        store = stack.enter_context(AnswerStore(folder.answers))
        sittings = stack.enter_context(sit_down(folder, written))
        if elsewhere is not None:
            sittings.earlier[:] = [] if elsewhere.seconds is None else [elsewhere.seconds]
        run = OpenRun(
            folder, store, out is not None, command, seed, n_resamples, started,
            sittings, len(store), workers, asks=elsewhere is None,
        )  # fmt: skip
        stack.callback(run.count)
        yield run


def rewrite_report(path: Path | str, *, page_megabytes: float | None = None) -> Path:
    """Write the report of an earlier run anew and return its path.

    Args:
        path: The run folder.
        page_megabytes: Of single answers on the page; by default so much that it stays below 5 MB.

    Raises:
        UserError: The folder is not a finished run.
    """
    folder = RunFolder.find(path)
    results = read_results(folder)
    with AnswerStore(folder.answers, read_only=True) as store:
        rows = averaged(store.run_answers(), results.samples)
        return write_report(folder.path, results, rows, page_megabytes=page_megabytes)


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
        return Results.model_validate_json(folder.read_text("results.json"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"'{folder.results}' does not follow the schema: {place}: {first['msg']}.",
            hint="Run the diagnosis again: the answers are kept, so it takes seconds.",
        ) from error
