"""Forms of a prompt: as a chat, as plain text, or as a template of one's own writes it.

A model that was tuned in a template and is asked without it looks as if it had forgotten. Asked in
another form, the same prompt tells the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.files import decoded, digest, read_bytes
from palimpsest.lm import Message, Prompt, plain_text
from palimpsest.lm.models.huggingface import render_messages

MOST_BYTES = 2**20
"""The largest template; real ones have a hundredth of it."""

WRITTEN_FORMS = ("chat", "plain")
"""Names of forms; ``chat:FILE`` is a template of one's own."""


@dataclass(frozen=True)
class WrittenForm:
    r"""A form in which every prompt is put, after it was conjugated.

    Example:
        >>> WrittenForm("chat").of("2 + 2 =")
        (Message(role='user', content='2 + 2 ='),)
        >>> WrittenForm("plain").of((Message("system", "Be brief."), Message("user", "2 + 2 =")))
        'Be brief.\n\n2 + 2 ='
    """

    name: str
    """``chat``, ``plain`` or ``chat:FILE``."""

    template: str | None = None
    """The text of the file."""

    @property
    def keeps(self) -> str:
        """What it does, in words."""
        if self.template is not None:
            return f"every word, in the template {self.name.partition(':')[2]}"
        return "every word, " + (
            "through the model's chat template" if self.name == "chat" else "as plain text"
        )

    @property
    def fingerprint(self) -> str:
        """A hash of what it does."""
        return digest(f"form {self.template or self.name}")

    def of(self, prompt: Prompt) -> Prompt:
        """Return the prompt in this form.

        Raises:
            UserError: The template refuses it.
        """
        if self.name == "plain":
            return plain_text(prompt)
        messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        if self.template is None:
            return messages
        tokenizer: Any = _FileTemplate(self.template)
        return render_messages(tokenizer, messages, name=self.name)


def written_form(link: str) -> WrittenForm | None:
    """Return the form that a link of a way of asking names, if it names one.

    Raises:
        UserError: The template cannot be read.
    """
    link = link.strip()
    if link in WRITTEN_FORMS:
        return WrittenForm(link)
    name, mark, file = link.partition(":")
    if name != "chat" or not mark:
        return None
    path = Path(file.strip()).expanduser()
    content = read_bytes(path, most_bytes=MOST_BYTES, hint="Write chat:FILE.jinja.")
    try:
        return WrittenForm(link, decoded(content))
    except ValueError as error:
        raise UserError(f"{path}: {error}", hint="A template is a text in UTF-8.") from None


class _FileTemplate:
    """A template that stands in a file, as far as it is used like a tokenizer's."""

    def __init__(self, chat_template: str) -> None:
        self.chat_template = chat_template

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, **options: Any
    ) -> str:
        """Write the messages; the tokenizer puts its own start token before them."""
        from transformers.utils.chat_template_utils import render_jinja_template

        options = {"bos_token": "", "eos_token": "", **options}
        render: Any = render_jinja_template  # whose annotation says a text
        [[written], _] = render(
            conversations=[messages], chat_template=self.chat_template, **options
        )
        return str(written)
