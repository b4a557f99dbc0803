"""Runs and their stages: each stage leaves a file when it is done, and is not done again."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from palimpsest.errors import UserError
from palimpsest.files import read_bytes, sha256_of
from palimpsest.lab.measuring import (
    Bench,
    check_base,
    compare,
    curve_steps,
    measure_convergence,
    measure_losses,
)
from palimpsest.lab.predictors import Transformer, load_transformer, save_transformer
from palimpsest.lab.problem import Problem
from palimpsest.lab.runs.config import PLAIN, Config
from palimpsest.lab.training import Remedy, Running, Training, finetune, pretrain
from palimpsest.records import (
    LabProvenance,
    LabResults,
    Losses,
    Remedied,
    RunFolder,
    WriterLock,
    commit_of,
    platform_facts,
    versions,
)
from palimpsest.report.lab import with_findings
from palimpsest.training import (
    Progress,
    chosen_device,
    differences,
    fingerprint,
    read_tensors,
    saved_step,
)

_CRITERION_SEEDS = 2000
"""Whether a model has converged is judged on prompts from seeds this much higher."""

_MAY_DIFFER = ("name", "device", "n_threads", "tensorboard")
"""Keys that change nothing of the result; so do ``save_every`` and more or fewer remedies."""

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

    def base(self, given: Path | None = None, *, goes_on: bool = False) -> Transformer:
        """Return the pretrained model: trained, or taken up where it was left, or read.

        Args:
            given: A model that was pretrained elsewhere by the same configuration.
            goes_on: Keep the state of the training, to be continued with more steps.
        """
        path = self.folder.path / "base.safetensors"
        if given is not None:
            model = self._loaded(given, self.config.problem.task_fingerprint)
            if not path.exists():
                self.folder.write_bytes(path.name, read_bytes(given))
            elif sha256_of(path) != sha256_of(given):
                raise UserError(
                    f"The folder '{self.folder.path}' holds a run from another base than "
                    f"'{given}'.",
                    hint="Choose another folder with --out.",
                )
            return model
        self._reopen()
        if not path.exists():
            self._pretrain(path, goes_on=goes_on)
        return self._loaded(path, self.config.problem.task_fingerprint)

    def n_pretrained(self) -> int | None:
        """Return the updates that made the base model, where its file says."""
        found: int | None = read_tensors(self.folder.path / "base.safetensors").facts.get("n_steps")
        return found

    @property
    def n_saved(self) -> int:
        """Updates of the pretraining whose state is kept here; zero where none is."""
        state = self._state("pretraining")
        return saved_step(state) if state.exists() else 0

    @property
    def can_continue(self) -> bool:
        """Whether the pretraining that is asked for would have come by the state that is here.

        It would not if it ends before, or might have: where it ends when it has converged, and
        nobody looked at some step, or somebody saw that it had.
        """
        asked, n_saved = self.config.pretrain, self.n_saved
        if n_saved > asked.n_steps:
            return False
        if asked.until == "steps":
            return True
        # The loop looks at the step that is saved once more.
        seen = {one["step"]: one.get("has_converged", False) for one in self.looks()}
        before = range(asked.check_every, n_saved, asked.check_every)
        return not any(seen.get(step, True) for step in before)

    def is_converged(self, step: int, model: Transformer) -> bool:
        """Tell whether a base model has converged, on prompts that no report measures it on.

        What is found goes into ``convergence.json``.
        """
        found = measure_convergence(model, self._criterion)
        look = {
            "step": step,
            "share_of_mixture": found.share_of_mixture,
            "alpha": found.alpha.value,
            "alpha_ci95": found.alpha.ci95,
            "has_converged": found.holds,
        }
        looks = [one for one in self.looks() if one["step"] < step]
        self.folder.write_json("convergence.json", [*looks, look])
        return found.holds

    def looks(self) -> list[dict[str, Any]]:
        """Return what was found at each look at a pretraining."""
        if not (self.folder.path / "convergence.json").exists():
            return []
        found: list[dict[str, Any]] = json.loads(self.folder.read_text("convergence.json"))
        return found

    def _pretrain(self, path: Path, *, goes_on: bool) -> None:
        """Pretrain; the state is kept where the training may go on from it."""
        config = self.config
        with self.timed("pretraining") as name:
            model = pretrain(
                config.problem,
                config.transformer,
                config.pretrain,
                is_converged=self.is_converged,
                running=self._running(name),
            )
            n_steps = saved_step(self._state(name))
            save_transformer(
                model, path, task_fingerprint=config.problem.task_fingerprint, n_steps=n_steps
            )
        has_met_limit = config.pretrain.until == "converged" and n_steps == config.pretrain.n_steps
        if not (goes_on or has_met_limit):
            self._forget(name)

    def _reopen(self) -> None:
        """Remove what was made of a model that met a lower limit before it had converged."""
        state = self._state("pretraining")
        if not state.exists() or saved_step(state) >= self.config.pretrain.n_steps:
            return
        for name in ("base.safetensors", "tuned.safetensors", "curve.json", "results.json"):
            (self.folder.path / name).unlink(missing_ok=True)
        for path in (*self.folder.path.glob("remedies/*"), *state.parent.iterdir()):
            if path != state:
                path.unlink()

    def tuned(self, base: Transformer) -> tuple[Transformer, list[Losses]]:
        """Return the tuned model, and how its losses went."""
        path = self.folder.path / "tuned.safetensors"
        problem = self.config.tuned_problem
        if not path.exists():
            with self.timed("fine-tuning") as name:
                model = self._finetune(base, self._measuring(name), *self.config.tuning_remedies)
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
    def _criterion(self) -> Bench:
        config = self.config
        return Bench(
            config.problem, config.measure, config.seed + _CRITERION_SEEDS, config.measure.n_prompts
        )

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
        return self.folder.path / "training" / f"{name.replace(' ', '-')}.safetensors"

    def _forget(self, name: str) -> None:
        """Remove the state of a finished training: weights and moments thrice the model's size."""
        self._state(name).unlink(missing_ok=True)


