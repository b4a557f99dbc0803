"""Programs joined by pipes that answer one text after the other: Apertium's NUL-flush protocol.

A text goes in with its reserved characters escaped, followed by ``.[]`` and a NUL; its translation
comes out up to the next NUL. The programs stay, so that a text costs no start of ten of them.
"""

from __future__ import annotations

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
from threading import Lock
from typing import IO, Literal, NamedTuple

from palimpsest.lm.translators.protocol import TranslationError

_RESERVED = re.compile(r"[\[\]{}^$/\\@<>]")
_ESCAPED = re.compile(r"\\(.)|\[(\n)\]", re.DOTALL)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # ends a text too early; is no UTF-8

# Without a full stop and a superblank, some stages wait for the rest of a sentence for ever.
_END = b".[]\0"

# The first answers of fresh programs can differ from later ones.
_WARM_UP = ("Hello.", "Hello.")
_START_SECONDS = 60.0
_N_AT_ONCE = 500
_MOST_BYTES = 4_000_000
"""A reply this long is no translation of a text that we send."""

_Failure = Literal["died", "hung", "ran on"]


class _Exchange(NamedTuple):
    """What came back of some texts."""

    replies: list[str]
    failure: _Failure | None


class Pipeline:
    """Running programs, started at the first text and again when they die or hang.

    A text on which they die or hang twice is given up, and becomes the empty string. The programs
    are a process group of their own: Ctrl-C does not reach them. They end with :meth:`close`, with
    this process, and, as their input ends, also when this process is killed.

    Args:
        stages: The command line of every program, in order. No shell reads them.
        name: What errors call it.
        timeout_seconds: How long it may take until the next reply.
    """

    def __init__(
        self, stages: Sequence[Sequence[str]], *, name: str, timeout_seconds: float = 10.0
    ) -> None:
        self.name = name
        self.timeout_seconds = timeout_seconds
        self._stages = [list(stage) for stage in stages]
        self._lock = Lock()
        self._running: _Programs | None = None

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Return what the programs make of every text, in order.

        Raises:
            TranslationError: They do not start, or die before they answer anything.
        """
        replies: list[str] = []
        with self._lock:
            while len(replies) < len(texts):
                batch = texts[len(replies) : len(replies) + _N_AT_ONCE]
                done = self._ready().exchange(batch, self.timeout_seconds)
                replies += done.replies
                if done.failure is not None:
                    self._stop()
                    if len(replies) < len(texts):  # else it died after the last answer
                        replies.append(self._alone(texts[len(replies)]))
        return replies

    def close(self) -> None:
        """End the programs."""
        with self._lock:
            self._stop()

    def _alone(self, text: str) -> str:
        """Return the translation of a text that the programs just failed at, or nothing."""
        done = self._ready().exchange([text], self.timeout_seconds)
        if done.failure is not None:
            self._stop()
        return done.replies[0] if done.replies else ""

    def _ready(self) -> _Programs:
        running = self._running
        if running is not None and running.is_usable():
            return running
        self._stop()
        running = _Programs(self._stages, self.name)
        done = running.exchange(_WARM_UP, _START_SECONDS)
        if done.failure is not None:
            said = running.complaint()
            running.end()
            raise TranslationError(
                f"Apertium's programs for '{self.name}' {done.failure} at the start"
                f"{f': {said}' if said else '.'}",
                hint="Try the pair by itself: echo Hello | apertium -u PAIR; "
                "if that fails too, reinstall its package.",
            )
        self._running = running
        return running

    def _stop(self) -> None:
        if self._running is not None:
            self._running.end()
            self._running = None


class _Programs:
    """One process group, and both ends of its pipe."""

    def __init__(self, stages: Sequence[Sequence[str]], name: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the finalizer
        self._pid = os.getpid()
        processes: list[subprocess.Popen[bytes]] = []
        # Runs at exit as well; a copy of this process made by fork has no business in it.
        self._end = weakref.finalize(self, _end, processes, self._errors, self._pid)
        # Nothing of the environment is theirs to see, such as keys of other translators.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        source: IO[bytes] | int = subprocess.PIPE
        for stage in stages:
            try:
                process = subprocess.Popen(
                    stage,
                    bufsize=0,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env=environment,
                    process_group=processes[0].pid if processes else 0,
                )
            except OSError as error:
                self.end()
                raise TranslationError(
                    f"Apertium's program '{stage[0]}' for '{name}' does not start: "
                    f"{error.strerror}.",
                    hint="Reinstall Apertium: apt-get install apertium",
                ) from error
            if not isinstance(source, int):
                source.close()
            processes.append(process)
            assert process.stdout is not None
            source = process.stdout
        assert processes[0].stdin is not None
        assert not isinstance(source, int)
        self._input, self._output = processes[0].stdin, source
        for end in (self._input, self._output):
            os.set_blocking(end.fileno(), False)

    def is_usable(self) -> bool:
        """Return whether nothing came from it unasked, its end included, in this process."""
        if self._pid != os.getpid() or not self._end.alive:
            return False
        try:
            os.read(self._output.fileno(), 1)
        except BlockingIOError:
            return True
        return False

    def exchange(self, texts: Sequence[str], timeout_seconds: float) -> _Exchange:
        """Send texts and return the replies that come, until one takes longer than allowed."""
        waiting = memoryview(b"".join(map(_encode, texts)))
        replies: list[str] = []
        received = bytearray()
        deadline = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._input, selectors.EVENT_WRITE)
            selector.register(self._output, selectors.EVENT_READ)
            while len(replies) < len(texts):
                events = selector.select(max(deadline - time.monotonic(), 0))
                ready = {key.fileobj for key, _ in events}
                if self._input in ready:
                    waiting = self._write(waiting)
                    if not waiting:
                        selector.unregister(self._input)
                if self._output in ready:
                    data = os.read(self._output.fileno(), 1 << 16)
                    if not data:
                        return _Exchange(replies, "died")
                    *whole, rest = (received + data).split(b"\0")
                    replies += map(_decode, whole)
                    received = rest
                    if whole:
                        deadline = time.monotonic() + timeout_seconds
                if len(received) > _MOST_BYTES:
                    return _Exchange(replies, "ran on")
                if len(replies) < len(texts) and time.monotonic() >= deadline:
                    return _Exchange(replies, "hung")
        if len(replies) > len(texts) or received:
            return _Exchange(replies[: len(texts)], "ran on")
        return _Exchange(replies, None)

    def _write(self, waiting: memoryview) -> memoryview:
        try:
            return waiting[os.write(self._input.fileno(), waiting[: 1 << 16]) :]
        except BlockingIOError:
            return waiting
        except BrokenPipeError:  # the end of the output says so, after what was answered
            return waiting[:0]

    def complaint(self) -> str:
        """Return the last line that the programs wrote on standard error."""
        try:
            size = self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(size - 2000, 0))
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        except (OSError, ValueError):
            return ""
        return lines[-1] if lines else ""

    def end(self) -> None:
        """End the programs and wait for them."""
        self._end()


def _end(processes: Sequence[subprocess.Popen[bytes]], errors: IO[bytes], pid: int) -> None:
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


def _encode(text: str) -> bytes:
    r"""Return a text as it is sent.

    Example:
        >>> _encode("Is [this]\x00 it?")
        b'Is \\[this\\] it?.[]\x00'
    """
    usable = _UNUSABLE.sub("", text)
    escaped = _RESERVED.sub(lambda match: f"\\{match[0]}", usable).replace("\n", "[\n]")
    return escaped.encode() + _END


def _decode(reply: bytes | bytearray) -> str:
    r"""Return a reply as it is meant.

    Example:
        >>> _decode(b"Es \\[esto\\]?.[]")
        'Es [esto]?'
    """
    text = reply.decode(errors="replace").removesuffix("[]").removesuffix(".")
    return _ESCAPED.sub(lambda match: match[1] or match[2], text)
