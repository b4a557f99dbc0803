"""Stages of a run: each leaves a file when it is done, and a finished one is not done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from palimpsest.lab.measuring.bench import Bench, curve_steps, measure_losses
from palimpsest.lab.predictors.transformer import (
    Transformer,
    load_transformer,
    save_transformer,
)
from palimpsest.lab.problem.problem import Problem
from palimpsest.lab.runs.config import Config
from palimpsest.lab.training.loop import Running
from palimpsest.lab.training.remedies import Remedy
from palimpsest.lab.training.train import finetune, pretrain
from palimpsest.records.lab_results import Losses, Remedied
from palimpsest.records.run_folder import RunFolder
from palimpsest.training.devices import chosen_device
from palimpsest.training.progress import Progress

OnStage = Callable[[str, Progress | None], None]
"""Told the name of a stage as it begins, and of each of its updates if it is a training."""


@dataclass(frozen=True, eq=False)
class Stages:
    """A run's stages in its folder.

    Args:
        config: The run's.
        folder: Where everything is kept.
        on_stage: Whom to tell.
    """

    config: Config
    folder: RunFolder
    on_stage: OnStage

    def base(self, given: Path | None = None) -> Transformer:
        """Return the pretrained model: trained, or taken up where it was left, or read.

        Args:
            given: A model that was pretrained elsewhere by the same configuration.
        """
        path = given or self.folder.path / "base.safetensors"
        problem = self.config.problem
        if not path.exists():
            with self.timed("pretraining") as name:
                model = pretrain(
                    problem,
                    self.config.transformer,
                    self.config.pretrain,
                    running=self._running(name),
                )
                save_transformer(model, path, task_fingerprint=problem.task_fingerprint)
            self._forget(name)
        return self._loaded(path, problem.task_fingerprint)

    def tuned(self, base: Transformer) -> tuple[Transformer, list[Losses]]:
        """Return the tuned model, and how its losses went."""
        path = self.folder.path / "tuned.safetensors"
        problem = self.config.tuned_problem
        if not path.exists():
            with self.timed("fine-tuning") as name:
                model = self._finetune(base, self._measuring(name))
                save_transformer(model, path, task_fingerprint=problem.task_fingerprint)
            self._forget(name)
        curve = sorted(self._curve().values(), key=lambda one: one.step)
        return self._loaded(path, problem.task_fingerprint), curve

    def remedied(self, base: Transformer, tuned: Transformer) -> Iterator[Remedied]:
        """Yield how each remedy does."""
        for name, remedy in self.config.tried.items():
            kind, strength = name.split()
            file = f"remedies/{kind}-{strength}.json"
            if not (self.folder.path / file).exists():
                with self.timed(name):
                    if remedy.is_training:
                        model = self._finetune(base, self._running(name), remedy)
                    else:
                        model = remedy.end(base, tuned)
                    found = measure_losses(self.config.finetune.n_steps, model, self._curve_bench)
                    losses = found.model_dump(include={"disc", "cont", "cont_ensemble"})
                    record = {"name": name, "kind": kind, "strength": float(strength)} | losses
                    self.folder.write_json(file, record)
                self._forget(name)
            yield Remedied.model_validate_json(self.folder.read_text(file))

    def bench(self, problem: Problem, n_prompts: int) -> Bench:
        """Return the prompts that models are measured on."""
        return Bench(problem, self.config.measure, self.config.seed, n_prompts)

    @contextmanager
    def timed(self, name: str) -> Iterator[str]:
        """Tell of a stage, and add up how long it takes over all sessions."""
        self.on_stage(name, None)
        start = time.monotonic()
        try:
            yield name
        finally:
            seconds = self.seconds()
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - start, 2)
            self.folder.write_json("seconds.json", seconds)

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took."""
        if not (self.folder.path / "seconds.json").exists():
            return {}
        found: dict[str, float] = json.loads(self.folder.read_text("seconds.json"))
        return found

    @cached_property
    def _curve_bench(self) -> Bench:
        return self.bench(self.config.tuned_problem, self.config.measure.n_curve_prompts)

    def _finetune(self, base: Transformer, running: Running, *remedies: Remedy) -> Transformer:
        config = self.config
        return finetune(
            base,
            config.tuned_problem,
            config.finetune,
            remedies=remedies,
            pretraining_problem=config.problem,
            running=running,
        )

    def _measuring(self, name: str) -> Running:
        """Return a running that keeps the losses at the steps of the curve."""
        curve = self._curve()

        def measure(step: int, model: Transformer) -> None:
            curve[step] = measure_losses(step, model, self._curve_bench)
            self.folder.write_json("curve.json", [one.model_dump() for one in curve.values()])

        steps = curve_steps(self.config.finetune.n_steps, self.config.measure.n_curve_points)
        return replace(self._running(name), measure=measure, measure_at=steps)

    def _running(self, name: str) -> Running:
        logs = self.folder.path / "tensorboard" / _slug(name)
        return Running(
            checkpoint=self._state(name),
            device=self.config.device,
            on_progress=lambda progress: self.on_stage(name, progress),
            tensorboard=logs if self.config.tensorboard else None,
        )

    def _curve(self) -> dict[int, Losses]:
        if not (self.folder.path / "curve.json").exists():
            return {}
        rows = json.loads(self.folder.read_text("curve.json"))
        return {row["step"]: Losses.model_validate(row) for row in rows}

    def _loaded(self, path: Path, task_fingerprint: str) -> Transformer:
        config = self.config.transformer
        model = load_transformer(path, config=config, task_fingerprint=task_fingerprint)
        return model.to(chosen_device(self.config.device))

    def _state(self, name: str) -> Path:
        return self.folder.path / "training" / f"{_slug(name)}.safetensors"

    def _forget(self, name: str) -> None:
        """Remove the state of a finished training: weights and moments thrice the model's size."""
        self._state(name).unlink(missing_ok=True)


def _slug(name: str) -> str:
    return name.replace(" ", "-")
