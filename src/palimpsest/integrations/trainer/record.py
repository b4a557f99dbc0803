"""The answers and measurements of one training, kept where an interrupted one finds them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.integrations.trainer.pace import Pace
from palimpsest.integrations.trainer.probe import Probe
from palimpsest.judging.analysis import Analysis
from palimpsest.judging.questions import Settings
from palimpsest.lm.models.protocol import Decided, Generation, LanguageModel
from palimpsest.lm.prompts import Prompt
from palimpsest.records.answers import AnswerRow
from palimpsest.records.measurements import FILE_NAME, Measurement, MeasurementLog
from palimpsest.records.store import AnswerStore


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
                rows = probe.ask(model, store, self._settings[name], role="tuned")
                analyses[name] = probe.compare(
                    [*self._base_rows[name], *rows], seed=self._seed, n_resamples=self._n_resamples
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
    def _answers(self) -> Path:
        return self._folder / "answers.sqlite"

    def _ask_base(self, base: LanguageModel, current: LanguageModel) -> None:
        self._base = base.fingerprint
        with AnswerStore(self._answers) as store:
            for name, probe in self._probes.items():
                settings = probe.settings([base, current])
                self._settings[name] = settings
                self._base_rows[name] = probe.ask(base, store, settings, role="base")


class _Gone:
    """The model that a training started from, after its weights have changed."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.spec = "the model at the start of the training"

    def describe(self) -> Mapping[str, str]:
        return {}

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        raise self._refusal(len(prompts))

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        if prompts:
            raise self._refusal(len(prompts))
        return []

    def close(self) -> None:
        pass

    def _refusal(self, n: int) -> UserError:
        return UserError(
            f"{n} prompts were not asked when the training started, and the model as it was then "
            "is gone.",
            hint="Resume with the suites, conjugations and limit of the start, or give base=.",
        )
