"""Run coroutines in an event loop of their own, and hand over their results as they finish."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from palimpsest.lm.models.openai.session import Session, Stopped

T = TypeVar("T")

Job = Callable[[Session], Awaitable[T]]
"""One prompt's requests, given the session to make them in."""


class _End(NamedTuple):
    error: BaseException | None


def as_completed(
    jobs: Sequence[Job[T]], *, open_session: Callable[[], Session], concurrency: int
) -> Generator[tuple[int, T]]:
    """Yield ``(index, result)`` of all jobs, at most ``concurrency`` of them at a time.

    The loop runs in a thread, so that this works in programs that have a loop of their own. A job
    starts only when a result has been taken for each that is ahead of it by ``concurrency``: what
    a kill can lose is bounded by that. When a job fails, no new one starts, requests under way
    may finish and are yielded, and then its error is raised. Closing the generator cancels them.
    """
    if not jobs:
        return
    run = _Run(jobs, open_session, concurrency)
    run.start()
    try:
        while not isinstance(item := run.outbox.get(), _End):
            run.taken()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        run.cancel()


class _Run(Generic[T]):
    """The thread, its loop, and the queue out of it."""

    def __init__(
        self, jobs: Sequence[Job[T]], open_session: Callable[[], Session], concurrency: int
    ) -> None:
        self.outbox: SimpleQueue[tuple[int, T] | _End] = SimpleQueue()
        self._waiting: Iterator[tuple[int, Job[T]]] = iter(enumerate(jobs))
        self._n_workers = min(concurrency, len(jobs))
        self._open_session = open_session
        self._free = asyncio.Semaphore(concurrency)
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="endpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def taken(self) -> None:
        """Let the next job start."""
        self._call(self._free.release)

    def cancel(self) -> None:
        """End whatever still runs, and wait for that."""
        if self._task is not None:
            self._call(self._task.cancel)
        self._thread.join()

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended by itself
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._main())
            error = self._error
        except asyncio.CancelledError:
            pass
        except BaseException as failure:
            error = failure
        finally:
            self._ready.set()
            self.outbox.put(_End(error))

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._ready.set()
        async with self._open_session() as session, asyncio.TaskGroup() as group:
            for _ in range(self._n_workers):
                group.create_task(self._one_after_the_other(session))

    async def _one_after_the_other(self, session: Session) -> None:
        while not session.stopping.is_set():
            await self._free.acquire()
            index, job = next(self._waiting, (-1, None))
            if job is None or session.stopping.is_set():
                break
            try:
                self.outbox.put((index, await job(session)))
            except Stopped:
                break
            except Exception as error:
                if self._error is None:
                    self._error = error
                session.stopping.set()
                break
        self._free.release()  # another worker may be waiting to see the end
