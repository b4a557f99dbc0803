"""Proposal at the end of a training: the interpolation that keeps most, and the command for it."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Shares of the change that are tried besides none and all of it."""

MARGIN = 0.02
"""How far the target may fall, as far as is seen, for a share to be proposed."""

_INNER = ("lora_A", "lora_embedding_A")
"""The factor of an adapter that stays: its product with the other grows with that other alone."""

_OUTER = ("lora_B", "lora_embedding_B")


class Scores(NamedTuple):
    """Of one share."""

    kept: float
    """Accuracy on what is measured during the training."""

    target: float
    """What is gained on the target: accuracy, or the share of the base's bits that is saved."""


class Proposal(NamedTuple):
    """What the answers say; no verdict, which takes more of them."""

    share: float
    """Of the change; 1 is the tuned model as it is."""

    scores: Mapping[float, Scores]
    """By share, from 0, the model at the start."""

    def sentence(self) -> str:
        """Return what is proposed, in words."""
        tuned, chosen = self.scores[1.0], self.scores[self.share]
        if self.share == 1:
            return (
                f"No interpolation keeps more ({tuned.kept:.0%}) and the target as well, as far as "
                "these answers show."
            )
        change = 100 * (chosen.target - tuned.target)
        return (
            f"With {self.share:.0%} of the change the model keeps {chosen.kept:.0%}, not "
            f"{tuned.kept:.0%}, and the target changes by {change:+.1f} points, as far as these "
            "answers show."
        )


def propose(scores: Mapping[float, Scores]) -> Proposal:
    """Return the share that keeps most, of those that keep the target as far as is seen.

    Raises:
        UserError: The target has not gained, so there is nothing to keep.

    Example:
        >>> found = propose({0.0: Scores(1, 0), 0.5: Scores(0.9, 0.49), 1.0: Scores(0.2, 0.5)})
        >>> found.share
        0.5
    """
    tuned = scores[1.0]
    if tuned.target <= scores[0.0].target:
        raise UserError(
            "The target has gained nothing in this training, so there is nothing to keep.",
            hint="Name with target= what is tuned for.",
        )
    kept = {
        share: one
        for share, one in scores.items()
        if share > 0 and one.target >= tuned.target - MARGIN
    }
    return Proposal(max(kept, key=lambda share: (kept[share].kept, share)), scores)


def weights_at_start(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of what is trained, on the CPU, of a network that is about to be trained.

    Raises:
        UserError: An adapter whose change is no product that begins at zero.
    """
    start = {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    outer = [tensor for name, tensor in start.items() if any(word in name for word in _OUTER)]
    has_adapter = hasattr(network, "peft_config")
    if has_adapter and (not outer or any(bool(tensor.any()) for tensor in outer)):
        raise UserError(
            "Shares of the change of this adapter cannot be tried within the training.",
            hint="Leave target= out, and run palimpsest restore on what comes out of it.",
        )
    return start


def start_digest(start: Mapping[str, torch.Tensor]) -> str:
    """Return what tells the weights at a start from others.

    An adapter's inner factors are left out: they are drawn anew by every process that makes one,
    and shares of its change do not need them.

    Args:
        start: What :func:`weights_at_start` returned.
    """
    digest = hashlib.sha256()
    for name in sorted(start):
        if not any(word in name for word in _INNER):
            digest.update(name.encode())
            numbers = start[name].contiguous().view(-1).view(torch.uint8).numpy()
            digest.update(memoryview(numbers))  # type: ignore[arg-type]
    return digest.hexdigest()


@contextmanager
def with_share(
    network: nn.Module, start: Mapping[str, torch.Tensor], share: float
) -> Iterator[None]:
    """Give a network a share of its change, and its own weights back to the bit afterwards.

    Args:
        network: As it is trained.
        start: What :func:`weights_at_start` returned.
        share: Of the change, from 0 to 1.
    """
    trained = {
        name: parameter
        for name, parameter in network.named_parameters()
        if name in start and not any(word in name for word in _INNER)
    }
    own = {name: parameter.detach().clone() for name, parameter in trained.items()}
    try:
        with torch.no_grad():
            for name, parameter in trained.items():
                before = start[name].to(parameter.device, torch.float32)
                parameter.copy_(torch.lerp(before, own[name].float(), share))
        yield
    finally:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(own[name])


def ask_shares(
    network: nn.Module,
    start: Mapping[str, torch.Tensor],
    ask: Callable[[float], Scores],
) -> dict[float, Scores]:
    """Return what a network scores with each share of its change; its weights stay."""
    found = {}
    for share in (0.0, *SHARES, 1.0):
        with with_share(network, start, share):
            found[share] = ask(share)
    return found


def command_for(
    trainer: Trainer,
    base: str | None,
    suites: Sequence[str],
    target: str,
    *,
    step: int,
    share: float | None,
) -> str:
    """Return the command that measures members with enough examples, and writes the best.

    Args:
        trainer: Of the training that has ended.
        base: Spec of the model before it, if that was named.
        suites: What was measured.
        target: What was tuned for.
        step: The last one.
        share: That was proposed, if one was.
    """
    network = trainer.accelerator.unwrap_model(trainer.model)
    named = str(getattr(network.config, "name_or_path", "") or "")
    before = base or (f"hf:{named}" if named else "BASE")
    folder = Path(trainer.args.output_dir or ".")
    checkpoint = folder / f"checkpoint-{step}"
    tuned = str(checkpoint if checkpoint.is_dir() else folder)
    if hasattr(network, "peft_config"):
        tuned = f"{before},adapter={tuned}"
    members = SHARES if share in (None, 1.0) else sorted({*SHARES, share})
    words = ["palimpsest", "restore", before, tuned, "--suite", suites[0], "--target", target]
    words += ["--members", "interpolate:" + ",".join(f"{each:g}" for each in members if each)]
    return shlex.join([*words, "--write", f"{folder.name}-restored"])
