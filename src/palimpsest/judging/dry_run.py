"""Forecast of a diagnosis: what it would ask, how long it would take, and what it would cost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from palimpsest.judging.conclude import open_run
from palimpsest.judging.evaluation import asked_as, evaluate, questions_for
from palimpsest.judging.questions import Question, Settings
from palimpsest.judging.rounds import FIRST_ROUND
from palimpsest.judging.samples import Samples
from palimpsest.judging.subject import DiagnosisPlan, prepare_diagnosis
from palimpsest.judging.via import Via
from palimpsest.lm import texts_of
from palimpsest.lm.models import Chargeable, LanguageModel, Movable, PriceTable
from palimpsest.lm.suites import Suite
from palimpsest.records import AnswerRow, AnswerStore

N_SAMPLE = 32
"""Questions of each model that are asked to see how long it takes."""

_BYTES_A_TOKEN = 3
"""Of texts in several languages, where nobody here has the model's tokenizer."""


@dataclass(frozen=True)
class ModelForecast:
    """What one model would be asked."""

    role: str
    """``base`` or ``tuned``."""
    model: str
    """Its spec."""
    n_questions: int
    """Of all ways of asking."""
    n_on_file: int
    """Of which the run folder has the answers."""
    n_prompt_tokens: int
    """Of the questions that are not on file."""
    n_answer_tokens: int
    """Of the answers to these, by the sample; without one, the most there can be."""
    seconds: float | None
    """For these, by the sample; ``None`` without one, unless nothing is left to ask."""
    memory_bytes: int | None
    """Of the device that computes it: weights and a full batch; ``None`` where it is elsewhere."""
    cost_usd: float | None
    """Of these, at the prices that were given."""
    counts: str
    """How tokens were counted: ``tokenizer``, or ``bytes`` where there is none here."""
    n_again: int = 0
    """Of the questions, those that are asked again for the noise floor."""
    n_least: int | None = None
    """Questions not on file that are asked at least, if it is asked until sure."""
    seconds_least: float | None = None
    """For these."""
    n_workers: int = 1
    """Who share the questions; each takes the memory."""

    @property
    def n_to_ask(self) -> int:
        """Questions that are not on file."""
        return self.n_questions - self.n_on_file


@dataclass(frozen=True)
class Forecast:
    """What a diagnosis would ask."""

    suite: str
    n_examples: int
    """Source examples."""
    vias: tuple[str, ...]
    models: tuple[ModelForecast, ...]
    n_sampled: int
    """Questions that were asked for it, of both models; their answers are kept."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``palimpsest diagnose … --plan --json`` prints."""
        return {"schema": "palimpsest.forecast/1", **asdict(self)}


def forecast(
    base: str | LanguageModel,
    tuned: str | LanguageModel,
    *,
    suite: str | Suite | None = None,
    via: Sequence[str] | None = None,
    out: Path | str | None = None,
    limit: int | None = None,
    scorer: str | None = None,
    samples: str | Samples | None = None,
    n_sample: int = N_SAMPLE,
    noise_floor: int = 0,
    until_sure: bool = False,
    n_workers: int = 1,
    prices: PriceTable | None = None,
    command: str = "palimpsest.judging.forecast(…)",
) -> Forecast:
    """Say what a diagnosis would ask of whom, and about how long it would take.

    Nothing is asked but a sample, whose answers are kept in the run folder. Cells that the base
    turns out not to be able to do are asked of nothing else, so it may be less.

    Args:
        base: The model before tuning; this and the next seven as for :func:`.diagnose`.
        tuned: The model after tuning.
        suite: What would be asked.
        via: In which ways.
        out: The run folder; without one, all would be asked, and nothing is kept.
        limit: At most so many source examples a cell.
        scorer: Of all answers.
        samples: Of each prompt.
        n_sample: Questions of each model that are asked and timed; none for 0. A model that costs
            money is asked nothing.
        noise_floor: How often the base model would be asked again.
        until_sure: Whether what is decided would be asked no more.
        n_workers: Who would hold models that are computed here; the sample is asked by one.
        prices: Of the models that cost money.
        command: Recorded as the way to repeat the run.

    Raises:
        UserError: A model, suite or conjugation that cannot be used, or no price for a model.
    """
    plan = prepare_diagnosis(base, tuned, suite, via, limit, scorer, samples)
    drawn = [None] if plan.samples is None else list(plan.samples.each)
    ways_of_drawing = [replace(plan.settings, sampling=each) for each in drawn]
    plan = plan._replace(settings=ways_of_drawing[0])
    method: dict[str, Any] = {"seed": 0, "n_resamples": 0, "started": time.monotonic()}
    n_sampled, models = 0, []
    with open_run(out, command, **method) as run:
        run.folder.record(run.folder.config or {"command": command})
        for role, model in plan.models.items():
            n_times = noise_floor if role == "base" else 0
            questions = _questions(plan, model, n_times, ways_of_drawing)
            least = _first_round(plan, model, ways_of_drawing) if until_sure else None
            with closing(model):
                sampled = _sampled(plan, role, model, run.store, n_sample)
                n_sampled += sampled.n_asked
                counted = _Counted.of(model, questions, run.store)
                found = _of_model(role, model, counted, sampled, prices)
                if least is not None:
                    found = _until_sure(found, _missing(least, run.store))
                models.append(_shared(found, n_workers) if isinstance(model, Movable) else found)
    return Forecast(
        suite=plan.suite.name,
        n_examples=len(plan.suite.in_language(plan.suite.source_language)),
        vias=tuple(each.name for each in plan.vias),
        models=tuple(models),
        n_sampled=n_sampled,
    )


