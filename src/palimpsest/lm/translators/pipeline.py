"""An Apertium direction whose programs stay: Apertium's NUL-flush protocol, without its traps.

A text goes in with its reserved characters escaped, followed by ``.[]`` and a NUL; its translation
comes out up to the next NUL. So a text costs no start of ten programs.

The answers are those of ``apertium`` started anew for each text. For that, one program is watched:
the HMM tagger (Apertium 3.8) overwrites its own table of open word classes when it meets a word of
an unknown ambiguity class, and tags unknown words otherwise from then on. With ``-d`` it says when
it does, and is replaced.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from palimpsest.lm.translators.programs import Exchange, Failure, Programs
from palimpsest.lm.translators.protocol import TranslationError

_RESERVED = re.compile(r"[\[\]{}^$/\\@<>]")
_FORMATTING = re.compile(r"[\n~]+")  # a tilde has a meaning between programs that no escape undoes
_ESCAPED = re.compile(r"\\(.)|\[([\n~]+)\]", re.DOTALL)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # ends a text too early; is no UTF-8

_HELLO = "Hello."
_START_SECONDS = 60.0
_N_AT_ONCE = 500


class Pipeline:
    """Running programs, started at the first text and again when they die or hang.

    A text on which they die or hang twice is given up, and becomes the empty string.

    Args:
        stages: The command line of every program, in order. No shell reads them.
        name: What errors call it.
        timeout_seconds: How long it may take until the next reply.
    """

    def __init__(
        self, stages: Sequence[Sequence[str]], *, name: str, timeout_seconds: float = 10.0
    ) -> None:
        self.name = name
        self._groups = _grouped(stages, name=name, timeout_seconds=timeout_seconds)
        self._lock = Lock()
        self._has_started = False

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Return what the programs make of every text, in order.

        Raises:
            TranslationError: They do not start, or die before they answer anything.
        """
        replies: list[str] = []
        with self._lock:
            try:
                self._start()
                while len(replies) < len(texts):
                    batch = texts[len(replies) : len(replies) + _N_AT_ONCE]
                    done, failure = self._exchange(batch)
                    replies += done
                    if failure is not None and len(done) < len(batch):
                        alone, _ = self._exchange([batch[len(done)]])
                        replies += alone or [""]
            except BaseException:  # Ctrl-C: answers that are on their way belong to nobody
                self._stop()
                raise
        return replies

    def close(self) -> None:
        """End the programs."""
        with self._lock:
            self._stop()

    def process_ids(self) -> list[int]:
        """Return the running programs."""
        return [pid for group in self._groups for pid in group.process_ids()]

    def _exchange(self, texts: Sequence[str]) -> tuple[list[str], Failure | None]:
        """Return the translations up to the text at which a program failed, if one did."""
        payloads = [_encode(text, number) for number, text in enumerate(texts)]
        failure: Failure | None = None
        for group in self._groups:
            done = group.exchange(payloads)
            payloads, failure = done.replies, done.failure or failure
        replies: list[str] = []
        for number, payload in enumerate(payloads):
            reply = _decode(payload, number)
            if reply is None:  # answers no longer belong to the texts
                self._stop()
                return replies, "ran on"
            replies.append(reply)
        return replies, failure

    def _start(self) -> None:
        """Make sure that the programs work at all."""
        if self._has_started:
            return
        payloads = [_encode(_HELLO, 0)]
        for group in self._groups:
            payloads = group.warm_up(payloads)
        if _decode(payloads[0], 0) is None:
            self._stop()
            raise _unusable(self.name, "answered something else", "")
        self._has_started = True

    def _stop(self) -> None:
        for group in self._groups:
            group.close()


