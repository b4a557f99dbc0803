"""What ``palimpsest recommend`` says: conjugations in order, with what speaks for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from palimpsest.judging.recommend.score import Gates, Term

SCHEMA = "palimpsest.recommendation/1"


@dataclass(frozen=True)
class Ranked:
    """One conjugation with what speaks for and against it."""

    name: str
    """As in ``--via``."""

    kind: str
    """``exact``, ``lossy`` or ``native``."""

    excluded: str | None
    """Why it is not recommended, if it is not."""

    shift: Term
    """Fall of the log-odds that a prompt is one of the tuning's, in bits per plain byte."""

    handling: Term
    """Share of what the base model knows about plain prompts that it still knows, 0 to 1."""

    fidelity: Term
    """Mean chrF of the prompts' round trip, 0 to 1."""

    score: Term
    """Their product; see :mod:`palimpsest.judging.recommend.score`."""

    survival: float
    """Mean share of protected spans that the conjugated prompts still have; 1 if exact."""

    cost: float
    """Length of the conjugated prompts as a multiple of the plain ones'."""

    best_share: float
    """Share of bootstrap resamples in which its score is the highest."""

    n_prompts: int
    """Prompts that count."""

    @property
    def is_clear(self) -> bool:
        """Whether the score is above zero, its whole interval included."""
        return self.score.ci95 is not None and self.score.ci95.low > 0


@dataclass(frozen=True)
class Recommendation:
    """The ranking, the best first and the excluded last."""

    tuned: str
    """Spec of the tuned model."""

    base: str | None
    """Spec of the base model, if there is one."""

    prompts: str
    """The file, or the suite's name."""

    n_prompts: int
    """Plain prompts that fit into the models' contexts."""

    cost_unit: str
    """What :attr:`Ranked.cost` counts: the tuned model's ``tokens``, or ``bytes``."""

    candidates: tuple[Ranked, ...]
    """All that were tried."""

    warnings: tuple[str, ...]
    """Whatever a reader must know before trusting the ranking."""

    gates: Gates
    """What a conjugation must reach."""

    seed: int
    """Of the bootstrap."""

    n_resamples: int
    """Of the bootstrap."""

    @property
    def ranked(self) -> tuple[Ranked, ...]:
        """The conjugations that are not excluded."""
        return tuple(one for one in self.candidates if one.excluded is None)

    def to_json(self) -> dict[str, Any]:
        """Return what ``palimpsest recommend --json`` prints; undefined numbers are null."""
        values = {**asdict(self), "gates": self.gates._asdict()}
        terms = ("shift", "handling", "fidelity", "score")
        values["candidates"] = [
            {**asdict(one), **{term: getattr(one, term)._asdict() for term in terms}}
            for one in self.candidates
        ]
        return {"schema": SCHEMA, **_defined(values)}


def _defined(value: Any) -> Any:
    """Return a value for JSON: undefined numbers are null."""
    if isinstance(value, Mapping):
        return {key: _defined(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
