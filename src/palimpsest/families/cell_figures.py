r"""Four figures for each cell: what a member heals, preserves, newly damages, and keeps.

With b, t and m right or wrong of base, tuned model and member on the same examples:

.. math::
   \text{healed} = \frac{\sum b (1-t) m}{\sum b (1-t)}, \quad
   \text{preserved} = \frac{\sum t m}{\sum t}, \quad
   \text{damaged} = \frac{\sum b t (1-m)}{n}, \quad
   \text{target kept} = \frac{\bar m - \bar b}{\bar t - \bar b}

Graded scores, from 0 to 1, give the same figures as sums of what is regained, min(m, b) − t where
it is above zero; of what is kept, min(m, t); and of what falls below both, min(b, t) − m.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from palimpsest.families.target import Array, ScoredExamples, Target
from palimpsest.records import CellFigures, Estimate, Interval
from palimpsest.stats import (
    Arms,
    bootstrap_means,
    estimate_recovery,
    is_binary,
    named_stream,
    percentile_interval,
    wilson_interval,
)

Part = Literal["suite", "target"]
"""Whether examples are of what was lost, or of what the model was tuned for."""


def cell_figures(
    scored: ScoredExamples,
    member: str,
    cells: Mapping[str, str],
    *,
    part: Part,
    target: Target | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> Iterator[CellFigures]:
    """Yield the figures of each cell, in the order of its first example.

    Args:
        scored: Of ``base``, ``tuned`` and the member.
        member: Its name.
        cells: The cell of each example.
        part: Which of the two suites this is.
        target: For the gain that is kept; nothing for the suite of what was lost.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
    """
    groups: dict[str, list[str]] = {cell: [] for cell in cells.values()}
    for name in scored.names:
        groups[cells[name]].append(name)
    for cell, names in groups.items():
        if names:
            among = scored.among(names)
            stream = f"{part} {cell} {member}"
            kept = None
            if target is not None:
                kept = share_of_gain(target, among, member, stream, seed, n_resamples)
            if target is not None and target.is_text:
                yield _of_text(cell, len(names), kept)
            else:
                yield _of_scores(cell, part, among, member, kept, stream, seed, n_resamples)


def share_of_gain(
    target: Target, scored: ScoredExamples, member: str, stream: str, seed: int, n_resamples: int
) -> Estimate:
    """Return (m − b) / (t − b) on the target; undefined where t is not clearly better than b."""
    base, tuned, mine = (scored.of(name) for name in ("base", "tuned", member))
    rng = named_stream(seed, f"gain {stream}")
    if not target.is_text:
        found = estimate_recovery(
            Arms(base=tuned, tuned=base, base_under=tuned, tuned_under=mine),
            scored.names,
            rng=rng,
            n_resamples=n_resamples,
        )
        return Estimate(value=found.recovery, ci95=found.recovery_interval)
    weights = target.weights(scored.names)[:, None]
    columns = weights * np.column_stack([base, tuned, mine])
    means = bootstrap_means(columns, scored.names, rng=rng, n_resamples=n_resamples)
    gain, share = means[:, 0] - means[:, 1], means[:, 0] - means[:, 2]
    if percentile_interval(gain).low <= 0:
        return Estimate(value=None)
    b, t, m = columns.sum(axis=0)
    ratio = np.divide(share, gain, out=np.full_like(gain, np.inf), where=gain > 0)
    lowest = np.where(gain > 0, ratio, -np.inf)
    ends = percentile_interval(lowest).low, percentile_interval(ratio).high
    return Estimate(value=float((b - m) / (b - t)), ci95=ends)


def _of_scores(
    cell: str,
    part: Part,
    scored: ScoredExamples,
    member: str,
    kept: Estimate | None,
    stream: str,
    seed: int,
    n_resamples: int,
) -> CellFigures:
    base, tuned, mine = (scored.of(name) for name in ("base", "tuned", member))
    fallen = np.maximum(base - tuned, 0)
    regained = np.clip(mine - tuned, 0, fallen)
    damaged = np.maximum(np.minimum(base, tuned) - mine, 0)
    exact = is_binary(base, tuned, mine)

    def share(part_of: Array, whole: Array, name: str) -> Estimate:
        rng = named_stream(seed, f"{name} {stream}")
        return _share(part_of, whole, exact=exact, rng=rng, n_resamples=n_resamples)

    return CellFigures(
        cell=cell,
        part=part,
        n=len(scored.names),
        healed=share(regained, fallen, "healed"),
        n_fallen=int(np.sum(fallen > 0)),
        preserved=share(np.minimum(mine, tuned), tuned, "preserved"),
        damaged=share(damaged, np.ones_like(damaged), "damaged"),
        target_kept=kept,
    )


def _of_text(cell: str, n: int, kept: Estimate | None) -> CellFigures:
    nothing = Estimate(value=None)
    return CellFigures(
        cell=cell,
        part="target",
        n=n,
        healed=nothing,
        n_fallen=0,
        preserved=nothing,
        damaged=nothing,
        target_kept=kept,
    )


def _share(
    part: Array, whole: Array, *, exact: bool, rng: np.random.Generator, n_resamples: int
) -> Estimate:
    """Return a part of a whole: Wilson's interval for right and wrong, else the bootstrap's."""
    total = float(whole.sum())
    if not total:
        return Estimate(value=None)
    value = float(part.sum()) / total
    ends: Interval
    if exact:
        ends = wilson_interval(round(float(part.sum())), round(total))
    else:
        columns = np.column_stack([part, whole])
        means = bootstrap_means(columns, range(len(whole)), rng=rng, n_resamples=n_resamples)
        some = means[:, 1] > 0
        ends = percentile_interval(means[some, 0] / means[some, 1])
    return Estimate(value=value, ci95=ends)
