"""Sampling in place of greedy decoding: what is asked for, and numbers that depend on nothing else.

A sample of a prompt is the same whichever prompts it shares a batch with, in whatever order they
come, and however often a run was interrupted: its random numbers are those of a generator of its
own, seeded by the prompt, the seed and the number of the sample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from palimpsest.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How one sample of an answer is drawn; part of the answer's key."""

    temperature: float
    """What logits are divided by."""

    top_p: float = 1.0
    """Tokens are drawn from the likeliest ones that together have so much probability."""

    seed: int = 0
    """Of all samples together."""

    number: int = 1
    """Which sample of a prompt it is, from 1."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(
                f"The temperature of samples is {self.temperature:g}; expected a number above 0.",
                hint="Write the one that the model is used with, such as temperature=0.7; for "
                "greedy answers leave out --samples.",
            )
        if not 0 < self.top_p <= 1:
            raise UserError(
                f"top_p is {self.top_p:g}; expected a share above 0, up to 1.",
                hint="Write top_p=0.95, or leave it out.",
            )

    def seed_of(self, tokens: Sequence[int] | str) -> int:
        """Return the seed of this sample of a prompt, 63 bits."""
        told = repr((self.seed, self.number, tokens if isinstance(tokens, str) else list(tokens)))
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1

    def generator(self, tokens: Sequence[int] | str) -> np.random.Generator:
        """Return what gives the random numbers of this sample of a prompt."""
        return np.random.Generator(np.random.Philox(self.seed_of(tokens)))


@runtime_checkable
class CanSample(Protocol):
    """A model whose answers can be drawn by chance."""

    def sampling(self, how: Sampling) -> AbstractContextManager[None]:
        """Draw answers rather than decode greedily for a while; the fingerprint does not follow."""


class DrawsAnswers:
    """Keeps how answers are drawn, for a model that looks it up when it is asked."""

    _sampling: Sampling | None = None
    """Greedily, unless it says otherwise."""

    @contextmanager
    def sampling(self, how: Sampling) -> Iterator[None]:
        """Draw answers for a while (:class:`CanSample`)."""
        self._sampling = how
        try:
            yield
        finally:
            self._sampling = None
