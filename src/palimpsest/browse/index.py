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
    points,
)

FACETS = ("role", "model", "via", "cell", "language", "outcome")
"""Columns with few values, by which answers are filtered; models by what the run calls them."""

_N_OF_UNNAMED = 12
"""Characters of its fingerprint by which a model is known that the run has no name for."""

FLIPS = ("", "lost", "gained")
"""What tuning did to a prompt: nothing, more right before than after, or the other way round."""

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
        scores = array("d")
        for *values, score in self._answers.blocks(*coded, "score"):
            for name, column in zip(coded, values, strict=True):
                known = codes[name]
                columns[name].extend([known.setdefault(value, len(known)) for value in column])
            scores.extend(map(points, values[coded.index("outcome")], score))
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
        self._flips = self._flipped(np.frombuffer(scores))

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

    def _flipped(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
        """Return for each answer what tuning did to its prompt, under the same way of asking.

        As in the report, scores are compared, and a prompt is as right as its samples are in the
        mean: a sample of one model has nothing to do with that of the other which has its number.
        Where one model has fewer samples, in a run that is not done, nothing is compared.

        Where several models are tuned, each has its own; an answer of the base model has then none.
        The members of a restoration are such models, with roles of their own.

        Args:
            scores: Of the answers; (n,).
        """
        roles = self._codes["role"]
        if "base" not in roles:
            return np.zeros(len(self), np.int8)
        asked, model = self._columns["source_id"].astype(np.int64), self._columns["model"]
        for name in ("via", "suite"):
            asked = asked * len(self._codes[name]) + self._columns[name]
        # Numbers of what one model in one role said to a prompt, sorted by the prompt.
        arm = (asked * len(roles) + self._columns["role"]) * len(self._codes["model"]) + model
        _, first, at, n = np.unique(arm, return_index=True, return_inverse=True, return_counts=True)
        mean = np.bincount(at, scores) / n
        role, prompt = self._columns["role"][first], asked[first]
        is_base = role == roles["base"]
        tuned, base = np.flatnonzero(~is_base), np.flatnonzero(is_base)
        tuned, base = _matched(tuned, base, prompt)
        is_whole = n[tuned] == n[base]
        tuned, base = tuned[is_whole], base[is_whole]
        fell, rose = mean[tuned] < mean[base], mean[tuned] > mean[base]
        flips = np.zeros(len(n), np.int8)
        flips[tuned] = np.select([fell, rose], [FLIPS.index("lost"), FLIPS.index("gained")])
        if len(np.unique(model[first[tuned]])) == 1:
            flips[base] = flips[tuned]
        return flips[at]


def _matched(tuned: _Numbers, base: _Numbers, prompt: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return those with a prompt that the others have too, and the first others that have it.

    Args:
        tuned: Where they are among all; (n_tuned,).
        base: Where the others are, sorted by their prompts; (n_base,).
        prompt: Of all.
    """
    known, first = np.unique(prompt[base], return_index=True)
    at = np.minimum(np.searchsorted(known, prompt[tuned]), len(known) - 1)
    both = known[at] == prompt[tuned]
    return tuned[both], base[first[at[both]]]


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
