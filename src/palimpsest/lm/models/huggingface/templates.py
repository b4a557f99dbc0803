"""Chat templates: programs that come with a checkpoint, run with a deadline and a bound on size."""

from __future__ import annotations

import ctypes
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.models.huggingface.quiet import quietly
from palimpsest.lm.prompts import Message, valid_unicode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEADLINE_SECONDS = 5.0
"""How long a template may take for one prompt; real ones take less than a millisecond."""

MOST_ADDED = 1_000_000
"""How many characters a template may add to the messages."""

_STOPPING_SECONDS = 1.0


class TemplateTimeoutError(Exception):
    """A template that was still running at its deadline."""


def render_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    name: str,
    variables: Mapping[str, object] | None = None,
) -> str:
    """Return messages as the tokenizer's chat template writes them, with the opening of an answer.

    Args:
        tokenizer: Has a template.
        messages: In order.
        name: Of the model, for messages to the user.
        variables: What the template is told besides.

    Raises:
        UserError: The template refuses the messages, runs too long, or writes too much.
    """
    turns = [{"role": each.role, "content": valid_unicode(each.content)} for each in messages]
    if _has_power(tokenizer.chat_template):
        raise _unusable(name, "computes powers, which can take for ever")

    def render() -> str:
        options: dict[str, Any] = {**(variables or {}), "add_generation_prompt": True}
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))

    try:
        with quietly():
            text = within_deadline(render, DEADLINE_SECONDS)
    except TemplateTimeoutError:
        raise _unusable(name, f"did not end within {DEADLINE_SECONDS:.0f} seconds") from None
    except Exception as error:  # a template can raise anything, and names its own reasons
        roles = ", ".join(message.role for message in messages)
        raise UserError(
            f"The chat template of '{name}' refuses messages with the roles {roles}: {error}.",
            hint="Many templates want user and assistant in turn, and no system message.",
        ) from error
    if len(text) > MOST_ADDED + 2 * sum(len(turn["content"]) for turn in turns):
        raise _unusable(name, f"makes {len(text):,} characters of one prompt")
    return text


def check_variables(
    tokenizer: PreTrainedTokenizerBase, variables: Iterable[str], *, name: str
) -> None:
    """Raise an error for the first variable that a tokenizer's template does not have.

    Args:
        tokenizer: Of the model.
        variables: Their names.
        name: Of the model, for messages to the user.
    """
    words = set(re.findall(r"[A-Za-z_]\w*", str(tokenizer.chat_template or "")))
    taken = inspect.signature(tokenizer.apply_chat_template).parameters.keys()
    for variable in variables:
        if variable not in words or variable in {*taken, "messages"}:
            raise UserError(
                f"The chat template of '{name}' has no variable '{variable}' that can be set."
                f"{did_you_mean(variable, sorted(words))}",
                hint="Look at chat_template.jinja for the names; Qwen's is enable_thinking.",
            )


def within_deadline(work: Callable[[], str], seconds: float) -> str:
    """Run ``work`` on a thread of its own, and stop it there when its time is over.

    It is stopped between two steps of Python; a single step that never ends keeps its thread.

    Raises:
        TemplateTimeoutError: It took longer.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # handed on to who waits
            outcome.append(error)

    thread = threading.Thread(target=run, name="chat template", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        stop = ctypes.py_object(TemplateTimeoutError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), stop)
        thread.join(_STOPPING_SECONDS)
        raise TemplateTimeoutError
    [found] = outcome
    if isinstance(found, BaseException):
        raise found
    return str(found)


def _has_power(template: object) -> bool:
    """Return whether a template uses ``**``, which no clock can interrupt."""
    texts = template.values() if isinstance(template, dict) else [template]
    return any("**" in str(text) and _uses_power(str(text)) for text in texts)


def _uses_power(text: str) -> bool:
    from jinja2 import Environment, TemplateError

    try:
        return any(kind == "operator" and word == "**" for _, kind, word in Environment().lex(text))
    except TemplateError:  # it is told when it is rendered
        return False


def _unusable(name: str, what: str) -> UserError:
    return UserError(
        f"The chat template of '{name}' {what}.",
        hint="Mend chat_template.jinja (or chat_template in tokenizer_config.json), or write "
        "chat=false behind the model: messages then become plain text.",
    )
