"""Answers of a finished run judged anew, by another scorer: nothing is asked."""

from __future__ import annotations

import gc
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.errors import UserError
from palimpsest.judging.agreement import judged_by_itself
from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.conclude import Elsewhere, OpenRun, open_run, read_results
from palimpsest.judging.pairing import PLAIN
from palimpsest.judging.questions import UNINVERTIBLE, RawAnswer, settled_outcome
from palimpsest.judging.via import parse_via
from palimpsest.judging.whole import sample_rank
from palimpsest.lm import Exchange
from palimpsest.lm.conjugations import TextConjugation
from palimpsest.lm.scoring import Asked, Scorer, Scoring, prepare_all, scorer_class
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import (
    ATTEMPTED,
    CUT,
    AnswerKey,
    AnswerRow,
    AnswerStore,
    Outcome,
    Results,
    RunFolder,
    StoredAnswers,
    answer_flag,
    columns_of,
)

_N_TOGETHER = 4096
"""Answers that are read before they are scored: what lies between is not held for a million."""

_N_IN_BATCHES = 32_768
"""The same where a scorer takes many answers at once."""


class Rejudged(NamedTuple):
    """What another scorer makes of a stored answer."""

    outcome: Outcome
    score: float | None
    flags: str
    scoring: str
    answer: str | None
    """As it is read today; ``None`` where that is what it was."""
    is_early: bool
    """Whether it was ended early."""
    is_open: bool
    """Whether what might have followed could matter to the new scorer."""

    def of(self, row: AnswerRow) -> AnswerRow:
        """Return the answer, judged so."""
        return row._replace(
            outcome=self.outcome,
            score=self.score,
            flags=self.flags,
            scoring=self.scoring,
            answer=row.answer if self.answer is None else self.answer,
        )


def _check(before: Results, path: Path | str) -> None:
    """Refuse runs whose answers are not judged anew.

    Raises:
        UserError: They are of logs, or samples.
    """
    if before.suite.from_logs:
        raise UserError(
            f"The answers in '{path}' are of logs: another program scored them.",
            hint="Choose another score of the logs with: palimpsest compare … --metric NAME",
        )
    if before.samples is not None:
        raise UserError(
            f"The run in '{path}' has {before.samples.n} samples of each prompt, which are not "
            "judged anew.",
            hint="Run it again with --scorer in another folder.",
        )


def rescore(
    path: Path | str,
    scorer: str,
    *,
    out: Path | str,
    command: str = "palimpsest.judging.rescore(…)",
) -> Results:
    """Judge the stored answers of a run by another scorer, and write results and report.

    Raw answers are read again through the exchange. Where one was ended as soon as the first scorer
    had decided, and the new one cannot know, the examples of its cell from there on are left out,
    in the order of the sample (:mod:`.whole`): what is left is a fair sample.

    Args:
        path: The folder of the run.
        scorer: A name in ``SCORERS``.
        out: Where to; the same folder replaces its results.
        command: Recorded as the way to repeat it.

    Raises:
        UserError: No such scorer, no finished run, one of logs, or nothing can be judged.
    """
    started = time.monotonic()
    scorer_class(scorer)
    folder = RunFolder.find(path)
    before, config = read_results(folder), folder.config
    _check(before, path)
    with AnswerStore(folder.answers, read_only=True) as store:
        old_rows = store.run_answers()
        exchanges = _exchanges(before, old_rows, config.get("stop"))
        judged = judge_anew(old_rows, exchanges, scorer)
        fair = _fair_sample(old_rows, judged)
        beside = set(before.warnings) - set(_analysed(old_rows, before).warnings)
    if not len(fair.kept):
        raise UserError(
            f"All answers in '{path}' were ended early, once their score was settled, so "
            f"'{scorer}' cannot judge them.",
            hint="Ask for the wrong ones to their end: palimpsest diagnose … --whole all",
        )
    facts = before.provenance
    with open_run(
        out,
        command,
        seed=facts.seed,
        n_resamples=facts.n_resamples,
        started=started,
        elsewhere=Elsewhere(seconds=facts.seconds_in_all),
    ) as run:
        run.record(**{**config, "command": command, "scorer": scorer, "answers_of": str(path)})
        rows = _written(run, folder, judged, fair.kept)
        analysis = _analysed(rows, before)
        return run.conclude(
            rows,
            analysis,
            models={"base": before.base, "tuned": before.tuned},
            suite=before.suite.model_copy(update={"n_source_examples": fair.n_left}),
            warnings=[
                *_said(judged, fair, scorer),
                *judged_by_itself(
                    [scorer],
                    {"base": before.base.fingerprint, "tuned": before.tuned.fingerprint},
                ),
                *(warning for warning in before.warnings if warning in beside),
                *analysis.warnings,
            ],
            at_floor=before.at_floor,
            conjugations=facts.conjugations,
            min_fidelity=facts.min_fidelity,
        )


