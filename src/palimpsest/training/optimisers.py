"""AdamW for everything, or Muon for the matrices of the blocks and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
) -> list[Rated]:
    """Return the optimisers of all weights that are to be trained.

    Muon orthogonalises the momentum of a matrix (Jordan et al., 2024). It suits matrices between
    hidden states; what reads x, y and positions in, what reads the answer out, and all vectors are
    AdamW's. Without weight decay, AdamW is Adam.

    Args:
        model: Its matrices under ``blocks`` go to Muon.
        name: ``adamw`` or ``muon``.
        learning_rate: Peak rate of AdamW.
        muon_learning_rate: Peak rate of Muon.
        weight_decay: Of matrices; vectors are never decayed.
        betas: AdamW's averaging of gradients and their squares.

    Example:
        >>> from palimpsest.lab.predictors.transformer import TransformerConfig, new_transformer
        >>> sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> three = make_optimisers(
        ...     new_transformer(sizes, seed=0), "muon", learning_rate=1e-3, muon_learning_rate=0.02
        ... )
        >>> [type(rated.optimiser).__name__ for rated in three]
        ['Muon', 'Muon', 'AdamW']
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    by_muon = [p for n, p in trained if name == "muon" and n.startswith("blocks.") and p.ndim == 2]
    kept = {id(parameter) for parameter in by_muon}
    by_adamw = [p for _, p in trained if id(p) not in kept]
    optimisers = []
    # Two, as they can take their steps at the same time; each matrix has to do with itself alone.
    for half in (by_muon[::2], by_muon[1::2]):
        if half:
            muon = torch.optim.Muon(half, lr=muon_learning_rate, weight_decay=weight_decay)
            optimisers.append(Rated(muon, muon_learning_rate))
    if by_adamw:
        adamw = _adamw(by_adamw, learning_rate, weight_decay, betas)
        optimisers.append(Rated(adamw, learning_rate))
    return optimisers


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


def _adamw(
    parameters: Sequence[Tensor],
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=learning_rate, betas=betas, fused=True
    )
