"""An index of a run's answers in columns of numbers: any filter over a million rows in moments."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.errors import UserError
from palimpsest.records import (
    RESTORATION_FILE,
    TRACE_FILE,
    AnswerRow,
    AnswerStore,
    Restoration,
    RunFolder,
    Trace,
)

FACETS = ("role", "model", "via", "cell", "language", "outcome")
"""Columns with few values, by which answers are filtered; models by what the run calls them."""

_N_OF_UNNAMED = 12
"""Characters of its fingerprint by which a model is known that the run has no name for."""

FLIPS = ("", "lost", "gained")
"""What tuning did to an answer: nothing, right before and wrong after, or the other way round."""

_SEARCH_SECONDS = 0.35
"""How long one request searches texts; the next goes on where it stopped."""

_N_SEARCHED = 2000
"""Places that are searched in one statement."""

_Numbers = npt.NDArray[np.int64]
"""Of answers among all of the index, or of prompts; (n,)."""


@dataclass(frozen=True)
class Query:
    """Which answers are wanted; empty texts want all."""

    values: Mapping[str, str]
    """By facet, and ``flip`` and ``source``."""

    text: str = ""
    """That prompt or answer has."""

    start: int = 0
    """How many of the answers that pass the filters are skipped, looked at or not."""

    n: int = 50


class Found(NamedTuple):
    """A page of answers."""

    rows: list[AnswerRow]
    flips: list[str]
    n_filtered: int
    """Answers that pass the filters, whatever text they have."""
    next_start: int | None
    """Where the next page starts; ``None`` behind the last."""
    is_whole: bool
    """Whether the page is full or nothing is left: a search may have run out of time before."""


class AnswerIndex:
    """The answers of a run, found by what is known of them.

    Args:
        folder: Of a run.

    Raises:
        UserError: It is none, or it has no answers.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = RunFolder.find(folder)
        self._store = AnswerStore(self.folder.answers, read_only=True)
        self.names: dict[str, list[str]] = {}
        """The values of each facet, in the order in which they come."""
        self._answers = self._store.newest_answers()
        if not self._answers:
            raise UserError(
                f"There are no answers in '{self.folder.path}'.",
                hint="Browse the folder of a run that has begun.",
            )
        coded = (*FACETS, "source_id", "suite")
        codes: dict[str, dict[str, int]] = {name: {} for name in coded}
        columns = {name: array("i") for name in coded}
        for values in self._answers.blocks(*coded):
            for name, column in zip(coded, values, strict=True):
                known = codes[name]
                columns[name].extend([known.setdefault(value, len(known)) for value in column])
        self._columns = {name: np.frombuffer(each, np.int32) for name, each in columns.items()}
        named = names_of_models(self.folder)
        self._model_names: dict[str, str] = {}
        for model in codes["model"]:
            name = named.get(model, model[:_N_OF_UNNAMED])
            is_taken = name in self._model_names.values()
            self._model_names[model] = f"{name} ({model})" if is_taken else name
        codes["model"] = {self._model_names[model]: code for model, code in codes["model"].items()}
        self._codes = codes
        self.names = {name: list(codes[name]) for name in FACETS}
        self._flips = self._flipped()

    def __len__(self) -> int:
        return len(self._answers)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def model_of(self, row: AnswerRow) -> str:
        """Return what the model is called that gave an answer."""
        return self._model_names[row.key.model]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many answers have each value of each facet, and of ``flip``."""
        counted = {
            name: dict(
                zip(
                    values,
                    np.bincount(self._columns[name], minlength=len(values)).tolist(),
                    strict=True,
                )
            )
            for name, values in self.names.items()
        }
        flips = np.bincount(self._flips, minlength=len(FLIPS)).tolist()
        return {**counted, "flip": dict(zip(FLIPS[1:], flips[1:], strict=True))}

    def find(self, query: Query) -> Found:
        """Return a page of the answers that are wanted, in the order of the run."""
        at = np.flatnonzero(self._mask(query))
        start = min(max(query.start, 0), len(at))
        if not query.text:
            chosen = at[start : start + query.n]
            end = start + len(chosen)
            return self._page(chosen, len(at), end, is_whole=True)
        return self._search(query, at, start)

    def of_source(self, source: str) -> list[AnswerRow]:
        """Return all answers to one source example."""
        code = self._codes["source_id"].get(source)
        if code is None:
            return []
        at = np.flatnonzero(self._columns["source_id"] == code)
        return list(self._answers.take(at))

    def _search(self, query: Query, at: _Numbers, start: int) -> Found:
        until = time.monotonic() + _SEARCH_SECONDS
        chosen: list[int] = []
        while start < len(at) and len(chosen) < query.n:
            block = at[start : start + _N_SEARCHED]
            places = self._answers.places[block].tolist()
            having = set(self._store.containing(query.text, places))
            for index, place in zip(block.tolist(), places, strict=True):
                if len(chosen) == query.n:
                    break
                start += 1
                if place in having:
                    chosen.append(index)
            if time.monotonic() > until:
                break
        is_whole = len(chosen) == query.n or start >= len(at)
        return self._page(np.array(chosen, dtype=np.int64), len(at), start, is_whole=is_whole)

    def _page(self, chosen: _Numbers, n_filtered: int, end: int, *, is_whole: bool) -> Found:
        return Found(
            list(self._answers.take(chosen)),
            [FLIPS[flip] for flip in self._flips[chosen].tolist()],
            n_filtered,
            end if end < n_filtered else None,
            is_whole,
        )

    def _mask(self, query: Query) -> npt.NDArray[np.bool_]:
        mask = np.ones(len(self), dtype=np.bool_)
        for name, value in query.values.items():
            if not value:
                continue
            if name == "flip":
                mask &= self._flips == (FLIPS.index(value) if value in FLIPS else -1)
            else:
                column = "source_id" if name == "source" else name
                mask &= self._columns[column] == self._codes[column].get(value, -1)
        return mask

    def _flipped(self) -> npt.NDArray[np.int8]:
        """Return for each answer what tuning did to it, under the same way of asking.

        Where several models are tuned, each has its own; an answer of the base model has then none.
        """
        flips = np.zeros(len(self), dtype=np.int8)
        roles, right = self._codes["role"], self._codes["outcome"].get("right", -1)
        if not {"base", "tuned"} <= roles.keys():
            return flips
        question = self._columns["source_id"].astype(np.int64)
        for name in ("via", "suite"):
            question = question * len(self._codes[name]) + self._columns[name]
        is_right = (self._columns["outcome"] == right).astype(np.int8)
        base, tuned = (
            np.flatnonzero(self._columns["role"] == roles[role]) for role in ("base", "tuned")
        )
        before = np.full(int(question.max()) + 1, -1, dtype=np.int8)
        before[question[base]] = is_right[base]
        flips[tuned] = _flip(before[question[tuned]], is_right[tuned])
        if len(np.unique(self._columns["model"][tuned])) == 1:
            after = np.full(len(before), -1, dtype=np.int8)
            after[question[tuned]] = is_right[tuned]
            flips[base] = _flip(is_right[base], after[question[base]])
        return flips


def names_of_models(folder: RunFolder) -> dict[str, str]:
    """Return what the trace or the restoration in a folder calls its models, by fingerprint."""
    names: dict[str, str] = {}
    with suppress(UserError, ValueError):  # there is none, or it is of another release
        trace = Trace.model_validate_json(folder.read_text(TRACE_FILE))
        names[trace.base.fingerprint] = "base"
        names |= {each.model.fingerprint: f"step {each.step}" for each in trace.checkpoints}
    with suppress(UserError, ValueError):
        found = Restoration.model_validate_json(folder.read_text(RESTORATION_FILE))
        members = (point for point in found.points if point.kind != "prompting")
        names |= {point.fingerprint: point.name for point in members}
    return names


def _flip(before: npt.NDArray[np.int8], after: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return which of :data:`FLIPS` it is; −1 is an answer that there is none of."""
    both = (before >= 0) & (after >= 0)
    lost, gained = FLIPS.index("lost"), FLIPS.index("gained")
    found: npt.NDArray[np.int8] = np.select(
        [both & (before > after), both & (before < after)], [lost, gained]
    ).astype(np.int8)
    return found