def _questions(
    plan: DiagnosisPlan, model: LanguageModel, n_times: int, drawn: Sequence[Settings]
) -> Iterator[Question]:
    """Return what a model would be asked, every sample of it, ``n_times`` once more plainly."""
    names = [(model.fingerprint, plan.vias)]
    names += [(asked_as(model, number), plan.vias[:1]) for number in range(1, n_times + 1)]
    each = [
        questions_for(name, plan.suite, vias, settings)
        for name, vias in names
        for settings in drawn
    ]
    return itertools.chain.from_iterable(each)


def _first_round(
    plan: DiagnosisPlan, model: LanguageModel, drawn: Sequence[Settings]
) -> list[Question]:
    """Return what is asked though everything be decided by it."""
    first = _few_of_each(plan.suite, dict.fromkeys(plan.suite.cells, FIRST_ROUND))
    return [
        question
        for settings in drawn
        for question in questions_for(model.fingerprint, first, plan.vias[:1], settings)
    ]


def _until_sure(found: ModelForecast, least: Sequence[Question]) -> ModelForecast:
    each = None if found.seconds is None else found.seconds / max(1, found.n_to_ask)
    return replace(
        found,
        n_least=len(least),
        seconds_least=None if each is None else each * len(least),
    )


def _shared(found: ModelForecast, n_workers: int) -> ModelForecast:
    def part(seconds: float | None) -> float | None:
        return None if seconds is None else seconds / n_workers

    return replace(
        found,
        n_workers=n_workers,
        seconds=part(found.seconds),
        seconds_least=part(found.seconds_least),
    )


@dataclass(frozen=True)
class _Sample:
    """What came of asking a few questions."""

    n_asked: int
    seconds: float
    rows: Sequence[AnswerRow]

    @property
    def n_answer_tokens(self) -> float | None:
        """Of an answer, in the mean."""
        return sum(row.n_answer_tokens for row in self.rows) / len(self.rows) if self.rows else None


