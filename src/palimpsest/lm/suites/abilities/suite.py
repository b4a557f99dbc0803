"""Abilities that people fear to lose, small enough for minutes: the suite ``abilities``."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.suites import icl_vs_if
from palimpsest.lm.suites.abilities.cells import CELLS, REFUSAL, AbilityCell, shown_places
from palimpsest.lm.suites.abilities.tables import LANGUAGES, wordings
from palimpsest.lm.suites.suite import Example, Suite

TASK = "task"
"""The ability under test, in every cell."""

PAPER_CELLS = tuple("/".join(cell) for cell in icl_vs_if.CELLS)
"""The four cells of ``icl-vs-if``: repeating and rewriting."""

ALL_CELLS = (*CELLS, *PAPER_CELLS)

_N_PAPER_TOKENS = 32
"""The paper's ten, and room for words that a conjugation makes of many tokens."""


def build(
    *,
    n: PositiveInt = 60,
    seed: NonNegativeInt = 0,
    languages: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
    max_new_tokens: PositiveInt | None = None,
    floor: Literal["skip", "ask"] = "skip",
) -> Suite:
    """Facts, sums, reading, formats, JSON, tools, translation, Python, benign requests, repeating.

    Args:
        n: Prompts a cell and language.
        seed: Seed of the draw; the first prompts stay the same when ``n`` grows.
        languages: Languages to write every prompt in, English among them.
        cells: Which cells; by default all.
        max_new_tokens: How much the model may say; by default each cell's own, from 16 tokens for a
            sum to 160 for worked steps.
        floor: Whether a cell that the base model cannot do is skipped: asked of nothing else.

    Raises:
        UserError: A language or cell that there is not.
    """
    spoken = _known("language", languages, LANGUAGES)
    if "en" not in spoken:
        raise UserError(
            f"The languages {'+'.join(spoken)} lack 'en', the language of the plain prompts.",
            hint=f"Write languages=en+{'+'.join(spoken)}",
        )
    chosen = _known("cell", cells, ALL_CELLS)
    examples = [
        example
        for name in chosen
        if name in CELLS
        for index in range(n)
        for example in _item(name, index, seed, spoken, max_new_tokens)
    ]
    if any(name in PAPER_CELLS for name in chosen):
        paper = icl_vs_if.build(n=n, seed=seed, languages=spoken)
        n_tokens = max_new_tokens or _N_PAPER_TOKENS
        examples += [_as_task(each, n_tokens) for each in paper.examples if each.cell in chosen]
    return Suite(
        name="abilities",
        examples=tuple(examples),
        max_new_tokens=max_new_tokens or max(cell.n_tokens for cell in CELLS.values()),
        skips_floor=floor == "skip",
        description="What people fear to lose when they tune a model, in short tasks.",
        parameters={"n": n, "seed": seed, "languages": list(spoken), "cells": list(chosen)},
    )


def _known(what: str, chosen: Sequence[str] | None, there: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(chosen or there))
    for name in found:
        if name not in there:
            raise UserError(
                f"The suite 'abilities' has no {what} '{name}'.{did_you_mean(name, there)}",
                hint=f"It has: {', '.join(there)}.",
            )
    return found


def _item(
    name: str, index: int, seed: int, languages: Sequence[str], n_tokens: int | None
) -> list[Example]:
    """Return an item in every language; what is drawn depends on nothing but the arguments."""
    cell, key = CELLS[name], zlib.crc32(name.encode())
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key, index)))
    # Every row of a table is asked about once before one is asked about again.
    at = _order(cell.n, seed, key)[index % cell.n]
    asked = cell.draw(rng, at)
    shown = [cell.draw(rng, place) for place in shown_places(name, cell, rng, at)]
    cell = replace(cell, n_tokens=n_tokens or cell.n_tokens)
    return [_example(name, cell, index, language, asked, shown) for language in languages]


@lru_cache(maxsize=64)
def _order(n: int, seed: int, key: int) -> tuple[int, ...]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
    return tuple(map(int, rng.permutation(n)))


def _example(
    name: str, cell: AbilityCell, index: int, language: str, item: Any, shown: Sequence[Any]
) -> Example:
    wording = wordings()[language]
    turns = [cell.turn(wording, language, each) for each in shown]
    asked = cell.turn(wording, language, item)
    blocks = [f"{turn.asked} {turn.shown}" for turn in turns]
    instruction = cell.instruction(wording, item)
    answers = {TASK: asked.accepted or (asked.shown,)}
    forms = {} if cell.form is None else {TASK: cell.form}
    if cell.refusals:
        answers["refusal"], forms["refusal"] = (), REFUSAL
    return Example(
        source_id=f"{name}/{index:04d}",
        cell=name,
        language=language,
        prompt="\n\n".join([*([instruction] if instruction else []), *blocks, asked.asked]),
        answers=answers,
        choices=cell.choices(wording),
        scorer=cell.scorer,
        forms=forms,
        max_new_tokens=cell.n_tokens,
        stop=(cell.stop(wording),),
    )


def _as_task(example: Example, n_tokens: int) -> Example:
    """Return an example of ``icl-vs-if`` with its first ability named as everywhere here."""
    (first, right), *others = example.answers.items()
    return replace(
        example,
        answers={TASK: right, **dict(others)},
        whole_answers={TASK: example.whole_answers[first]},
        max_new_tokens=n_tokens,
    )
