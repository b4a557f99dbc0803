"""What determines a training, apart from the problem and the model's sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lab.problem.checks import check_count, check_share
from palimpsest.training.optimisers import OPTIMISERS
from palimpsest.training.schedules import SCHEDULES

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Training:
    """Steps, batches, rates and precision of one training.

    Raises:
        UserError: A number out of range, or an unknown name.

    Example:
        >>> Training(n_steps=100, schedule="cosin")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: schedule is 'cosin'. Did you mean 'cosine'?
        It can be: constant, linear, cosine, trapezoid.
    """

    n_steps: int
    """Updates."""
    batch_size: int = 64
    """Prompts in a batch, over all processes."""
    optimiser: str = "muon"
    """``adamw``, or ``muon`` for the matrices of the blocks and AdamW for the rest."""
    learning_rate: float = 3e-3
    """Peak rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak rate of Muon."""
    weight_decay: float = 0.0
    """Decoupled, of matrices; zero makes AdamW Adam."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averaging of gradients and of their squares."""
    schedule: str = "trapezoid"
    """``constant``, ``linear``, ``cosine`` or ``trapezoid``."""
    n_warmup_steps: int = 50
    """Steps in which the rate rises."""
    max_gradient_norm: float = 1.0
    """Longer gradients are shortened to this."""
    precision: str = "float32"
    """``bf16`` computes products in bfloat16; the weights stay float32."""
    compile: bool = False
    """Compile the model: half a minute on a CPU, which long trainings win back."""
    seed: int = 0
    """Of the first weights, and of all batches."""
    save_every: int = 250
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "save_every"):
            check_count(name, getattr(self, name))
        if self.n_warmup_steps < 0:
            raise UserError(f"n_warmup_steps is {self.n_warmup_steps}; it must be zero or more.")
        for name in ("learning_rate", "muon_learning_rate", "max_gradient_norm"):
            check_positive(name, getattr(self, name))
        check_not_negative("weight_decay", self.weight_decay)
        object.__setattr__(self, "betas", tuple(self.betas))  # a TOML file has a list
        for name, choices in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            _check_choice(name, getattr(self, name), choices)


@dataclass(frozen=True)
class Remedies:
    r"""What may be done against forgetting while fine-tuning; by default nothing.

    With predictions f, those of the base model :math:`f_0`, weights θ and base weights
    :math:`θ_0`, the loss is

    .. math:: \overline{(f - y)^2} + β \overline{(f - f_0)^2 / 2σ^2} + \frac{λ}{2} ‖θ - θ_0‖^2

    The middle term is β times the divergence KL(N(f, σ²) ‖ N(f₀, σ²)), in nats a prediction: what
    it comes to for a regression with noise of variance σ².

    Raises:
        UserError: A number out of range.
    """

    replay: float = 0.0
    """ρ, the share of prompts from ``D_mix`` of the problem that the base model was trained on."""
    l2_sp: float = 0.0
    """λ, of the distance to the base weights (Li et al., 2018, arXiv 1802.01483)."""
    kl: float = 0.0
    """β, of the divergence from the base model, on the prompts of the batch."""
    lora_rank: int | None = None
    """Train low-rank changes of the blocks' matrices alone (Hu et al., 2021, arXiv 2106.09685)."""
    lora_scale: float = 2.0
    """The change is this times the product of its two factors (α/r in the paper)."""
    interpolation: float = 1.0
    """Share of the way from the base to the tuned weights that is gone afterwards (WiSE-FT,
    Wortsman et al., 2021, arXiv 2109.01903)."""

    def __post_init__(self) -> None:
        check_share("replay", self.replay)
        check_share("interpolation", self.interpolation)
        check_not_negative("l2_sp", self.l2_sp)
        check_not_negative("kl", self.kl)
        check_positive("lora_scale", self.lora_scale)
        if self.lora_rank is not None:
            check_count("lora_rank", self.lora_rank)


def check_positive(name: str, value: float) -> None:
    """Check that a number is finite and above zero.

    Raises:
        UserError: It is not.
    """
    if not math.isfinite(value) or value <= 0:
        raise UserError(f"{name} is {value:g}; it must be more than zero, and finite.")


def check_not_negative(name: str, value: float) -> None:
    """Check that a number is finite and zero or above.

    Raises:
        UserError: It is not.
    """
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{name} is {value:g}; it must be zero or more, and finite.")


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise UserError(
            f"{name} is '{value}'.{did_you_mean(str(value), choices)}",
            hint=f"It can be: {', '.join(choices)}.",
        )
