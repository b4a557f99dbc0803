"""The gradients of a batch, a part of it on each core."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from palimpsest.lab.predictors import Prompt
from palimpsest.training import Cores


class Gradients:
    """The gradients of a batch, computed in parts at the same time.

    The parts are summed in a fixed order, so the result is the same in every run with as many
    threads; with another number, it differs by the rounding of sums.

    Args:
        forward: Predicts; the model itself, or a wrapper of it.
        model: Holds the weights, and gets the gradients.
        cores: A part for each of their threads.
    """

    def __init__(self, forward: nn.Module, model: nn.Module, cores: Cores) -> None:
        self.cores = cores
        self._model = model
        self._replicas = [_replica(model) for _ in range(cores.n - 1)]
        self._forwards = [forward, *self._replicas]

    def add(
        self,
        prompt: Prompt,
        targets: Tensor,
        loss: Callable[[Prompt, Tensor, Tensor], Tensor],
        *,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Tensor:
        """Add the gradient of the loss to the model's weights and return the predictions.

        Args:
            prompt: Prompts of a batch.
            targets: What is to be predicted, for each of their points.
            loss: A mean over the prompts that it is given, from them, targets and predictions.
            autocast: The precision of the predictions; PyTorch keeps it for each thread.
        """
        n = len(prompt.ys)

        def part(work: tuple[nn.Module, Tensor, Tensor, Tensor]) -> Tensor:
            forward, xs, ys, wanted = work
            with autocast():
                predictions = forward(xs, ys)
            predictions = predictions.float()
            (loss(Prompt(xs, ys), wanted, predictions) * (len(ys) / n)).backward()
            detached: Tensor = predictions.detach()
            return detached

        parts = zip(
            self._forwards,
            prompt.xs.tensor_split(self.cores.n),
            prompt.ys.tensor_split(self.cores.n),
            targets.tensor_split(self.cores.n),
            strict=True,
        )
        found = self.cores.map(part, [work for work in parts if len(work[1])])
        self._collect()
        return torch.cat(found)

    def _collect(self) -> None:
        for replica in self._replicas:
            for weight, copied in zip(self._model.parameters(), replica.parameters(), strict=True):
                if copied.grad is not None:
                    assert weight.grad is not None
                    weight.grad.add_(copied.grad)
                    copied.grad = None


def _replica(model: nn.Module) -> nn.Module:
    """Return a copy that reads the same weights, and has gradients of its own."""
    replica = copy.deepcopy(model)
    for weight, copied in zip(model.parameters(), replica.parameters(), strict=True):
        copied.data = weight.data
    return replica
