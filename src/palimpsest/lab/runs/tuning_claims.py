"""Claims about *how* a model is tuned, C10 and C11: the same bases, tuned in several ways.

Differences and ratios are taken within a seed, and judged over seeds as in
:mod:`palimpsest.lab.runs.claims`. The rules were written down before the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lab.runs.claims import MIN_RUNS, Claim, Judged, Means, Verdict
from palimpsest.lab.runs.config import PLAIN
from palimpsest.stats import Mean, mean_over_runs

TARGET = 0.9
"""The prior of the target that holds the old tasks, too."""
_TOLERANCE = 0.02
OWN, OWN_NEW, REPLAYED = f"own_samples {TARGET:g}", "own_samples 1", "replay 0.2"
"""The model's own samples towards that target, and towards the discrete tasks alone; and imitation
of that target: a fifth of the prompts from ``D_mix``, half of which are discrete."""
VALUES = "value_matrices 3"

WAYS = {
    PLAIN: "imitation (forward KL) of the discrete tasks alone",
    OWN_NEW: "own samples (reverse KL) towards the discrete tasks alone",
    REPLAYED: f"imitation of a target with {TARGET:g} discrete tasks",
    OWN: f"own samples towards a target with {TARGET:g} discrete tasks",
    VALUES: "imitation of the discrete tasks, value matrices alone",
}
"""What ``tuned_with`` says, to what it is."""

MASS_MOVED, MASS_KEPT = "α̂ after imitation", "α̂ after own samples"
DRIFT = "growth of the bias, own samples minus imitation"
NEAR = "C3 by odds under own samples: nearest minus farthest"
BY_DIRECTION = {
    "α̂": "alpha_tuned",
    "forgetting": "forgetting",
    "growth of the bias": "bias_gain",
}
FORGETS, LEARNS = (
    "forgetting, value matrices alone over all weights",
    "gain on D_disc, value matrices alone over all weights",
)
GAIN = "gain on D_disc, value matrices alone"


def judge_ways(table: Sequence[Mapping[str, Any]]) -> Iterator[Judged]:
    """Yield C10 and C11 with their figures and verdicts.

    Args:
        table: A row a run, which differ in ``seed`` and ``tuned_with``, every seed tuned in each
            of :data:`WAYS`.

    Raises:
        UserError: Too few seeds, or a way that has not been run with every one of them.
    """
    runs = _by_way(table)
    n = len(runs[PLAIN])
    for claim, figures in ((C10, _of_direction(runs)), (C11, _of_values(runs))):
        yield Judged(claim, figures, claim.judge(figures), n)


Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each way, the rows in the order of their seeds."""


def _by_way(table: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    runs = {
        way: sorted((row for row in table if row["tuned_with"] == way), key=lambda row: row["seed"])
        for way in WAYS
    }
    seeds = {way: [row["seed"] for row in rows] for way, rows in runs.items()}
    if len(seeds[PLAIN]) < MIN_RUNS or any(found != seeds[PLAIN] for found in seeds.values()):
        raise UserError(
            f"C10 and C11 compare ways of tuning seed by seed, over at least {MIN_RUNS} seeds; the "
            f"runs have {seeds}.",
            hint="Run every way with the same seeds: experiments/lab/ways.toml",
        )
    return runs


def _mean(rows: Sequence[Mapping[str, Any]], measure: str) -> Mean:
    return mean_over_runs([float(row[measure]) for row in rows])


def _paired(
    runs: Runs, one: str, other: str, measure: str, by: Callable[[float, float], float]
) -> Mean:
    pairs = zip(runs[one], runs[other], strict=True)
    return mean_over_runs([by(float(a[measure]), float(b[measure])) for a, b in pairs])


def _less(a: float, b: float) -> float:
    return a - b


def _over(a: float, b: float) -> float:
    return a / b


def _of_direction(runs: Runs) -> dict[str, Mean]:
    found = {
        MASS_MOVED: _mean(runs[PLAIN], "alpha_tuned"),
        MASS_KEPT: _mean(runs[OWN], "alpha_tuned"),
        DRIFT: _paired(runs, OWN, PLAIN, "bias_gain", _less),
        NEAR: _mean(runs[OWN], "nearest_minus_farthest_odds"),
    }
    for target, one, other in (
        ("both tasks", OWN, REPLAYED),
        ("the discrete alone", OWN_NEW, PLAIN),
    ):
        for name, measure in BY_DIRECTION.items():
            label = f"{name}, own samples minus imitation, towards {target}"
            found[label] = _paired(runs, one, other, measure, _less)
    return found


def _of_values(runs: Runs) -> dict[str, Mean]:
    return {
        FORGETS: _paired(runs, VALUES, PLAIN, "forgetting", _over),
        LEARNS: _paired(runs, VALUES, PLAIN, "learnt_disc", _over),
        GAIN: _mean(runs[VALUES], "learnt_disc"),
    }


def _keeps_mass(means: Means) -> Verdict:
    most = TARGET + _TOLERANCE
    mass = means[MASS_KEPT].high <= most < means[MASS_MOVED].low
    drift = means[DRIFT].high < 0
    if mass and drift and means[NEAR].low > 0:
        return "holds"
    return "holds in part" if mass or drift else "does not hold here"


def _keeps_learning(means: Means) -> Verdict:
    ratio, learns = means[FORGETS], means[GAIN].low > 0
    if learns and ratio.high < 0.5 <= means[LEARNS].mean:
        return "holds"
    return "holds in part" if learns and ratio.high < 1 else "does not hold here"


C10 = Claim(
    "C10",
    "Imitation of the new task moves mass to it; tuning towards the model's own samples, "
    "reweighted, does not, and lets the old ability drift only where the tasks overlap.",
    (),
    f"holds if α̂ goes above {TARGET + _TOLERANCE:g} under imitation and not under own samples "
    f"towards a target with {TARGET:g} discrete tasks (whole intervals), the bias in the excess "
    "grows less under these (whole interval of the paired difference), and what their loss on "
    "D_cont grows by grows most for the prompts nearest to D_disc; in part if the first or the "
    "second is so. Whether it is the samples or the target that does it is told by the same "
    "differences between samples at one target, beside it.",
    _keeps_mass,
)
C11 = Claim(
    "C11",
    "Tuning the value matrices alone keeps in-context learning.",
    (),
    "holds if they forget less than half of what all weights forget in as many steps (whole "
    "interval of the ratio within a seed) and gain at least half as much on D_disc (mean), where "
    "they gain at all (whole interval); in part if they gain and forget less.",
    _keeps_learning,
)
