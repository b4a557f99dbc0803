"""Adjusted p-values of many conjugations, and the choice of the best without flattering it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Return p-values adjusted by Holm's step-down method, in the given order.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (n - j + 1)\, p_{(j)})

    Holds the chance of any false alarm among the tests, however they depend on one another. Not by
    ``multipletests`` of statsmodels, which collects all garbage at every call: a second in a
    process that trains a model.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65–70.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@lru_cache(maxsize=2**16)
def in_first_half(source_id: str) -> bool:
    """Say in which half a source example is, by a hash of its name alone.

    The halves depend neither on the order of the examples, nor on which others there are, nor on
    the process or machine. They are only about equal in size.

    Example:
        >>> sum(in_first_half(f"example {i}") for i in range(1000))
        529
    """
    digest = hashlib.sha256(f"palimpsest half {source_id}".encode()).digest()
    return digest[0] % 2 == 0


def choose_best(scores: Mapping[str, float]) -> str:
    """Return the name with the highest score; of several, the one that comes first.

    Raises:
        ValueError: There is nothing to choose from.

    Example:
        >>> choose_best({"fr": 0.9, "leet": 0.9, "upper": 0.1})
        'fr'
    """
    if not scores:
        raise ValueError("Choosing the best needs at least one score; got none.")
    return max(scores, key=lambda name: scores[name])
