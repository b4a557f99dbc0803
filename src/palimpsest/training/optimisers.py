"""Optimisers and their schedules: AdamW for all weights, or Muon for the matrices of the blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from palimpsest.training.muon import Muon

OPTIMISERS = ("adamw", "muon")


class Rated(NamedTuple):
    """An optimiser with the rate that its schedule peaks at."""

    optimiser: torch.optim.Optimizer
    peak_rate: float


def make_optimisers(
    model: nn.Module,
    name: str,
    *,
    learning_rate: float,
    muon_learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.98),
    blocks: str = "blocks.",
    fused: bool = True,
) -> list[Rated]:
    """Return the optimisers of all weights that are to be trained.

    Muon orthogonalises the momentum of a matrix (Jordan et al., 2024). It suits matrices between
    hidden states; what reads x, y and positions in, what reads the answer out, and all vectors are
    AdamW's. Without weight decay, AdamW is Adam.

    Args:
        model: Holds the weights.
        name: ``adamw`` or ``muon``.
        learning_rate: Peak rate of AdamW.
        muon_learning_rate: Peak rate of Muon.
        weight_decay: Of matrices; vectors are never decayed.
        betas: AdamW's averaging of gradients and their squares.
        blocks: What the names of weights in a block have in them; their matrices go to Muon.
        fused: Whether AdamW updates all weights in one call, which is faster and rounds otherwise.

    Example:
        >>> model = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))})
        >>> three = make_optimisers(model, "muon", learning_rate=1e-3, muon_learning_rate=0.02)
        >>> [type(rated.optimiser).__name__ for rated in three]
        ['Muon', 'Muon', 'AdamW']
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    by_muon = [p for n, p in trained if name == "muon" and blocks in n and p.ndim == 2]
    kept = {id(parameter) for parameter in by_muon}
    by_adamw = [p for _, p in trained if id(p) not in kept]
    optimisers = []
    # Two, as they can take their steps at the same time; each matrix has to do with itself alone.
    for half in (by_muon[::2], by_muon[1::2]):
        if half:
            muon = Muon(half, lr=muon_learning_rate, weight_decay=weight_decay)
            optimisers.append(Rated(muon, muon_learning_rate))
    if by_adamw:
        groups = [
            {"params": [p for p in by_adamw if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in by_adamw if p.ndim < 2], "weight_decay": 0.0},
        ]
        filled = [group for group in groups if group["params"]]
        adamw = torch.optim.AdamW(filled, lr=learning_rate, betas=betas, fused=fused)
        optimisers.append(Rated(adamw, learning_rate))
    return optimisers


def rate_scale(
    schedule: str, step: int, *, n_steps: int, n_warmup_steps: int = 0, decay_share: float = 0.5
) -> float:
    """Return the share of the peak rate at a step, counted from zero.

    All rise linearly over the warm-up. Then ``constant`` stays, ``linear`` and ``cosine`` fall to
    zero, ``trapezoid`` stays and falls linearly to zero in the last ``decay_share`` of all steps,
    and ``inverse-sqrt`` falls as one over the root of the steps made, whatever ``n_steps`` is.

    Raises:
        KeyError: No such schedule.

    Example:
        >>> [rate_scale("trapezoid", step, n_steps=8, n_warmup_steps=2) for step in (0, 1, 4, 6)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if step < n_warmup_steps:
        return (step + 1) / n_warmup_steps
    done = (step - n_warmup_steps) / max(1, n_steps - n_warmup_steps)
    n_falling = decay_share * n_steps
    left = (n_steps - step) / n_falling if n_falling else math.inf
    return SCHEDULES[schedule](done, left, (step + 1) / max(1, n_warmup_steps))


SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "constant": lambda done, left, warm_ups: 1.0,
    "linear": lambda done, left, warm_ups: 1.0 - done,
    "cosine": lambda done, left, warm_ups: 0.5 * (1 + math.cos(math.pi * done)),
    "trapezoid": lambda done, left, warm_ups: min(1.0, left),
    "inverse-sqrt": lambda done, left, warm_ups: warm_ups**-0.5,
}
"""Names to shapes: over the share done since the warm-up; over what is left of the steps, in units
of those in which a trapezoid falls; and over the steps made, in units of the warm-up."""

OPEN_SCHEDULES = ("constant", "inverse-sqrt")
"""Those that do not depend on how many steps there will be."""


def update(rated: Rated, scale: float) -> None:
    """Take one step at ``scale`` times the peak rate, and forget the gradients."""
    for group in rated.optimiser.param_groups:
        group["lr"] = rated.peak_rate * scale
    rated.optimiser.step()
    rated.optimiser.zero_grad(set_to_none=True)


def moments(optimisers: Sequence[Rated]) -> dict[str, Tensor]:
    """Return all that the optimisers remember, by flat names."""
    return {
        f"{number}.{index}.{name}": torch.as_tensor(value)
        for number, (optimiser, _) in enumerate(optimisers)
        for index, entry in optimiser.state_dict()["state"].items()
        for name, value in entry.items()
    }


def load_moments(optimisers: Sequence[Rated], tensors: dict[str, Tensor]) -> None:
    """Give the optimisers back what :func:`moments` returned."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimisers]
    for key, tensor in tensors.items():
        number, index, name = key.split(".", 2)
        states[int(number)].setdefault(int(index), {})[name] = tensor
    for (optimiser, _), state in zip(optimisers, states, strict=True):
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
