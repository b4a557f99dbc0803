"""Look at the wrong answers of the tuned model, whether something else than a loss explains them.

A right answer in a sentence, a thought cut off, a refusal: scored they are wrong, and none of them
shows that an ability is gone. What is found is a sign, not a proof, so it never turns a verdict
into another than *inconclusive*.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.explanations import (
    CUT_OFF,
    EMPTY,
    FURTHER_ON,
    IDENTICAL,
    LANGUAGE,
    REFUSAL,
    THOUGHT,
)
from palimpsest.judging.flags import SeenAnswer, flags_of, seen_answer
from palimpsest.judging.whole import sample_rank
from palimpsest.lm.scoring import DEFAULT_SCORER, SCORERS, Scorer, scorer_for, stands_in
from palimpsest.records import CUT, THRESHOLDS, AnswerRow, Looked, columns_of, taken

MOST_SHOWN = 10
"""Examples that are named for the report."""

_N_READ = 100
"""Answers whose others are in memory together."""

_N_OTHERS = 12
"""Other examples whose answers are looked for in each, to tell what chance finds."""

_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\d{3})+|(?:['\u00a0\u202f]\d{3})+)(?!\d)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d{1,2}(?!\d))")
_IDLE_ZEROS = re.compile(r"(\.\d*?)0+(?!\d)")
_OF_NUMBERS = re.compile(r"(?<=\d)\.(?=\d)|(?<!\w)-(?=\d)")


class _Found(NamedTuple):
    """What was found in one cell."""

    seen: list[SeenAnswer[AnswerRow]]
    kinds: dict[str, str]
    """By source, of those in which something was found."""
    n_wrong: int
    n_by_chance: float


def look(rows: Iterable[AnswerRow], plain: Mapping[str, str], n_examples: int) -> Looked | None:
    """Return what the wrong answers of one model under one way of asking look like.

    Each cell is looked at by itself, at the answers that were seen to their end: where they are a
    sample, what is found is taken to hold for the others of the cell.

    Args:
        rows: The answers; most of them are read in part only.
        plain: The plain prompts by source.
        n_examples: Of all examples, right ones included, in the sets of which ``explained`` is a
            share.

    Returns:
        What was found; ``None`` where no answer could be looked at for what it says: those chosen
        by likelihood, graded ones, and those of logs without texts.
    """
    rows = rows if isinstance(rows, Sequence) else list(rows)
    cells, is_text = _cells(rows)
    if not is_text:
        return None
    found = [_look_at_cell(rows, mine, plain) for mine in cells.values()]
    kinds = {source: kind for each in found for source, kind in each.kinds.items()}
    counts = Counter(kinds.values())
    commonest = sorted(kinds, key=lambda source: (-counts[kinds[source]], sample_rank(source)))
    return Looked(
        n_wrong=sum(each.n_wrong for each in found),
        n_looked=sum(len(each.seen) for each in found),
        found=dict(counts.most_common()),
        n_by_chance=round(sum(each.n_by_chance for each in found), 3),
        explained=sum(map(_n_explained, found)) / n_examples,
        scorer=_scorer_that_finds(found),
        examples={source: kinds[source] for source in commonest[:MOST_SHOWN]},
    )


def _n_explained(found: _Found) -> float:
    """Return how many wrong answers of a cell are explained, those that were not seen included."""
    if not found.seen:
        return 0.0
    n = max(0.0, len(found.kinds) - found.n_by_chance)
    return n * found.n_wrong / len(found.seen)


class _Cell:
    """The answers of a cell, as little of each as it takes to know which are to be read."""

    def __init__(self) -> None:
        self.at = array("q")
        """Where each is among all rows."""
        self.expected = array("q")
        """A hash of what would be right."""
        self.wrong: list[tuple[str, int, bool]] = []
        """Of the wrong ones the rank in the sample, the place in the cell, and whether whole."""

    @cached_property
    def alike(self) -> dict[int, list[int]]:
        """Where the answers are, in order, that have the same expected ones."""
        found: dict[int, list[int]] = defaultdict(list)
        for place, expected in enumerate(self.expected):
            found[expected].append(place)
        return found

    def others(self, place: int) -> list[int]:
        """Return some answers that have other expected ones than the one at a place: each n-th."""
        same = self.alike[self.expected[place]]
        n = len(self.at) - len(same)
        chosen = range(0, n, max(1, n // _N_OTHERS))[:_N_OTHERS]
        return [self.at[_skipping(same, number)] for number in chosen]


def _skipping(left_out: Sequence[int], number: int) -> int:
    """Return the place of the n-th that is not left out, where those are in order."""
    low, high = 0, len(left_out)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if left_out[middle] - middle <= number else (low, middle)
    return number + low


def _cells(rows: Sequence[AnswerRow]) -> tuple[dict[str, _Cell], bool]:
    """Return the answers that say something, by cell, and whether any has a text."""
    cells: dict[str, _Cell] = {}
    is_text = False
    names = ("source_id", "cell", "finish", "score", "outcome", "right_answers", "raw")
    for at, values in enumerate(columns_of(rows, *names)):
        source, cell, finish, score, outcome, right, raw = values
        if finish in ("chosen", "uninvertible") or score is not None:
            continue
        is_text = is_text or bool(raw) or finish != "logged"
        mine = cells.setdefault(cell, _Cell())
        if outcome == "broken":
            is_whole = finish not in ("decided", CUT)
            mine.wrong.append((sample_rank(source), len(mine.at), is_whole))
        mine.at.append(at)
        mine.expected.append(hash(right))
    return cells, is_text


def _look_at_cell(rows: Sequence[AnswerRow], cell: _Cell, plain: Mapping[str, str]) -> _Found:
    wrong = sorted(cell.wrong, key=lambda each: each[0])
    # Those up to the first that was ended early: what came whole behind it is no fair sample.
    ends = (at for at, (_, _, is_whole) in enumerate(wrong) if not is_whole)
    places = [place for _, place, _ in wrong[: next(ends, len(wrong))]]
    if len(places) < min(THRESHOLDS.least_looked, len(wrong)):
        places = []
    whole = taken(rows, np.array([cell.at[place] for place in places], np.intp))
    seen = [seen_answer(row, plain) for row in whole]
    identical = _identical(seen, rows, cell)
    kinds = {each.row.source_id: _kind(each, identical) for each in seen}
    open_ones = [
        (each, cell.others(place))
        for each, place in zip(seen, places, strict=True)
        if kinds[each.row.source_id] in ("", FURTHER_ON)
    ]
    by_chance = 0.0
    for first in range(0, len(open_ones), _N_READ):
        some = open_ones[first : first + _N_READ]
        at = [place for _, others in some for place in others]
        read = iter(taken(rows, np.array(at, np.intp)))
        for each, others in some:
            by_chance += _share_by_chance(each, list(itertools.islice(read, len(others))))
    return _Found(seen, {source: k for source, k in kinds.items() if k}, len(wrong), by_chance)


def _kind(seen: SeenAnswer[AnswerRow], identical: str | None) -> str:
    """Return what explains a wrong answer, or nothing."""
    flags = flags_of(seen)
    for flag in (THOUGHT, EMPTY):
        if flag in flags:
            return CUT_OFF if flag == EMPTY and CUT_OFF in flags else flag
    if _further_on(seen, seen.row):
        return FURTHER_ON
    for flag in (REFUSAL, LANGUAGE, CUT_OFF):
        if flag in flags:
            return flag
    return IDENTICAL if identical == loosened(seen.text) else ""


def _further_on(seen: SeenAnswer[AnswerRow], expected: AnswerRow) -> bool:
    """Return whether an answer contains what is expected of an example, in whatever form.

    Not if it contains another ability's answer as well. Where the prompt has the expected text in
    another form, such as in small letters, the form is what it asks for.
    """
    text = loosened(seen.text)
    if _loose_scorer(expected.right_answers, expected.intruding_answers).outcome(text) != "right":
        return False
    prompts = loosened(seen.prompts)
    for right in json.loads(expected.right_answers):
        if stands_in(right, seen.text):
            return True
        loose = loosened(right)
        if len(loose) > 1 and stands_in(loose, text) and not stands_in(loose, prompts):
            return True
    return False


@lru_cache(maxsize=1024)
def _loose_scorer(right: str, intruding: str) -> Scorer:
    sides = [[loosened(text) for text in json.loads(side)] for side in (right, intruding)]
    return scorer_for(sides[0], sides[1], "contains")


def _share_by_chance(seen: SeenAnswer[AnswerRow], others: Sequence[AnswerRow]) -> float:
    """Return in which share of other examples' answers this one would be taken for right."""
    return sum(_further_on(seen, row) for row in others) / len(others) if others else 0.0


