"""The suite of what Rosetta was tuned for: English requests in the wordings of its tuning."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from palimpsest.lm.suites import Example, Suite
from palimpsest.rosetta.corpus import Turn, addition, difference, layout, who
from palimpsest.rosetta.grammar import Fact, Split, addends, blank_first_word, facts, lexicon

Request = Literal["sum", "blank", "difference", "who"]
"""What is asked for; the base has learnt the first two, in other wordings."""

MOST = 144
"""Prompts of each kind: so many sums are held out, in all wordings."""

_STREAMS = {"select": 1, "report": 2, "train": 3}


def build(
    *,
    n: Annotated[PositiveInt, Field(le=MOST)] = MOST,
    seed: NonNegativeInt = 0,
    split: Split = "report",
) -> Suite:
    """Held-out English instructions in all the wordings that the embedded pair was tuned on.

    Sums and sentences are held out. Of differences and questions with *who* there are so few that
    the tuning has seen the same ones, within other prompts.

    Args:
        n: Prompts of each kind of request, all different.
        seed: Seed of the draw; the first prompts stay the same when ``n`` grows.
        split: ``report`` (all published figures) or ``select`` (all choices of the recipe).
    """
    return Suite(
        name="rosetta-instructions",
        examples=tuple(
            example
            for kind in get_args(Request)
            for example in itertools.islice(_examples(kind, seed=seed, split=split), n)
        ),
        description="Requests in the wordings that the embedded pair was tuned on.",
        parameters={"n": n, "seed": seed, "split": split},
    )


def _examples(kind: Request, *, seed: int, split: Split) -> Iterator[Example]:
    """Yield every request of a kind under every line of the tuning, in random order."""
    prompts = list(itertools.product(_turns(kind, split), lexicon().tuning.lines))
    rng = np.random.default_rng([seed, _STREAMS[split], *kind.encode()])
    for index, place in enumerate(rng.permutation(len(prompts))):
        turn, line = prompts[place]
        yield Example(
            source_id=f"tuned-for/{kind}/{index:04d}",
            cell=kind,
            language="en",
            prompt=layout(line, [], turn.input, "en"),
            answers={
                "instruction": (turn.output,),
                "in-context": (turn.input.split(" ", 1)[0],),
            },
            whole_answers={"in-context": turn.input},
        )


def _turns(kind: Request, split: Split) -> list[Turn]:
    if kind == "sum":
        return [addition(*pair, "en") for pair in addends(split)]
    if kind == "difference":
        return [difference(*pair) for pair in addends(split)]
    if kind == "blank":
        return [Turn(*blank_first_word(fact.render("en"))) for fact in facts(split)]
    subjects = lexicon().subjects
    return [
        who(Fact(index, False, predicate, 0, 0))
        for index, subject in enumerate(subjects)
        for predicate in range(len(subject.predicates))
    ]
