"""Claims of the paper about regression, C1 to C5, judged by runs with different seeds.

A claim is judged by means over runs with their 95 % intervals (Student's t). The rules were written
down before the runs that ``docs/claims.md`` reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from palimpsest.errors import UserError
from palimpsest.lab.runs.measures import MEASURES
from palimpsest.stats import Mean, mean_over_runs

Verdict = Literal["holds", "holds in part", "does not hold here"]
Means = Mapping[str, Mean]

MIN_RUNS = 3
"""Fewer decide nothing."""

_NEAR_BAYES, _TOWARDS_BAYES = 0.06, 0.2
_MOSTLY = 0.5
_SOME_RECOVERY = 0.3


class Judged(NamedTuple):
    """A claim with what the runs say of it."""

    claim: Claim
    means: dict[str, Mean]
    """Of each of its measures, or of what else decides it, by what that is called."""
    verdict: Verdict
    n_runs: int


@dataclass(frozen=True)
class Claim:
    """What the paper claims, and how it is judged here."""

    name: str
    statement: str
    measures: tuple[str, ...]
    """Those that are shown; the first ones decide."""
    rule: str
    """How the verdict follows, in words."""
    judge: Callable[[Means], Verdict]
    """The same in code."""


def judge_claims(table: Sequence[Mapping[str, Any]]) -> Iterator[Judged]:
    """Yield each claim with its figures and its verdict.

    Args:
        table: A row a run, with the columns of
            :data:`~palimpsest.lab.runs.measures.MEASURES`; the runs differ in their seeds alone.

    Raises:
        UserError: Too few runs, or a run without a figure that a claim needs.
    """
    if len(table) < MIN_RUNS:
        raise UserError(
            f"The claims need at least {MIN_RUNS} runs with different seeds; got {len(table)}.",
            hint="Sweep over more seeds: palimpsest lab sweep experiments/lab/claims.toml",
        )
    for claim in CLAIMS:
        means = {name: _mean(table, name) for name in claim.measures}
        yield Judged(claim, means, claim.judge(means), len(table))


def _mean(table: Sequence[Mapping[str, Any]], measure: str) -> Mean:
    values = [row.get(measure) for row in table]
    found = [float(value) for value in values if value not in (None, "")]
    if len(found) < len(table):
        raise UserError(
            f"{len(table) - len(found)} of {len(table)} runs have no '{measure}': "
            f"{MEASURES[measure]}.",
            hint="It may be undefined where nothing was forgotten; see 'error' and 'forgetting' "
            "in the sweep's table.csv.",
        )
    return mean_over_runs(found)


def _approaches_bayes(means: Means) -> Verdict:
    missing, g, ideal = (
        means[name] for name in ("share_of_mixture", "g_hat_discrete", "g_hat_mixture")
    )
    if missing.high <= _NEAR_BAYES and g.low >= 0.9 * ideal.mean:
        return "holds"
    is_near = missing.high <= _TOWARDS_BAYES and g.low >= _MOSTLY * ideal.mean
    return "holds in part" if is_near else "does not hold here"


def _tuning_trades(means: Means) -> Verdict:
    gains, hurts = means["learnt_disc"].low > 0, means["forgetting"].low > 0
    if gains and hurts:
        return "holds"
    return "holds in part" if gains or hurts else "does not hold here"


def _hurts_near_most(means: Means) -> Verdict:
    found = [
        means[name].low > 0 for name in ("nearest_minus_farthest", "nearest_minus_farthest_odds")
    ]
    return "holds" if all(found) else "holds in part" if any(found) else "does not hold here"


def _mostly_inference(means: Means) -> Verdict:
    if means["inference_share"].low > _MOSTLY:
        return "holds"
    is_shift = means["inference_share"].low > 0 and means["alpha_gain"].low > 0
    is_lost = means["bias_share"].high >= _MOSTLY
    return "holds in part" if is_shift and not is_lost else "does not hold here"


def _scaling_recovers(means: Means) -> Verdict:
    if means["recovery_scaling"].low > _SOME_RECOVERY and means["net_recovery_scaling"].low > 0:
        return "holds"
    some = (means[name].low > 0 for name in ("recovery_scaling", "recovery_scaling_few"))
    return "holds in part" if any(some) else "does not hold here"


CLAIMS = (
    Claim(
        "C1",
        "A transformer trained on D_mix approaches the Bayes mixture.",
        ("share_of_mixture", "g_hat_discrete", "g_hat_mixture"),
        f"holds if the whole interval of (L − L_mix)/(L_zero − L_mix) is below "
        f"{_NEAR_BAYES:.0%} and that of ĝ on D_disc above 90 % of the Bayes mixture's; in part if "
        f"below {_TOWARDS_BAYES:.0%} and above {_MOSTLY:.0%}.",
        _approaches_bayes,
    ),
    Claim(
        "C2",
        "Tuning on D_disc improves it there and hurts it on D_cont, within few steps.",
        ("learnt_disc", "forgetting", "steps_to_half"),
        "holds if the intervals of both the gain on D_disc and the forgetting on D_cont are above "
        "zero; in part if one is. The step by which half of the forgetting is there is reported.",
        _tuning_trades,
    ),
    Claim(
        "C3",
        "The loss on D_cont grows most for prompts most likely under D_disc.",
        ("nearest_minus_farthest", "nearest_minus_farthest_odds"),
        "holds if the tenth of the prompts that is nearest to D_disc loses more than the farthest, "
        "by likelihood and by odds (whole intervals above zero); in part if by one of them.",
        _hurts_near_most,
    ),
    Claim(
        "C4",
        "The change is mostly a change of the inferred task, not lost ability.",
        (
            "inference_share",
            "bias_share",
            "overlap_share",
            "variance_share",
            "alpha_gain",
            "g_hat_gain",
        ),
        f"holds if the shift of the inferred task is more than {_MOSTLY:.0%} of the growth of the "
        "excess over ridge (whole interval); in part if it is above zero, α̂ grows, and bias, the "
        f"part that neither inference nor averaging explains, is below {_MOSTLY:.0%}.",
        _mostly_inference,
    ),
    Claim(
        "C5",
        "Label scaling recovers ridge-like behaviour.",
        (
            "recovery_scaling",
            "net_recovery_scaling",
            "recovery_scaling_few",
            "recovery",
            "net_recovery",
            "recovery_rotation",
        ),
        f"holds if the interval of the recovery under a factor chosen beforehand is above "
        f"{_SOME_RECOVERY} and that of the net recovery above zero; in part if the recovery is "
        "above zero, over all prefixes or over those of one to d exemplars. The ensemble of "
        "symmetries and a single rotation are reported beside it.",
        _scaling_recovers,
    ),
)
