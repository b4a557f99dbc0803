"""Small networks on the CPU: a part of the batch for each core.

The operations of such a network take microseconds. Divided among cores, they spend their time
waiting for one another, most of all when the machine has other work; parts of a batch never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from palimpsest.lm.models.huggingface.decoding import Decoder
from palimpsest.lm.models.huggingface.memory import without_gaps
from palimpsest.lm.models.huggingface.prefixes import n_common

_RUNS_A_PART = 4
"""Into how many pieces a part's share of rows falls at least, so that the parts come out even."""


def one_core_threads(n: int) -> ThreadPoolExecutor:
    """Return ``n`` workers that compute on one core each."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n, "palimpsest", _use_one_core)
    list(pool.map(lambda _: None, range(n)))
    torch.set_num_threads(before)
    return pool


def _use_one_core() -> None:
    # A thread takes over the common setting when it first asks for it, and has its own
    # afterwards; in this order, and with the caller's set again, only the worker's changes.
    torch.get_num_threads()
    torch.set_num_threads(1)


class DividedDecoder:
    """A decoder whose rows are dealt out to several, which run at the same time.

    Args:
        threads: The workers.
        n_parts: How many decoders there are at most.
        prompts: Token ids, none empty, the longest first, those that begin alike together.
        new: Makes the decoder of a part.
    """

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        n_parts: int,
        prompts: Sequence[Sequence[int]],
        new: Callable[[Sequence[Sequence[int]]], Decoder],
    ) -> None:
        # All tensors are handled by the workers: after an operation on several cores, the
        # threads of OpenMP keep those cores busy with waiting for the next one.
        self._threads = threads
        self._rows = dealt(prompts, min(n_parts, len(prompts)))
        dealt_prompts = [[prompts[row] for row in rows] for rows in self._rows]
        self._parts = list(threads.map(new, dealt_prompts))

    def start(self) -> list[int]:
        """Read the prompts and return the first new token of each."""
        return self._gathered(self._threads.map(lambda part: part.start(), self._parts))

    def feed(self, tokens: Sequence[int]) -> list[int]:
        """Append one token to each row and return the next ones."""
        dealt = [[tokens[row] for row in rows] for rows in self._rows]
        work = list(zip(self._parts, dealt, strict=True))
        return self._gathered(self._threads.map(lambda item: item[0].feed(item[1]), work))

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows; parts that are left with none end."""
        places = {row: place for place, row in enumerate(rows)}
        orders = [
            without_gaps(len(own), [line for line, row in enumerate(own) if row in places])
            for own in self._rows
        ]
        left = [work for work in zip(self._parts, self._rows, orders, strict=True) if work[2]]
        list(self._threads.map(lambda work: work[0].keep(work[2]), left))
        self._parts = [part for part, _, _ in left]
        self._rows = [[places[own[line]] for line in order] for _, own, order in left]

    def _gathered(self, results: Iterable[Sequence[int]]) -> list[int]:
        tokens = [0] * sum(map(len, self._rows))
        for rows, found in zip(self._rows, results, strict=True):
            for row, token in zip(rows, found, strict=True):
                tokens[row] = token
        return tokens


def dealt(prompts: Sequence[Sequence[int]], n_parts: int) -> list[list[int]]:
    """Return the rows of each part, such that all have about as many tokens.

    Rows next to each other that begin alike stay together, as long as they are few.

    Args:
        prompts: Token ids.
        n_parts: At most as many as there are prompts.

    Example:
        >>> dealt([[1, 2]] * 16, 2)
        [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
    """
    most = max(1, len(prompts) // (_RUNS_A_PART * n_parts))
    runs: list[list[int]] = []
    for row, prompt in enumerate(prompts):
        alike = row and 2 * n_common(prompts[row - 1], prompt) >= len(prompt)
        if alike and len(runs[-1]) < most:
            runs[-1].append(row)
        else:
            runs.append([row])
    parts: list[list[int]] = [[] for _ in range(n_parts)]
    n_tokens = [0] * n_parts
    for run in runs:
        part = n_tokens.index(min(n_tokens))
        parts[part] += run
        n_tokens[part] += sum(len(prompts[row]) for row in run)
    return parts
