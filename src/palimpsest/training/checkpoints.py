"""Weights and states of trainings in safetensors files, which are seen whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from palimpsest.errors import UserError
from palimpsest.records import RunFolder, explained
from palimpsest.training.optimisers import Rated, load_moments, moments

_MODEL, _MOMENTS, _AVERAGE = "model.", "optimiser.", "average."
_KEY = "palimpsest.lab/1"


class Stored(NamedTuple):
    """A file's tensors, and the facts in its header."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_state(
    path: Path,
    model: nn.Module,
    optimisers: Sequence[Rated],
    *,
    step: int,
    identity: Mapping[str, Any],
    averaged: nn.Module | None = None,
) -> None:
    """Write all that a training needs to go on from ``step`` as if it had never stopped.

    Args:
        path: The file.
        model: Its weights, factors of low rank included.
        optimisers: Their moments.
        step: Updates made.
        identity: What determines the training, for :func:`load_state` to compare; JSON.
        averaged: The running mean of the weights, where one is kept.

    Raises:
        UserError: The file cannot be written; an earlier one is left as it was.
    """
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {_MOMENTS + name: tensor for name, tensor in moments(optimisers).items()}
    if averaged is not None:
        tensors |= {_AVERAGE + name: tensor for name, tensor in averaged.state_dict().items()}
    write_tensors(path, tensors, {"step": step, "identity": dict(identity)})


def load_state(
    path: Path,
    model: nn.Module,
    optimisers: Sequence[Rated],
    *,
    identity: Mapping[str, Any],
    averaged: nn.Module | None = None,
) -> int:
    """Take up a training where it was saved and return the updates made; zero without a file.

    Raises:
        UserError: The file is damaged or belongs to another training.
    """
    if not path.exists():
        return 0
    stored = read_tensors(path)
    if "identity" not in stored.facts:
        raise _foreign(path, "it holds a model and no training")
    check_same(path, stored.facts["identity"], identity, "training")
    model.load_state_dict(_part(stored.tensors, _MODEL))
    load_moments(optimisers, _part(stored.tensors, _MOMENTS))
    if averaged is not None:
        averaged.load_state_dict(_part(stored.tensors, _AVERAGE))
    return int(stored.facts["step"])


def saved_step(path: Path) -> int:
    """Return the updates made by the training in a file.

    Raises:
        UserError: It holds none.
    """
    return int(read_tensors(path).facts.get("step", 0))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts, which are JSON, into one file.

    Raises:
        UserError: The file cannot be written; an earlier one is left as it was.
    """
    # Copied, as tied weights share their memory, which a file cannot.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = save(own, metadata={_KEY: json.dumps(facts)})
    RunFolder(path.parent).write_bytes(path.name, content)


def read_tensors(path: Path) -> Stored:
    """Return what :func:`write_tensors` wrote.

    Raises:
        UserError: No such file, or it is damaged or another's.
    """
    try:
        with explained(path), safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            return Stored({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError) as error:
        raise _foreign(path, str(error)) from error


def check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    """Check that a file was made with the values that are wanted.

    Args:
        path: The file.
        found: The values in it.
        wanted: Those of here.
        what: What is in the file, such as ``model``.

    Raises:
        UserError: It was made with others; the first few are named.
    """
    if differing := differences(found, json.loads(json.dumps(wanted))):
        raise UserError(
            f"The {what} in '{path}' is another one: {differing}.",
            hint="Use the settings that it was made with, or another file.",
        )


def differences(
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    *,
    ignoring: Callable[[str], bool] = lambda key: False,
) -> str:
    """Return in words where nested values differ, at most at three keys; empty if nowhere.

    Example:
        >>> differences({"a": {"b": 1}}, {"a": {"b": 2}})
        'a.b is 1 there and 2 here'
    """
    old, new = flattened(found), flattened(wanted)
    differing = [key for key in old | new if old.get(key) != new.get(key) and not ignoring(key)]
    return "; ".join(
        f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
        for key in differing[:3]
    )


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted keys.

    Example:
        >>> flattened({"a": {"b": 1}, "c": 2})
        {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _foreign(path: Path, reason: str) -> UserError:
    return UserError(
        f"'{path}' is no checkpoint of palimpsest, or is damaged: {reason}.",
        hint="Move it away and run the same command again, or name another file.",
    )


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
