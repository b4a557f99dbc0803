"""Weights and states of trainings in safetensors files, which are seen whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from palimpsest.errors import UserError
from palimpsest.lab.predictors.transformer import Transformer, TransformerConfig, blank_transformer
from palimpsest.records.failures import explained
from palimpsest.records.run_folder import RunFolder
from palimpsest.training.optimisers import Rated, load_moments, moments

_MODEL, _MOMENTS = "model.", "optimiser."
_KEY = "palimpsest.lab/1"


class Stored(NamedTuple):
    """A file's tensors, and the facts in its header."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_model(model: Transformer, path: Path, *, task_fingerprint: str | None = None) -> None:
    """Write a model's weights, its sizes, and which discrete set it knows.

    Raises:
        UserError: The file cannot be written.
    """
    facts = {"config": asdict(model.config), "task_fingerprint": task_fingerprint}
    _write(path, model.state_dict(), facts)


def load_model(
    path: Path,
    *,
    config: TransformerConfig | None = None,
    task_fingerprint: str | None = None,
) -> Transformer:
    """Return the model in a file.

    Args:
        path: What :func:`save_model` wrote.
        config: The sizes it must have, if given.
        task_fingerprint: The ``Problem.task_fingerprint`` that it must have been trained on.

    Raises:
        UserError: No such file, no model in it, other sizes, or another discrete set.
    """
    stored = _read(path)
    found = stored.facts["config"]
    wanted = {"config": asdict(config) if config else found}
    if task_fingerprint is not None:
        wanted["task_fingerprint"] = task_fingerprint
    _compare(path, {key: stored.facts[key] for key in wanted}, wanted, "the model in")
    model = blank_transformer(TransformerConfig(**found))
    model.load_state_dict(stored.tensors)
    return model.eval()


def save_state(
    path: Path,
    model: nn.Module,
    optimisers: Sequence[Rated],
    *,
    step: int,
    identity: Mapping[str, Any],
) -> None:
    """Write all that a training needs to go on from ``step`` as if it had never stopped.

    Args:
        path: The file.
        model: Its weights, factors of low rank included.
        optimisers: Their moments.
        step: Updates made.
        identity: What determines the training, for :func:`load_state` to compare; JSON.

    Raises:
        UserError: The file cannot be written; an earlier one is left as it was.
    """
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {_MOMENTS + name: tensor for name, tensor in moments(optimisers).items()}
    _write(path, tensors, {"step": step, "identity": dict(identity)})


def load_state(
    path: Path, model: nn.Module, optimisers: Sequence[Rated], *, identity: Mapping[str, Any]
) -> int:
    """Take up a training where it was saved and return the updates made; zero without a file.

    Raises:
        UserError: The file is damaged or belongs to another training.
    """
    if not path.exists():
        return 0
    stored = _read(path)
    if "identity" not in stored.facts:
        raise _foreign(path, "it holds a model and no training")
    _compare(path, stored.facts["identity"], identity, "the training in")
    model.load_state_dict(_part(stored.tensors, _MODEL))
    load_moments(optimisers, _part(stored.tensors, _MOMENTS))
    return int(stored.facts["step"])


def saved_step(path: Path) -> int:
    """Return the updates made by the training in a file.

    Raises:
        UserError: It holds none.
    """
    return int(_read(path).facts.get("step", 0))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(own, metadata={_KEY: json.dumps(facts)})
    RunFolder(path.parent).write_bytes(path.name, content)


def _read(path: Path) -> Stored:
    try:
        with explained(path), safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            return Stored({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError) as error:
        raise _foreign(path, str(error)) from error


def _foreign(path: Path, reason: str) -> UserError:
    return UserError(
        f"'{path}' is no checkpoint of the laboratory, or is damaged: {reason}.",
        hint="Move it away and run the same command again, or name another file.",
    )


def _compare(path: Path, found: Any, wanted: Any, whose: str) -> None:
    """Refuse a file that was made with other values, naming the first few."""
    old, new = _flat(found), _flat(json.loads(json.dumps(wanted)))
    differing = [key for key in old | new if old.get(key) != new.get(key)]
    if differing:
        listed = "; ".join(
            f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
            for key in differing[:3]
        )
        raise UserError(
            f"{whose[0].upper()}{whose[1:]} '{path}' is another one: {listed}.",
            hint="Use the settings that it was made with, or another file.",
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def fingerprint(model: nn.Module) -> str:
    """Return a hash of all weights.

    Example:
        >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> b.load_state_dict(a.state_dict())
        <All keys matched successfully>
        >>> fingerprint(a) == fingerprint(b)
        True
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
