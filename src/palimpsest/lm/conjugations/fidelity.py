"""How much of a prompt comes back from its conjugation."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF


def round_trip_chrf(prompt: str, back: str) -> float:
    """Return the chrF of ``invert(apply(prompt))`` against the prompt, from 0 to 1.

    chrF compares character n-grams up to six (Popović, WMT 2015), as computed by sacrebleu.

    Example:
        >>> round_trip_chrf("The cat sleeps.", "The cat sleeps.")
        1.0
        >>> 0.5 < round_trip_chrf("The cat sleeps.", "The cat is sleeping.") < 1
        True
    """
    if prompt == back:
        return 1.0
    return float(_metric().sentence_score(back, [prompt]).score) / 100


@cache
def _metric() -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
