"""Target: what the tuned model was tuned for, a suite or held-out text, and how it is scored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.errors import UserError
from palimpsest.families.text_rows import read_text_suite
from palimpsest.files import digest, digest_json
from palimpsest.judging import Settings, settings_for
from palimpsest.lm.models import LanguageModel
from palimpsest.lm.suites import Example, Suite, load_suite
from palimpsest.records import THRESHOLDS, AnswerRow, TargetInfo, score_of

Array = npt.NDArray[np.float64]

TEXT = "text:"
"""How a target begins that is a file of text."""


@dataclass(frozen=True)
class Target:
    """What the tuned model was tuned for, with the unit of its scores."""

    suite: Suite
    """Its examples; of text, each has its continuation as the only choice."""

    is_text: bool = False

    n_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of the continuation of each example of text, in UTF-8."""

    def settings(self, models: Iterable[LanguageModel]) -> Settings:
        """Return how the models are asked, all alike.

        Raises:
            UserError: The likelihood of text is wanted of a model that cannot tell.
        """
        settings = settings_for(self.suite, models)
        if self.is_text and not settings.by_likelihood:
            raise UserError(
                f"How likely the text of '{self.suite.name}' is cannot be asked: a model gives "
                "answers alone.",
                hint="Name a suite with --target, or models as files: hf:FOLDER_OR_ID.",
            )
        return settings

    def scores(self, rows: Iterable[AnswerRow]) -> dict[str, float]:
        """Return a number for each example: a score from 0 to 1; of text, bits a byte.

        A text that is too long for a model's context has none.
        """
        if not self.is_text:
            return {row.key.source_id: score_of(row) for row in rows}
        bits = {row.key.source_id: _bits(row) for row in rows}
        return {name: value for name, value in bits.items() if math.isfinite(value)}

    def mean(self, scores: Mapping[str, float]) -> float:
        """Return the accuracy, or the bits a byte of all text together."""
        names = sorted(scores)
        return float(self.means(np.array([[scores[name]] for name in names]), names)[0])

    def means(self, values: Array, names: list[str]) -> Array:
        """Return the score of each column over examples with these names."""
        weights = self.weights(names)
        found: Array = weights @ values / weights.sum()
        return found

    def weights(self, names: list[str]) -> Array:
        """Return what each example counts: one; of text, its bytes."""
        return np.array([self.n_bytes.get(name, 1) for name in names], dtype=np.float64)

    def gain(self, score: npt.ArrayLike, base: npt.ArrayLike) -> Array:
        """Return what a score is better than the base's, so that more is better in both units.

        Accuracy: the difference. Bits: the share of the base's that is saved, 1 − score / base.
        """
        mine, before = np.asarray(score, np.float64), np.asarray(base, np.float64)
        found: Array = 1 - mine / before if self.is_text else mine - before
        return found

    def for_training(self, n: int) -> list[Example]:
        """Return some examples that a healing may be trained on, the same at every call.

        They are chosen by a hash of their names, and are a quarter of all at most. Who judges what
        was trained on them leaves them out (:meth:`without`).

        Args:
            n: How many are wanted.

        Raises:
            UserError: Too few would be left to judge by.
        """
        examples = self.suite.in_language(self.suite.source_language)
        n_taken = min(n, len(examples) // 4)
        if not n_taken or len(examples) - n_taken < THRESHOLDS.min_examples:
            raise UserError(
                f"'{self.suite.name}' has {len(examples)} examples. A healing is trained on a "
                "quarter at most of what the model was tuned for, and at least "
                f"{THRESHOLDS.min_examples} others are needed to judge it by.",
                hint="Raise --limit, or name a --target with more examples.",
            )
        return sorted(examples, key=lambda each: digest(f"healing {each.source_id}"))[:n_taken]

    def without(self, digests: frozenset[str]) -> Target:
        """Return the target without the examples that have been trained on.

        Args:
            digests: Of their prompts, as :func:`example_digest` has them.
        """
        gone = {
            each.source_id for each in self.suite.examples if example_digest(each, self) in digests
        }
        left = tuple(each for each in self.suite.examples if each.source_id not in gone)
        if not gone:
            return self
        return replace(self, suite=replace(self.suite, examples=left))

    def info(self) -> TargetInfo:
        """Return what the records say of it."""
        return TargetInfo(
            name=self.suite.name,
            unit="bits a byte" if self.is_text else "accuracy",
            fingerprint=self.suite.fingerprint,
            n_examples=len(self.suite.in_language(self.suite.source_language)),
            description=self.suite.description,
        )


class ScoredExamples(NamedTuple):
    """Scores of several models on the same examples."""

    names: list[str]
    """The source examples, sorted."""

    values: Array
    """(n_examples, n_models)."""

    models: list[str]

    def of(self, model: str) -> Array:
        """Return one model's scores."""
        column: Array = self.values[:, self.models.index(model)]
        return column

    def among(self, names: Iterable[str]) -> ScoredExamples:
        """Return those of some examples."""
        wanted = set(names)
        rows = [row for row, name in enumerate(self.names) if name in wanted]
        return ScoredExamples([self.names[row] for row in rows], self.values[rows], self.models)


def together(scores: Mapping[str, Mapping[str, float]]) -> ScoredExamples:
    """Return the scores of models on all examples that every one of them has a score for."""
    names = sorted(set.intersection(*(set(each) for each in scores.values())))
    values = np.array([[each[name] for each in scores.values()] for name in names])
    return ScoredExamples(names, values.reshape(len(names), len(scores)), list(scores))


def load_target(spec: str, *, limit: int | None = None) -> Target:
    """Return what a spec names: a suite, or ``text:FILE``.

    Args:
        spec: As typed.
        limit: At most so many examples a cell.

    Raises:
        UserError: A suite or a file that cannot be used.
    """
    if not spec.startswith(TEXT):
        return Target(load_suite(spec, limit=limit))
    suite = read_text_suite(Path(spec.removeprefix(TEXT)), name=spec, limit=limit)
    n_bytes = {each.source_id: len(each.choices[0].encode()) for each in suite.examples}
    return Target(suite, is_text=True, n_bytes=n_bytes)


def example_digest(example: Example, target: Target) -> str:
    """Return what tells whether an example was trained on: its prompt, and of text all of it."""
    prompt = example.prompt
    plain = prompt if isinstance(prompt, str) else [[each.role, each.content] for each in prompt]
    return digest_json([plain, *(example.choices if target.is_text else ())])


def _bits(row: AnswerRow) -> float:
    [(text, log_probability)] = json.loads(row.raw).items()
    if log_probability is None:
        return math.nan
    return -float(log_probability) / math.log(2) / len(text.encode())
