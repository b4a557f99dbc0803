"""Many conjugations, one claim: adjusted p-values, and choosing the best without flattering it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from statsmodels.stats.multitest import multipletests


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the given order.

    Holds the chance of any false alarm among the tests, however they depend on one another.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65–70; computed by statsmodels.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]
    """
    if not p_values:
        return []
    return [float(p) for p in multipletests(p_values, method="holm")[1]]


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
