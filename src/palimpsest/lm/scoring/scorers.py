"""Scorers by name: each says which task an answer belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from palimpsest.records import Outcome
from palimpsest.registry import Registry

DEFAULT_SCORER = "prefix"


class Scorer(ABC):
    """Scores answers to one prompt; the first line of a subclass's docstring says how.

    Args:
        right: Accepted answers of the ability under test.
        intruding: Accepted answers of the other abilities. Blank texts match nothing.
    """

    def __init__(self, right: Sequence[str], intruding: Sequence[str]) -> None:
        self.right = tuple(text for text in right if text.strip())
        self.intruding = tuple(text for text in intruding if text.strip())

    @abstractmethod
    def outcome(self, answer: str) -> Outcome:
        """Return what the answer is, taken as complete; ``broken`` if it is neither."""

    def decided(self, certain_text: str) -> bool:
        """Return whether no continuation of ``certain_text`` can change the outcome.

        By default one always can, and every answer is asked for to its end.

        Args:
            certain_text: The beginning of the answer; every character of it is final.
        """
        return False

    @property
    def ambiguous(self) -> bool:
        """Whether some text is accepted on both sides, so that it tells nothing."""
        return any(self.outcome(text) != "right" for text in self.right) or any(
            self.outcome(text) != "intruded" for text in self.intruding
        )

    @property
    def separable(self) -> bool:
        """Whether every accepted answer is scored as what it is, and there is a right one."""
        return bool(self.right) and not self.ambiguous


SCORERS: Registry[Callable[[Sequence[str], Sequence[str]], Scorer]] = Registry(
    "scorer",
    {
        "contains": "palimpsest.lm.scoring.contains:ContainsScorer",
        DEFAULT_SCORER: "palimpsest.lm.scoring.prefix:PrefixScorer",
    },
)
"""Names to classes. Plugins use ``palimpsest.scorers``."""


def scorer_for(
    right: Sequence[str], intruding: Sequence[str], name: str = DEFAULT_SCORER
) -> Scorer:
    """Return the scorer of a name for the answers of both sides.

    Raises:
        UserError: There is no scorer of that name.

    Example:
        >>> scorer_for(["What"], ["12"]).outcome("12, of course")
        'intruded'
    """
    return SCORERS.get(name)(right, intruding)
