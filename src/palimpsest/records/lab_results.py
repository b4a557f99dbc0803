"""The schema of a laboratory run's ``results.json``, versioned and typed.

Losses are mean squared errors against noiseless targets, over all positions of a prompt unless
said otherwise. Every interval is a 95 % bootstrap interval over prompts.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Final = "palimpsest.lab/1"

CHOSEN_FACTOR: Final = 1.5
"""Of label scaling: chosen on other seeds than any that is published (``experiments/LOG.md``)."""

Interval = tuple[float, float]


class LabRecord(BaseModel):
    """A frozen record; unknown fields are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Estimate(LabRecord):
    """A number with its interval."""

    value: float | None
    """Null where it is undefined."""
    ci95: Interval | None = None

    @property
    def or_zero(self) -> float:
        """The number, or zero where it is undefined."""
        return self.value or 0.0


class Check(LabRecord):
    """What the base model has learnt, before anything else is made of it."""

    share_of_mixture: float
    """(L − L_mix) / (L_zero − L_mix) on ``D_mix``: 0 is the Bayes mixture, 1 predicting zero."""
    alpha: Estimate = Estimate(value=None)
    """α̂ on ``D_cont``, the prior that the model acts by."""
    n_steps: int | None = None
    """Updates of the pretraining, where they were written down."""
    is_converged: bool = False
    """Whether less than 1.5 % is missing on ``D_mix`` and the interval of α̂ holds α."""
    convergence: str = ""
    """The same in words."""
    g_hat_discrete: Estimate
    """ĝ on ``D_disc`` of the pretraining: near the Bayes mixture's if the tasks were learnt."""
    g_hat_mixture: float
    """The same for the Bayes mixture."""
    is_learnt: bool
    """Whether the model knows the discrete tasks at all."""
    sentence: str
    """The same in words."""


class Losses(LabRecord):
    """Losses of one model at one moment."""

    step: int
    """Updates of fine-tuning."""
    disc: Estimate
    """On ``D_disc``, the one that is tuned on."""
    cont: Estimate
    """On ``D_cont``."""
    cont_ensemble: Estimate
    """On ``D_cont`` under the largest symmetry ensemble."""
    g_hat: Estimate
    """ĝ on ``D_cont``."""
    g_hat_ensemble: Estimate
    """ĝ on ``D_cont`` under the ensemble."""


class ByPosition(LabRecord):
    """A quantity at every number of exemplars, from none."""

    name: str
    """Whose, such as ``tuned under scale:2``."""
    kind: Literal["base", "tuned", "conjugated", "exact"]
    values: list[float | None]
    low: list[float | None] = Field(default_factory=list)
    """Lower ends of the intervals; empty where there are none."""
    high: list[float | None] = Field(default_factory=list)


class Part(LabRecord):
    """The excess loss of one model on ``D_cont`` over ridge, and what it is made of."""

    name: str
    excess: Estimate
    inference: Estimate
    """From a share of the discrete solution in the answers."""
    overlap: Estimate
    """Twice the product of that shift and the bias; can be negative."""
    bias: Estimate
    """Neither that, nor removed by averaging over symmetries."""
    variance: Estimate
    """What averaging over symmetries removes."""


class Prior(LabRecord):
    """The Bayes mixture that is nearest to a model on ``D_cont``."""

    name: str
    alpha: Estimate
    """Its α."""
    log_odds: Estimate
    """log α/(1 − α), which tells apart what rounds to 0 or 1; null where it is infinite."""
    distance: float
    """Mean squared distance between the model and that mixture."""


class Decile(LabRecord):
    """A group of prompts from ``D_cont``."""

    closeness: float
    """Mean over the group, in nats."""
    change: Estimate
    """Tuned loss minus base loss."""


class Closeness(LabRecord):
    """The change of loss by how near a prompt is to ``D_disc``, farthest first."""

    by: Literal["likelihood", "odds"]
    """By the log-likelihood under ``D_disc``, or by its ratio to that under ``D_cont``."""
    deciles: list[Decile]
    last_minus_first: Estimate
    """Change among the nearest minus change among the farthest."""


