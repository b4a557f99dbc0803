"""Whole runs: pretrain, fine-tune with measurements, try remedies, compare, write everything."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from palimpsest.errors import UserError
from palimpsest.lab.measuring.bench import check_base
from palimpsest.lab.measuring.comparison import compare
from palimpsest.lab.runs.config import Config
from palimpsest.lab.runs.stages import OnStage, Stages
from palimpsest.lab.training.loop import Running, Training
from palimpsest.lab.training.train import pretrain
from palimpsest.records.lab_results import LabProvenance, LabResults
from palimpsest.records.lock import WriterLock
from palimpsest.records.provenance import commit_of, platform_facts, versions
from palimpsest.records.run_folder import RunFolder
from palimpsest.report.lab.findings import with_findings
from palimpsest.training.checkpoints import differences, fingerprint
from palimpsest.training.devices import chosen_device

_MAY_DIFFER = ("name", "device", "n_threads", "tensorboard")
"""Keys that change nothing of the result; so do ``save_every`` and more or fewer remedies."""


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
    _check_alone()
    folder = RunFolder.create(out)
    lock = WriterLock(folder.path / "run.lock")
    try:
        _check_same(folder, config)
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
        if config.n_threads is not None:
            torch.set_num_threads(config.n_threads)
        stages = Stages(config, folder, on_stage)
        results = _measured(stages, base, command=command, commit=commit)
        folder.write_text("results.json", results.to_json() + "\n")
        if report:
            from palimpsest.report.writing import write_lab_report

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


def _check_alone() -> None:
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if n > 1:
        raise UserError(
            f"A run of the laboratory is one process; this is one of {n}.",
            hint="Start it without torchrun. To share one training among processes, call "
            "palimpsest.lab.training.pretrain from a program of your own; to do many runs side by "
            "side, use 'palimpsest lab sweep'.",
        )


def _check_same(folder: RunFolder, config: Config) -> None:
    """Refuse a folder that holds something else than an unfinished or finished run of this."""
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
    return differences(
        before,
        config.to_dict(),
        ignoring=lambda key: (
            key in _MAY_DIFFER or key.startswith("remedies.") or key.endswith(".save_every")
        ),
    )


def estimate_seconds(config: Config) -> float:
    """Return about how many seconds the trainings of a run take; measuring comes on top.

    Example:
        >>> from palimpsest.lab.runs.config import load_config
        >>> few = ["pretrain.n_steps=10", "finetune.n_steps=10", "remedies.replay=[]"]
        >>> 0 < estimate_seconds(load_config("tiny", few)) < 600
        True
    """
    n_tunings = 1 + sum(remedy.is_training for remedy in config.tried.values())
    return config.pretrain.n_steps * _seconds_per_step(config, config.pretrain) + (
        n_tunings * config.finetune.n_steps * _seconds_per_step(config, config.finetune)
    )


def _seconds_per_step(config: Config, training: Training) -> float:
    """Time a few updates, but for the first, which may be slow."""
    moments: list[float] = []
    short = replace(training, n_steps=4, compile=False)
    running = Running(
        device=config.device, on_progress=lambda progress: moments.append(time.monotonic())
    )
    pretrain(config.problem, config.transformer, short, running=running)
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def _device_name(config: Config) -> str:
    device = chosen_device(config.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
