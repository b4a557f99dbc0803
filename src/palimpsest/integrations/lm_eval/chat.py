"""Prompts of the harness that a chat template has made, and the messages in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from palimpsest.errors import UserError

ChatMessage = Mapping[str, Any]
"""As the harness has it: ``role``, ``content``, perhaps more."""


class ChatContext(str):
    """A prompt as a model's chat template writes it, which keeps the messages it was made of.

    The harness builds all prompts before it asks, logs them, and may keep them in a file. To it,
    this is the text that the model would get plainly; when the request comes to be conjugated, the
    messages are, and the template is applied to what becomes of them.

    Example:
        >>> context = ChatContext("<user>Hi<assistant>", [{"role": "user", "content": "Hi"}])
        >>> context, context.messages
        ('<user>Hi<assistant>', ({'role': 'user', 'content': 'Hi'},))
    """

    messages: tuple[ChatMessage, ...]
    add_generation_prompt: bool
    """Whether the template was to open the model's turn."""

    def __new__(
        cls, text: str, messages: Sequence[ChatMessage] = (), *, add_generation_prompt: bool = True
    ) -> ChatContext:
        """Return the text with its messages; copies get theirs by their state."""
        context = super().__new__(cls, text)
        context.messages = tuple(messages)
        context.add_generation_prompt = add_generation_prompt
        return context


def messages_of(context: object) -> tuple[ChatMessage, ...] | None:
    """Return the messages of a prompt; nothing for one that no template has made.

    Models behind chat APIs have templates that write the messages down as they are, in JSON or as a
    list: these can be read again.
    """
    if isinstance(context, ChatContext):
        return context.messages
    if isinstance(context, str):
        return None
    written: Any = getattr(context, "prompt", context)
    return tuple(json.loads(written) if isinstance(written, str) else written)


def begun_answer(messages: Sequence[ChatMessage]) -> str:
    """Return the words that are put into the model's mouth, if the last message is its own.

    Example:
        >>> begun_answer([{"role": "user", "content": "Is it?"}])
        ''
    """
    last = messages[-1]
    return text_of(last) if last["role"] == "assistant" else ""


def text_of(message: ChatMessage) -> str:
    """Return the text of a message.

    Raises:
        UserError: It holds something else.
    """
    content = message["content"]
    if not isinstance(content, str):
        raise UserError(
            f"A message holds a {type(content).__name__} where text is expected: pictures and "
            "sound cannot be conjugated.",
            hint="Leave the task out, or ask it with via=identity.",
        )
    return content


def map_messages(
    messages: Sequence[ChatMessage], transform: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Return the messages with every text transformed; roles stay."""
    return [{**message, "content": transform(text_of(message))} for message in messages]


def template_mark(templated: str, messages: Sequence[ChatMessage]) -> str:
    """Return what a chat template writes before the first message: the sign that it was at work.

    Example:
        >>> template_mark("<user>Hi<assistant>", [{"role": "user", "content": "Hi"}])
        '<user>'
    """
    return templated[: max(templated.find(text_of(messages[0])), 0)]
