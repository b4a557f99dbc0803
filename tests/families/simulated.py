"""Made-up scores of a family whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from palimpsest.families.front import Candidate, Evidence
from palimpsest.families.target import Target
from palimpsest.lm.suites import Example, Suite

Array = npt.NDArray[np.float64]


class Truth(NamedTuple):
    """How often a model is right on what was lost, and at the target."""

    kept: float
    target: float | None


def suite_of(names: Sequence[str], cell: str = "all") -> Suite:
    """Return a suite with examples of these names."""
    examples = [Example(name, cell, "en", name, {"right": ("yes",)}) for name in names]
    return Suite(name="simulated", examples=tuple(examples))


def kind_of(name: str) -> Literal["base", "tuned", "member", "prompting"]:
    """Return what a candidate of this name is: ways of asking begin with ``via``."""
    if name == "base":
        return "base"
    if name == "tuned":
        return "tuned"
    return "prompting" if name.startswith("via") else "member"


def candidate(
    name: str, kept: Mapping[str, float], target: Mapping[str, float] | None
) -> Candidate:
    """Return a candidate with these scores."""
    return Candidate(name, name, kind_of(name), f"fingerprint of {name}", kept, target)


def evidence_of(
    kept: Mapping[str, Sequence[float]],
    target: Mapping[str, Sequence[float]],
    *,
    n_resamples: int = 500,
) -> Evidence:
    """Return the evidence of scores in the order of the examples, by candidate."""
    n, n_target = (len(next(iter(each.values()))) for each in (kept, target))
    names = [f"lost {i:05}" for i in range(n)]
    goals = [f"goal {i:05}" for i in range(n_target)]
    return Evidence(
        [
            candidate(
                name,
                dict(zip(names, scores, strict=True)),
                dict(zip(goals, target[name], strict=True)) if name in target else None,
            )
            for name, scores in kept.items()
        ],
        Target(suite_of(goals)),
        dict.fromkeys(names, "all"),
        dict.fromkeys(goals, "all"),
        seed=0,
        n_resamples=n_resamples,
    )


def simulated(
    truths: Mapping[str, Truth],
    rng: np.random.Generator,
    *,
    n: int = 400,
    n_target: int = 400,
    together: float = 0.8,
    n_resamples: int = 400,
) -> Evidence:
    """Return scores drawn from a truth; models mostly find the same examples hard."""
    kept = _answers(rng, n, [truth.kept for truth in truths.values()], together)
    asked = {name: truth.target for name, truth in truths.items() if truth.target is not None}
    target = _answers(rng, n_target, list(asked.values()), together)
    return evidence_of(
        dict(zip(truths, kept.T.tolist(), strict=True)),
        dict(zip(asked, target.T.tolist(), strict=True)),
        n_resamples=n_resamples,
    )


def _answers(
    rng: np.random.Generator, n: int, accuracies: Sequence[float], together: float
) -> Array:
    shared = rng.normal(size=(n, 1))
    own = rng.normal(size=(n, len(accuracies)))
    hidden = np.sqrt(together) * shared + np.sqrt(1 - together) * own
    found: Array = (hidden < norm.ppf(accuracies)).astype(np.float64)
    return found
