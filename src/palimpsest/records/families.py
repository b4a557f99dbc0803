"""The schemas of ``trace.json`` and ``restore.json``: models of one family, asked the same.

Accuracies, changes and intervals are fractions (0.25 is 25 points). An interval is a 95 % interval;
where it is called *simultaneous*, all that it belongs with hold the truth together in 95 % of
samples, and otherwise each does by itself.

What a model has *gained* on a target is its accuracy minus the base's; of text, the share of the
base's bits that it saves, 1 − bits / bits of the base.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from palimpsest.records.lab_results import Estimate
from palimpsest.records.results import (
    Best,
    ConjugationResult,
    ModelInfo,
    Plain,
    Provenance,
    Record,
    SuiteInfo,
    Verdict,
)

TRACE: Final = "palimpsest.trace/1"
RESTORATION: Final = "palimpsest.restore/1"

TRACE_FILE = "trace.json"
RESTORATION_FILE = "restore.json"
"""Where a run folder has them."""

Unit = Literal["accuracy", "bits a byte"]


class TargetInfo(Record):
    """What the tuned model was tuned for, as it is measured."""

    name: str
    unit: Unit
    """``accuracy`` on a suite, higher is better; ``bits a byte`` of held-out text, lower is."""
    fingerprint: str
    n_examples: int
    description: str = ""


class TraceCheckpoint(Record):
    """A checkpoint of the training against the base model."""

    step: int
    model: ModelInfo
    plain: Plain
    fall: Estimate
    """Forgetting; its interval is simultaneous over the checkpoints."""
    conjugations: list[ConjugationResult]
    best: Best | None
    verdict: Verdict
    verdict_reason: str
    cells: dict[str, float]
    """Accuracy asked plainly, by cell."""
    target: Estimate | None = None
    """Score on the target; its interval is simultaneous over the checkpoints."""
    target_gain: Estimate | None = None
    """What it has gained on the target; its interval is simultaneous over the checkpoints."""


class AccuracyCurve(Record):
    """Accuracy under one way of asking, over the steps of a training."""

    via: str
    """``identity`` for plain prompts."""
    steps: list[int]
    """From 0, the base model, on."""
    accuracy: list[Estimate]
    """The intervals are simultaneous over the steps of this curve."""


class Window(Record):
    """The checkpoints at which a conjugation still reads back what has clearly fallen."""

    via: str
    steps: list[int]
    """Those with more than half of the fall recovered, by the whole interval, and more than the
    base model gains there as well."""


class Trace(Record):
    """A training, checkpoint by checkpoint: when did it go?"""

    schema_: Literal["palimpsest.trace/1"] = Field(default=TRACE, alias="schema")
    base: ModelInfo
    suite: SuiteInfo
    target: TargetInfo | None
    base_target: Estimate | None = None
    margin: float
    """The largest fall that counts as none."""
    checkpoints: list[TraceCheckpoint]
    curves: list[AccuracyCurve]
    first_clear_fall: int | None
    """The first step whose simultaneous interval of the fall is above zero."""
    last_kept: int | None
    """The last step before it whose simultaneous interval of the fall is below the margin."""
    windows: list[Window]
    summary: list[str]
    """The same in sentences."""
    is_running: bool = False
    """Whether more checkpoints were awaited when this was written."""
    warnings: list[str] = Field(default_factory=list)
    provenance: Provenance

    def to_json(self) -> str:
        """Return the text of ``trace.json``."""
        return self.model_dump_json(by_alias=True, indent=2)


class Half(Record):
    """A candidate on one half of the suite, against the tuned model asked plainly."""

    n: int
    """Source examples."""
    kept: float
    """Accuracy."""
    gain: Estimate
    """That minus the tuned model's."""


class CellFigures(Record):
    """What became of one cell in a member; b, t and m are base, tuned and member, right or wrong.

    Of graded scores, the same as sums of what is regained, kept and newly lost.
    """

    cell: str
    part: Literal["suite", "target"]
    """Whether it is a cell of what was lost, or of what the model was tuned for."""
    n: int
    healed: Estimate
    """Of the examples that b has right and t wrong, the share that m has right."""
    n_fallen: int
    """How many these are."""
    preserved: Estimate
    """Of the examples that t has right, the share that m has right too."""
    damaged: Estimate
    """Newly damaged: the share of all examples that both b and t have right, and m wrong."""
    target_kept: Estimate | None = None
    """Of the target only: (m − b) / (t − b), the share of the gain that m keeps; null where t
    is not clearly better than b."""


class FrontPoint(Record):
    """A model of the family, or a way of asking the tuned one, on both suites."""

    name: str
    """A member as it is named on the command line; a way of asking as in ``--via``."""
    title: str
    kind: Literal["base", "tuned", "member", "prompting"]
    formula: str = ""
    source: str = ""
    fingerprint: str
    kept: Estimate
    """Accuracy on the suite of what was lost; simultaneous over all points and both axes."""
    recovery: Estimate
    """Share of the fall that is back; null where the tuned model has not clearly fallen."""
    target: Estimate | None
    """Score on the target; null for a way of asking that the target does not know."""
    target_change: Estimate | None
    """What it has gained on the target more than the tuned model; simultaneous over all points and
    both axes."""
    is_on_front: bool
    """Whether no other point has more of both."""
    cells: list[CellFigures]
    selection: Half | None = None
    """On the half that chooses; null for base and tuned."""
    report: Half | None = None
    """On the other half, for what was chosen alone."""


class Choice(Record):
    """What the rule says: which member restores enough, or that none does."""

    outcome: Literal["good", "none", "inconclusive"]
    """``inconclusive``: the examples are too few to exclude a fall of the margin, or to show it."""
    name: str | None
    """The member that was chosen on the first half, whatever came of it on the second."""
    reason: str
    rule: str
    margin: float
    """The largest fall of the target that is allowed, a fraction."""


class Cure(Record):
    """Which is the better cure: a member of the weights, or prompting under a conjugation."""

    outcome: Literal["weights", "prompting", "either", "none"]
    via: str | None
    """The best way of asking, chosen on the first half."""
    difference: Estimate | None
    """Accuracy of that minus the member's, on the second half."""
    reason: str


class Restoration(Record):
    """A family on what was lost and on what it was tuned for: how do I get it back?"""

    schema_: Literal["palimpsest.restore/1"] = Field(default=RESTORATION, alias="schema")
    base: ModelInfo
    tuned: ModelInfo
    suite: SuiteInfo
    target: TargetInfo
    plain: Plain
    """Base against tuned on the suite."""
    target_gain: Estimate
    """What the tuned model has gained on the target."""
    points: list[FrontPoint]
    choice: Choice
    cure: Cure
    warnings: list[str] = Field(default_factory=list)
    provenance: Provenance

    def point(self, name: str | None) -> FrontPoint | None:
        """Return the point of that name, if there is one."""
        return next((point for point in self.points if point.name == name), None)

    def to_json(self) -> str:
        """Return the text of ``restore.json``."""
        return self.model_dump_json(by_alias=True, indent=2)