def _written(
    run: OpenRun, folder: RunFolder, judged: Sequence[Rejudged], kept: npt.NDArray[np.intp]
) -> StoredAnswers:
    """Write the judged answers into the run, some thousand at a time, and return them."""
    with ExitStack() as stack:
        # In its own folder the writer reads: another reader would keep its log from being folded.
        store = run.store
        if run.folder.path.resolve() != folder.path.resolve():
            store = stack.enter_context(AnswerStore(folder.answers, read_only=True))
        old = store.run_answers().take(kept)
        for first in range(0, len(old), _N_TOGETHER):
            block = slice(first, first + _N_TOGETHER)
            rows = zip(kept[block].tolist(), old[block], strict=True)
            run.store.add([judged[place].of(row) for place, row in rows])
        return _at_the_same_keys(run.store, old)


def _at_the_same_keys(store: AnswerStore, rows: StoredAnswers) -> StoredAnswers:
    """Return the answers of a store that have the keys of others, in their order and roles."""
    asked: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for model, suite, source in columns_of(rows, "model", "suite", "source_id"):
        asked[model, suite][source] = None
    places: dict[int, int] = {}
    for (model, suite), sources in asked.items():
        listed = list(sources)
        for first in range(0, len(listed), _N_TOGETHER):
            some = listed[first : first + _N_TOGETHER]
            found = store.places(model=model, suite=suite, sources=some)
            places.update((hash(key), place) for key, place in found.items())
    keyed = columns_of(rows, *AnswerKey._fields, "role")
    parts = [
        store.answers_at(np.array([places[hash(tuple(key))] for *key, _ in mine], np.int64), role)
        for role, mine in groupby(keyed, key=itemgetter(-1))
    ]
    return reduce(StoredAnswers.and_then, parts)


def _exchanges(
    results: Results, rows: Sequence[AnswerRow], stops: Sequence[str] | None
) -> dict[str, Exchange]:
    """Return how the answers under each conjugation are read; of those that are still the same.

    A conjugation that another release has otherwise, or that needs a translator which is not there,
    is left out, and so are all in folders that do not say where answers stop.
    """
    if stops is None:
        return {}
    suite = Suite(
        name=results.suite.name,
        source_language=results.suite.source_language,
        examples=tuple(Example("", "", language, "", {}) for language in results.suite.languages),
    )
    found = {}
    for name, fingerprint in sorted(set(map(tuple, columns_of(rows, "via", "conjugation")))):
        try:
            via = parse_via(name, suite)
        except UserError:
            continue
        if via.fingerprint == fingerprint and not via.conjugation.batched:
            found[fingerprint] = Exchange(via.conjugation, stops)
    return found


def judge_anew(
    rows: Sequence[AnswerRow], exchanges: Mapping[str, Exchange], name: str
) -> list[Rejudged]:
    """Return what a scorer makes of every answer, read anew.

    Args:
        rows: Of a run; some thousand are in memory at a time.
        exchanges: How answers are read, by the fingerprint of their conjugation.
        name: Of the scorer.
    """
    plain = {
        (source, language): prompt
        for source, language, via, prompt in columns_of(rows, *_OF_PROMPTS)
        if via in (PLAIN, language)
    }
    together = _N_IN_BATCHES if scorer_class(name).batched else _N_TOGETHER
    judged: list[Rejudged] = []
    with _without_collecting():
        for first in range(0, len(rows), together):
            read = [
                _read_again(each, exchanges.get(each.key.conjugation), name, plain)
                for each in rows[first : first + together]
            ]
            prepare_all((each.scorer, each.answer) for each in read if each.scorer is not None)
            judged += map(_judged, read)
    return judged


_OF_PROMPTS = ("source_id", "language", "via", "prompt")


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Keep the collector of garbage from looking at a million rows again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _item(row: AnswerRow) -> tuple[str, str]:
    return row.key.source_id, row.language


class _Read(NamedTuple):
    row: AnswerRow
    exchange: Exchange | None
    scorer: Scorer | None
    """None for an answer that cannot be judged by what it says."""
    scoring: str
    answer: str