class Conjugated(LabRecord):
    """Both models under one conjugation or ensemble."""

    name: str
    n_members: int
    """Conjugations that are averaged over; 1 for a single one."""
    is_symmetry: bool
    """Whether it leaves ``D_cont`` as it is, and ``D_disc`` not."""
    note: str = ""
    """What to keep in mind otherwise."""
    base: Estimate
    """Loss of the base model on ``D_cont`` under it."""
    tuned: Estimate
    """Loss of the tuned model on ``D_cont`` under it."""
    tuned_disc: Estimate
    """Loss of the tuned model on ``D_disc`` under it."""
    recovery: Estimate
    """(L_tuned − L_tuned,s) / (L_tuned − L_base)."""
    net_recovery: Estimate
    """The same net of what it gives the base model."""
    g_hat: Estimate
    """ĝ of the tuned model under it, on ``D_cont``."""

    @property
    def is_ensemble(self) -> bool:
        """Whether it is one of a group's ensembles, ``KIND:SIZE``, though of one member."""
        kind, _, size = self.name.partition(":")
        return bool(size) and kind != "scale"


class Remedied(LabRecord):
    """A model tuned with a remedy, or plainly for fewer steps."""

    name: str
    kind: str
    """``plain``, ``replay``, ``lora_rank``, ``l2_sp``, ``kl`` or ``interpolation``."""
    strength: float
    disc: Estimate
    """Loss on the ``D_disc`` that is tuned on."""
    cont: Estimate
    """Loss on ``D_cont``."""
    cont_ensemble: Estimate
    """Loss on ``D_cont`` under the largest symmetry ensemble."""


class Oracle(LabRecord):
    """The losses of an exact predictor."""

    name: str
    disc: float
    cont: float


class LabProvenance(LabRecord):
    """What is needed to repeat the run."""

    created: str
    """ISO 8601, UTC."""
    command: str
    config: dict[str, Any]
    """Every value resolved, seeds included."""
    models: dict[str, str]
    """Fingerprints of the weights."""
    versions: dict[str, str]
    platform: str
    device: str
    commit: str | None
    seconds: dict[str, float]
    """Wall time of each stage, over all sessions."""


class LabResults(LabRecord):
    """A whole run of the laboratory."""

    schema_: Literal["palimpsest.lab/1"] = Field(default=SCHEMA, alias="schema")
    name: str
    check: Check
    forgetting: Estimate
    """L_tuned − L_base on ``D_cont``."""
    base_cont: Estimate
    base_disc: Estimate
    tuned_cont: Estimate
    tuned_disc: Estimate
    oracles: list[Oracle]
    curve: list[Losses]
    by_exemplars: list[ByPosition]
    """Losses on ``D_cont``."""
    inference: list[ByPosition]
    """ĝ on ``D_cont``."""
    split: list[Part]
    priors: list[Prior]
    closeness: list[Closeness]
    conjugations: list[Conjugated]
    remedies: list[Remedied]
    findings: list[str]
    """What came out, in sentences."""
    warnings: list[str] = Field(default_factory=list)
    """Whatever a reader must know before trusting the figures."""
    provenance: LabProvenance

    def to_json(self) -> str:
        """Return the text of ``results.json``."""
        return self.model_dump_json(by_alias=True, indent=2)

    def gain(self, part: str) -> float | None:
        """Return by how much a part of the excess grew in tuning; null where it was not split."""
        if len(self.split) != 2:
            return None
        base, tuned = (getattr(one, part).or_zero for one in self.split)
        return float(tuned - base)

    @property
    def growth(self) -> dict[str, float]:
        """By how much the excess and each part of it grew in tuning; empty unless it grew."""
        names = ("excess", "inference", "overlap", "bias", "variance")
        grown = {name: found for name in names if (found := self.gain(name)) is not None}
        return grown if grown.get("excess", 0.0) > 0 else {}

    @property
    def best(self) -> Conjugated | None:
        """The largest symmetry ensemble: what the run is judged by."""
        ensembles = [one for one in self.conjugations if one.is_symmetry and one.is_ensemble]
        return max(ensembles, key=lambda one: one.n_members, default=None)

    @property
    def scaling(self) -> Conjugated | None:
        """Label scaling by the factor chosen beforehand, or the best where that was not asked."""
        scalings = [one for one in self.conjugations if one.name.startswith("scale:")]
        chosen = [one for one in scalings if one.name == f"scale:{CHOSEN_FACTOR:g}"]
        defined = [one for one in chosen or scalings if one.recovery.value is not None]
        return max(defined, key=lambda one: one.recovery.or_zero, default=None)
