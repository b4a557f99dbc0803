"""Answers and measurements of one training, kept where an interrupted one finds them again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.families import Target
from palimpsest.integrations.trainer.pace import Pace
from palimpsest.judging import (
    ALWAYS_VIA,
    Analysis,
    Settings,
    Via,
    analyse,
    distinct_vias,
    evaluate,
    fall_interval,
    parse_via,
    settings_for,
)
from palimpsest.lm import Prompt
from palimpsest.lm.models import Decided, Generation, LanguageModel, ScriptedModel
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import (
    FILE_NAME,
    AnswerRow,
    AnswerStore,
    Measurement,
    MeasurementLog,
    RunFolder,
)

_UNUSUAL = re.compile(r"[^\w.:/ -]+", re.ASCII)
"""Characters that loggers such as MLflow refuse in a name."""


_START = "start.sha256"
"""Holds what tells the weights that the training began with."""


@dataclass(frozen=True)
class Probe:
    """The same questions at every step: a suite, plain and under conjugations."""

    suite: Suite
    vias: tuple[Via, ...]
    """Plain first."""


def parse_probes(
    suite: str | Suite | Sequence[str | Suite], via: Sequence[str] | None, *, limit: int | None
) -> dict[str, Probe]:
    """Return what is asked, by the name of each suite.

    Args:
        suite: A suite or its spec, or several.
        via: Conjugations beside the plain prompts; by default those that suit any text.
        limit: At most so many source examples a cell, for a spec.

    Raises:
        UserError: A suite or a conjugation that cannot be used, or none, or one twice.
    """
    suites = [suite] if isinstance(suite, str | Suite) else list(suite)
    specs = ("identity", *(ALWAYS_VIA if via is None else via))
    probes = {}
    for one in suites:
        built = load_suite(one, limit=limit) if isinstance(one, str) else one
        vias = distinct_vias([parse_via(spec, built) for spec in specs])
        probes[built.name] = Probe(built, tuple(vias))
    if not probes or len(probes) < len(suites):
        raise UserError(
            f"The callback was given {len(suites)} suites, {len(probes)} of them different.",
            hint="Give at least one, and each once.",
        )
    return probes


class TrainingRecord:
    """Compares a model in training with its base, and keeps what comes out.

    Args:
        folder: Made with the first measurement.
        probes: What is asked, by name.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
    """

    def __init__(
        self, folder: Path, probes: Mapping[str, Probe], *, seed: int, n_resamples: int
    ) -> None:
        self._folder = folder
        self._probes = probes
        self._seed = seed
        self._n_resamples = n_resamples
        self._log = MeasurementLog(folder / FILE_NAME)
        self._base = ""
        self._base_rows: dict[str, list[AnswerRow]] = {}
        self._base_target: dict[str, float] = {}
        self._settings: dict[str, Settings] = {}

    def start(self, base: LanguageModel, current: LanguageModel) -> None:
        """Begin with a training: ask the base model.

        Raises:
            UserError: The folder cannot be written, or what the model raises.
        """
        self._log.start()
        self._ask_base(base, current)

    def resume(
        self, base: LanguageModel | None, current: LanguageModel, *, step: int
    ) -> list[Measurement]:
        """Go on where a training was interrupted; return what was measured up to that step.

        Args:
            base: As at the start; ``None`` for the model as it was when the training started, of
                which the answers are all that is left.
            current: The model as it is now.
            step: Where the training goes on.

        Raises:
            UserError: Answers of the base model are missing.
        """
        rows = self._log.resume(step=step)
        if base is None and not rows:
            raise UserError(
                f"The training goes on at step {step}, but '{self._log.path}' has no measurement "
                "of the model as it was at the start, so there is nothing to compare with.",
                hint="Name the base model with base=, or copy that folder from the earlier run.",
            )
        if rows:
            self._ask_base(base or _Gone(rows[0].base), current)
        elif base is not None:
            self.start(base, current)
        return rows

    def keep_start(self, digest: str) -> None:
        """Note what tells the weights at the start, for the training to be resumed.

        Raises:
            UserError: The folder cannot be written.
        """
        RunFolder(self._folder).write_text(_START, digest + "\n")

    def began_with(self, digest: str) -> bool:
        """Return whether the training that is resumed began with these weights."""
        path = self._folder / _START
        return path.is_file() and path.read_text("utf-8").strip() == digest

    def measure(
        self, model: LanguageModel, *, step: int, epoch: float, pace: Pace
    ) -> dict[str, Analysis]:
        """Ask the model, compare it with the base, and keep the result.

        Args:
            model: The model as it is at this step.
            step: Updates so far.
            epoch: Passes over the data so far.
            pace: Tells the times that are recorded with it.

        Raises:
            UserError: The folder cannot be written, or what the model raises.
        """
        analyses = {}
        with AnswerStore(self._answers) as store:
            for name, probe in self._probes.items():
                rows = [
                    *self._base_rows[name],
                    *self._ask(model, store, name, role="tuned"),
                ]
                # Over all cells together: a sample that is small enough for a training in progress
                # says little about a single one.
                analyses[name] = analyse(
                    [row._replace(cell="all") for row in rows],
                    vias=probe.vias[1:],
                    seed=self._seed,
                    n_resamples=self._n_resamples,
                    chance=probe.suite.chance,
                )
        self._log.append(
            [
                Measurement(
                    step=step,
                    epoch=epoch,
                    suite=name,
                    base=self._base,
                    plain=found.plain,
                    conjugations=found.conjugations,
                    best=found.best,
                    verdict=found.verdict,
                    verdict_reason=found.verdict_reason,
                    measuring_seconds=pace.measuring_seconds,
                    training_seconds=pace.training_seconds,
                )
                for name, found in analyses.items()
            ]
        )
        return analyses

    @property
    def suites(self) -> list[str]:
        """The names of what is asked."""
        return list(self._probes)

    def plain_scores(self, model: LanguageModel, target: Target) -> tuple[float, float]:
        """Return how often a model is right, asked plainly, and what it has gained on a target.

        Args:
            model: The base at the first call.
            target: What is tuned for.

        Raises:
            UserError: The folder cannot be written, or what the model raises.
        """
        right: list[float] = []
        role = "tuned" if self._base_target else "base"
        with AnswerStore(self._answers) as store:
            for name, probe in self._probes.items():
                plain = evaluate(
                    model,
                    probe.suite,
                    probe.vias[:1],
                    store=store,
                    role=role,
                    settings=self._settings[name],
                )
                right += [float(row.outcome == "right") for row in plain]
            suite = target.suite
            rows = evaluate(
                model,
                suite,
                [parse_via("identity", suite)],
                store=store,
                role=role,
                settings=target.settings([model]),
            )
        scores = target.scores(rows)
        self._base_target = self._base_target or scores
        gain = target.gain(target.mean(scores), target.mean(self._base_target))
        return sum(right) / len(right), float(gain)

    @property
    def _answers(self) -> Path:
        return self._folder / "answers.sqlite"

    def _ask_base(self, base: LanguageModel, current: LanguageModel) -> None:
        self._base = base.fingerprint
        with AnswerStore(self._answers) as store:
            for name, probe in self._probes.items():
                self._settings[name] = settings_for(probe.suite, [base, current])
                self._base_rows[name] = self._ask(base, store, name, role="base")

    def _ask(
        self, model: LanguageModel, store: AnswerStore, name: str, *, role: str
    ) -> list[AnswerRow]:
        probe, settings = self._probes[name], self._settings[name]
        return evaluate(model, probe.suite, probe.vias, store=store, role=role, settings=settings)


class _Gone(ScriptedModel):
    """The model that a training started from, after its weights have changed."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(
            lambda prompt: "",
            name="the model at the start of the training",
            fingerprint=fingerprint,
        )

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        raise _refusal(len(prompts))

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        if prompts:
            raise _refusal(len(prompts))
        return []


def _refusal(n: int) -> UserError:
    return UserError(
        f"{n} prompts were not asked when the training started, and the model as it was then is "
        "gone.",
        hint="Resume with the suites, conjugations and limit of the start, or give base=.",
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
