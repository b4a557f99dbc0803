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
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Literal, NamedTuple

from palimpsest.lm.translators.translator import TranslationError

Failure = Literal["died", "hung", "ran on"]

_MOST_BYTES = 4_000_000
"""A reply this long is no translation of a text that we send."""


class ProgramReplies(NamedTuple):
    """What came back of some texts, in order; fewer than were sent if something failed."""

    replies: list[bytes]
    failure: Failure | None = None


class Programs:
    """A running process group, and both ends of its pipe.

    Ctrl-C in a terminal does not reach the programs. They end with ``end()``, with this process,
    and, as their input ends, also when this process is killed. They see nothing of the environment.

    Args:
        stages: The command line of every program, in order. No shell reads them.

    Raises:
        TranslationError: One of them does not start.
    """

    def __init__(self, stages: Sequence[Sequence[str]]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the finalizer
        self._pid = os.getpid()
        self.processes: list[subprocess.Popen[bytes]] = []
        # Runs at exit as well; a copy of this process made by fork has no business in it.
        self.end = weakref.finalize(self, _end, self.processes, self._errors, self._pid)
        source: IO[bytes] | int = subprocess.PIPE
        for stage in stages:
            process = self._start(stage, source)
            if not isinstance(source, int):
                source.close()
            self.processes.append(process)
            assert process.stdout is not None
            source = process.stdout
        assert self.processes[0].stdin is not None
        assert not isinstance(source, int)
        self._input, self._output = self.processes[0].stdin, source
        for end in (self._input, self._output):
            os.set_blocking(end.fileno(), False)

    def _start(self, stage: Sequence[str], source: IO[bytes] | int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                stage,
                bufsize=0,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                process_group=self.processes[0].pid if self.processes else 0,
            )
        except OSError as error:
            self.end()
            raise TranslationError(
                f"Apertium's program '{stage[0]}' does not start: {error.strerror}.",
                hint="Reinstall Apertium: apt-get install apertium",
            ) from error

    def is_usable(self) -> bool:
        """Return whether nothing came unasked, its end included, and this is still its process."""
        if self._pid != os.getpid() or not self.end.alive:
            return False
        try:
            os.read(self._output.fileno(), 1)
        except BlockingIOError:
            return True
        return False

    def exchange(self, texts: Sequence[bytes], timeout_seconds: float) -> ProgramReplies:
        """Send texts and return the replies that come, until one takes longer than allowed."""
        waiting = memoryview(b"".join(text + b"\0" for text in texts))
        replies: list[bytes] = []
        received = b""
        deadline = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._input, selectors.EVENT_WRITE)
            selector.register(self._output, selectors.EVENT_READ)
            while len(replies) < len(texts):
                ready = selector.select(max(deadline - time.monotonic(), 0))
                ends = {key.fileobj for key, _ in ready}
                if self._input in ends:
                    waiting = self._write(waiting)
                    if not waiting:
                        selector.unregister(self._input)
                if self._output in ends:
                    data = os.read(self._output.fileno(), 1 << 16)
                    if not data:
                        return ProgramReplies(replies, "died")
                    *whole, received = (received + data).split(b"\0")
                    replies += whole
                    if whole:
                        deadline = time.monotonic() + timeout_seconds
                if len(received) > _MOST_BYTES:
                    return ProgramReplies(replies, "ran on")
                if len(replies) < len(texts) and time.monotonic() >= deadline:
                    return ProgramReplies(replies, "hung")
        if len(replies) > len(texts) or received:
            return ProgramReplies(replies[: len(texts)], "ran on")
        return ProgramReplies(replies)

    def _write(self, waiting: memoryview) -> memoryview:
        try:
            return waiting[os.write(self._input.fileno(), waiting[: 1 << 16]) :]
        except BlockingIOError:
            return waiting
        except BrokenPipeError:  # the end of the output says so, after what was answered
            return waiting[:0]

    def has_complained(self) -> bool:
        """Return whether anything was written on standard error."""
        return os.fstat(self._errors.fileno()).st_size > 0

    def complaint(self) -> str:
        """Return the last line that was written on standard error."""
        try:
            size = self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(size - 2000, 0))
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        except (OSError, ValueError):
            return ""
        return lines[-1] if lines else ""


def _end(processes: Sequence[subprocess.Popen[bytes]], errors: IO[bytes], pid: int) -> None:
    """End programs and wait for them."""
    if pid != os.getpid():
        return
    # None was waited for yet, so that the group's number cannot be anyone else's.
    if processes:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(processes[0].pid, signal.SIGKILL)
    for process in processes:
        with suppress(OSError):
            process.kill()
        process.wait()
        for end in (process.stdin, process.stdout):
            if end is not None:
                end.close()
    errors.close()


_RESERVED = re.compile(r"[\[\]{}^$/\\@<>]")
_FORMATTING = re.compile(r"[\n~]+")  # a tilde has a meaning between programs that no escape undoes
_ESCAPED = re.compile(r"\\(.)|\[([\n~]+)\]", re.DOTALL)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # ends a text too early; is no UTF-8

_START_SECONDS = 60.0  # reading the dictionaries may take a while
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
        payloads = [_encode("Hello.", 0)]
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
        self._spare: Programs | None = None
        self._warm_up: list[bytes] = []

    def warm_up(self, payloads: list[bytes]) -> list[bytes]:
        """Start, and return the answers to what every start is to begin with.

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

    def exchange(self, payloads: list[bytes]) -> ProgramReplies:
        """Return what the programs answer; they are ended if they fail."""
        done = self._ready().exchange(payloads, self._timeout_seconds)
        if done.failure is not None:
            self.close()
        return done

    def close(self) -> None:
        """End the programs, also those that wait to replace others."""
        for programs in (self._running, self._spare):
            if programs is not None:
                programs.end()
        self._running = self._spare = None

    def _ready(self) -> Programs:
        if self._running is None or not self._running.is_usable():
            self.warm_up(self._warm_up)
        assert self._running is not None
        return self._running


class _Tagger(_Group):
    """An HMM tagger, replaced as soon as it has said that it changed itself."""

    def exchange(self, payloads: list[bytes]) -> ProgramReplies:
        """Return what it answers to each text, asked one after the other."""
        replies: list[bytes] = []
        for payload in payloads:
            programs = self._ready()
            done = programs.exchange([payload], self._timeout_seconds)
            replies += done.replies
            if done.failure is not None or programs.has_complained():
                programs.end()
                self._running = None
            if done.failure is not None:
                return ProgramReplies(replies, done.failure)
        return ProgramReplies(replies)

    def _ready(self) -> Programs:
        """Return a tagger that has not changed itself; the next one starts meanwhile."""
        if self._running is not None and not self._running.is_usable():
            self._running.end()
            self._running = None
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
            alone = [[[program, "-d", *arguments]] for program, *arguments in some]
            groups += [_Tagger(each, name=name, timeout_seconds=timeout_seconds) for each in alone]
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
