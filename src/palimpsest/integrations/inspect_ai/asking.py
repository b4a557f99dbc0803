"""One request under one or several conjugations, whoever answers it: a provider, or a solver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput

from palimpsest.integrations.inspect_ai.host import told_to_the_user
from palimpsest.integrations.inspect_ai.rewriting import (
    Answered,
    Sent,
    check_honourable,
    conjugated_messages,
    inverted_output,
    voted_output,
)
from palimpsest.lm.conjugations.ensembles import TextEnsemble
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.serve.inversion import is_slow

_T = TypeVar("_T")

Ask = Callable[[TextConjugation, Sent], Awaitable[ModelOutput | Exception]]
"""Gives the model's own answer to what it is sent, or the provider's error."""


async def ask_conjugated(
    ensemble: TextEnsemble,
    messages: Sequence[ChatMessage],
    config: GenerateConfig,
    ask: Ask,
    *,
    tools: bool,
) -> ModelOutput | Exception:
    """Ask under every member and return the inverted answer, or the first error of a provider.

    Members are asked one after the other, as Inspect counts one connection for all of them.

    Args:
        ensemble: The conjugations; mostly one.
        messages: What is said to the model, plain.
        config: How it is asked. Stop sequences are read in the inverted answer.
        ask: Asks it.
        tools: Whether it may call tools.

    Raises:
        PrerequisiteError: Something is asked for that cannot be honoured under a conjugation, or a
            translator failed.
    """
    stops = config.stop_seqs or []
    answers: list[Answered] = []
    with told_to_the_user():
        check_honourable(config, ensemble, tools=tools)
        for member in ensemble.members:
            slow = _is_slow(member, messages)
            sent = await off_loop(slow, conjugated_messages, messages, member, stops)
            output = await ask(member, sent)
            if isinstance(output, Exception):
                return output
            slow = _is_slow(member, [choice.message for choice in output.choices])
            answer = await off_loop(slow, inverted_output, output, member, stops, sent.flags)
            answers.append(answer)
        return voted_output(ensemble, answers)


async def off_loop(slow: bool, function: Callable[..., _T], *args: Any) -> _T:
    """Call a function, in a thread if it is slow, so that other samples go on."""
    if slow:
        return await anyio.to_thread.run_sync(partial(function, *args))
    return function(*args)


def _is_slow(member: TextConjugation, messages: Sequence[ChatMessage]) -> bool:
    return is_slow(member, sum(len(message.text) for message in messages))
