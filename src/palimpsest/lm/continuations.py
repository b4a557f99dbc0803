"""Continuations of a context, conjugated: what a likelihood is asked of, such as choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.exchange import Exchange
from palimpsest.lm.prompts import Prompt

_N_TOGETHER = 512
"""Pairs that are conjugated at a time: many for a translator, few enough to hold in memory."""


class Continued(NamedTuple):
    """A context with one continuation, as the model is to see them."""

    context: str
    """``s(context)``."""

    continuation: str
    """What the model may say after it."""

    joined: bool
    """Whether the two together are ``s(context + continuation)``."""


def continue_all(exchange: Exchange, pairs: Sequence[tuple[str, str]]) -> Iterator[Continued]:
    r"""Yield contexts with what is to follow them, conjugated: what a likelihood is asked of.

    A context becomes ``s(context)`` whatever follows: what is sent as well where the answer is
    generated, and the same for all choices of a question. The continuation is what
    ``s(context + continuation)`` adds to it, the text as ``s`` writes it whole. Where ``s`` writes
    the context otherwise when more follows (another order of words, a word cut in two), or drops
    the white space between, it is ``s(continuation)`` behind its own white space: the answer that
    inverts to it. An empty context stays empty.

    Raises:
        UserError: The conjugation leaves nothing of a continuation.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> list(continue_all(Exchange(parse_conjugation("leet")), [("Is it?", " Yes")]))
        [Continued(context='I5 17?', continuation=' Y35', joined=True)]
        >>> reverse = Exchange(parse_conjugation("reverse-words"))
        >>> list(continue_all(reverse, [("Is it?", " I am sure")]))
        [Continued(context='it? Is', continuation=' sure am I', joined=False)]
    """
    for first in range(0, len(pairs), _N_TOGETHER):
        yield from _continue(exchange, pairs[first : first + _N_TOGETHER])


def _continue(exchange: Exchange, pairs: Sequence[tuple[str, str]]) -> Iterator[Continued]:
    contexts = _applied(exchange, [context for context, _ in pairs])
    wholes = _applied(exchange, ["".join(pair) for pair in pairs])
    ends = [_end(contexts[pair[0]], wholes["".join(pair)], pair[1]) for pair in pairs]
    bodies = _applied(
        exchange,
        [pair[1].lstrip() for pair, end in zip(pairs, ends, strict=True) if end is None],
    )
    for (context, continuation), end in zip(pairs, ends, strict=True):
        body = continuation.lstrip()
        sent = _lead(continuation) + bodies[body] if end is None else end
        if body and not sent.strip():
            raise UserError(
                f"The conjugation '{exchange.conjugation.name}' leaves nothing of the continuation "
                f"{continuation!r}: how likely it is cannot be asked.",
                hint="Choose another conjugation, or leave the task out.",
            )
        yield Continued(contexts[context], sent, joined=end is not None)


def _applied(exchange: Exchange, texts: Sequence[str]) -> dict[str, str]:
    exchange.prepare(prompts=texts)
    return {text: exchange.apply(text) for text in dict.fromkeys(texts)}


def _end(context: str, whole: str, continuation: str) -> str | None:
    """Return what a conjugated text adds to the conjugated context, if that is its beginning."""
    if not whole.startswith(context):
        return None
    end = whole[len(context) :]
    if not end.startswith(_lead(continuation)) or (continuation.strip() and not end.strip()):
        return None
    return end


def _lead(text: str) -> str:
    """Return the white space that a text begins with."""
    return text[: len(text) - len(text.lstrip())]


def sent_choices(exchange: Exchange, sent: Prompt, choices: Sequence[str]) -> tuple[str, ...]:
    """Return a question's choices as continuations of the sent prompt, each conjugated by itself.

    A space stands between text and choice unless the text ends in one; an answer to messages
    begins a line of its own.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> sent_choices(Exchange(parse_conjugation("leet")), "15 17? 4n5w3r:", ["Yes", "No"])
        (' Y35', ' N0')
    """
    return tuple(glue(sent) + exchange.apply(choice) for choice in choices)


def glue(sent: Prompt) -> str:
    """Return what stands between a sent prompt and its answer: a space, or nothing.

    Example:
        >>> glue("Answer:"), glue("Answer: "), glue("")
        (' ', '', '')
    """
    return " " if isinstance(sent, str) and sent and not sent[-1].isspace() else ""


def joined_choices(exchange: Exchange, prompt: Prompt, choices: Sequence[str]) -> tuple[str, ...]:
    """Return a question's choices, conjugated, as what follows the conjugated prompt at once.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> joined_choices(Exchange(parse_conjugation("leet")), "Is it", [" so?", "?"])
        (' 50?', '?')
    """
    context = prompt if isinstance(prompt, str) else ""
    pairs = [(context, choice) for choice in choices]
    return tuple(each.continuation for each in continue_all(exchange, pairs))
