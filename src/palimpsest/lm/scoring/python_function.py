"""Scorer by a Python function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, cast, get_args

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.scoring.scorers import ScoredAnswer, Scorer
from palimpsest.records import Outcome


class PythonScorer(Scorer):
    """A function of yours, ``python:MODULE:FUNCTION``; called with answer, right, intruding.

    It returns ``right``, ``intruded`` or ``broken``; or whether the answer is right; or a grade
    from 0 to 1, of which 1 is right.

    Example:
        >>> scorer = PythonScorer(["1"], [], argument="operator:contains")
        >>> scorer.argument
        'operator:contains'
    """

    arguments = None
    reads_on = True
    of_texts = False
    of_files = False

    def set_up(self) -> None:
        """Import the function."""
        self._function = _function(self.argument)

    def score(self, answer: str) -> ScoredAnswer:
        """Return what the function says, which is called once."""
        said = self._said(answer)
        if isinstance(said, str):
            return ScoredAnswer(cast(Outcome, said))
        outcome: Outcome = "right" if said >= 1 else "broken"
        return ScoredAnswer(outcome, None if isinstance(said, bool) else float(said))

    def outcome(self, answer: str) -> Outcome:
        """Return what the function says."""
        return self.score(answer).outcome

    def grade(self, answer: str) -> float | None:
        """Return the function's grade, if it gives one."""
        return self.score(answer).grade

    @property
    def ambiguous(self) -> bool:
        """Never said: the function need not be about accepted texts."""
        return False

    def _said(self, answer: str) -> str | bool | float:
        try:
            said = self._function(answer, self.right, self.intruding)
        except Exception as error:
            raise UserError(
                f"The scorer 'python:{self.argument}' fails on the answer {answer[:200]!r}: "
                f"{error!r}.",
                hint="It is called with the answer and two tuples of accepted texts.",
            ) from error
        is_grade = isinstance(said, bool | int | float) and 0 <= said <= 1
        if is_grade or (isinstance(said, str) and said in get_args(Outcome)):
            return cast("str | bool | float", said)
        raise UserError(
            f"The scorer 'python:{self.argument}' returned {said!r:.200}.",
            hint="It must return right, intruded or broken, a boolean, or a number from 0 to 1.",
        )


@lru_cache(maxsize=64)
def _function(argument: str) -> Callable[..., Any]:
    module_name, _, name = argument.partition(":")
    if not module_name or not name:
        raise UserError(
            f"The scorer 'python:{argument}' does not name a function.",
            hint="Write python:MODULE:FUNCTION.",
        )
    try:
        module = import_module(module_name)
    except Exception as error:
        raise UserError(
            f"The module '{module_name}' of the scorer 'python:{argument}' cannot be imported: "
            f"{error!r}.",
            hint="Install it, or put its folder into PYTHONPATH.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(
            f"The module '{module_name}' has no function '{name}'."
            f"{did_you_mean(name, dir(module))}",
            hint="Write python:MODULE:FUNCTION.",
        )
    return cast("Callable[..., Any]", function)