def _sampled(
    plan: DiagnosisPlan, role: str, model: LanguageModel, store: AnswerStore, n: int
) -> _Sample:
    """Ask some questions of each cell in each way, the first one apart: it loads the weights.

    They are of those that are not on file, so that there is something to time in every forecast.
    """
    if n < 1 or isinstance(model, Chargeable):
        return _Sample(0, 0.0, [])
    missing = _open_examples(plan, model, store)
    if not missing:
        return _Sample(0, 0.0, [])
    few = _few_examples(_of_sources(plan.suite, missing), max(1, n // len(plan.vias)))
    first, via = next(iter(missing.items()))
    asked: dict[str, Any] = {
        "store": store,
        "role": role,
        "settings": plan.settings,
        "whole": "none",
    }
    counts: list[tuple[int, int]] = []

    def tell(n_done: int, n_total: int, n_reused: int) -> None:
        counts.append((n_total, n_reused))

    evaluate(model, _of_sources(plan.suite, [first]), [via], **asked)
    started = time.monotonic()
    rows = evaluate(model, few, plan.vias, **asked, progress=tell)
    seconds = time.monotonic() - started
    n_total, n_reused = counts[0]
    return _Sample(n_total - n_reused, seconds, rows)


def _open_examples(plan: DiagnosisPlan, model: LanguageModel, store: AnswerStore) -> dict[str, Via]:
    """Return the source examples of which some answer is not on file, and the first such way."""
    found: dict[str, Via] = {}
    coming = questions_for(model.fingerprint, plan.suite, plan.vias, plan.settings)
    while block := list(itertools.islice(coming, _N_TOGETHER)):
        for question in _missing(block, store):
            found.setdefault(question.key.source_id, question.via)
    return found


def _of_sources(suite: Suite, sources: Collection[str]) -> Suite:
    """Return some source examples of a suite, in all their languages."""
    return replace(suite, examples=tuple(e for e in suite.examples if e.source_id in sources))


def _few_examples(suite: Suite, n: int) -> Suite:
    """Return about ``n`` source examples in all their languages, from cells all over the suite."""
    cells = suite.cells[:: -(-len(suite.cells) // n)]
    return _few_of_each(suite, dict.fromkeys(cells, max(1, n // len(cells))))


def _few_of_each(suite: Suite, n_by_cell: Mapping[str, int]) -> Suite:
    """Return so many source examples of cells, in all their languages."""
    kept: dict[str, dict[str, None]] = {cell: {} for cell in n_by_cell}
    for example in suite.in_language(suite.source_language):
        mine = kept.get(example.cell)
        if mine is not None and len(mine) < n_by_cell[example.cell]:
            mine[example.source_id] = None
    return _of_sources(suite, {source for mine in kept.values() for source in mine})


class _Counted(NamedTuple):
    """What there is to ask of a model."""

    n_questions: int
    n_missing: int
    """Those without an answer in the store."""
    n_again: int
    """Those of further times."""
    n_prompt_tokens: int
    most_answer_tokens: int
    counts: Literal["tokenizer", "bytes"]
    """How prompts are counted."""

    @classmethod
    def of(
        cls, model: LanguageModel, questions: Iterable[Question], store: AnswerStore
    ) -> _Counted:
        """Count some thousand questions at a time, and hold none of them."""
        n_questions = n_missing = n_again = n_tokens = most = 0
        counts: Literal["tokenizer", "bytes"] = "tokenizer"
        # Prompts that are sent in the same form are asked once, by each time and each sample.
        seen: set[int] = set()
        coming = iter(questions)
        while block := list(itertools.islice(coming, _N_TOGETHER)):
            missing = _missing(block, store)
            n_questions, n_missing = n_questions + len(block), n_missing + len(missing)
            n_again += sum(each.key.model != model.fingerprint for each in block)
            most += sum(q.settings.max_new_tokens for q in missing if not q.by_likelihood)
            texts = []
            for each in missing:
                request = hash((each.key.model, each.settings.sampling, each.sent))
                if request not in seen:
                    seen.add(request)
                    texts.append("\n".join(texts_of(each.sent)))
            tokens = model.count_tokens(texts)
            if tokens is None:
                counts = "bytes"
                sizes = (len(text.encode("utf-8", "surrogatepass")) for text in texts)
                tokens = [-(-size // _BYTES_A_TOKEN) for size in sizes]
            n_tokens += sum(tokens)
        return cls(n_questions, n_missing, n_again, n_tokens, most, counts)


_N_TOGETHER = 2048
"""Questions that are in memory together."""


def _of_model(
    role: str,
    model: LanguageModel,
    counted: _Counted,
    sample: _Sample,
    prices: PriceTable | None,
) -> ModelForecast:
    mean, n = sample.n_answer_tokens, counted.n_missing
    most = counted.most_answer_tokens
    n_answer_tokens = most if mean is None else min(most, round(mean * n))
    return ModelForecast(
        role=role,
        model=model.spec,
        n_questions=counted.n_questions,
        n_on_file=counted.n_questions - n,
        n_prompt_tokens=counted.n_prompt_tokens,
        n_answer_tokens=n_answer_tokens,
        seconds=_expected_seconds(n, sample),
        memory_bytes=getattr(model, "memory_bytes", None),
        cost_usd=_cost(model, counted.n_prompt_tokens, n_answer_tokens, prices),
        counts=counted.counts,
        n_again=counted.n_again,
    )


def _expected_seconds(n: int, sample: _Sample) -> float | None:
    if not n:
        return 0.0
    return sample.seconds / sample.n_asked * n if sample.n_asked else None


def _missing(questions: Sequence[Question], store: AnswerStore) -> list[Question]:
    """Return those of some thousand questions that the store has no answer to."""
    sources = list(dict.fromkeys(question.key.source_id for question in questions))
    stored = set().union(
        *(
            store.places(model=model, suite=suite, sources=sources)
            for model, suite in {(each.key.model, each.key.suite) for each in questions}
        )
    )
    return [question for question in questions if question.key not in stored]


def _cost(
    model: LanguageModel, n_prompt_tokens: int, n_answer_tokens: int, prices: PriceTable | None
) -> float | None:
    options: Any = getattr(model, "options", None)
    if prices is None or not isinstance(model, Chargeable):
        return None
    return float(prices.of(options.model, options.url).cost(n_prompt_tokens, n_answer_tokens))
