"""Models that several workers hold: the prompts are dealt to them, the answers come back here."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, ClassVar, NamedTuple, Protocol, cast, runtime_checkable

from palimpsest.engines import Crew, Death, Engine, Event
from palimpsest.errors import UserError
from palimpsest.lm import Likelihood, Prompt, texts_of
from palimpsest.lm.models import (
    N_SHARED,
    AsksInOtherBatches,
    Decided,
    DrawsAnswers,
    Generation,
    LanguageModel,
    Movable,
    NextToken,
    Origin,
    Sampling,
    SharesWeights,
    SpreadOverGpus,
)
from palimpsest.records import CrewRecord, WorkerRecord

N_DEATHS = 3
"""Workers that a prompt may end, asked alone, before it is set aside."""

DIED = f"as {N_DEATHS} workers died answering", "The next run asks them again."
"""Why answers are lacking, and what can be done."""

_SECONDS_A_PARCEL = 0.05
"""Answers travel together, those of so long a time."""

_N_DOUBTFUL = 4
"""Deaths without an answer between them, for each worker and one more, until it is looked whether
workers can answer anything."""

_MOST_SET_ASIDE = 50
"""Prompts that may be given up without an answer between them, until that is the workers' fault."""

_LEAST_PIECE = 32
"""Prompts of a piece, unless fewer are left: smaller batches waste the model's time."""


_PRELOAD = (
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "palimpsest.lm.models.specs",
    "palimpsest.lm.models.huggingface.model",
)
"""What most models need. Packages of transformers import nothing by themselves, so its modules are
named."""


class _Call(NamedTuple):
    """A piece of work for a worker."""

    origin: Origin
    fingerprint: str
    method: str
    """``generate``, or another that returns a list with an entry a prompt."""
    as_lm_eval: bool
    other_batches: int
    """0, or which other order and size of batches is wanted."""
    sampling: Sampling | None
    """How answers are drawn, if they are."""
    n_held: int
    """How many models a worker keeps in memory at a time."""
    prompts: Sequence[Prompt]
    others: Sequence[Sequence[Any]]
    """Lists with an entry a prompt: candidates, or beginnings."""
    options: Mapping[str, Any]
    shared: Sequence[str]
    """Files in memory where workers have the weights in common, if they can."""


@runtime_checkable
class Divisible(Protocol):
    """What says of prompts that their answers are decided, and can do so of some of them alone."""

    def part(self, indexes: Sequence[int]) -> Decided:
        """Return the same for the prompts with these indexes, which count anew from 0."""


def answerer() -> Callable[[_Call], Iterator[list[tuple[int, Any]]]]:
    """Return what answers in a worker; it holds the models of the last calls."""
    return _Answerer()


class _Answerer:
    def __init__(self) -> None:
        self._models: dict[tuple[Origin, str], LanguageModel] = {}
        """By where they come from and their fingerprint: a file may change between two calls."""

    def __call__(self, call: _Call) -> Iterator[list[tuple[int, Any]]]:
        """Yield answers with the index of their prompt, those of a moment together."""
        model = self._model_of(call)
        with ExitStack() as stack:
            if call.as_lm_eval:
                stack.enter_context(cast("Any", model).as_lm_eval())
            if call.other_batches:
                stack.enter_context(cast("Any", model).in_other_batches(call.other_batches))
            if call.sampling is not None:
                stack.enter_context(cast("Any", model).sampling(call.sampling))
            method = getattr(model, call.method)
            if call.method != "generate":
                yield list(enumerate(method(call.prompts, *call.others, **call.options)))
                return
            yield from _parcels(stack.enter_context(closing(method(call.prompts, **call.options))))

    def _model_of(self, call: _Call) -> LanguageModel:
        key = call.origin, call.fingerprint
        model = self._models.get(key)
        if model is None:
            while len(self._models) >= call.n_held:
                self._models.pop(next(iter(self._models))).close()
            model = _opened(call.origin)
            if model.fingerprint != call.fingerprint:
                error = _another(model, call.fingerprint)
                model.close()
                raise error
            if call.shared and isinstance(model, SharesWeights):
                model.share_weights(call.shared)
            self._models[key] = model
        return model


def _opened(origin: Origin) -> LanguageModel:
    try:
        return origin.open()
    except UserError as error:
        raise UserError(
            f"A worker on the machine '{socket.gethostname()}' cannot open the model: "
            f"{error.message}",
            hint="Every machine needs it under the same name. Copy it there, put it on a disk that "
            "all of them see, or name it by its id on the Hub.",
        ) from error