def run(
    config: Config,
    out: Path | str,
    *,
    base: Path | None = None,
    command: str = "",
    report: bool = True,
    on_stage: OnStage = lambda name, progress: None,
) -> LabResults:
    """Do a whole run, or what is left of it, and return its results.

    Writes ``results.json``, and for a report ``report.html``, the figures and the tables.

    Args:
        config: What to do.
        out: The run folder; an earlier run of the same configuration is continued.
        base: A model that was pretrained elsewhere by the same configuration.
        command: What to write down as the command that repeats the run.
        report: Whether to draw figures and write the report.
        on_stage: Told of every stage and every update.

    Raises:
        UserError: There are several processes; the folder belongs to something else, is in use,
            or cannot be written; a training diverged.
        KeyboardInterrupt: Ctrl-C, once everything is saved.
    """
    check_alone()
    folder = RunFolder.create(out)
    lock = WriterLock(folder.path / "run.lock")
    try:
        check_same_run(folder, config)
        commit = commit_of(Path.cwd())
        folder.record(
            {
                "lab": config.to_dict(),
                "command": command,
                "versions": versions(),
                "commit": commit,
                "platform": platform_facts(),
            }
        )
        use_threads(config)
        stages = Stages(config, folder, on_stage)
        results = _measured(stages, base, command=command, commit=commit)
        folder.write_text("results.json", results.to_json() + "\n")
        if report:
            from palimpsest.report import write_lab_report

            with stages.timed("report"):
                write_lab_report(folder.path, results)
    finally:
        lock.release()
    return results


