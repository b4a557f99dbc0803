"""Curves over the steps of a training, with bands that hold together, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from palimpsest.families.target import Array, ScoredExamples, Target, together
from palimpsest.judging import PLAIN, Analysis, Via, suite_info
from palimpsest.lm.suites import Suite
from palimpsest.records import (
    THRESHOLDS,
    AccuracyCurve,
    ConjugationResult,
    Estimate,
    Interval,
    ModelInfo,
    Provenance,
    Trace,
    TraceCheckpoint,
    Window,
)
from palimpsest.report import percent
from palimpsest.stats import (
    N_PSEUDO,
    bootstrap_means,
    named_stream,
    simultaneous_intervals,
)


class AskedCheckpoint(NamedTuple):
    """A checkpoint with its answers."""

    step: int
    """0 for the base."""

    model: ModelInfo
    scores: Mapping[str, Mapping[str, float]]
    """On the suite: by way of asking, then by source example."""

    cells: Mapping[str, str]
    """The cell of each source example."""

    target: Mapping[str, float] | None
    """Scores on the target."""

    analysis: Analysis | None
    """Against the base; nothing for the base itself."""


def traced(
    asked: Sequence[AskedCheckpoint],
    *,
    suite: Suite,
    vias: Sequence[Via],
    target: Target | None,
    margin: float,
    seed: int,
    n_resamples: int,
    is_running: bool,
    warnings: Sequence[str],
    provenance: Provenance,
) -> Trace:
    """Return the record of a trace.

    Args:
        asked: The base, then the checkpoints by step.
        suite: What was asked.
        vias: How, plainly first.
        target: What is tuned for, if it was asked.
        margin: The largest fall that counts as none, a fraction.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        is_running: Whether more checkpoints are awaited.
        warnings: What a reader must know.
        provenance: What is needed to repeat it.
    """
    bands = _Bands(seed, n_resamples)
    plain = bands.scores(asked, PLAIN)
    falls = bands.falls(plain)
    scores, gains = bands.target(asked, target) if target is not None else ([], [])
    checkpoints = [
        _checkpoint(one, fall, scores[place] if scores else None, gains[place] if gains else None)
        for place, (one, fall) in enumerate(zip(asked[1:], falls, strict=True), 1)
    ]
    first = next((one.step for one in checkpoints if _low(one.fall) > 0), None)
    kept = [one for one in checkpoints if first is None or one.step < first]
    last = next((one.step for one in reversed(kept) if _high(one.fall) < margin), None)
    windows = [_window(via.name, checkpoints) for via in vias[1:]]
    found = Trace(
        base=asked[0].model,
        suite=suite_info(suite),
        target=None if target is None else target.info(),
        base_target=scores[0] if scores else None,
        margin=margin,
        checkpoints=checkpoints,
        curves=[bands.curve(asked, via.name) for via in vias],
        first_clear_fall=first,
        last_kept=last,
        windows=windows,
        summary=[],
        is_running=is_running,
        warnings=list(warnings),
        provenance=provenance,
    )
    return found.model_copy(update={"summary": list(sentences(found))})


class _Bands(NamedTuple):
    """Bootstrap of curves; each has a stream of its own."""

    seed: int
    n_resamples: int

    def scores(self, asked: Sequence[AskedCheckpoint], via: str) -> ScoredExamples:
        """Return everybody's scores under one way of asking."""
        return together({str(one.step): one.scores[via] for one in asked})

    def curve(self, asked: Sequence[AskedCheckpoint], via: str) -> AccuracyCurve:
        """Return the accuracy over the steps under one way of asking."""
        scored = self.scores(asked, via)
        [ends] = simultaneous_intervals([self._means(scored, f"curve {via}")])
        values = scored.values.mean(axis=0)
        return AccuracyCurve(
            via=via,
            steps=[one.step for one in asked],
            accuracy=[_estimate(value, at) for value, at in zip(values, ends, strict=True)],
        )

    def falls(self, scored: ScoredExamples) -> list[Estimate]:
        """Return what each checkpoint is worse than the base."""
        means = self._means(scored, "falls")
        [ends] = simultaneous_intervals([means[:, :1] - means[:, 1:]])
        values = scored.values.mean(axis=0)
        falls = values[0] - values[1:]
        return [_estimate(value, at) for value, at in zip(falls, ends, strict=True)]

    def target(
        self, asked: Sequence[AskedCheckpoint], target: Target
    ) -> tuple[list[Estimate], list[Estimate]]:
        """Return the scores on the target, and what each is better than the base."""
        scored = together({str(one.step): one.target or {} for one in asked})
        weights = target.weights(scored.names)
        columns = np.column_stack([scored.values * weights[:, None], weights])
        rng = named_stream(self.seed, "target")
        n_pseudo = 0.0 if target.is_text else N_PSEUDO
        if target.is_text:
            means = bootstrap_means(columns, scored.names, rng=rng, n_resamples=self.n_resamples)
            means = means[:, :-1] / means[:, -1:]
        else:
            means = bootstrap_means(
                scored.values,
                scored.names,
                rng=rng,
                n_resamples=self.n_resamples,
                n_pseudo=n_pseudo,
            )
        values = target.means(scored.values, scored.names)
        gains = target.gain(values, values[0])
        drawn = target.gain(means, means[:, :1])
        [score_ends], [gain_ends] = simultaneous_intervals([means]), simultaneous_intervals([drawn])
        return (
            [_estimate(value, at) for value, at in zip(values, score_ends, strict=True)],
            [_estimate(value, at) for value, at in zip(gains, gain_ends, strict=True)],
        )

    def _means(self, scored: ScoredExamples, stream: str) -> Array:
        return bootstrap_means(
            scored.values,
            scored.names,
            rng=named_stream(self.seed, stream),
            n_resamples=self.n_resamples,
            n_pseudo=N_PSEUDO,
        )


