"""Prompts: plain text, or chat messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Message:
    """One chat message."""

    role: str
    """``system``, ``user`` or ``assistant``."""

    content: str
    """The text."""


Prompt = str | tuple[Message, ...]
"""What a model is asked: text to continue, or messages for its chat template."""


def texts_of(prompt: Prompt) -> tuple[str, ...]:
    """Return every text in a prompt: itself, or the contents of its messages.

    Example:
        >>> texts_of((Message("system", "Be brief."), Message("user", "hi")))
        ('Be brief.', 'hi')
    """
    return (prompt,) if isinstance(prompt, str) else tuple(each.content for each in prompt)


def map_text(prompt: Prompt, transform: Callable[[str], str]) -> Prompt:
    """Return the prompt with every text in it transformed; roles stay.

    Example:
        >>> map_text((Message("user", "hi"),), str.upper)
        (Message(role='user', content='HI'),)
    """
    if isinstance(prompt, str):
        return transform(prompt)
    return tuple(replace(message, content=transform(message.content)) for message in prompt)


_SPEAKERS = {"assistant": "Assistant", "user": "User"}


def plain_text(prompt: Prompt) -> str:
    r"""Return a prompt as text for a model without a chat template.

    What comes before the first answer are the messages' texts with a blank line between; a
    dialogue names who speaks, and leaves the last word to the assistant.

    Example:
        >>> plain_text((Message("system", "Be brief."), Message("user", "2 + 2 =")))
        'Be brief.\n\n2 + 2 ='
        >>> plain_text((Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Go")))
        'User: Hi\n\nAssistant: Yes?\n\nUser: Go\n\nAssistant:'
    """
    if isinstance(prompt, str):
        return prompt
    if not any(message.role == "assistant" for message in prompt):
        return "\n\n".join(message.content for message in prompt)
    turns = [
        f"{_SPEAKERS[each.role]}: {each.content}" if each.role in _SPEAKERS else each.content
        for each in prompt
    ]
    opened = [] if prompt[-1].role == "assistant" else [f"{_SPEAKERS['assistant']}:"]
    return "\n\n".join([*turns, *opened])


def valid_unicode(text: str) -> str:
    r"""Replace lone surrogates, which JSON can hold and neither tokenizers nor servers accept.

    Example:
        >>> valid_unicode("a\ud800b")
        'a�b'
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