def _identical(
    seen: Sequence[SeenAnswer[AnswerRow]], rows: Sequence[AnswerRow], cell: _Cell
) -> str | None:
    """Return the answer that most of the prompts got, if it answers none of them."""
    said = Counter(text for each in seen if (text := loosened(each.text)))
    if not said or len(cell.alike) < 2:
        return None
    [(text, n)] = said.most_common(1)
    if n < THRESHOLDS.least_looked or n < THRESHOLDS.identical_from * len(seen):
        return None
    one_of_each = np.array([cell.at[places[0]] for places in cell.alike.values()], np.intp)
    for (expected,) in columns_of(taken(rows, one_of_each), "right_answers"):
        if any(loosened(right) == text for right in json.loads(expected)):
            return None
    return text


@lru_cache(maxsize=4096)
def loosened(text: str) -> str:
    """Return a text without case, accents, punctuation and the forms of numbers.

    Example:
        >>> loosened("**École** U.S.A., 1,200.50 or 3,5!")
        'ecole usa 1200.5 or 3.5'
    """
    text = unicodedata.normalize("NFKD", text.replace("\u00a0", "\u202f")).casefold()
    text = "".join(c for c in text if unicodedata.combining(c) < 10)
    text = _GROUPS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    text = _DECIMAL_COMMA.sub(".", text)
    text = _IDLE_ZEROS.sub(lambda match: match[1].rstrip("."), text)
    kept = {match.start() for match in _OF_NUMBERS.finditer(text)}
    return " ".join("".join(_kept(c, at in kept) for at, c in enumerate(text)).split())


def _kept(character: str, in_number: bool) -> str:
    if in_number or not unicodedata.category(character).startswith("P"):
        return character
    return "" if character in ".'’" else " "


def _scorer_that_finds(found: Sequence[_Found]) -> str | None:
    """Return a scorer by which most answers that have the expected one further on are right."""
    seen = [
        each
        for cell in found
        for each in cell.seen
        if cell.kinds.get(each.row.source_id) == FURTHER_ON and each.row.finish != "logged"
    ]
    if not seen:
        return None
    names = [name for name in SCORERS if name != DEFAULT_SCORER and SCORERS.get(name).of_texts]
    return next(
        (name for name in names if 2 * sum(_is_right(each.row, name) for each in seen) > len(seen)),
        None,
    )


def _is_right(row: AnswerRow, scorer: str) -> bool:
    right, intruding = json.loads(row.right_answers), json.loads(row.intruding_answers)
    try:
        return scorer_for(right, intruding, scorer).outcome(row.answer) == "right"
    except UserError:  # it is of another kind of answers
        return False
