"""Conversations under conjugations: messages out, outputs back, members put to the vote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageBase,
    ContentText,
    GenerateConfig,
    ModelOutput,
)

from palimpsest.errors import UserError
from palimpsest.integrations.inspect_ai.host import told_to_the_user
from palimpsest.lm import CANNOT_HONOUR, SPOKEN_ROLES, TOOLS_AND_VOTES, Exchange, asks_for, off_loop
from palimpsest.lm.conjugations import TextEnsemble, agreeing

KEY = "palimpsest"
"""Where an output's metadata, the store of a sample and the metadata of a task have our part."""

_Message = TypeVar("_Message", bound=ChatMessageBase)

_OPENAI_NAMES = {
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "prompt_logprobs": "prompt_logprobs",
    "logit_bias": "logit_bias",
    "response_schema": "response_format",
}
"""Settings of Inspect that cannot be honoured, with their names in :data:`CANNOT_HONOUR`."""


class Sent(NamedTuple):
    """What a model gets under one conjugation."""

    messages: list[ChatMessage]

    stops: tuple[str, ...]
    """The stop sequences that mean the same in conjugated text."""

    flags: tuple[str, ...]
    """What went wrong in conjugating, such as a line that came back untranslated."""


class MemberOutput(NamedTuple):
    """A model's answer under one conjugation."""

    via: str
    raws: tuple[str, ...]
    """The model's own text, for each choice."""
    output: ModelOutput
    """The same with the texts inverted, and nothing about tokens that are no longer there."""
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what the log keeps of it."""
        answers = [choice.message.text for choice in self.output.choices]
        note = {"via": self.via, "raw": list(self.raws), "answer": answers}
        return {**note, "flags": list(self.flags)} if self.flags else note


def check_honourable(config: GenerateConfig, ensemble: TextEnsemble, *, tools: bool) -> None:
    """Refuse what cannot be honoured under a conjugation.

    Raises:
        UserError: It is asked for.
    """
    asked = {
        name: (getattr(config, name), CANNOT_HONOUR[key]) for name, key in _OPENAI_NAMES.items()
    }
    body = config.extra_body or {}
    asked |= {name: (body[name], reason) for name, reason in CANNOT_HONOUR.items() if name in body}
    for name, (value, reason) in asked.items():
        if asks_for(name, value):
            raise _refused(name, ensemble, reason)
    if tools and len(ensemble.members) > 1:
        raise _refused("tools", ensemble, TOOLS_AND_VOTES)


def _refused(name: str, ensemble: TextEnsemble, reason: str) -> UserError:
    return UserError(
        f"'{name}' cannot be honoured under the conjugation '{ensemble.name}': {reason}.",
        hint="Leave it out, or ask the model without a conjugation.",
    )


def conjugated_messages(messages: Sequence[ChatMessage], exchange: Exchange) -> Sent:
    """Conjugate every text that is said to the model; roles, tools, calls and media stay.

    Raises:
        UserError: A translator failed.
    """
    texts = [text for each in messages if _is_spoken(each) for text in _texts(each)]
    exchange.prepare(prompts=texts)
    sent = [_mapped(each, exchange.apply) if _is_spoken(each) else each for each in messages]
    return Sent(sent, exchange.sent_stops, exchange.flags(texts))


def _is_spoken(message: ChatMessage) -> bool:
    return message.role in SPOKEN_ROLES


def _texts(message: ChatMessageBase) -> list[str]:
    return [part.text for part in message.content_list if isinstance(part, ContentText)]


def inverted_output(
    output: ModelOutput, exchange: Exchange, flags: Sequence[str] = ()
) -> MemberOutput:
    """Invert every choice, cut before the first stop sequence.

    Raises:
        UserError: A translator failed.
    """
    raws = tuple(choice.message.text for choice in output.choices)
    exchange.prepare(answers=[text for each in output.choices for text in _texts(each.message)])
    choices = [_inverted_choice(choice, exchange) for choice in output.choices]
    completion = choices[0].message.text if choices else output.completion
    inverted = output.model_copy(update={"choices": choices, "completion": completion})
    found = dict.fromkeys([*flags, *exchange.answer_flags(raws)])
    return MemberOutput(exchange.conjugation.name, raws, inverted, tuple(found))


def _inverted_choice(choice: ChatCompletionChoice, exchange: Exchange) -> ChatCompletionChoice:
    stopped = False

    def invert(text: str) -> str:
        nonlocal stopped
        if stopped:  # by a text before it in the same message
            return ""
        plain, stopped = exchange.read(text)
        return plain

    message = _mapped(choice.message, invert)
    return choice.model_copy(
        update={
            "message": message,
            "stop_reason": "stop" if stopped else choice.stop_reason,
            "logprobs": None,
            "prompt_logprobs": None,
        }
    )


def inverted_message(message: ChatMessage, exchange: Exchange) -> ChatMessage:
    """Invert what a model said; messages of others stay as they are."""
    return _mapped(message, exchange.invert) if message.role == "assistant" else message


def _mapped(message: _Message, transform: Callable[[str], str]) -> _Message:
    """Return a message with every text in it transformed."""
    content = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": transform(content)})
    parts = [
        # Citations point to places in the other text.
        part.model_copy(update={"text": transform(part.text), "citations": None})
        if isinstance(part, ContentText)
        else part
        for part in content
    ]
    return message.model_copy(update={"content": parts})


def voted_output(ensemble: TextEnsemble, answers: Sequence[MemberOutput]) -> ModelOutput:
    """Return the vote of all members on each choice, with the tokens of all of them.

    The metadata says how each of them answered, and as whose the answer is to be read.

    Raises:
        UserError: Members gave different numbers of answers.
    """
    outputs = [answer.output for answer in answers]
    if len({len(output.choices) for output in outputs}) > 1:
        raise UserError("The members of the vote got different numbers of answers.")
    winners = [
        agreeing([choice.message.text for choice in ballots])[0]
        for ballots in zip(*(output.choices for output in outputs), strict=True)
    ]
    choices = [outputs[winner].choices[place] for place, winner in enumerate(winners)]
    first = winners[0] if winners else 0
    note = {
        "via": ensemble.name,
        "read_as": answers[first].via,
        "members": [answer.to_json() for answer in answers],
    }
    usages = [output.usage for output in outputs if output.usage is not None]
    usage = sum(usages[1:], start=usages[0]) if len(usages) == len(outputs) else None
    return outputs[first].model_copy(
        update={
            "choices": choices,
            "completion": choices[0].message.text if choices else outputs[first].completion,
            "usage": usage,
            "metadata": {**(outputs[first].metadata or {}), KEY: note},
        }
    )


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
    answers: list[MemberOutput] = []
    with told_to_the_user():
        check_honourable(config, ensemble, tools=tools)
        for exchange in exchanges:
            slow = _is_slow(exchange, messages, sending=True)
            sent = await off_loop(slow, conjugated_messages, messages, exchange)
            output = await ask(exchange, sent)
            if isinstance(output, Exception):
                return output
            slow = _is_slow(exchange, [choice.message for choice in output.choices])
            answers.append(await off_loop(slow, inverted_output, output, exchange, sent.flags))
        return voted_output(ensemble, answers)


def _is_slow(exchange: Exchange, messages: Sequence[ChatMessage], *, sending: bool = False) -> bool:
    return exchange.is_slow(sum(len(message.text) for message in messages), sending=sending)