def computed(facts: Mapping[str, str]) -> str:
    """Return in parentheses how a model is computed, as far as it says so; else nothing.

    Example:
        >>> computed({"device": "cpu", "dtype": "float32", "parameters": "9"}), computed({})
        (' (cpu, float32)', '')
    """
    how = ", ".join(facts[name] for name in ("device", "dtype") if name in facts)
    return f" ({how})" if how else ""


def _another(model: LanguageModel, expected: str) -> UserError:
    """Return what to say where a worker has other weights, or would compute them otherwise."""
    return UserError(
        f"A worker on the machine '{socket.gethostname()}' finds another model under "
        f"'{model.spec}' than this process: its fingerprint is {model.fingerprint}"
        f"{computed(model.describe())}, expected {expected}.",
        hint="Are files and releases (palimpsest, transformers) the same on all machines? If this "
        "one has no GPU and theirs have, start the command on one of theirs.",
    )


def _parcels(answers: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    parcel: list[tuple[int, Any]] = []
    due = time.monotonic() + _SECONDS_A_PARCEL
    for answer in answers:
        parcel.append(answer)
        if time.monotonic() >= due:
            yield parcel
            parcel, due = [], time.monotonic() + _SECONDS_A_PARCEL
    if parcel:
        yield parcel


class Workers:
    r"""The workers of an engine, for as many models as are asked one after the other.

    Args:
        engine: Without one, and with one that works in this process, models are asked from here.

    Example:
        >>> from palimpsest.engines import make_engine
        >>> from palimpsest.lm.models import load_model
        >>> with Workers(make_engine("processes", workers=1)) as workers:
        ...     model = workers.hold(load_model("rosetta:base"))
        ...     prompt = "Input: What is 5 plus 7?\nOutput:"
        ...     [(_, answer)] = model.generate([prompt], max_new_tokens=1)
        >>> answer.text
        ' 12'
    """

    lacking: ClassVar[tuple[str, str]] = DIED
    """Why an answer of theirs can be lacking, and what can be done."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._crew = None if engine is None else engine.crew(answerer, preload=_PRELOAD)
        self._engine = "" if engine is None else engine.name
        self._tally = Tally()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._crew is not None:
            self._crew.close()

    def hold(self, model: LanguageModel, *, n_held: int = 1) -> LanguageModel:
        """Return a model that these workers ask, with the same answers.

        A model that is asked elsewhere already, such as an endpoint, is returned as it is.

        Args:
            model: To be asked.
            n_held: How many models each worker keeps in memory: 2 where two are asked in turns.
        """
        if self._crew is None or not isinstance(model, Movable):
            return model
        if isinstance(model, SpreadOverGpus):
            self._crew.need(model.n_gpus)
        return HeldModel(model, self._crew, self._tally, n_held=n_held)

    def processes(self) -> list[int]:
        """Return the numbers of the workers' processes, on whatever machine."""
        places = [] if self._crew is None else self._crew.places
        return [place.seat.pid for place in places if place.seat is not None]

    def record(self) -> CrewRecord | None:
        """Return who has done what so far; ``None`` where there are no workers."""
        if self._crew is None:
            return None
        workers = [
            WorkerRecord(
                host=place.host,
                n_answers=self._tally.n_answers[number],
                busy_seconds=round(place.busy_seconds, 3),
                n_restarts=place.n_restarts,
            )
            for number, place in enumerate(self._crew.places)
        ]
        return CrewRecord(engine=self._engine, workers=workers, n_set_aside=self._tally.n_set_aside)


class Tally:
    """What workers have done for all models."""

    def __init__(self) -> None:
        self.n_answers: Counter[int] = Counter()
        """By place."""
        self.n_set_aside = 0
        """Prompts that are given up."""


class HeldModel(DrawsAnswers):
    """A model that workers hold; what concerns no weights is asked of the one here.

    A prompt whose answer ends :data:`N_DEATHS` workers is set aside: it gets an empty answer with
    ``finish="failed"``, or likelihoods that are not a number.

    Args:
        here: The same model in this process, whose weights are not loaded.
        crew: The workers.
        tally: Of what they do.
        n_held: How many models each of them keeps in memory.
    """

    def __init__(self, here: LanguageModel, crew: Crew, tally: Tally, *, n_held: int = 1) -> None:
        self._n_held = n_held
        self._here: Any = here
        self._crew = crew
        self._tally = tally
        self._as_lm_eval = False
        self._other_batches = 0
        self.n_answers: Counter[int] = Counter()
        """By worker."""
        self._memory = SharedMemory() if self._crew.shares_memory else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._here, name)

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return str(self._here.fingerprint)

    def close(self) -> None:
        """Give back what the workers had in common; they let go of it with the next model."""
        if self._memory is not None:
            self._memory.close()
        self._here.close()

    def describe(self) -> Mapping[str, str]:
        """Return the model's facts, and how many hold it."""
        return {**self._here.describe(), "workers": str(self._crew.n_workers)}

    @contextmanager
    def as_lm_eval(self) -> Iterator[None]:
        """Ask to the token as lm-evaluation-harness for a while."""
        with self._here.as_lm_eval():
            self._as_lm_eval = True
            try:
                yield
            finally:
                self._as_lm_eval = False

    @contextmanager
    def in_other_batches(self, number: int) -> Iterator[None]:
        """Ask in another order and in smaller batches for a while, if the model can be asked so."""
        self._other_batches = number if isinstance(self._here, AsksInOtherBatches) else 0
        try:
            yield
        finally:
            self._other_batches = 0

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt; yield ``(index, generation)`` in order of completion."""
        options = {"max_new_tokens": max_new_tokens, "stop": list(stop)}

        def call(indexes: Sequence[int]) -> _Call:
            own = decided.part(indexes) if isinstance(decided, Divisible) else decided
            return self._call("generate", prompts, indexes, {**options, "decided": own})

        failed = Generation("", "failed", 0, 0.0)
        yield from self._answers(call, [_length(prompt) for prompt in prompts], failed)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return, for each prompt, the natural-log probability of each candidate."""
        failed = [[float("nan")] * len(each) for each in candidates]
        return self._list("score", prompts, failed, candidates)

    def likelihoods(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[Likelihood]]:
        """Return what :meth:`score` does, with margins."""
        failed = [[Likelihood(float("nan"))] * len(each) for each in candidates]
        return self._list("likelihoods", prompts, failed, candidates)

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        """Return the ``n`` likeliest tokens after each prompt and beginning."""
        nothing: list[list[NextToken]] = [[] for _ in prompts]
        return self._list("next_tokens", prompts, nothing, beginnings, n=n)

    def _list(
        self,
        method: str,
        prompts: Sequence[Prompt],
        failed: list[Any],
        other: Sequence[Any],
        **options: Any,
    ) -> list[Any]:
        if not prompts:
            return list(getattr(self._here, method)([], [], **options))
        found = list(failed)

        def call(indexes: Sequence[int]) -> _Call:
            return self._call(method, prompts, indexes, options, other)

        lengths = [_length(prompt) for prompt in prompts]
        for index, value in self._answers(call, lengths, None):
            if value is not None:
                found[index] = value
        return found

    def _call(
        self,
        method: str,
        prompts: Sequence[Prompt],
        indexes: Sequence[int],
        options: Mapping[str, Any],
        *others: Sequence[Any],
    ) -> _Call:
        return _Call(
            self._here.origin,
            self.fingerprint,
            method,
            self._as_lm_eval,
            self._other_batches,
            self._sampling,
            self._n_held,
            [prompts[index] for index in indexes],
            [[other[index] for index in indexes] for other in others],
            options,
            self._memory.paths if self._memory is not None else (),
        )

    def _probe(self) -> _Call:
        """Return a question that any sound worker can answer."""
        options = {"max_new_tokens": 1, "stop": [], "decided": None}
        return self._call("generate", ["1"], [0], options)._replace(as_lm_eval=False)

    def _answers(
        self, call: Callable[[Sequence[int]], _Call], lengths: Sequence[int], failed: Any
    ) -> Iterator[tuple[int, Any]]:
        """Deal the prompts out, and yield what comes of each."""
        deal = _Deal(self._crew, call, self._probe)
        for indexes in pieces(lengths, self._crew.n_workers):
            deal.submit(indexes)
        with closing(self._crew.events()) as events:  # type: ignore[type-var]
            for event in events:
                if event.kind == "part":
                    answers = list(deal.answered(event))
                    self.n_answers[event.worker] += len(answers)
                    self._tally.n_answers[event.worker] += len(answers)
                    yield from answers
                elif event.kind == "lost":
                    given_up = deal.lost(event)
                    self._tally.n_set_aside += len(given_up)
                    yield from ((index, failed) for index in given_up)


