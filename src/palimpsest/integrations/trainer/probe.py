"""A suite, plain and under conjugations, that one model after the other is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.diagnose import ALWAYS_VIA
from palimpsest.judging.evaluate import evaluate, settings_for
from palimpsest.judging.questions import Settings
from palimpsest.judging.verdicts import fall_interval
from palimpsest.judging.via import Via, distinct_vias, parse_via
from palimpsest.lm.models.protocol import LanguageModel
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.suite import Suite
from palimpsest.records.answers import AnswerRow
from palimpsest.records.store import AnswerStore

_UNUSUAL = re.compile(r"[^\w.:/ -]+", re.ASCII)
"""Characters that loggers such as MLflow refuse in a name."""


@dataclass(frozen=True)
class Probe:
    """The same questions at every step."""

    suite: Suite
    vias: tuple[Via, ...]
    """Plain first."""

    @classmethod
    def of(cls, suite: str | Suite, via: Sequence[str] | None, *, limit: int | None) -> Probe:
        """Build a probe from what the user wrote.

        Args:
            suite: A suite, or its spec.
            via: Conjugations beside the plain prompts; by default those that suit any text.
            limit: At most so many source examples a cell, for a spec.

        Raises:
            UserError: A suite or a conjugation that cannot be used.
        """
        built = load_suite(suite, limit=limit) if isinstance(suite, str) else suite
        specs = ("identity", *(ALWAYS_VIA if via is None else via))
        return cls(built, tuple(distinct_vias([parse_via(spec, built) for spec in specs])))

    def settings(self, models: Sequence[LanguageModel]) -> Settings:
        """Return how all the models are asked."""
        return settings_for(self.suite, models)

    def ask(
        self, model: LanguageModel, store: AnswerStore, settings: Settings, *, role: str
    ) -> list[AnswerRow]:
        """Return the model's answers, which the store keeps."""
        return evaluate(model, self.suite, self.vias, store=store, role=role, settings=settings)

    def compare(self, rows: Sequence[AnswerRow], *, seed: int, n_resamples: int) -> Analysis:
        """Return what the answers of base and tuned model say, over all cells together.

        A sample that is small enough for a training in progress says little about a single cell.
        """
        return analyse(
            [row._replace(cell="all") for row in rows],
            vias=self.vias[1:],
            seed=seed,
            n_resamples=n_resamples,
            chance=self.suite.chance,
        )


def scalars(analysis: Analysis, *, prefix: str = "") -> dict[str, float]:
    """Return the figures as a logger takes them: numbers under short names.

    What is undefined, such as the recovery where nothing was forgotten, is left out.
    """
    return {
        _UNUSUAL.sub("_", prefix + name): float(value)
        for name, value in _figures(analysis)
        if value is not None
    }


def _figures(analysis: Analysis) -> Iterator[tuple[str, float | None]]:
    plain, best = analysis.plain, analysis.best
    yield from _with_ends("forgetting", plain.forgetting, fall_interval(plain))
    if best is not None:
        yield from _with_ends("recovery", best.recovery, best.recovery_ci95)
    yield "suppressed", analysis.verdict == "suppressed"
    yield "lost", analysis.verdict == "lost"
    yield "n_examples", plain.tuned.n
    yield "n_right_to_wrong", plain.n_lost
    yield "n_wrong_to_right", plain.n_gained
    yield from _with_ends("accuracy/plain", plain.tuned.accuracy, plain.tuned.ci95)
    for found in analysis.conjugations:
        yield from _with_ends(f"accuracy/{found.name}", found.tuned.accuracy, found.tuned.ci95)
        yield from _with_ends(f"recovery/{found.name}", found.recovery, found.recovery_ci95)


def _with_ends(
    name: str, value: float | None, interval: tuple[float, float] | None
) -> Iterator[tuple[str, float | None]]:
    low, high = (None, None) if interval is None else interval
    yield name, value
    yield f"{name}_low", low
    yield f"{name}_high", high


def reached(analyses: Mapping[str, Analysis], limit: float) -> str | None:
    """Say which suite has surely lost as much as the limit, if one has.

    It is the lower end of the interval that counts, so that no run is stopped for noise.
    """
    for name, analysis in analyses.items():
        low, high = fall_interval(analysis.plain)
        if low >= limit:
            return (
                f"the forgetting on '{name}' is {analysis.plain.forgetting:.3f} (95 % interval "
                f"{low:.3f} to {high:.3f}), and the limit is {limit:g}"
            )
    return None