class _Group:
    """Programs that run on from text to text."""

    def __init__(
        self, stages: Sequence[Sequence[str]], *, name: str, timeout_seconds: float
    ) -> None:
        self._name = name
        self._stages = [list(stage) for stage in stages]
        self._timeout_seconds = timeout_seconds
        self._running: Programs | None = None
        self._warm_up: list[bytes] = []

    def warm_up(self, payloads: list[bytes]) -> list[bytes]:
        """Start, and return the answers to what every start is to begin with.

        Reading the dictionaries may take a while.

        Raises:
            TranslationError: They do not start, or do not answer.
        """
        self._warm_up = payloads
        self.close()
        self._running = Programs(self._stages)
        done = self._running.exchange(payloads, _START_SECONDS)
        if done.failure is not None:
            said = self._running.complaint()
            self.close()
            raise _unusable(self._name, done.failure, said)
        return done.replies

    def exchange(self, payloads: list[bytes]) -> Exchange:
        """Return what the programs answer; they are ended if they fail."""
        done = self._ready().exchange(payloads, self._timeout_seconds)
        if done.failure is not None:
            self.close()
        return done

    def close(self) -> None:
        """End the programs."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def process_ids(self) -> list[int]:
        """Return the running programs."""
        running = self._running
        return [process.pid for process in running.processes] if running is not None else []

    def _ready(self) -> Programs:
        if self._running is None or not self._running.is_usable():
            self.warm_up(self._warm_up)
        assert self._running is not None
        return self._running


class _Tagger(_Group):
    """An HMM tagger, replaced as soon as it has said that it changed itself."""

    def __init__(self, stage: Sequence[str], *, name: str, timeout_seconds: float) -> None:
        program, *arguments = stage
        stages = [[program, "-d", *arguments]]
        super().__init__(stages, name=name, timeout_seconds=timeout_seconds)
        self._spare: Programs | None = None

    def exchange(self, payloads: list[bytes]) -> Exchange:
        """Return what it answers to each text, asked one after the other."""
        replies: list[bytes] = []
        for payload in payloads:
            programs = self._ready()
            done = programs.exchange([payload], self._timeout_seconds)
            replies += done.replies
            if done.failure is not None or programs.has_complained():
                super().close()
            if done.failure is not None:
                return Exchange(replies, done.failure)
        return Exchange(replies)

    def close(self) -> None:
        """End the tagger and the one that waits to replace it."""
        super().close()
        if self._spare is not None:
            self._spare.end()
            self._spare = None

    def process_ids(self) -> list[int]:
        """Return the tagger and the one that waits."""
        spare = self._spare
        waiting = [process.pid for process in spare.processes] if spare is not None else []
        return [*super().process_ids(), *waiting]

    def _ready(self) -> Programs:
        """Return a tagger that has not changed itself; the next one starts meanwhile."""
        if self._running is not None and not self._running.is_usable():
            super().close()
        if self._running is None:
            spare = self._spare
            self._running = spare if spare and spare.is_usable() else Programs(self._stages)
            self._spare = Programs(self._stages)
        return self._running


def _grouped(stages: Sequence[Sequence[str]], *, name: str, timeout_seconds: float) -> list[_Group]:
    """Return the programs in groups, every HMM tagger by itself."""
    groups: list[_Group] = []
    for is_tagger, some in itertools.groupby(stages, _is_hmm_tagger):
        if is_tagger:
            groups += [_Tagger(stage, name=name, timeout_seconds=timeout_seconds) for stage in some]
        else:
            groups.append(_Group(list(some), name=name, timeout_seconds=timeout_seconds))
    return groups


def _is_hmm_tagger(stage: Sequence[str]) -> bool:
    return Path(stage[0]).name == "apertium-tagger" and "-g" in stage


def _unusable(name: str, failure: str, said: str) -> TranslationError:
    return TranslationError(
        f"Apertium's programs for '{name}' {failure} at the start{f': {said}' if said else '.'}",
        hint="Try the pair by itself: echo Hello | apertium -u PAIR; "
        "if that fails too, reinstall its package.",
    )


def _encode(text: str, number: int) -> bytes:
    r"""Return a text as it is sent, with a number that comes back.

    Without a full stop and what Apertium takes for formatting (``[…]``), some programs wait for the
    rest of a sentence for ever.

    Example:
        >>> _encode("Is [this]\x00 it?", 7)
        b'Is \\[this\\] it?.[7]'
    """
    usable = _UNUSABLE.sub("", text)
    escaped = _RESERVED.sub(lambda match: f"\\{match[0]}", usable)
    formatted = _FORMATTING.sub(lambda match: f"[{match[0]}]", escaped)
    return f"{formatted}.[{number}]".encode()


def _decode(reply: bytes, number: int) -> str | None:
    r"""Return a reply as it is meant; nothing if it is not the reply to that number.

    Example:
        >>> _decode(b"Es \\[esto\\]?.[7]", 7)
        'Es [esto]?'
        >>> _decode(b"Es \\[esto\\]?.[7]", 8) is None
        True
    """
    text = reply.decode(errors="replace")
    mark = f"[{number}]"
    if not text.endswith(mark):
        return None
    text = text.removesuffix(mark).removesuffix(".")
    return _ESCAPED.sub(lambda match: match[1] or match[2], text)
