"""NaN and infinity in a network: where they first appear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def not_finite(network: PreTrainedModel, tokens: Sequence[int], *, name: str) -> UserError:
    """Return the error for a network whose logits are NaN or infinite after ``tokens``.

    Args:
        network: With its weights.
        tokens: A prompt, with what was answered so far.
        name: Of the model.
    """
    if (weight := broken_weight(network)) is not None:
        return UserError(
            f"The model '{name}' gives NaN or infinity instead of likelihoods: {weight}.",
            hint="Copy the checkpoint anew, or take one from before the training diverged.",
        )
    layer = broken_layer(network, tokens)
    if layer is None:
        return UserError(
            f"The model '{name}' gives NaN or infinity instead of likelihoods, though its weights "
            f"are finite and, asked alone, the same {len(tokens):,} tokens give finite ones.",
            hint="Try another device (device=cpu), or batch_tokens=1.",
        )
    kind = str(network.dtype).removeprefix("torch.")
    return UserError(
        f"The model '{name}' gives NaN or infinity instead of likelihoods: its weights are finite, "
        f"but the output of {layer} is not, computed in {kind}.",
        hint="Use a dtype with a greater range: dtype=float32, or dtype=bfloat16.",
    )


def broken_weight(network: torch.nn.Module) -> str | None:
    """Return the first tensor of a network with NaN or infinity, with how many it has."""
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        if tensor.is_floating_point() and not bool((finite := tensor.isfinite()).all()):
            n_broken = int((~finite).sum())
            return f"{n_broken:,} of the {tensor.numel():,} numbers of its tensor {name}"
    return None


@torch.inference_mode()
def broken_layer(network: torch.nn.Module, tokens: Sequence[int]) -> str | None:
    """Return the first module whose output on ``tokens`` is not finite, inner ones first."""
    found: list[str] = []

    def watch(name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def look(module: torch.nn.Module, given: Any, output: Any) -> None:
            if not found and not all(bool(each.isfinite().all()) for each in _tensors(output)):
                found.append(f"{name} ({type(module).__name__})")

        return look

    hooks = [
        module.register_forward_hook(watch(name or "the network"))
        for name, module in network.named_modules()
    ]
    try:
        device = next(network.parameters()).device
        network(input_ids=torch.tensor([list(tokens)], device=device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, tuple | list | dict):
        for each in output.values() if isinstance(output, dict) else output:
            yield from _tensors(each)
