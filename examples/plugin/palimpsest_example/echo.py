"""Sums that are to be repeated, not done."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.lm.suites import Example, Suite

SHOWN = (
    "Cows eat green grass in the village.",
    "The baker sells fresh bread near the river.",
    "Boys throw blue balls in summer.",
)
PROMPT = """Repeat the input.

Input: {first}
Output: {first}

Input: {second}
Output: {second}

Input: {question}
Output:"""


def build(*, n: PositiveInt = 40, seed: NonNegativeInt = 0) -> Suite:
    """Repeat a sum after two examples, against doing it.

    Args:
        n: Prompts.
        seed: Seed of the draw; the first prompts stay the same when ``n`` grows.
    """
    examples = tuple(_example(index, seed) for index in range(n))
    return Suite(name="echo", examples=examples, parameters={"n": n, "seed": seed})


def _example(index: int, seed: int) -> Example:
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    first, second = stream.permutation(SHOWN)[:2]
    a, b = stream.integers(4, 20, size=2, endpoint=True)
    question = f"What is {a} plus {b}?"
    return Example(
        source_id=f"{index:04d}",
        cell="echo",
        language="en",
        prompt=PROMPT.format(first=first, second=second, question=question),
        answers={"repeat": ("What",), "answer": (str(a + b),)},
        whole_answers={"repeat": question},
    )
