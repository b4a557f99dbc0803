"""Scorer by regular expressions, matched in linear time whatever the pattern."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import re2

from palimpsest.errors import UserError
from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.records import Outcome

_MOST_BYTES = 8 * 2**20


class RegexScorer(Scorer):
    r"""Accepted texts are RE2 patterns, found anywhere; write ``^`` and ``$`` for the whole answer.

    RE2 matches in linear time, so no pattern can hang. It has no lookaround and no backreferences.

    Example:
        >>> scorer = RegexScorer(right=(r"^\s*#\w{6}\b",), intruding=(r"(?i)sorry",))
        >>> [scorer.outcome(answer) for answer in (" #ff8800", "SORRY!", "#12")]
        ['right', 'intruded', 'broken']
    """

    reads_on = True
    of_texts = False

    def set_up(self) -> None:
        """Compile the patterns."""
        self._right = tuple(map(compiled, self.right))
        self._intruding = tuple(map(compiled, self.intruding))

    def outcome(self, answer: str) -> Outcome:
        """Return whose pattern is found."""
        return self.of_side(_any(self._right, answer), _any(self._intruding, answer))

    @property
    def ambiguous(self) -> bool:
        """Whether a pattern stands on both sides; that two patterns meet is not told beforehand."""
        return not set(self.right).isdisjoint(self.intruding)


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:
    """Return a compiled RE2 pattern.

    Raises:
        UserError: It is no pattern of RE2.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else error
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise UserError(
            f"The pattern '{pattern}' cannot be used: {said}.",
            hint="Patterns are those of RE2, which has no lookaround and no backreferences: "
            "https://github.com/google/re2/wiki/Syntax",
        ) from error


def _any(patterns: Iterable[Any], answer: str) -> bool:
    return any(pattern.search(answer) is not None for pattern in patterns)
