"""Explanations of wrong answers that are no loss: each kind, in words, with what to change."""

from __future__ import annotations

from typing import Final, NamedTuple

from palimpsest.records import Looked

THOUGHT: Final = "a thought alone"
EMPTY: Final = "empty"
FURTHER_ON: Final = "further on"
REFUSAL: Final = "refusal"
LANGUAGE: Final = "another language"
CUT_OFF: Final = "cut off"
IDENTICAL: Final = "identical"
TIE: Final = "a tie"
UNJUDGED: Final = "no judgement"


class _Explanation(NamedTuple):
    said: str
    """After a number of answers."""
    remedy: str


_MORE_TOKENS = "Let the model say more: max_new_tokens=NUMBER is an option of the suite."
_FORM = "Look at the prompts as they were sent: is its chat template used, as in its tuning?"

EXPLANATIONS: dict[str, _Explanation] = {
    THOUGHT: _Explanation("are thoughts without an answer", _MORE_TOKENS),
    EMPTY: _Explanation("are empty", _FORM),
    FURTHER_ON: _Explanation(
        "have the expected answer further on or in another form",
        "Score them in a way that finds it, or let the suite accept that form.",
    ),
    REFUSAL: _Explanation("are refusals", f"Ask in a form in which it answers. {_FORM}"),
    LANGUAGE: _Explanation(
        "are in another language", "Ask for the language, or let the suite accept answers in it."
    ),
    CUT_OFF: _Explanation("were cut off at the limit of tokens", _MORE_TOKENS),
    IDENTICAL: _Explanation("are one and the same, whatever was asked", _FORM),
}


def described(looked: Looked) -> str:
    """Return what was found, as a clause.

    Example:
        >>> described(Looked(n_wrong=90, n_looked=50, found={"further on": 40, "empty": 2}))
        'of 50 wrong answers that were looked at, 40 have the expected answer further on or in \
another form and 2 are empty'
    """
    listed = [f"{n} {EXPLANATIONS[kind].said}" for kind, n in looked.found.items()]
    found = " and ".join([", ".join(listed[:-1]), listed[-1]] if listed[1:] else listed)
    return f"of {looked.n_looked} wrong answers that were looked at, {found}"


def remedy(looked: Looked) -> str:
    """Return what to change, by the commonest kind."""
    commonest = next(iter(looked.found))
    if commonest == FURTHER_ON and looked.scorer is not None:
        return (
            f"The scorer '{looked.scorer}' finds it: palimpsest rescore DIR --scorer "
            f"{looked.scorer} judges the stored answers by it."
        )
    return EXPLANATIONS[commonest].remedy