def _checkpoint(
    one: AskedCheckpoint, fall: Estimate, score: Estimate | None, gain: Estimate | None
) -> TraceCheckpoint:
    found = one.analysis
    assert found is not None
    cells: dict[str, list[float]] = {}
    for source, right in one.scores[PLAIN].items():
        cells.setdefault(one.cells[source], []).append(right)
    return TraceCheckpoint(
        step=one.step,
        model=one.model,
        plain=found.plain,
        fall=fall,
        conjugations=found.conjugations,
        best=found.best,
        verdict=found.verdict,
        verdict_reason=found.verdict_reason,
        cells={cell: sum(scores) / len(scores) for cell, scores in cells.items()},
        target=score,
        target_gain=gain,
    )


def _window(via: str, checkpoints: Sequence[TraceCheckpoint]) -> Window:
    return Window(
        via=via,
        steps=[
            one.step
            for one in checkpoints
            if _low(one.fall) > 0
            for under in one.conjugations
            if under.name == via and reads_back(under)
        ],
    )


def reads_back(found: ConjugationResult) -> bool:
    """Say whether more than half of the fall is back, and more than the base gains as well."""
    return (
        found.recovery_ci95 is not None
        and found.recovery_ci95[0] > THRESHOLDS.suppressed_above
        and found.did_ci95[0] > 0
        and found.p_holm < THRESHOLDS.alpha
    )


def sentences(found: Trace) -> Iterator[str]:
    """Yield what a trace shows, most important first."""
    steps = [one.step for one in found.checkpoints]
    margin = percent(found.margin).removesuffix(".0")
    first = found.first_clear_fall
    if first is None:
        yield f"At none of the {len(steps)} checkpoints has accuracy clearly fallen."
    else:
        one = next(each for each in found.checkpoints if each.step == first)
        yield (
            f"The first clear fall is at step {first:,}: {_points(one.fall)}, asked plainly, from "
            f"{percent(one.plain.base.accuracy)} % to {percent(one.plain.tuned.accuracy)} %."
        )
    if found.last_kept is not None:
        yield (
            f"The last step at which a fall of {margin} points is excluded is {found.last_kept:,}."
        )
    elif first is not None and steps[0] < first:
        yield f"Of no step before it is a fall of {margin} points excluded."
    elif first is not None:
        yield "That is the first checkpoint: what came before it is not known."
    if first is not None:
        yield from _windows(found)
    yield from _target(found)


def _windows(found: Trace) -> Iterator[str]:
    fallen = [one.step for one in found.checkpoints if _low(one.fall) > 0]
    reading = [window for window in found.windows if window.steps]
    if not found.windows:
        yield "No conjugation was tried, so nothing shows whether it was hidden or lost."
    elif not reading:
        yield "No conjugation that was tried brings more than half of it back at any step."
    else:
        longest = max(reading, key=lambda window: len(window.steps))
        span = f"from step {longest.steps[0]:,} to {longest.steps[-1]:,}"
        gaps = [step for step in fallen if longest.steps[0] < step < longest.steps[-1]]
        holes = "" if set(gaps) <= set(longest.steps) else ", with gaps,"
        still = longest.steps[-1] == fallen[-1]
        yield (
            f"The longest window is that of '{longest.via}': {span}{holes} it brings more than "
            f"half of the fall back{', which is to the end' if still else ''}."
        )


def _target(found: Trace) -> Iterator[str]:
    gains = [one for one in found.checkpoints if one.target_gain is not None]
    if not gains or found.target is None:
        return
    unit = "% of its bits" if found.target.unit == "bits a byte" else "points"
    best = max(gains, key=lambda one: (one.target_gain and one.target_gain.value) or 0.0)
    clear = next((one.step for one in gains if _low(one.target_gain) > 0), None)
    assert best.target_gain is not None
    if clear is None:
        yield "The target has clearly gained at no step."
        return
    value = percent(best.target_gain.value, signed=True)
    yield (
        f"The target has clearly gained from step {clear:,} on; most at step {best.step:,}: "
        f"{value} {unit}."
    )


def _points(found: Estimate) -> str:
    low, high = found.ci95 or (0.0, 0.0)
    return f"{percent(found.value)} points (interval {percent(low)} to {percent(high)})"


def _low(found: Estimate | None) -> float:
    return found.ci95[0] if found is not None and found.ci95 is not None else float("-inf")


def _high(found: Estimate) -> float:
    return found.ci95[1] if found.ci95 is not None else float("inf")


def _estimate(value: float, ends: Interval) -> Estimate:
    return Estimate(value=float(value), ci95=(ends[0], ends[1]))
