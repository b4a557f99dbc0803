"""From logs of two models to what a diagnosis says: results, report, run folder."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.compare.arms import Pair, Pairing, Way
from palimpsest.judging.compare.fields import digest
from palimpsest.judging.compare.logged import LoggedRun
from palimpsest.judging.compare.matching import Matched, match
from palimpsest.judging.pairing import PLAIN
from palimpsest.lm.conjugations import CONJUGATIONS, parse_conjugation
from palimpsest.lm.conjugations.specs import split_links
from palimpsest.records.finished import keep_finished
from palimpsest.records.provenance import commit_of, platform_facts, versions
from palimpsest.records.results import ModelInfo, Provenance, Results, SuiteInfo
from palimpsest.records.run_folder import RunFolder
from palimpsest.records.store import AnswerStore
from palimpsest.report.writing import write_report


def compare(
    base: LoggedRun,
    tuned: LoggedRun,
    *,
    conjugated: Mapping[str, Pair] | None = None,
    pairing: Pairing | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
    command: str = "palimpsest.judging.compare.compare(…)",
) -> Results:
    """Say which abilities a tuned model kept, suppressed or lost, from logs of both models.

    Args:
        base: What the base model answered.
        tuned: What the tuned model answered to the same items.
        conjugated: What both answered under conjugations, base and tuned, by their names.
        pairing: How items are matched.
        out: The run folder that the report is written to; without one, nothing is kept.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        command: Recorded as the way to repeat the comparison.

    Raises:
        UserError: The logs are not of the same items, or the folder cannot be written.
    """
    started = time.monotonic()
    how = pairing or Pairing()
    pairs: dict[str, Pair] = {PLAIN: (base, tuned), **(conjugated or {})}
    matched = match(pairs, how)
    with ExitStack() as stack:
        path = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palimpsest-")))
            if out is None
            else Path(out)
        )
        folder = RunFolder.create(path)
        store = stack.enter_context(AnswerStore(folder.answers))
        folder.record(_config(pairs, matched, command, seed=seed, n_resamples=n_resamples))
        analysis = analyse(
            matched.rows,
            vias=[_facts(way) for way in matched.ways.values()],
            cells=matched.cells,
            seed=seed,
            n_resamples=n_resamples,
            chance=matched.chances,
        )
        provenance = Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            versions=versions(),
            platform=platform_facts(),
            commit=commit_of(Path.cwd()),
            seed=seed,
            n_resamples=n_resamples,
            conjugations=_log_facts(pairs),
            seconds=round(time.monotonic() - started, 3),
        )
        results = _results(pairs, matched, analysis, how, provenance)
        store.add(matched.rows)
        keep_finished(folder, store, results, matched.rows)
        if out is not None:
            write_report(folder.path, results, matched.rows)
        return results


def _results(
    pairs: Mapping[str, Pair],
    matched: Matched,
    analysis: Analysis,
    how: Pairing,
    provenance: Provenance,
) -> Results:
    base, tuned = pairs[PLAIN]
    return Results(
        base=_model(base),
        tuned=_model(tuned),
        suite=_suite(matched, base, how),
        plain=analysis.plain,
        conjugations=analysis.conjugations,
        cells=analysis.cells,
        best=analysis.best,
        verdict=analysis.verdict,
        verdict_reason=analysis.verdict_reason,
        warnings=[
            *_notes(pairs),
            *matched.notes,
            *analysis.warnings,
            *_limits(matched, analysis),
        ],
        provenance=provenance,
    )


class _ViaFacts(NamedTuple):
    """What the analysis must know of a way of asking."""

    name: str
    exact: bool
    keeps: str
    native: bool


def _facts(way: Way) -> _ViaFacts:
    if way.conjugation is None:
        keeps = f"the task, in the data's own words for '{way.name}'"
        return _ViaFacts(way.name, False, keeps, True)
    known = _known_conjugation(way.conjugation)
    exact, keeps = known or (False, "what its log does not say")
    return _ViaFacts(way.name, exact and way.name == way.conjugation, keeps, False)


def _known_conjugation(spec: str) -> tuple[bool, str] | None:
    """Return whether a conjugation is exact, and what it keeps, if it is one of the registered."""
    links = split_links(spec)
    if not all(link in CONJUGATIONS for link in links):
        return None
    conjugation = parse_conjugation(spec)
    return conjugation.exact, conjugation.keeps


def _config(
    pairs: Mapping[str, Pair], matched: Matched, command: str, *, seed: int, n_resamples: int
) -> dict[str, object]:
    return {
        "command": command,
        "logs": {via: [run.name for run in pair] for via, pair in pairs.items()},
        "fingerprints": {via: [run.fingerprint for run in pair] for via, pair in pairs.items()},
        "metrics": matched.metrics,
        "via": list(matched.ways),
        "seed": seed,
        "n_resamples": n_resamples,
    }


def _model(run: LoggedRun) -> ModelInfo:
    facts = {"log": run.name, "written by": run.kind, **run.facts}
    return ModelInfo(spec=run.model, fingerprint=run.fingerprint, facts=facts)


def _log_facts(pairs: Mapping[str, Pair]) -> dict[str, dict[str, str]]:
    return {
        name: {
            f"log, {role}": f"{run.name} ({run.fingerprint})"
            for role, run in zip(("base", "tuned"), pair, strict=True)
        }
        for name, pair in pairs.items()
        if name != PLAIN
    }


def _suite(matched: Matched, base: LoggedRun, pairing: Pairing) -> SuiteInfo:
    sources = {row.key.source_id for row in matched.rows if row.via == PLAIN}
    languages = dict.fromkeys(way.language for way in matched.ways.values() if way.language)
    chances = [matched.chances.get(source, 0.0) for source in sources]
    chance = math.fsum(chances) / len(chances) if any(chances) else None
    name = ", ".join(matched.cells)
    return SuiteInfo(
        name=name if len(name) <= 60 else f"{len(matched.cells)} tasks",
        fingerprint=digest(sorted(sources), matched.metrics),
        description=_description(matched, base),
        source_language=next(iter(languages), pairing.plain_language),
        languages=list(languages),
        n_source_examples=len(sources),
        chance=chance,
        scoring=matched.scoring,
        from_logs=True,
    )


def _description(matched: Matched, base: LoggedRun) -> str:
    by_metric: dict[str, list[str]] = {}
    for cell, metric in matched.metrics.items():
        by_metric.setdefault(metric, []).append(cell)
    if len(by_metric) == 1:
        return f"Logs of {base.kind}, scored by {next(iter(by_metric))}."
    listed = "; ".join(f"{metric}: {', '.join(cells)}" for metric, cells in by_metric.items())
    return f"Logs of {base.kind}, scored by {listed}."


def _notes(pairs: Mapping[str, Pair]) -> list[str]:
    runs = (run for pair in pairs.values() for run in pair)
    return list(dict.fromkeys(note for run in runs for note in run.notes))


def _limits(matched: Matched, analysis: Analysis) -> Sequence[str]:
    """Say what such logs cannot show."""
    verdicts = {analysis.verdict, *(cell.verdict for cell in analysis.cells)}
    if matched.scoring == "abilities" or "lost" not in verdicts:
        return []
    return [
        "The logs say which answers are wrong, not whether they are another task's answers. So "
        "'lost' does not exclude that the tuned model, under every conjugation here too, took the "
        "prompts for another task."
    ]
