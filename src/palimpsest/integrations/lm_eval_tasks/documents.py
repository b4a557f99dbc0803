"""Documents of a task of lm-evaluation-harness: what is asked, and what answers are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm import TIE, Likelihood, is_tie

KINDS = ("generate_until", "multiple_choice", "loglikelihood")
"""The types of output that can be asked for."""


@dataclass(frozen=True, eq=False)
class HarnessDocument:
    """One document of a task with its requests, judged by the task itself."""

    task: Any
    """A ``ConfigurableTask``."""

    doc: Mapping[str, Any]
    requests: tuple[Any, ...]
    """``Instance`` objects as the harness would send them; one for each choice."""

    metric: str = ""
    filter: str = ""

    @property
    def kind(self) -> str:
        """The type of output, one of :data:`KINDS`."""
        return str(self.task.OUTPUT_TYPE)

    def metrics(self, replies: Sequence[Any]) -> dict[str, Any]:
        """Return what the harness makes of the replies, one for each request.

        Args:
            replies: Texts, or pairs of a natural-log probability and whether it is the greedy
                continuation.
        """
        from lm_eval.api.instance import Instance

        instance: Any = Instance  # the harness is untyped
        answered = [
            instance(
                each.request_type,
                each.doc,
                each.arguments,
                each.idx,
                each.metadata,
                resps=[reply] * (each.repeats or 1),
            )
            for each, reply in zip(self.requests, replies, strict=True)
        ]
        filters: dict[str, Any] = {each.name: each for each in self.task._filters}
        filters[self.filter].apply(answered)
        found = self.task.process_results(
            self.doc, [each.filtered_resps[self.filter] for each in answered]
        )
        return dict(found)

    def grade_of_text(self, answer: str) -> float:
        """Return the metric of a generated answer, from 0 to 1.

        Raises:
            UserError: The task fails on it.
        """
        return _grade_of_text(self, answer)

    def grade_of_likelihoods(self, likelihoods: Sequence[Likelihood]) -> float:
        """Return the metric of choices that are so likely.

        Raises:
            UserError: It depends on which is the greedy one, and the model does not tell.
        """
        # The harness computes all metrics at once, and this one may not be among those that ask.
        asks = self.metric not in ("acc", "acc_norm", "acc_bytes") or self.kind == "loglikelihood"
        untold = Untold(self) if asks or callable(self.task.config.process_results) else False
        return self._grade(
            [
                (each.log_probability, untold if each.greedy is None else each.greedy)
                for each in likelihoods
            ]
        )

    def choice(self, likelihoods: Sequence[Likelihood]) -> tuple[str, bool]:
        """Return the choice that the metric takes for the answer, and whether it is a tie.

        Of a single continuation, it is the answer if it is the greedy one.
        """
        if self.kind == "loglikelihood":
            [only] = likelihoods
            tied = only.margin is not None and abs(only.margin) <= TIE
            return (self.requests[0].args[1] if only.greedy else ""), tied
        choices = self.task.doc_to_choice(self.doc)
        sizes = {
            "acc_norm": [len(choice) for choice in choices],
            "acc_bytes": [len(choice.encode()) for choice in choices],
        }.get(self.metric, [1] * len(choices))
        sizes = [max(size, 1) for size in sizes]
        scores = [each.log_probability for each in likelihoods]
        weighed = [score / size for score, size in zip(scores, sizes, strict=True)]
        return str(choices[weighed.index(max(weighed))]), is_tie(weighed, sizes)

    def _grade(self, replies: Sequence[Any]) -> float:
        name = self.task.config.task
        try:
            value = self.metrics(replies)[self.metric]
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"The task '{name}' fails on an answer to its document "
                f"{self.requests[0].doc_id}: {error!r:.300}.",
                hint="Its filters or process_results cannot read such an answer; choose another "
                "metric= or filter=, or leave the task out.",
            ) from error
        grade = _fraction(value)
        if grade is None:
            raise UserError(
                f"The metric '{self.metric}' of the task '{name}' is {value!r:.100} for the "
                f"document {self.requests[0].doc_id}; expected a number from 0 to 1.",
                hint="Choose another with metric=NAME.",
            )
        return grade


@lru_cache(maxsize=4096)
def _grade_of_text(document: HarnessDocument, answer: str) -> float:
    if document.kind != "generate_until":
        raise UserError(
            f"The task '{document.task.config.task}' asks how likely given texts are, which one of "
            "these models cannot say.",
            hint="Ask both through hf:, or choose a task of the type generate_until.",
        )
    return document._grade([answer])


class Untold:
    """Stands for what a model does not say: whether a continuation is its greedy one."""

    def __init__(self, document: HarnessDocument) -> None:
        self._document = document

    def __bool__(self) -> bool:
        raise UserError(
            f"The metric '{self._document.metric}' of the task "
            f"'{self._document.task.config.task}' asks whether a continuation is the one that the "
            "model would give itself, which this one does not say.",
            hint="Ask through hf:, or choose another metric with metric=NAME.",
        )

    def __int__(self) -> int:
        return int(bool(self))


def judged_by(
    document: HarnessDocument, metric: str | None, filter_name: str | None
) -> tuple[str, str]:
    """Return the names of the metric and of the filter by which a task's answers are judged.

    The first filter by default, and the first metric that is a number from 0 to 1.

    Raises:
        UserError: There is none such.
    """
    task, name = document.task, document.task.config.task
    filters = [ensemble.name for ensemble in task._filters]
    if filter_name is not None and filter_name not in filters:
        raise UserError(
            f"The task '{name}' has no filter '{filter_name}'.{did_you_mean(filter_name, filters)}",
            hint=f"It has: {', '.join(filters)}.",
        )
    chosen = filter_name or filters[0]
    usable = _usable(document, chosen)
    if metric in (None, *usable) and usable:
        return metric or usable[0], chosen
    known = ", ".join(usable) or "none"
    if metric is None:
        raise UserError(
            f"The task '{name}' has no metric that is a number from 0 to 1 for each document "
            f"(its metrics: {', '.join(task._metric_fn_list) or 'none'}).",
            hint="Such a task cannot be judged item by item; leave it out.",
        )
    raise UserError(
        f"The task '{name}' has no metric '{metric}' that is a number from 0 to 1 for each "
        f"document.{did_you_mean(metric, usable)}",
        hint=f"It has: {known}. acc_mutual_info, perplexities, and what is defined for all "
        "documents together (f1, mcc, bleu) cannot be carried over.",
    )


def _usable(document: HarnessDocument, filter_name: str) -> list[str]:
    """Return the metrics that are fractions, by trying them on an answer of no worth."""
    probe = HarnessDocument(document.task, document.doc, document.requests, filter=filter_name)
    is_text = document.kind == "generate_until"
    better = document.task.higher_is_better()
    replies = ["" if is_text else (-1.0 - at, False) for at, _ in enumerate(document.requests)]
    try:
        found = {name for name, value in probe.metrics(replies).items() if _is_number(value)}
        names = [name for name in probe.metrics(replies) if name in found]
    except Exception:  # of a task's own code, which may not know empty answers
        names = list(document.task._metric_fn_list)
    return [name for name in names if better.get(name, True) and name != "bypass"]


def _is_number(value: Any) -> bool:
    return _fraction(value) is not None


def _fraction(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= 1 else None
