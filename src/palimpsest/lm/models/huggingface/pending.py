"""A prompt on its way through the decoder: how much of an answer it has, and where that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from palimpsest.lm.models.huggingface.prefixes import ALONE, Cluster
from palimpsest.lm.models.huggingface.tokenization import settled_text
from palimpsest.lm.models.protocol import Decided, Finish
from palimpsest.lm.stops import answer_start, first_stop, may_open_thought


@dataclass
class PendingPrompt:
    """One prompt on its way through the decoder."""

    index: int
    """Its place in the caller's list."""

    tokens: list[int]

    limit: int
    """How many tokens its answer may get."""

    thought_limit: int = 0
    """How many a thought before the answer may get."""

    opening: str = ""
    """The mark of a thought with which the prompt ends: it stands before the model's own text."""

    cut: bool = False
    """Whether it has lost its beginning."""

    thinks: bool = False
    """Whether its batch has room for the thought; without room, it leaves the batch."""

    cluster: Cluster = field(default=ALONE, init=False)
    """The prompts that begin as it does."""

    new: list[int] = field(default_factory=list, init=False)
    _n_before: int = field(default=0, init=False)
    _start: int | None = field(default=None, init=False)

    @property
    def n_most(self) -> int:
        """How many new tokens it needs room for."""
        return self.limit + (self.thought_limit if self.thinks else 0)

    def restart(self) -> None:
        """Forget what it was answered so far."""
        self.new, self._n_before, self._start = [], 0, None

    def answer_start(self, text: str) -> int | None:
        """Return where the answer begins in the text so far; ``None`` in what may be a thought."""
        if self._start is not None:
            return self._start
        start = answer_start(text)
        if start is None or (start == 0 and text.strip() and may_open_thought(text)):
            return None
        if start < len(text):
            self._start = start if text.strip() else None
            self._n_before = len(self.new) - 1 if start else 0
        elif start:
            self._n_before = len(self.new)
        return start

    def needs_room(self, text: str) -> bool:
        """Return whether it has begun a thought for which its batch has no room.

        At the limit, what may be the beginning of a thought counts as one.
        """
        if self.thinks or not self.thought_limit or self.answer_start(text) is not None:
            return False
        self.thinks = answer_start(text) is None or len(self.new) >= self.limit
        return self.thinks

    def is_full(self, *, thinking: bool) -> bool:
        """Return whether there is no room for another token."""
        if thinking:
            return len(self.new) >= (self.thought_limit if self.thinks else self.limit)
        return len(self.new) - self._n_before >= self.limit or len(self.new) >= self.n_most


def finished_answer(
    prompt: PendingPrompt, text: str, ended: bool, stop: Sequence[str], decided: Decided | None
) -> tuple[str, Finish] | None:
    """Return the answer and the reason if it ends here."""
    start = prompt.answer_start(text)
    full = prompt.is_full(thinking=start is None)
    if start is None and (ended or full) and answer_start(text) is not None:
        start = 0  # what may have become a thought has not
    end = None if start is None else first_stop(text, stop, start)
    if end is not None:
        return text[:end], "stop"
    if ended:
        return text, "stop"
    if (
        start is not None
        and decided is not None
        and decided(prompt.index, settled := settled_text(text, stop))
    ):
        return settled, "decided"
    return (text, "length") if full else None
