"""Several answers to a prompt: what is asked for, who is asked, and what they make together.

Each sample is an answer of its own, kept by its number. To whoever judges, the samples of a prompt
are one answer that is as right as their mean, as the epochs of a log are: intervals and tests are
over prompts, however many samples each has.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Self

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import EvaluationProgress, Settings, evaluate_stored
from palimpsest.judging.via import Via
from palimpsest.lm.models import CanSample, LanguageModel, Sampling
from palimpsest.lm.suites import Suite
from palimpsest.records import AnswerRow, Drawn, StoredAnswers, score_of
from palimpsest.specs import Spec

MOST_SAMPLES = 1000

_EXAMPLE = "Write --samples 5,temperature=0.7, with the temperature that the model is used with."
_WRITTEN = re.compile(r"(\d+)((?:,[a-z_]+=[^,=]+)*)")


@dataclass(frozen=True)
class Samples:
    """How many answers of each prompt are drawn, and how."""

    n: int
    how: Sampling
    """The number in it is that of the first."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``K,temperature=…[,top_p=…][,seed=…]``.

        Raises:
            UserError: It is something else, or there is no such number, temperature or share.

        Example:
            >>> Samples.parse("5,temperature=0.7").how.temperature
            0.7
        """
        match = _WRITTEN.fullmatch(text.replace(" ", ""))
        if match is None:
            raise UserError(
                f"The samples are '{text}'; expected a number and a temperature.", hint=_EXAMPLE
            )
        pairs = (part.split("=") for part in match[2].split(",")[1:])
        spec = Spec(text, "samples", options=dict(pairs), kind="option")
        spec.allow(("temperature", "top_p", "seed"), hint=_EXAMPLE)
        if "temperature" not in spec.options:
            raise UserError(f"The samples '{text}' have no temperature.", hint=_EXAMPLE)
        n = int(match[1])
        if not 2 <= n <= MOST_SAMPLES:
            raise UserError(
                f"{n} samples of a prompt are asked for; expected 2 to {MOST_SAMPLES:,}.",
                hint="One greedy answer is what is asked for without --samples.",
            )
        how = Sampling(
            _number(spec, "temperature", 1.0),
            _number(spec, "top_p", 1.0),
            spec.whole_number("seed", 0),
        )
        return cls(n, how)

    @property
    def each(self) -> Iterable[Sampling]:
        """How each of them is drawn."""
        return (replace(self.how, number=number) for number in range(1, self.n + 1))

    @property
    def recorded(self) -> Drawn:
        """What the results say of it."""
        how = self.how
        return Drawn(n=self.n, temperature=how.temperature, top_p=how.top_p, seed=how.seed)

    def __str__(self) -> str:
        """Return it as it is written."""
        how = self.how
        parts = [str(self.n), f"temperature={how.temperature:g}"]
        parts += [f"top_p={how.top_p:g}"] if how.top_p < 1 else []
        parts += [f"seed={how.seed}"] if how.seed else []
        return ",".join(parts)


def _number(spec: Spec, name: str, default: float) -> float:
    text = spec.options.get(name, f"{default:g}")
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"The option {name} of the samples is '{text}'; expected a number.", hint=_EXAMPLE
        ) from None


def check_samples(models: Iterable[LanguageModel]) -> None:
    """Refuse models whose answers cannot be drawn."""
    for model in models:
        if not isinstance(model, CanSample):
            raise UserError(
                f"The answers of '{model.spec}' cannot be drawn: its back end decodes greedily.",
                hint="Leave out --samples, or ask a model of hf:, vllm: or openai:.",
            )


def evaluate_samples(
    samples: Samples | None,
    model: LanguageModel,
    suite: Suite,
    vias: Sequence[Via],
    *,
    settings: Settings,
    progress: EvaluationProgress | None = None,
    **how: Any,
) -> StoredAnswers:
    """Return every answer of one model, all samples of each prompt if there are any.

    Args:
        samples: Of each prompt; by default its greedy answer is asked for.
        model: Asked.
        suite: The examples.
        vias: How to ask.
        settings: As for :func:`.evaluate`.
        progress: Told of all samples together.
        **how: What else :func:`.evaluate` takes.
    """
    if samples is None:
        return evaluate_stored(model, suite, vias, settings=settings, progress=progress, **how)
    parts: list[StoredAnswers] = []
    n_before = n_reused_before = n_reused_now = 0

    def tell(n_done: int, n_total: int, n_reused: int) -> None:
        nonlocal n_reused_now
        n_reused_now = n_reused
        if progress is not None:
            progress(n_before + n_done, n_total * samples.n, n_reused_before + n_reused)

    for each in samples.each:
        n_reused_now = 0
        drawn = replace(settings, sampling=each)
        found = evaluate_stored(model, suite, vias, settings=drawn, progress=tell, **how)
        parts.append(found)
        n_before, n_reused_before = n_before + len(found), n_reused_before + n_reused_now
    return reduce(StoredAnswers.and_then, parts)


def averaged(rows: Sequence[AnswerRow], samples: Samples | Drawn | None) -> Sequence[AnswerRow]:
    """Return one answer a prompt: as right as the samples of it are in the mean.

    It is right if all of them are, and otherwise what most of the wrong ones are; its text is that
    of the first such sample. Without samples the answers are returned as they are.
    """
    if samples is None:
        return rows
    groups: dict[tuple[str, str, str], list[AnswerRow]] = defaultdict(list)
    for row in rows:
        groups[row.role, row.via, row.key.source_id].append(row)
    return [_together(mine) for mine in groups.values()]


def _together(samples: Sequence[AnswerRow]) -> AnswerRow:
    scores = [score_of(row) for row in samples]
    wrong = Counter(row.outcome for row in samples if row.outcome != "right")
    outcome = wrong.most_common(1)[0][0] if wrong else "right"
    shown = next(row for row in samples if row.outcome == outcome)
    mean = sum(scores) / len(scores)
    return shown._replace(score=None if mean in (0.0, 1.0) else mean)


def without_incomplete(
    rows: Sequence[AnswerRow], samples: Samples | None
) -> tuple[Sequence[AnswerRow], list[str]]:
    """Return the answers without the examples that lack a sample, and what to say of them."""
    if samples is None:
        return rows, []
    n_of: Mapping[tuple[str, str, str], int] = Counter(
        (row.role, row.via, row.key.source_id) for row in rows
    )
    lacking = {source for (_, _, source), n in n_of.items() if n < samples.n}
    if not lacking:
        return rows, []
    said = f"{len(lacking)} example(s) are left out, as not all {samples.n} samples were answered."
    return [row for row in rows if row.key.source_id not in lacking], [said]