def _read_again(
    row: AnswerRow,
    exchange: Exchange | None,
    name: str,
    plain: Mapping[tuple[str, str], str],
) -> _Read:
    if row.finish in ("chosen", UNINVERTIBLE):
        return _Read(row, exchange, None, row.scoring, row.answer)
    prompt = plain.get(_item(row), "")
    scorer, scoring = _scorer(
        row.scoring, name, row.right_answers, row.intruding_answers, row.language, prompt
    )
    answer = row.answer
    own_stop = _own_stop(row.scoring)
    if exchange is not None and own_stop is not None:
        exchange = _stopping_at(exchange.conjugation, own_stop)
    if exchange is not None:
        answer = exchange.read(row.raw, cut_off=RawAnswer(row.raw, row.finish, 0).cut_off).text
    return _Read(row, exchange, scorer, scoring, answer)


def _judged(read: _Read) -> Rejudged:
    row, exchange, scorer, scoring, answer = read
    is_early = row.finish in ("decided", CUT)
    if scorer is None:
        return Rejudged(row.outcome, row.score, row.flags, scoring, None, is_early, False)
    found = scorer.score(answer)
    return Rejudged(
        found.outcome,
        found.grade,
        _flags(row, found.flags),
        scoring,
        None if answer == row.answer else answer,
        is_early,
        is_early
        and not row.outcome == found.outcome == "right"
        and _is_open(exchange, scorer, row.raw, answer),
    )


def _is_open(exchange: Exchange | None, scorer: Scorer, raw: str, answer: str) -> bool:
    """Say whether what might have followed an answer could change its score."""
    if exchange is None:
        return not scorer.decided(answer)
    return settled_outcome(exchange, scorer, raw) is None


@lru_cache(maxsize=4096)
def _own_stop(scoring: str) -> tuple[str, ...] | None:
    return Scoring.from_json(scoring).stop


@lru_cache(maxsize=256)
def _stopping_at(conjugation: TextConjugation, stop: tuple[str, ...]) -> Exchange:
    return Exchange(conjugation, stop)


@lru_cache(maxsize=16_384)
def _scorer(
    before: str, name: str, right: str, intruding: str, language: str, plain: str
) -> tuple[Scorer, str]:
    """Return the scorer of a name for what was scored otherwise before, and its record."""
    scoring = replace(Scoring.from_json(before), scorer=name)
    asked = Asked(language, prompt=plain)
    return scoring.scorer_of(json.loads(right), json.loads(intruding), asked), scoring.to_json()


def _flags(row: AnswerRow, flags: Sequence[str]) -> str:
    if not row.flags and not flags:
        return ""
    others = (flag for flag in row.all_flags if flag != answer_flag(ATTEMPTED))
    return "; ".join((*others, *map(answer_flag, flags)))


class _Fair(NamedTuple):
    """Answers that can be judged fairly."""

    kept: npt.NDArray[np.intp]
    """Where they are among all."""
    n_sources: int
    """Examples of all."""
    n_left: int
    """Examples of those that are kept."""


def _fair_sample(rows: Sequence[AnswerRow], judged: Sequence[Rejudged]) -> _Fair:
    """Return the answers of each cell's examples, in the order of the sample, up to an open one."""
    cells: dict[str, dict[str, bool]] = defaultdict(dict)
    for (name, source), each in zip(columns_of(rows, "cell", "source_id"), judged, strict=True):
        cell = cells[name]
        cell[source] = cell.get(source, False) or each.is_open
    kept = set()
    for cell in cells.values():
        for source in sorted(cell, key=sample_rank):
            if cell[source]:
                break
            kept.add(source)
    there = [source in kept for (source,) in columns_of(rows, "source_id")]
    n_sources = len(set().union(*cells.values()))
    return _Fair(np.flatnonzero(there), n_sources, len(kept))


def _analysed(rows: Sequence[AnswerRow], results: Results) -> Analysis:
    return analyse(
        rows,
        vias=results.conjugations,
        cells=[cell.name for cell in results.cells],
        seed=results.provenance.seed,
        n_resamples=results.provenance.n_resamples,
        chance=results.suite.chance,
        min_fidelity=results.provenance.min_fidelity,
    )


def _said(judged: Sequence[Rejudged], fair: _Fair, scorer: str) -> list[str]:
    n_early = sum(each.is_early for each in judged)
    n_open = sum(each.is_open for each in judged)
    said = [f"The stored answers were judged anew by the scorer '{scorer}'."]
    early = f"{n_early} of {len(judged)} answers had been ended early, as the first scorer was sure"
    if n_open:
        said.append(
            f"{early}; {n_open} of them too early for '{scorer}', so "
            f"{fair.n_sources - fair.n_left} of {fair.n_sources} examples are left out. To have "
            "all: palimpsest diagnose … --whole all"
        )
    elif n_early:
        said.append(f"{early}; so is '{scorer}'.")
    return said
