"""Choice of the token that comes next: the most probable one, or one that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import torch

from palimpsest.lm.models.sampling import Sampling

NOT_FINITE = -1
"""In place of a token where the logits are NaN or infinite, so that none can be chosen."""


class TokenChooser(Protocol):
    """Chooses the next token of each row of a batch."""

    def choose(self, logits: torch.Tensor, first: int = 0) -> list[int]:
        """Return a token for each row, or :data:`NOT_FINITE`.

        Args:
            logits: Of some rows; (rows, positions, tokens), of which the last position counts.
            first: Which row of the batch is the first of these.
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows."""


class MostProbable:
    """Greedy decoding."""

    def choose(self, logits: torch.Tensor, first: int = 0) -> list[int]:
        """Return the most probable token of each row."""
        del first
        return most_probable(logits)

    def keep(self, rows: Sequence[int]) -> None:
        """Do nothing: all rows are alike."""


class DrawnTokens:
    """Tokens that are drawn, each row by random numbers of its own.

    A uniform number picks the first token whose cumulated probability reaches it, in the order of
    the vocabulary; with ``top_p``, in the order of probability. So another batch changes a token
    only where rounding moves a boundary past that number.

    Args:
        how: Temperature and the like.
        prompts: The tokens of each row, which seed its numbers.
    """

    def __init__(self, how: Sampling, prompts: Sequence[Sequence[int]]) -> None:
        self._how = how
        self._generators = [how.generator(prompt) for prompt in prompts]

    def choose(self, logits: torch.Tensor, first: int = 0) -> list[int]:
        """Draw a token for each row."""
        last = logits[:, -1]
        highest = last.max(-1).values  # NaN counts as the largest
        dtype = torch.float32 if last.device.type == "mps" else torch.float64
        shares = torch.softmax(last.to(dtype) / self._how.temperature, dim=-1)
        order = None
        if self._how.top_p < 1:
            shares, order = shares.sort(dim=-1, descending=True, stable=True)
            before = shares.cumsum(-1) - shares
            shares = torch.where(before < self._how.top_p, shares, 0.0)
        cumulated = shares.cumsum(-1)
        mine = self._generators[first : first + len(last)]
        uniform = torch.tensor([each.random() for each in mine], dtype=dtype, device=last.device)
        places = torch.searchsorted(cumulated, uniform[:, None] * cumulated[:, -1:], right=True)
        places = places.clamp(max=last.shape[-1] - 1)
        tokens = places if order is None else order.gather(-1, places)
        chosen = tokens[:, 0].masked_fill(~highest.isfinite(), NOT_FINITE)
        return cast("list[int]", chosen.tolist())

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the numbers of all other rows."""
        self._generators = [self._generators[row] for row in rows]


def most_probable(logits: torch.Tensor) -> list[int]:
    """Return the token with the largest logit at the last position of each row.

    NaN counts as the largest. Where it or infinity is chosen, :data:`NOT_FINITE` is returned.
    """
    last = logits[:, -1]
    if last.device.type == "cpu" and last.dtype == torch.float32:
        # NumPy's argmax is many times faster here than torch's, with the same rule for ties.
        numbers = last.numpy()
        found = numbers.argmax(-1)
        found[~np.isfinite(numbers[np.arange(len(found)), found])] = NOT_FINITE
        return cast("list[int]", found.tolist())
    tokens = last.argmax(-1)
    finite = last.gather(-1, tokens[:, None])[:, 0].isfinite()
    return cast("list[int]", tokens.masked_fill(~finite, NOT_FINITE).tolist())