class SharedMemory:
    """Empty files in memory, which are gone when this process and all who use them have ended."""

    def __init__(self) -> None:
        self._files: list[int] = []

    @property
    def paths(self) -> list[str]:
        """How other processes find them; none where the system has no such files."""
        if not self._files and hasattr(os, "memfd_create"):
            flags = os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC
            self._files = [os.memfd_create("weights", flags) for _ in range(N_SHARED)]
        return [f"/proc/{os.getpid()}/fd/{file}" for file in self._files]

    def close(self) -> None:
        """Let go of them; they may be asked for anew."""
        for file in self._files:
            os.close(file)
        self._files = []

    def __del__(self) -> None:
        self.close()


class _Deal:
    """Which prompts each piece of work still owes.

    Workers that die one after the other may have met prompts that kill them, or be unable to work
    at all. A question that any of them can answer tells which it is.
    """

    def __init__(
        self,
        crew: Crew,
        call: Callable[[Sequence[int]], _Call],
        probe: Callable[[], _Call],
    ) -> None:
        self._crew = crew
        self._call = call
        self._make_probe = probe
        self._probe: int | None = None
        """The piece that is the probe, while its answer is waited for."""
        self._indexes: dict[int, Sequence[int]] = {}
        self._owed: dict[int, dict[int, None]] = {}
        self._n_deaths: Counter[int] = Counter()
        self._n_in_a_row = 0
        self._n_given_up = 0

    def submit(self, indexes: Sequence[int], *, next_one: bool = False) -> None:
        """Give the prompts to whichever worker is next."""
        piece = self._crew.submit(self._call(indexes), next_one=next_one)
        self._indexes[piece], self._owed[piece] = indexes, dict.fromkeys(indexes)

    def answered(self, event: Event) -> Iterator[tuple[int, Any]]:
        """Yield the answers, with the indexes of the prompts."""
        self._n_in_a_row = 0
        if event.piece == self._probe:
            self._probe = None
            return
        self._n_given_up = 0
        for at, value in event.value:
            index = self._indexes[event.piece][at]
            del self._owed[event.piece][index]
            yield index, value

    def lost(self, event: Event) -> list[int]:
        """Submit what a dead worker owed, in halves so that a bad prompt is found.

        Returns:
            The prompt that is given up, if it is one.

        Raises:
            UserError: Workers die whatever they are asked.
        """
        death: Death = event.value
        if event.piece == self._probe:
            if not death.with_machine:
                raise _die_of_all(self._n_in_a_row + 1, death)
            self._look()
            return []
        self._n_in_a_row += 1
        if self._n_in_a_row > _N_DOUBTFUL * (self._crew.n_workers + 1) and self._probe is None:
            self._look()
        owed = list(self._owed.pop(event.piece))
        alone = len(self._indexes[event.piece]) == 1
        if owed and alone and not death.with_machine:
            self._n_deaths.update(owed)
            if self._n_deaths[owed[0]] >= N_DEATHS:
                self._n_given_up += 1
                if self._n_given_up > _MOST_SET_ASIDE:
                    raise _die_of_all(N_DEATHS * self._n_given_up, death)
                return owed
        middle = (len(owed) + 1) // 2
        for half in (owed[:middle], owed[middle:]):
            if half:
                self.submit(half, next_one=alone)
        return []

    def _look(self) -> None:
        """Ask what any sound worker can answer."""
        self._probe = self._crew.submit(self._make_probe(), next_one=True)


