"""Comparison of two models from logs of both: what a diagnosis says, without asking anything."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.compare.logged import LoggedRun, digest_of
from palimpsest.judging.compare.matching import Matched, match
from palimpsest.judging.compare.tasks import LoggedPair, MatchOptions
from palimpsest.judging.conclude import open_run
from palimpsest.judging.pairing import PLAIN, ROLES
from palimpsest.records import ModelInfo, Results, SuiteInfo


def compare(
    base: LoggedRun,
    tuned: LoggedRun,
    *,
    conjugated: Mapping[str, LoggedPair] | None = None,
    matching: MatchOptions | None = None,
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
        matching: How items are matched.
        out: The run folder that the report is written to; without one, nothing is kept.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        command: Recorded as the way to repeat the comparison.

    Raises:
        UserError: The logs are not of the same items, or the folder cannot be written.
    """
    started = time.monotonic()
    how = matching or MatchOptions()
    pairs: dict[str, LoggedPair] = {PLAIN: (base, tuned), **(conjugated or {})}
    matched = match(pairs, how)
    with open_run(out, command, seed=seed, n_resamples=n_resamples, started=started) as run:
        run.record(
            logs={via: [log.name for log in pair] for via, pair in pairs.items()},
            fingerprints={via: [log.fingerprint for log in pair] for via, pair in pairs.items()},
            metrics=matched.metrics,
            via=list(matched.ways),
        )
        analysis = analyse(
            matched.rows,
            vias=list(matched.ways.values()),
            cells=matched.cells,
            seed=seed,
            n_resamples=n_resamples,
            chance=matched.chances,
        )
        run.store.add(matched.rows)
        notes = dict.fromkeys(note for pair in pairs.values() for log in pair for note in log.notes)
        return run.conclude(
            matched.rows,
            analysis,
            models={role: _model(log) for role, log in zip(ROLES, (base, tuned), strict=True)},
            suite=_suite(matched, base, how),
            warnings=[
                *notes,
                *matched.notes,
                *analysis.warnings,
                *_limits(matched, analysis),
            ],
            conjugations=_log_facts(pairs),
        )


def _model(log: LoggedRun) -> ModelInfo:
    facts = {"log": log.name, "written by": log.kind, **log.facts}
    return ModelInfo(spec=log.model, fingerprint=log.fingerprint, facts=facts)


def _log_facts(pairs: Mapping[str, LoggedPair]) -> dict[str, dict[str, str]]:
    return {
        via: {
            f"log, {role}": f"{log.name} ({log.fingerprint})"
            for role, log in zip(ROLES, pair, strict=True)
        }
        for via, pair in pairs.items()
        if via != PLAIN
    }


def _suite(matched: Matched, base: LoggedRun, how: MatchOptions) -> SuiteInfo:
    sources = {row.key.source_id for row in matched.rows if row.via == PLAIN}
    languages = dict.fromkeys(way.language for way in matched.ways.values() if way.language)
    chances = [matched.chances.get(source, 0.0) for source in sources]
    chance = math.fsum(chances) / len(chances) if any(chances) else None
    name = ", ".join(matched.cells)
    return SuiteInfo(
        name=name if len(name) <= 60 else f"{len(matched.cells)} tasks",
        fingerprint=digest_of(sorted(sources), matched.metrics),
        description=_description(matched, base),
        source_language=next(iter(languages), how.plain_language),
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
    listed = "; ".join(f"{metric}: {', '.join(cells)}" for metric, cells in by_metric.items())
    scored_by = listed if len(by_metric) > 1 else next(iter(by_metric))
    return f"Logs of {base.kind}, scored by {scored_by}."


def _limits(matched: Matched, analysis: Analysis) -> list[str]:
    """Say what such logs cannot show."""
    verdicts = {analysis.verdict, *(cell.verdict for cell in analysis.cells)}
    if matched.scoring == "abilities" or "lost" not in verdicts:
        return []
    return [
        "The logs say which answers are wrong, not whether they are another task's answers. So "
        "'lost' does not exclude that the tuned model, under every conjugation here too, took the "
        "prompts for another task."
    ]
