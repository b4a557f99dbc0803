"""Token ids of prompts, and text of generated ids that never breaks inside a character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.templates import check_variables, render_messages
from palimpsest.lm.prompts import Message, Prompt, plain_text, valid_unicode
from palimpsest.lm.stops import THOUGHTS, n_open

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTEXT = 8
"""Tokens before the new ones that are decoded with them, so that a leading space is kept."""

_WINDOW = 64
"""Decode at most about this many tokens anew at each step; more would be quadratic."""

_REPLACEMENT = "\ufffd"


class PromptEncoder:
    """Turns prompts into token ids as the tokenizer and its chat template want them.

    Args:
        tokenizer: Of the model.
        name: The model's name, for messages.
        chat: Whether prompts go through the template: all (a text as one user message), none
            (messages as :func:`~palimpsest.lm.prompts.plain_text`), or (``None``) only messages.
        n_embeddings: How many token ids the model knows.
        start: The token to send instead of an empty prompt.
        variables: What the chat template is told besides the messages.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        chat: bool | None,
        n_embeddings: int,
        start: int,
        variables: Mapping[str, object] | None = None,
    ) -> None:
        check_variables(tokenizer, variables or (), name=name)
        self._variables = variables
        self.tokenizer = tokenizer
        self.name = name
        self.chat = chat
        self.n_embeddings = n_embeddings
        self.start = start
        self.marks_templates = False
        """Whether what a template wrote gets the tokenizer's start token, if it has none."""
        with_marks = self._tokenize(["x"], marks=True)[0]
        plain = self._tokenize(["x"], marks=False)[0]
        self._n_closing = _n_after(with_marks, plain)

    def text(self, prompt: Prompt) -> tuple[str, bool]:
        """Return the text as sent, and whether a chat template made it.

        Raises:
            UserError: There is no chat template, it refuses the messages, or it does not end.
        """
        if self.chat is False or (self.chat is None and isinstance(prompt, str)):
            return valid_unicode(plain_text(prompt)), False
        messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        if not self.tokenizer.chat_template:
            raise UserError(
                f"The model '{self.name}' has no chat template, but a prompt is a list of messages "
                "or chat=true is set.",
                hint="Write chat=false behind the model (--base-form plain or --tuned-form plain), "
                "so that messages become plain text.",
            )
        return render_messages(
            self.tokenizer, messages, name=self.name, variables=self._variables
        ), True

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself, without the tokenizer's marks."""
        return list(map(len, self._tokenize(list(map(valid_unicode, texts)), marks=False)))

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the token ids of every prompt, start token included, none of them empty.

        Raises:
            UserError: A chat template is missing, or a token is unknown to the model.
        """
        return self.encode_texts([self.text(prompt) for prompt in prompts])

    def encode_texts(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """Return the token ids of what :meth:`text` gave."""
        encoded: list[list[int]] = [[] for _ in texts]
        for templated in (False, True):
            rows = [row for row, text in enumerate(texts) if text[1] is templated]
            # A template writes its own start token: a second one would change the answer.
            marked = not templated or self.marks_templates
            ids = self._tokenize([texts[row][0] for row in rows], marks=marked)
            for row, tokens in zip(rows, ids, strict=True):
                encoded[row] = self._tidy(tokens, marked=marked)
        self._check_known(encoded)
        return encoded

    def _tidy(self, tokens: list[int], *, marked: bool) -> list[int]:
        if marked and self._n_closing:
            tokens = tokens[: -self._n_closing]  # an end token would end the answer, too
        bos = self.tokenizer.bos_token_id
        if marked and len(tokens) > 1 and tokens[0] == tokens[1] == bos:
            tokens = tokens[1:]  # the text spelled out its own start token
        return tokens or [self.start]

    def _tokenize(self, texts: Sequence[str], *, marks: bool) -> list[list[int]]:
        if not texts:
            return []
        encoding = self.tokenizer(
            list(texts),
            add_special_tokens=marks,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids: list[list[int]] = encoding["input_ids"]
        return ids

    def _check_known(self, encoded: Sequence[Sequence[int]]) -> None:
        largest = max((max(tokens) for tokens in encoded), default=0)
        if largest >= self.n_embeddings:
            raise UserError(
                f"The tokenizer of '{self.name}' gives token {largest}, but the model knows only "
                f"{self.n_embeddings} tokens: they do not belong together.",
                hint="Put the tokenizer that the model was trained with into its folder.",
            )


def _n_after(marked: Sequence[int], plain: Sequence[int]) -> int:
    """Count the tokens that the tokenizer adds after a text."""
    for start in range(len(marked) - len(plain) + 1):
        if list(marked[start : start + len(plain)]) == list(plain):
            return len(marked) - len(plain) - start
    return 0


@dataclass
class _Stream:
    context: list[int]
    n_context: int = 0
    """Characters that the context decodes to."""
    new: list[int] = field(default_factory=list)
    settled: str = ""
    """Text before the context that no longer takes part."""


class Detokenizer:
    """The text of growing answers: what the new tokens add to the text of the prompt.

    Decoding the new tokens alone would lose a leading space with SentencePiece tokenizers, so the
    last tokens of the prompt are decoded along with them.

    Args:
        tokenizer: Of the model.
        prompts: The token ids of each prompt; none where the answers are to be decoded alone, as
            lm-evaluation-harness does it.
        tidy: Whether the tokenizer may tidy spaces before punctuation, if it is set to.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        *,
        tidy: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._tidy = tidy
        self._hidden = _hidden_tokens(tokenizer)
        self._streams = [_Stream(list(prompt[-_CONTEXT:])) for prompt in prompts]
        texts = self._decode([stream.context for stream in self._streams])
        for stream, text in zip(self._streams, texts, strict=True):
            stream.n_context = len(text)

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> list[str]:
        """Append one token to each of ``rows``; return the whole new text of each.

        A text may end in U+FFFD while a character's bytes are incomplete.
        """
        streams = [self._streams[row] for row in rows]
        for stream, token in zip(streams, tokens, strict=True):
            stream.new.append(token)
        decoded = self._decode([stream.context + stream.new for stream in streams])
        texts = [
            stream.settled + text[stream.n_context :]
            for stream, text in zip(streams, decoded, strict=True)
        ]
        for stream, text in zip(streams, texts, strict=True):
            if len(stream.new) >= _WINDOW and not text.endswith(_REPLACEMENT):
                self._move_window(stream, text)
        return texts

    def _move_window(self, stream: _Stream, text: str) -> None:
        stream.context, stream.new = (stream.context + stream.new)[-_CONTEXT:], []
        stream.n_context = len(self._decode([stream.context])[0])
        stream.settled = text

    def _decode(self, sequences: list[list[int]]) -> list[str]:
        options: dict[str, Any] = {
            "skip_special_tokens": not self._hidden,
            "clean_up_tokenization_spaces": None if self._tidy else False,
        }
        if self._hidden:
            sequences = [[one for one in each if one not in self._hidden] for each in sequences]
        # Of no sequences, batch_decode makes one empty text.
        return list(self._tokenizer.batch_decode(sequences, **options)) if sequences else []


def _hidden_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the special tokens to leave out where a mark of a thought is one, which is shown."""
    added = tokenizer.added_tokens_decoder
    special = {token: str(each) for token, each in added.items() if each.special}
    marks = {mark for pair in THOUGHTS for mark in pair}
    hidden = frozenset(token for token, text in special.items() if text not in marks)
    return hidden if len(hidden) < len(special) else frozenset()


def settled_text(text: str, stop: Sequence[str]) -> str:
    r"""Return the part of ``text`` that more tokens can only extend.

    Cut off are an incomplete character and what may be the beginning of a stop string.

    Example:
        >>> settled_text("12\n", ["\n\n"]), settled_text("caf\ufffd", [])
        ('12', 'caf')
    """
    text = text.rstrip(_REPLACEMENT)
    return text[: len(text) - n_open(text, stop)]