def _die_of_all(n_deaths: int, death: Death) -> UserError:
    return UserError(
        f"{n_deaths} workers died one after the other without an answer: {death.why}.",
        hint="Exit code -9 is mostly lack of memory: use fewer --workers, or a smaller "
        "batch_tokens= for the model.",
    )


def pieces(lengths: Sequence[int], n_workers: int) -> list[list[int]]:
    """Deal prompts out in pieces: large ones first, so that batches are full, then smaller ones.

    Each piece is half of a worker's share of what is left, so that all workers end at nearly the
    same time. Neighbours in length stay together, the longest first.

    Args:
        lengths: Of the prompts, in any unit.
        n_workers: Who take a piece whenever they are idle.

    Returns:
        Indexes of the prompts, each in one piece.

    Example:
        >>> list(map(len, pieces([7] * 400, 2))), list(map(len, pieces([7] * 40, 1)))
        ([100, 75, 57, 42, 32, 32, 32, 30], [40])
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    if n_workers == 1:
        return [order] if order else []
    found = []
    while order:
        size = max(_LEAST_PIECE, -(-len(order) // (2 * n_workers)))
        found.append(order[:size])
        order = order[size:]
    return found


def _length(prompt: Prompt) -> int:
    return sum(map(len, texts_of(prompt)))
