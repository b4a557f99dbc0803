"""A model whose process dies of some prompts, in a module that other processes can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from palimpsest.lm.models import Generation, Origin, ScriptedModel
from palimpsest.lm.prompts import Prompt

POISON = "poison"
PAUSE_SECONDS = 0.001


class MortalModel(ScriptedModel):
    """Repeats the prompt, taking its time; a process that meets :data:`POISON` is killed.

    Args:
        folder: Gets a file named for each process that answers, with a dot for each answer.
        fingerprint: Its own.
    """

    def __init__(self, folder: str, fingerprint: str = "mortal") -> None:
        super().__init__(lambda prompt: f" {prompt}", name=folder, fingerprint=fingerprint)
        self.folder = Path(folder)

    @property
    def origin(self) -> Origin:
        """It is made anew from its folder."""
        return Origin(MortalModel, (str(self.folder),))

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        log = os.open(self.folder / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for index, answer in super().generate(prompts, **options):
            _die_of(prompts[index])
            time.sleep(PAUSE_SECONDS)
            os.write(log, b".")
            yield index, answer
        os.close(log)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        for prompt in prompts:
            _die_of(prompt)
        return super().score(prompts, candidates)


def _die_of(prompt: Prompt) -> None:
    if POISON in str(prompt):
        os.kill(os.getpid(), signal.SIGKILL)


class Poisoned:
    """Another model, of which a process that meets the word is killed.

    Args:
        model: The other.
        word: In the prompts that kill.
    """

    def __init__(self, model: Any, word: str) -> None:
        self._model, self._word = model, word

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def origin(self) -> Origin:
        """It is made anew around the other one."""
        function, arguments = self._model.origin
        named = f"{function.__module__}:{function.__qualname__}"
        return Origin(poisoned, (self._word, named, *arguments))

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        self._die_of(prompts)
        yield from self._model.generate(prompts, **options)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        self._die_of(prompts)
        scored: list[list[float]] = self._model.score(prompts, candidates)
        return scored

    def next_tokens(self, prompts: Sequence[Prompt], *others: Any, **options: Any) -> Any:
        self._die_of(prompts)
        return self._model.next_tokens(prompts, *others, **options)

    def _die_of(self, prompts: Sequence[Prompt]) -> None:
        if any(self._word in str(prompt) for prompt in prompts):
            os.kill(os.getpid(), signal.SIGKILL)


def poisoned(word: str, named: str, *arguments: str) -> Any:
    """Open a model by what its origin said, and poison it."""
    module, _, name = named.partition(":")
    return Poisoned(getattr(import_module(module), name)(*arguments), word)
