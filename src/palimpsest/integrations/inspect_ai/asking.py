"""One request under one or several conjugations, whoever answers it: a provider, or a solver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

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
from palimpsest.lm.exchange import Exchange, off_loop

Ask = Callable[[Exchange, Sent], Awaitable[ModelOutput | Exception]]
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
    exchanges = [Exchange(each, config.stop_seqs or []) for each in ensemble.members]
    answers: list[Answered] = []
    with told_to_the_user():
        check_honourable(config, ensemble, tools=tools)
        for exchange in exchanges:
            slow = _is_slow(exchange, messages)
            sent = await off_loop(slow, conjugated_messages, messages, exchange)
            output = await ask(exchange, sent)
            if isinstance(output, Exception):
                return output
            slow = _is_slow(exchange, [choice.message for choice in output.choices])
            answers.append(await off_loop(slow, inverted_output, output, exchange, sent.flags))
        return voted_output(ensemble, answers)


def _is_slow(exchange: Exchange, messages: Sequence[ChatMessage]) -> bool:
    return exchange.is_slow(sum(len(message.text) for message in messages))
