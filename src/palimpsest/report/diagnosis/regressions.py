"""Regressions: examples that the base model answers plainly better than the tuned one, worst first.

The page opens with ten of them. Which ten is decided by this alone: the largest fall of the score
first, then one cell after the other (so that no cell fills the list), in the order of the examples'
names. What becomes of them under a conjugation plays no part, or the list would flatter it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from palimpsest.records import columns_of, points, taken
from palimpsest.report.text import clipped

if TYPE_CHECKING:
    from palimpsest.records import AnswerRow

N_SHOWN = 10

MAX_PROMPT = 600
"""Characters of a prompt; longer ones lose their middle here, not in the browser of prompts."""

MAX_LINES = 7
"""Of a prompt: the first, which often says what to do, and the last, which ask."""

MAX_ANSWER = 300

_PLAIN = "identity"

Answers = dict[tuple[str, str], "AnswerRow"]
"""The answers to one example by role and via."""


class Said(NamedTuple):
    """One answer as the list shows it."""

    text: str
    """After inversion."""
    outcome: str
    """``right``, ``intruded`` or ``broken``."""
    label: str
    """The same in the words of the run; if graded, the score."""


class Regression(NamedTuple):
    """An example that the tuned model answers worse than the base model, both asked plainly."""

    source_id: str
    cell: str
    prompt: str
    base: Said
    tuned: Said
    under: Said | None
    """The tuned model's answer under the best conjugation, if there is one."""


class Regressions(NamedTuple):
    """The worst of them, and how many there are."""

    shown: list[Regression]
    n: int
    n_right_again: int
    """Of all, those that the tuned model has right under the best conjugation."""
    via: str | None
    """The best conjugation."""
    hidden_from: int = 3
    """So many are shown at once; the others open with a click."""


def worst_regressions(
    rows: Sequence[AnswerRow], via: str | None, *, tells_abilities: bool = True
) -> Regressions:
    """Return the worst regressions, with what the tuned model answers under ``via``.

    Args:
        rows: Answers of both roles, in any order.
        via: The best conjugation, if there is one.
        tells_abilities: Whether wrong answers are told apart, as intruded or broken.
    """
    found: defaultdict[str, _Found] = defaultdict(_Found)
    names = ("source_id", "role", "via", "cell", "outcome", "score")
    for at, (source, role, row_via, cell, outcome, score) in enumerate(columns_of(rows, *names)):
        if row_via == _PLAIN or (row_via == via and role == "tuned"):
            mine = found[source]
            mine.at[role, row_via] = at
            mine.score[role, row_via] = points(outcome, score)
            if (role, row_via) == ("base", _PLAIN):
                mine.cell = cell
    fallen = [each for _, each in sorted(found.items()) if each.fall > 0]
    under = ("tuned", via or "")
    return Regressions(
        shown=[
            _regression(
                {place: taken(rows, np.array([at]))[0] for place, at in each.at.items()},
                under,
                tells_abilities,
            )
            for each in _worst_first(fallen)[:N_SHOWN]
        ],
        n=len(fallen),
        n_right_again=sum(each.score.get(under) == 1 for each in fallen),
        via=via,
    )


class _Found:
    """The answers to one example by role and via: where they are among all, and their scores."""

    __slots__ = ("at", "cell", "score")

    def __init__(self) -> None:
        self.at: dict[tuple[str, str], int] = {}
        self.score: dict[tuple[str, str], float] = {}
        self.cell = ""

    @property
    def fall(self) -> float:
        """How much worse the tuned model is, asked plainly; 0 where either has no answer."""
        base, tuned = (self.score.get((role, _PLAIN)) for role in ("base", "tuned"))
        return 0.0 if base is None or tuned is None else base - tuned


def _worst_first(fallen: Sequence[_Found]) -> list[_Found]:
    """Return the examples by their fall; of equal falls, one of each cell in turn."""
    seen: defaultdict[tuple[float, str], int] = defaultdict(int)
    keyed: list[tuple[tuple[float, int, str], _Found]] = []
    for each in fallen:
        keyed.append(((-each.fall, seen[each.fall, each.cell], each.cell), each))
        seen[each.fall, each.cell] += 1
    return [each for _, each in sorted(keyed, key=lambda one: one[0])]


def _regression(answers: Answers, place: tuple[str, str], tells_abilities: bool) -> Regression:
    base, tuned = (answers[role, _PLAIN] for role in ("base", "tuned"))
    under = answers.get(place)
    return Regression(
        source_id=base.key.source_id,
        cell=base.cell,
        prompt=_short(prompt_text(base.prompt)),
        base=_said(base, tells_abilities),
        tuned=_said(tuned, tells_abilities),
        under=under and _said(under, tells_abilities),
    )


def _said(row: AnswerRow, tells_abilities: bool) -> Said:
    label: str = row.outcome if tells_abilities or row.outcome == "right" else "wrong"
    if row.score is not None:
        label = f"score {row.score:.2f}"
    return Said(clipped(row.answer, MAX_ANSWER), row.outcome, label)


def _short(prompt: str) -> str:
    lines = prompt.split("\n")
    if len(lines) > MAX_LINES:
        lines = [lines[0], "…", *lines[2 - MAX_LINES :]]
    return clipped("\n".join(lines), MAX_PROMPT)


def prompt_text(prompt: str) -> str:
    """Return a prompt as people read it: of chat messages, which are JSON, who says what.

    Example:
        >>> prompt_text('[{"role": "user", "content": "Hi"}]'), prompt_text("[1] Hi")
        ('‹user› Hi', '[1] Hi')
    """
    try:
        messages: Any = json.loads(prompt) if prompt.startswith("[") else None
    except ValueError:
        return prompt
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        return prompt
    return "\n\n".join(f"‹{one['role']}› {one['content']}" for one in messages)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("role", "content")
    )
