"""The front: every model of a family on what was lost and on what it was tuned for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from palimpsest.families.cell_figures import cell_figures
from palimpsest.families.target import Array, ScoredExamples, Target, together
from palimpsest.records import CellFigures, Estimate, FrontPoint, Half
from palimpsest.stats import (
    N_PSEUDO,
    Arms,
    Interval,
    bootstrap_means,
    estimate_forgetting,
    estimate_recovery,
    in_first_half,
    is_binary,
    named_stream,
    percentile_interval,
    simultaneous_intervals,
    wilson_interval,
)

BASE, TUNED = "base", "tuned"


class Candidate(NamedTuple):
    """A model, or a way of asking the tuned one, with its scores."""

    name: str
    title: str
    kind: Literal["base", "tuned", "member", "prompting"]
    fingerprint: str
    kept: Mapping[str, float]
    """By source example of the suite."""
    target: Mapping[str, float] | None
    """By example of the target; nothing where it was not asked so."""
    formula: str = ""
    source: str = ""


@dataclass(frozen=True)
class Evidence:
    """All scores of a family, and how they are drawn from."""

    candidates: Sequence[Candidate]
    """Base and tuned among them."""

    target: Target
    suite_cells: Mapping[str, str]
    """The cell of each source example."""

    target_cells: Mapping[str, str]
    seed: int = 0
    n_resamples: int = 10_000

    kept: ScoredExamples = field(init=False)
    """On the examples of the suite that all have a score for."""

    on_target: ScoredExamples = field(init=False)
    """The same of the target."""

    def __post_init__(self) -> None:
        asked = {each.name: each.target for each in self.candidates if each.target is not None}
        object.__setattr__(self, "kept", together({one.name: one.kept for one in self.candidates}))
        object.__setattr__(self, "on_target", together(asked))

    def points(self) -> list[FrontPoint]:
        """Return every candidate's place, with intervals that hold together."""
        kept_ends, changes = self._simultaneous()
        means = dict(zip(self.kept.models, self.kept.values.mean(axis=0).tolist(), strict=True))
        found = []
        for one in self.candidates:
            found.append(
                FrontPoint(
                    name=one.name,
                    title=one.title,
                    kind=one.kind,
                    formula=one.formula,
                    source=one.source,
                    fingerprint=one.fingerprint,
                    kept=Estimate(value=means[one.name], ci95=kept_ends[one.name]),
                    recovery=self._recovery(one.name),
                    target=None if one.target is None else self._score(one.name),
                    target_change=changes.get(one.name),
                    is_on_front=False,
                    cells=list(self._cells(one)),
                    selection=None if one.name in (BASE, TUNED) else self.half(one.name, 1),
                )
            )
        front = pareto([(one.kept.value, one.target_change) for one in found])
        return [
            one.model_copy(update={"is_on_front": index in front})
            for index, one in enumerate(found)
        ]

    def half(self, name: str, which: Literal[1, 2]) -> Half:
        """Return a candidate on the first half of the suite, or on the second."""
        kept = self.kept.among(_half(self.kept.names, which))
        mine, stream = kept.of(name), f"gain half {which} {name}"
        return Half(
            n=len(kept.names),
            kept=float(mine.mean()),
            gain=self._difference(mine, kept.of(TUNED), kept.names, stream),
        )

    def tuned_gain(self) -> Estimate:
        """Return what the tuned model has gained on the target.

        On a suite the interval is the hull of bootstrap and Newcombe's, as everywhere; of text, the
        bootstrap's.
        """
        scored = self.on_target
        base, tuned = scored.of(BASE), scored.of(TUNED)
        if not self.target.is_text:
            return self._difference(tuned, base, scored.names, "target gain")
        weights = self.target.weights(scored.names)[:, None]
        columns = weights * np.column_stack([tuned, base])
        rng = named_stream(self.seed, "target gain")
        means = bootstrap_means(columns, scored.names, rng=rng, n_resamples=self.n_resamples)
        drawn = self.target.gain(means[:, 0], means[:, 1])
        value = self.target.gain(*columns.sum(axis=0))
        return Estimate(value=float(value), ci95=percentile_interval(drawn))

    def compared(self, name: str, other: str, which: Literal[1, 2]) -> Estimate:
        """Return the accuracy of one minus that of another on the suite, on one half."""
        kept = self.kept.among(_half(self.kept.names, which))
        stream = f"half {which} {name} against {other}"
        return self._difference(kept.of(name), kept.of(other), kept.names, stream)

    def _difference(self, one: Array, other: Array, names: Sequence[str], stream: str) -> Estimate:
        found = estimate_forgetting(
            one,
            other,
            names,
            rng=named_stream(self.seed, stream),
            n_resamples=self.n_resamples,
        )
        low, high = found.newcombe or found.interval
        ends = min(low, found.interval.low), max(high, found.interval.high)
        return Estimate(value=found.value, ci95=ends)

    def target_changes(self) -> dict[str, Estimate]:
        """Return what each has gained on the target more than the tuned model.

        The intervals hold together with those of what is kept.
        """
        return self._simultaneous()[1]

    def _simultaneous(self) -> tuple[dict[str, Interval], dict[str, Estimate]]:
        kept = bootstrap_means(
            self.kept.values,
            self.kept.names,
            rng=named_stream(self.seed, "front, suite"),
            n_resamples=self.n_resamples,
            n_pseudo=N_PSEUDO,
        )
        scored = self.on_target
        weights = self.target.weights(scored.names)[:, None]
        columns = weights * scored.values if self.target.is_text else scored.values
        means = bootstrap_means(
            columns,
            scored.names,
            rng=named_stream(self.seed, "front, target"),
            n_resamples=self.n_resamples,
            n_pseudo=0 if self.target.is_text else N_PSEUDO,
        )
        base, tuned = (scored.models.index(name) for name in (BASE, TUNED))
        gains = self.target.gain(means, means[:, [base]])
        changes = gains - gains[:, [tuned]]
        kept_ends, change_ends = simultaneous_intervals([kept, changes])
        whole = self.target.means(scored.values, scored.names)
        gained = self.target.gain(whole, whole[base])
        return dict(zip(self.kept.models, kept_ends, strict=True)), {
            name: Estimate(value=float(value), ci95=ends)
            for name, value, ends in zip(
                scored.models, gained - gained[tuned], change_ends, strict=True
            )
        }

    def _score(self, name: str) -> Estimate:
        scored, mine = self.on_target, self.on_target.of(name)
        rng = named_stream(self.seed, f"score {name}")
        weights = self.target.weights(scored.names)
        ends: Interval
        if not self.target.is_text and is_binary(mine):
            ends = wilson_interval(int(mine.sum()), len(mine))
        else:
            columns = np.column_stack([mine * weights, weights])
            means = bootstrap_means(columns, scored.names, rng=rng, n_resamples=self.n_resamples)
            ends = percentile_interval(means[:, 0] / means[:, 1])
        value = self.target.means(mine[:, None], scored.names)[0]
        return Estimate(value=float(value), ci95=ends)

    def _recovery(self, name: str) -> Estimate:
        base, tuned, mine = (self.kept.of(one) for one in (BASE, TUNED, name))
        found = estimate_recovery(
            Arms(base=base, tuned=tuned, base_under=base, tuned_under=mine),
            self.kept.names,
            rng=named_stream(self.seed, f"recovery {name}"),
            n_resamples=self.n_resamples,
        )
        return Estimate(value=found.recovery, ci95=found.recovery_interval)

    def _cells(self, one: Candidate) -> Iterable[CellFigures]:
        if one.name in (BASE, TUNED):
            return
        settings = {"seed": self.seed, "n_resamples": self.n_resamples}
        yield from cell_figures(
            self.kept, one.name, self.suite_cells, part="suite", target=None, **settings
        )
        if one.target is not None:
            yield from cell_figures(
                self.on_target,
                one.name,
                self.target_cells,
                part="target",
                target=self.target,
                **settings,
            )


def pareto(places: Sequence[tuple[float | None, Estimate | None]]) -> set[int]:
    """Return which points no other has more of both than, by what was kept and by the target."""
    known = {
        index: (kept, change.value)
        for index, (kept, change) in enumerate(places)
        if kept is not None and change is not None and change.value is not None
    }
    return {
        index
        for index, mine in known.items()
        if not any(
            other[0] >= mine[0] and other[1] >= mine[1] and other != mine
            for other in known.values()
        )
    }


def _half(names: Sequence[str], which: Literal[1, 2]) -> list[str]:
    return [name for name in names if in_first_half(name) == (which == 1)]
