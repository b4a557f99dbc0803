"""Prefixes that several prompts have in common, found so that each is read once for all of them.

Few-shot prompts differ in their last lines alone, and the tokens before these have the same keys
and values in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

NONE = -1
"""In place of the number of a prefix or of a cluster, of a prompt that has none."""

_LEAST_SAVED = 16
"""Tokens that a prefix has to save: less makes the batch more varied, and that is all."""

_FEWEST_OF_BATCH = 8
"""Members of a cluster that is asked in batches of its own."""


class Prefixes(NamedTuple):
    """What some prompts begin with."""

    tokens: list[tuple[int, ...]]
    """Of each prefix, the longest first; no two are alike."""

    of: list[int]
    """Which of them each prompt begins with, or :data:`NONE`."""

    n_shared: list[int]
    """How many tokens of each prompt are taken from there; at least one is left to be read."""

    @property
    def n_saved(self) -> int:
        """How many tokens need not be read, if the prefixes have nothing in common."""
        return sum(self.n_shared) - sum(map(len, self.tokens))


class Cluster(NamedTuple):
    """Prompts of which each has at least half of its tokens in common with all others."""

    number: int = NONE
    """Which one, or :data:`NONE`."""

    n_shared: int = 0
    """Tokens that all members have in common; 0 of a cluster too small for batches of its own."""

    @property
    def batch(self) -> int:
        """Which prompts it shares its batches with: those of the same number."""
        return self.number if self.n_shared else NONE


ALONE = Cluster()


@dataclass
class _Node:
    """Prompts next to each other in alphabetical order."""

    depth: int
    """How many of their first tokens are the same in all of them."""

    parts: list[int] = field(default_factory=list)
    """The prompts; those that have a longer prefix count as one, :data:`NONE`, for each prefix."""


def shared_prefixes(prompts: Sequence[Sequence[int]], *, least: float) -> Prefixes | None:
    """Return the prefixes that are worth being read once; ``None`` if they save too little.

    A prompt has the longest prefix that saves something. What prefixes have in common among
    themselves shows when they are given to this function as prompts.

    Args:
        prompts: Token ids, none empty.
        least: How many tokens have to be saved in all.

    Example:
        >>> few_shot = list(range(100, 140))
        >>> found = shared_prefixes([[*few_shot, 1], [2, 3], [*few_shot, 4, 5]], least=0)
        >>> len(found.tokens[0]), found.of, found.n_shared, found.n_saved
        (40, [0, -1, 0], [40, 0, 40], 40)
    """
    rows = list(map(tuple, prompts))
    order = sorted(range(len(rows)), key=rows.__getitem__)
    tokens: list[tuple[int, ...]] = []
    of = [NONE] * len(rows)

    def settled(node: _Node, below: int) -> list[int]:
        """Have a node's prompts share, if that saves something over a prefix ``below`` it."""
        if (len(node.parts) - 1) * (node.depth - below) < _LEAST_SAVED:
            return node.parts
        members = [part for part in node.parts if part != NONE]
        for row in members:
            of[row] = len(tokens)
        if members:
            tokens.append(rows[members[0]][: node.depth])
        return [NONE]

    open_nodes = [_Node(0)]
    for place, row in enumerate(order):
        parts = [row]
        last = place + 1 == len(order)
        depth = 0 if last else n_common(rows[row], rows[order[place + 1]])
        while depth < open_nodes[-1].depth:
            node = open_nodes.pop()
            node.parts += parts
            parts = settled(node, max(depth, open_nodes[-1].depth))
        if depth > open_nodes[-1].depth:
            open_nodes.append(_Node(depth))
        open_nodes[-1].parts += parts
    by_length = sorted(range(len(tokens)), key=lambda at: len(tokens[at]), reverse=True)
    places = {number: place for place, number in enumerate(by_length)} | {NONE: NONE}
    of = [places[number] for number in of]
    tokens = [tokens[number] for number in by_length]
    n_shared = [
        0 if prefix == NONE else min(len(tokens[prefix]), len(prompt) - 1)
        for prefix, prompt in zip(of, rows, strict=True)
    ]
    found = Prefixes(tokens, of, n_shared)
    return found if tokens and found.n_saved >= least else None


def clusters(prompts: Sequence[Sequence[int]]) -> list[Cluster]:
    """Return the cluster of each prompt; where it has none, one with the number :data:`NONE`.

    Example:
        >>> few_shot = list(range(100, 140))
        >>> found = clusters([[1, 2, 3], *([*few_shot, last] for last in range(8))])
        >>> found[0], found[1]
        (Cluster(number=-1, n_shared=0), Cluster(number=0, n_shared=40))
    """
    rows = list(map(tuple, prompts))
    found = [ALONE] * len(rows)
    numbers = count()
    members: list[int] = []
    n_shared = longest = 0
    for row in [*sorted(range(len(rows)), key=rows.__getitem__), None]:
        tokens = () if row is None else rows[row]
        common = min(n_shared, n_common(rows[members[-1]], tokens)) if members else 0
        longest = max(longest, len(tokens))
        if row is None or 2 * common < longest:
            if len(members) > 1:
                own = len(members) >= _FEWEST_OF_BATCH
                cluster = Cluster(next(numbers), n_shared if own else 0)
                for member in members:
                    found[member] = cluster
            members, common, longest = [], len(tokens), len(tokens)
        n_shared = common
        if row is not None:
            members.append(row)
    return found


def together(lengths: Sequence[int], found: Sequence[Cluster]) -> list[int]:
    """Return an order of prompts: the longest first, but each cluster in one place.

    If memory is short, it shows at once.

    Args:
        lengths: Of each prompt.
        found: The cluster of each.

    Example:
        >>> one, other = Cluster(0), Cluster(1)
        >>> together([5, 9, 7, 6], [one, one, ALONE, other])
        [1, 0, 2, 3]
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=True)
    first: dict[int, int] = {}
    for place, row in enumerate(order):
        first.setdefault(found[row].number, place)
    places = [
        place if found[row].number == NONE else first[found[row].number]
        for place, row in enumerate(order)
    ]
    return [row for _, row in sorted(zip(places, order, strict=True), key=lambda pair: pair[0])]


def n_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return with how many equal tokens two rows begin.

    Example:
        >>> n_common([1, 2, 3], [1, 2, 4, 5])
        2
    """
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices are compared many times faster than tokens one by one
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
