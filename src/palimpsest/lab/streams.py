"""Named streams of random numbers: what is drawn at a step depends on nothing drawn before it."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from palimpsest.errors import UserError, did_you_mean

STREAMS = {
    "task_set": "the fixed weight vectors of the discrete tasks",
    "tasks": "which task each prompt asks for",
    "inputs": "the x of each prompt",
    "noise": "the noise on each y",
    "initialisation": "a model's first weights",
    "conjugations": "rotations, signs and permutations",
    "bootstrap": "resamples of prompts",
}
"""Name to what is drawn from it."""

PURPOSES = ("training", "evaluation")
"""Batches for training and for evaluation never share their numbers, whatever the seeds."""

_WORD = 1 << 32


def stream(seed: int, name: str, step: int = 0, *, purpose: str = "training") -> torch.Generator:
    """Return the generator of one named stream at one step, on the CPU.

    PyTorch seeds its CPU generator with 32 bits. Hashing seed and step together into so few would
    give the same batch twice within some 10 000 steps; here the step is mixed by a bijection, so
    that the steps of one stream all differ.

    Args:
        seed: The seed of the run.
        name: One of :data:`STREAMS`.
        step: The training step, or the number of the evaluation batch.
        purpose: One of :data:`PURPOSES`.

    Raises:
        UserError: No stream of that name, or no such purpose.

    Example:
        >>> first = torch.randn(2, generator=stream(0, "inputs", 7))
        >>> again = torch.randn(2, generator=stream(0, "inputs", 7))
        >>> torch.equal(first, again)
        True
    """
    before, after = _keys(seed, name, purpose)
    return torch.Generator().manual_seed(_mix((step + before) % _WORD) ^ after)


def numpy_stream(
    seed: int, name: str, step: int = 0, *, purpose: str = "evaluation"
) -> np.random.Generator:
    """Return the stream as a generator of NumPy, which the bootstrap of ``stats`` draws from.

    Raises:
        UserError: No stream of that name, or no such purpose.
    """
    return np.random.default_rng([*_keys(seed, name, purpose), step % (1 << 64)])


def _keys(seed: int, name: str, purpose: str) -> tuple[int, int]:
    if name not in STREAMS:
        raise UserError(
            f"No stream of random numbers named '{name}'.{did_you_mean(name, STREAMS)}",
            hint=f"There are: {', '.join(STREAMS)}.",
        )
    if purpose not in PURPOSES:
        raise UserError(f"Numbers are drawn for {' or '.join(PURPOSES)}, not for '{purpose}'.")
    digest = hashlib.sha256(f"{purpose}/{name}/{seed}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _mix(word: int) -> int:
    """Scramble 32 bits without collisions: the finaliser of MurmurHash3 (Appleby, 2011)."""
    word ^= word >> 16
    word = word * 0x85EBCA6B % _WORD
    word ^= word >> 13
    word = word * 0xC2B2AE35 % _WORD
    return word ^ word >> 16
