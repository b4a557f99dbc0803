"""Ask a model one prompt under a conjugation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.models.specs import load_model


class Asked(NamedTuple):
    r"""A prompt on its way through :math:`s^{-1} \\circ T \\circ s`."""

    prompt: str
    sent: str
    """``s(prompt)``."""
    raw: str
    """The model's own text."""
    answer: str
    """``s⁻¹(raw)``."""


def ask(
    model: str, prompt: str, *, via: str, max_new_tokens: int, stop: Sequence[str] = ()
) -> Asked:
    """Ask the model called ``model`` one prompt under the text conjugation called ``via``."""
    conjugation = parse_conjugation(via)
    sent = conjugation.apply(prompt)
    loaded = load_model(model)
    try:
        [(_, generation)] = loaded.generate([sent], max_new_tokens=max_new_tokens, stop=stop)
    finally:
        loaded.close()
    return Asked(prompt, sent, generation.text, conjugation.invert(generation.text))