def _measured(
    stages: Stages, given: Path | None, *, command: str, commit: str | None
) -> LabResults:
    config = stages.config
    base = stages.base(given)
    with stages.timed("check"):
        check = check_base(base, stages.bench(config.problem, config.measure.n_prompts))
        check = check.model_copy(update={"n_steps": stages.n_pretrained()})
    tuned, curve = stages.tuned(base)
    remedied = list(stages.remedied(base, tuned))
    with stages.timed("evaluation"):
        bench = stages.bench(config.tuned_problem, config.measure.n_prompts)
        compared = compare(base, tuned, bench)
    provenance = LabProvenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        config=config.to_dict(),
        models={"base": fingerprint(base), "tuned": fingerprint(tuned)},
        versions=versions(),
        platform=platform_facts(),
        device=_device_name(config),
        commit=commit,
        seconds=stages.seconds(),
    )
    results = LabResults(
        name=config.name,
        check=check,
        curve=curve,
        remedies=remedied,
        findings=[],
        provenance=provenance,
        **compared,
    )
    return with_findings(results)


def use_threads(config: Config) -> None:
    """Give PyTorch the threads that a configuration says, if it says."""
    if config.n_threads is not None:
        torch.set_num_threads(config.n_threads)


def check_alone() -> None:
    """Refuse to be one of several processes.

    Raises:
        UserError: There are several.
    """
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if n > 1:
        raise UserError(
            f"A run of the laboratory is one process; this is one of {n}.",
            hint="Start it without torchrun. To share one training among processes, call "
            "palimpsest.lab.training.pretrain from a program of your own; to do many runs side by "
            "side, use 'palimpsest lab sweep'.",
        )


def check_same_run(folder: RunFolder, config: Config) -> None:
    """Refuse a folder that holds something else than an unfinished or finished run of this.

    Raises:
        UserError: It does.
    """
    before = folder.config
    if not before:
        return
    if "lab" not in before:
        raise UserError(
            f"The folder '{folder.path}' holds something else than a run of the laboratory.",
            hint="Choose another folder with --out.",
        )
    if differing := config_differences(before["lab"], config):
        raise UserError(
            f"The folder '{folder.path}' holds a run of another configuration: {differing}.",
            hint="Choose another folder with --out, or the settings that it was made with.",
        )


def config_differences(before: Mapping[str, Any], config: Config) -> str:
    """Return in words where an earlier configuration differs in what determines a run's figures."""
    may_differ = {*_MAY_DIFFER}
    before = {"tuned_with": PLAIN, **before}  # runs had no other before
    if config.pretrain.until == "converged" and config.pretrain.is_open:
        n_before = before.get("pretrain", {}).get("n_steps", math.inf)
        if n_before < config.pretrain.n_steps:
            may_differ.add("pretrain.n_steps")  # a limit: steps are continued where it was too low
    return differences(
        before,
        config.to_dict(),
        ignoring=lambda key: (
            key in may_differ or key.startswith("remedies.") or key.endswith(".save_every")
        ),
    )


def estimate_seconds(config: Config, *, has_base: bool = False) -> float:
    """Return about how many seconds the trainings of a run take; measuring comes on top.

    Args:
        config: What is trained; a pretraining until convergence is taken to meet its limit.
        has_base: Whether the pretraining has been done.

    Example:
        >>> from palimpsest.lab.runs.config import load_config
        >>> few = ["pretrain.n_steps=10", "finetune.n_steps=10", "remedies.replay=[]"]
        >>> 0 < estimate_seconds(load_config("tiny", few)) < 600
        True
    """
    n_tunings = 1 + sum(remedy.is_training for remedy in config.tried.values())
    seconds = n_tunings * config.finetune.n_steps * _seconds_per_step(config, config.finetune)
    if has_base:
        return seconds
    return seconds + config.pretrain.n_steps * _seconds_per_step(config, config.pretrain)


def _seconds_per_step(config: Config, training: Training) -> float:
    """Time a few updates, but for the first, which may be slow."""
    moments: list[float] = []
    short = replace(training, n_steps=4, compile=False, until="steps")
    running = Running(
        device=config.device, on_progress=lambda progress: moments.append(time.monotonic())
    )
    pretrain(config.problem, config.transformer, short, running=running)
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def _device_name(config: Config) -> str:
    device = chosen_device(config.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _slug(name: str) -> str:
    return name.replace(" ", "-")
