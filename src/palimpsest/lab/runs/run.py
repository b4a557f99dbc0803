"""A whole run: pretrain, fine-tune with measurements, try remedies, compare, write everything."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from palimpsest.errors import UserError
from palimpsest.lab.measuring import comparison
from palimpsest.lab.measuring.measurements import Bench, check_base
from palimpsest.lab.predictors.transformer import Transformer
from palimpsest.lab.runs.config import Config, flattened
from palimpsest.lab.runs.findings import findings, warnings
from palimpsest.lab.runs.stages import OnStage, Stages
from palimpsest.records.lab_results import LabProvenance, LabResults
from palimpsest.records.provenance import commit_of, platform_facts, versions
from palimpsest.records.run_folder import RunFolder, WriterLock
from palimpsest.training.checkpoints import fingerprint
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
            from palimpsest.report.lab.writing import write_lab_report

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
        check = check_base(base, config)
    tuned, curve = stages.tuned(base)
    remedied = list(stages.remedied(base, tuned))
    with stages.timed("evaluation"):
        compared = _compared(base, tuned, config)
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
    return results.model_copy(
        update={"findings": list(findings(results)), "warnings": list(warnings(results))}
    )


def _compared(base: Transformer, tuned: Transformer, config: Config) -> dict[str, Any]:
    bench = Bench(config, config.measure.n_prompts)
    answers = comparison.ask(base, tuned, bench)
    cont, disc, plain = bench.cont, bench.disc, answers.plain
    on_cont = bench.estimates({"base": cont.errors(plain.base), "tuned": cont.errors(plain.tuned)})
    on_disc = bench.estimates(
        {"base": disc.errors(answers.base_disc), "tuned": disc.errors(plain.tuned_disc)}
    )
    return {
        "forgetting": comparison.forgetting(answers, bench),
        "base_cont": on_cont["base"],
        "tuned_cont": on_cont["tuned"],
        "base_disc": on_disc["base"],
        "tuned_disc": on_disc["tuned"],
        "oracles": comparison.oracles(bench),
        "by_exemplars": list(comparison.by_exemplars(answers, bench)),
        "inference": list(comparison.inference(answers, bench)),
        "split": comparison.splits(answers, bench),
        "priors": comparison.priors(answers, bench),
        "closeness": comparison.closeness(answers, bench),
        "conjugations": list(comparison.conjugation_results(answers, bench)),
    }


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
    old, new = flattened(before["lab"]), flattened(config.to_dict())
    differing = [
        key
        for key in old | new
        if old.get(key) != new.get(key)
        and key not in _MAY_DIFFER
        and not key.startswith("remedies.")
        and not key.endswith(".save_every")
    ]
    if differing:
        listed = "; ".join(
            f"{key} is {old.get(key)!r} there and {new.get(key)!r} here" for key in differing[:3]
        )
        raise UserError(
            f"The folder '{folder.path}' holds a run of another configuration: {listed}.",
            hint="Choose another folder with --out, or the settings that it was made with.",
        )


def _device_name(config: Config) -> str:
    device = chosen_device(config.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
