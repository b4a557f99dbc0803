"""Programs joined by pipes that answer each text, ended by a NUL, with one ended by a NUL."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Literal, NamedTuple

from palimpsest.lm.translators.protocol import TranslationError

Failure = Literal["died", "hung", "ran on"]

_MOST_BYTES = 4_000_000
"""A reply this long is no translation of a text that we send."""


class Exchange(NamedTuple):
    """What came back of some texts, in order; fewer than were sent if something failed."""

    replies: list[bytes]
    failure: Failure | None = None


class Programs:
    """A running process group, and both ends of its pipe.

    Ctrl-C in a terminal does not reach the programs. They end with :meth:`end`, with this process,
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
        self._end = weakref.finalize(self, _end, self.processes, self._errors, self._pid)
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
        if self._pid != os.getpid() or not self._end.alive:
            return False
        try:
            os.read(self._output.fileno(), 1)
        except BlockingIOError:
            return True
        return False

    def exchange(self, texts: Sequence[bytes], timeout_seconds: float) -> Exchange:
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
                        return Exchange(replies, "died")
                    *whole, received = (received + data).split(b"\0")
                    replies += whole
                    if whole:
                        deadline = time.monotonic() + timeout_seconds
                if len(received) > _MOST_BYTES:
                    return Exchange(replies, "ran on")
                if len(replies) < len(texts) and time.monotonic() >= deadline:
                    return Exchange(replies, "hung")
        if len(replies) > len(texts) or received:
            return Exchange(replies[: len(texts)], "ran on")
        return Exchange(replies)

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
