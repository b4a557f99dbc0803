"""Thresholds of the verdicts, once: the rule compares with them, and every sentence states them.

They stand among the records because two rooms read them that do not know each other: ``judging``
applies the rule, and ``report``, which imports no judging, explains it to the reader of the page.
Changing a threshold is a change of this file alone; a test holds ``docs/verdicts.md`` against it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Where the lines between the verdicts are drawn; shares are fractions."""

    min_examples: int = 30
    """Fewer paired examples never give a verdict. The intervals are checked down to 30
    (tests/stats/test_recovery.py), and each half must still hold about 15."""

    ability_floor: float = 0.10
    """The base model must clearly be right more often than this, or there is nothing to forget:
    twice the margin, so that a fall of the margin's size could be seen."""

    kept_margin: float = 0.05
    """A fall of fewer points than this counts as none: kept means that a larger one is excluded,
    not that no fall was found. Below 74 examples even flawless answers do not exclude it."""

    alpha: float = 0.05
    """The level of the tests; the intervals are 95 %."""

    suppressed_above: float = 0.5
    """Suppressed means that more than this share of the fall comes back."""

    mostly_below: float = 0.9
    """Where less than this share of the fall comes back, it is called *mostly* hidden."""

    lost_below: float = 0.25
    """Lost means that less than this share comes back. Apart from ``suppressed_above``, so that no
    recovery is called suppressed in one run and lost in the next: what lies between stays
    inconclusive."""

    n_whole: int = 100
    """So many wrong answers of each kind, intruded and broken, are asked to their end in a cell
    under one way of asking, so that they can be looked at; the others end once they are settled.
    What something else than a loss explains of them is then known to 10 points (95 %), and a cell
    that is scored anew can still be called kept, which takes 74 examples."""

    least_looked: int = 10
    """Of more wrong answers than this, at least so many must have been seen to their end, or what
    they look like is unknown."""

    explained_at_most: float = 0.5
    """Where something else than a loss explains this share of the fall, no loss is shown: less than
    half of what fell would be one. Nor is it where it explains the lower end of the interval."""

    explained_said_from: float = 0.1
    """From this share of the fall on, a warning says what explains it."""

    identical_from: float = 0.5
    """From this share of one and the same wrong answer on, whatever the prompts ask, the model is
    not answering them."""

    intruded_at_most: float = 0.5
    """Where more than this share of the errors under a conjugation are the other ability's answers,
    the conjugation did not get past the tuned model's inference, and its failure proves no loss."""


THRESHOLDS = Thresholds()
"""Those that are applied."""
