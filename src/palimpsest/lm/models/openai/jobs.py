"""Jobs of one endpoint: a prompt's requests each, several at a time, in the background."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from palimpsest.lm.models.openai.faults import UnansweredPromptError
from palimpsest.lm.models.openai.session import Session, Stopped

T = TypeVar("T")

SessionJob = Callable[[Session], Awaitable[T]]
"""One prompt's requests, given the session to make them in."""


MOST_IN_A_ROW = 3
"""So many prompts in a row may go without an answer until it is asked whether any gets one."""


def as_completed(
    jobs: Sequence[SessionJob[T]],
    *,
    open_session: Callable[[], Session],
    concurrency: int,
    unanswered: T,
) -> Generator[tuple[int, T]]:
    """Yield ``(index, result)`` of all jobs, at most ``concurrency`` of them at a time.

    The loop runs in a thread, so that this works in programs that have a loop of their own. A job
    starts only when a result has been taken for each that is ahead of it by ``concurrency``: what
    a kill can lose is bounded by that. When a job fails, no new one starts, requests under way
    may finish and are yielded, and then its error is raised. Closing the generator cancels them.

    A prompt that gets no answer (:class:`UnansweredPromptError`) yields ``unanswered`` once the
    server has answered another one after it, or the same one once more. If it answers none, the
    third such prompt in a row ends the run, and nothing is yielded for any of them.
    """
    if not jobs:
        return
    outbox: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
    free = asyncio.Semaphore(concurrency)
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    answers = _Answers(jobs, outbox.put, free, unanswered)
    task = loop.create_task(_work(answers, open_session, min(concurrency, len(jobs))))
    task.add_done_callback(lambda _: outbox.put(None))

    def run() -> None:
        with runner, suppress(BaseException):  # what the task raises, the caller is told
            loop.run_until_complete(task)

    def call(function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(function)

    thread = threading.Thread(target=run, name="endpoint", daemon=True)
    thread.start()
    try:
        while (item := outbox.get()) is not None:
            call(free.release)  # the next job may start
            yield item
        if (error := task.result()) is not None:
            raise error
    finally:
        call(task.cancel)
        thread.join()


class _Answers(Generic[T]):
    """The answers of all jobs, given on as they come, and the error that ended them."""

    def __init__(
        self,
        jobs: Sequence[SessionJob[T]],
        give: Callable[[tuple[int, T]], None],
        free: asyncio.Semaphore,
        unanswered: T,
    ) -> None:
        self._jobs = jobs
        self._give = give
        self._free = free
        self._unanswered = unanswered
        self._waiting = iter(enumerate(jobs))
        self._answered: SessionJob[T] | None = None
        self._doubtful: list[tuple[int, UnansweredPromptError]] = []
        self.error: Exception | None = None

    async def work(self, session: Session) -> None:
        """Do one job after the other, as long as there are any."""
        while not session.stopping.is_set():
            await self._free.acquire()
            index, job = next(self._waiting, (-1, None))
            if job is None or session.stopping.is_set():
                break
            try:
                await self._do(index, job, session)
            except Stopped:
                break
            except Exception as error:
                self.error = self.error or error
                session.stopping.set()
        self._free.release()  # another worker may be waiting to see the end

    async def _do(self, index: int, job: SessionJob[T], session: Session) -> None:
        try:
            result = await job(session)
        except UnansweredPromptError as doubt:
            self._doubtful.append((index, doubt))
            self._free.release()  # it is not given, so nobody will
            if len(self._doubtful) >= MOST_IN_A_ROW:
                await self._ask_again(session)
            return
        session.account.n_answered += 1
        self._answered = job
        self._give((index, result))
        self._give_doubtful(session)

    async def _ask_again(self, session: Session) -> None:
        """Ask what was answered once more: if that fails too, it is not for the prompts.

        Raises:
            UserError: It fails too, or nothing has been answered.
        """
        doubtful, self._doubtful = self._doubtful, []
        try:
            if self._answered is None:
                raise doubtful[0][1].error
            await self._answered(session)
        except UnansweredPromptError as doubt:
            raise doubt.error from None
        self._doubtful[:0] = doubtful
        self._give_doubtful(session)

    def _give_doubtful(self, session: Session) -> None:
        for index, _ in self._doubtful:
            session.account.n_refused += 1
            self._give((index, self._unanswered))
        self._doubtful.clear()

    def end(self, session: Session) -> None:
        """Give the last ones, if the server has ever answered anything; else it refuses all."""
        if session.account.n_answered:
            self._give_doubtful(session)
        elif self._doubtful:
            self.error = self.error or self._doubtful[0][1].error


async def _work(
    answers: _Answers[T], open_session: Callable[[], Session], n_workers: int
) -> Exception | None:
    """Give the results of all jobs; return the error of the first that failed, if one did."""
    async with aclosing(open_session()) as session:
        async with asyncio.TaskGroup() as group:
            for _ in range(n_workers):
                group.create_task(answers.work(session))
        answers.end(session)
    return answers.error
