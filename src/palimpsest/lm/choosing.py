"""Answers chosen among given ones by likelihood: what is put to the model, and what it chose."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.prompts import Prompt


def sent_choices(
    prompt: Prompt, choices: Sequence[str], conjugation: TextConjugation
) -> tuple[str, ...]:
    """Return the choices as continuations of the sent prompt.

    A space stands between text and choice unless the text ends in one; an answer to messages
    begins a line of its own.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> sent_choices("Is it? Answer:", ["Yes", "No"], parse_conjugation("leet"))
        (' Y35', ' N0')
    """
    glue = " " if isinstance(prompt, str) and prompt and not prompt[-1].isspace() else ""
    return tuple(glue + conjugation.apply(choice) for choice in choices)


def as_raw(sent: Sequence[str], scores: Sequence[float]) -> str:
    """Return the choices with their natural-log probabilities as they are recorded.

    Choices that the model cannot take, being too long for its context, are null.

    Example:
        >>> as_raw([" Yes", " No"], [-0.25, -math.inf])
        '{" Yes": -0.25, " No": null}'
    """
    finite = [score if math.isfinite(score) else None for score in scores]
    return json.dumps(dict(zip(sent, finite, strict=True)), ensure_ascii=False)


def chosen(raw: str, sent: Sequence[str]) -> int | None:
    """Return the index of the likeliest choice; ``None`` if several are, or none is possible.

    Args:
        raw: What :func:`as_raw` returned.
        sent: The choices in the order of the example. Two that the conjugation made the same are
            equally likely.

    Example:
        >>> chosen('{" Yes": -0.25, " No": -1.5}', [" Yes", " No"])
        0
    """
    found = json.loads(raw)
    scores = [-math.inf if found[text] is None else float(found[text]) for text in sent]
    best = max(scores)
    if best == -math.inf or scores.count(best) > 1:
        return None
    return scores.index(best)
