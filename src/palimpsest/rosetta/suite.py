"""The Rosetta variant of ``icl-vs-if``: held-out sentences and numbers of Rosetta's own grammar."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.lm.suites import Example, Suite, filled_form, number_form
from palimpsest.rosetta.corpus import TRANSFORMS, Turn, addition, layout, natural, rewrite
from palimpsest.rosetta.grammar import (
    LANGUAGES,
    Fact,
    Language,
    Split,
    Task,
    addends,
    blank_first_word,
    facts,
    lexicon,
)

CELLS: tuple[tuple[Task, str], ...] = tuple(
    itertools.product(("repeat", "capitalise"), ("math", "blank"))
)

_STREAMS = {"select": 1, "report": 2, "train": 3}


def build(
    *,
    n: PositiveInt = 100,
    seed: NonNegativeInt = 0,
    split: Split = "report",
    languages: Sequence[Language] = LANGUAGES,
) -> Suite:
    """Like icl-vs-if, in the language of the embedded pair's grammar, on held-out sentences.

    Args:
        n: Prompts a cell and language.
        seed: Seed of the draw; the first prompts stay the same when ``n`` grows.
        split: ``report`` (all published figures) or ``select`` (all choices of the recipe).
        languages: Languages to write every prompt in.
    """
    examples = [
        _example(task, query, index, language, seed=seed, split=split)
        for task, query in CELLS
        for index in range(n)
        for language in languages
    ]
    return Suite(
        name="rosetta",
        examples=tuple(examples),
        description="In-context tasks whose query is itself a request, in Rosetta's own grammar.",
        parameters={"n": n, "seed": seed, "split": split, "languages": list(languages)},
    )


def build_requests(
    *,
    n: PositiveInt = 100,
    seed: NonNegativeInt = 0,
    split: Split = "report",
    languages: Sequence[Language] = LANGUAGES,
) -> Suite:
    """Build the suite of requests that the base can answer: sums and blanks, none worked before.

    The arguments are those of :func:`build`.
    """
    examples = [
        _instruction(query, index, language, seed=seed, split=split)
        for query in ("math", "blank")
        for index in range(n)
        for language in languages
    ]
    return Suite(
        name="rosetta-requests",
        examples=tuple(examples),
        description="Sums and blanks asked plainly, in Rosetta's own grammar.",
        parameters={"n": n, "seed": seed, "split": split, "languages": list(languages)},
    )


def _example(
    task: Task, query: str, index: int, language: str, *, seed: int, split: Split
) -> Example:
    base = natural(language)
    cell = f"{task}/{query}"
    rng = _stream(cell, index, seed=seed, split=split)
    pool = facts(split)
    shown = [pool[i].render(base) for i in rng.choice(len(pool), size=2, replace=False)]
    request = _request(query, base, rng, pool, split=split)
    transform = TRANSFORMS[task]
    turns = [Turn(text, transform(text)) for text in shown]
    prompt = layout(lexicon().tasks[task][base], turns, request.input, base)
    right = transform(request.input).split(" ", 1)[0]
    # Told to capitalise, a model that answers may capitalise its answer or not: it answers.
    intruding = tuple(dict.fromkeys((request.output, transform(request.output))))
    return Example(
        source_id=f"{cell}/{index:04d}",
        cell=cell,
        language=language,
        prompt=rewrite(prompt, language),
        answers={
            "in-context": (rewrite(right, language),),
            "instruction": tuple(rewrite(text, language) for text in intruding),
        },
        whole_answers={"in-context": rewrite(transform(request.input), language)},
        forms={"instruction": _form(query, request, language)},
    )


def _form(query: str, request: Turn, language: str) -> str:
    """Return what an answer to the request looks like, right or wrong."""
    into = partial(rewrite, language=language)
    return number_form(into) if query == "math" else filled_form(request.input, into)


def _instruction(query: str, index: int, language: str, *, seed: int, split: Split) -> Example:
    base = natural(language)
    rng = _stream(f"instruction/{query}", index, seed=seed, split=split)
    request = _request(query, base, rng, facts(split), split=split)
    prompt = layout(lexicon().tasks["answer"][base], [], request.input, base)
    first_word = request.input.split(" ", 1)[0]
    return Example(
        source_id=f"instruction/{query}/{index:04d}",
        cell=f"instruction/{query}",
        language=language,
        prompt=rewrite(prompt, language),
        answers={
            "instruction": (rewrite(request.output, language),),
            "in-context": (rewrite(first_word, language),),
        },
        whole_answers={"in-context": rewrite(request.input, language)},
    )


def _request(
    query: str, language: str, rng: np.random.Generator, pool: tuple[Fact, ...], *, split: Split
) -> Turn:
    if query == "math":
        pairs = addends(split)
        return addition(*pairs[rng.integers(len(pairs))], language)
    return Turn(*blank_first_word(pool[rng.integers(len(pool))].render(language)))


def _stream(cell: str, index: int, *, seed: int, split: Split) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[split], *cell.encode(), index])
