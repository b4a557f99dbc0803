"""Pretrained base models in folders of their own: made once, checked, and started from.

A folder holds ``base.safetensors`` and ``manifest.json``: how it was made, for which problem, and
what was measured of it. The package brings one for each preset in :data:`SHIPPED`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from palimpsest.errors import UserError
from palimpsest.files import read_bytes, sha256_of
from palimpsest.lab.measuring import check_base
from palimpsest.lab.runs.config import Config, load_config
from palimpsest.lab.runs.running import OnStage, Stages, check_alone, check_same_run, use_threads
from palimpsest.records import Check, RunFolder, WriterLock, platform_facts, versions
from palimpsest.training import differences

WEIGHTS, MANIFEST = "base.safetensors", "manifest.json"

SHIPPED = Path(__file__).parent / "shipped"
"""A folder for each preset whose base comes with the package."""


class BaseManifest(BaseModel):
    """What is known of a base model; it lies beside the weights."""

    command: str
    """How it was made."""
    recipe: dict[str, dict[str, Any]]
    """Problem, model and pretraining, every value resolved, seeds included."""
    n_steps: int
    """Updates made."""
    seconds: float
    """Wall time of the pretraining, over all sessions."""
    sha256: str
    """Of the weights' file."""
    check: Check
    """Measured when it was made, on prompts that no training and no criterion has seen."""
    versions: dict[str, str]
    platform: str


def pretrain_base(
    config: Config,
    out: Path | str,
    *,
    command: str = "",
    on_stage: OnStage = lambda name, progress: None,
) -> BaseManifest:
    """Pretrain a base model into a folder, or go on with it, and return its manifest.

    Raises:
        UserError: The folder belongs to something else, is in use or cannot be written, or the
            training diverged.
        KeyboardInterrupt: Ctrl-C, once everything is saved.
    """
    check_alone()
    folder = RunFolder.create(out)
    lock = WriterLock(folder.path / "run.lock")
    try:
        check_same_run(folder, config)
        stages = Stages(config, folder, on_stage)
        folder.record({"lab": config.to_dict(), "command": command})
        use_threads(config)
        model = stages.base()
        with stages.timed("check"):
            found = check_base(model, stages.bench(config.problem, config.measure.n_prompts))
        n_steps = stages.n_pretrained()
        assert n_steps is not None
        manifest = BaseManifest(
            command=command,
            recipe=config.base_facts,
            n_steps=n_steps,
            seconds=stages.seconds()["pretraining"],
            sha256=sha256_of(folder.path / WEIGHTS),
            check=found.model_copy(update={"n_steps": n_steps}),
            versions=versions(),
            platform=platform_facts(),
        )
        folder.write_text(MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    finally:
        lock.release()
    return manifest


def base_in(folder: Path, config: Config) -> Path:
    """Return the weights in a folder, once they have been found whole and of a configuration.

    Raises:
        UserError: There are none, they are damaged, or they were made otherwise.
    """
    manifest = read_base_manifest(folder)
    if differing := _differences(manifest, config):
        raise UserError(
            f"The base in '{folder}' was made otherwise: {differing}.",
            hint="Use the settings that it was made with, or make another: palimpsest lab "
            "pretrain --help.",
        )
    path = folder / WEIGHTS
    if not path.is_file() or sha256_of(path) != manifest.sha256:
        raise UserError(
            f"'{path}' is missing or differs from its manifest.",
            hint="Reinstall the package, or make it anew: palimpsest lab pretrain --help.",
        )
    return path


def shipped_base(config: Config) -> Path | None:
    """Return the base that comes with the package for a configuration, if there is one.

    Raises:
        UserError: There is, but it is damaged.
    """
    for folder in sorted(path.parent for path in SHIPPED.glob(f"*/{MANIFEST}")):
        if not _differences(read_base_manifest(folder), config):
            return base_in(folder, config)
    return None


def why_not_shipped(source: str, config: Config) -> str:
    """Return in words why a run of a preset or file does not start from a base of the package.

    Args:
        source: The name of a preset, or else a file.
        config: What it became with the settings.
    """
    folder = SHIPPED / source
    if not (folder / MANIFEST).exists():
        return "no base that comes with the package was made by this configuration"
    differing = _differences(read_base_manifest(folder), config)
    return f"the base of the package was made otherwise: {differing}"


def read_base_manifest(folder: Path) -> BaseManifest:
    """Return what is known of the base in a folder.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"'{folder}' has no {MANIFEST}.",
            hint="Name a folder that 'palimpsest lab pretrain' has written.",
        )
    try:
        return BaseManifest.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise UserError(f"'{path}' is no manifest of this version: {error}.") from error


def _differences(manifest: BaseManifest, config: Config) -> str:
    """Return where a configuration differs; a limit that was not met makes none."""
    is_limit = config.pretrain.until == "converged" and manifest.check.is_converged
    return differences(
        manifest.recipe,
        config.base_facts,
        ignoring=lambda key: is_limit and key == "pretrain.n_steps",
    )


def table_of_bases() -> str:
    """Return the bases that come with the package as a Markdown table."""
    from palimpsest.report import number

    lines = [
        "| preset | seed | steps | missing on `D_mix` | α̂ | ĝ on `D_disc` (Bayes) | minutes |",
        "|---|---:|---:|---:|---|---|---:|",
    ]
    for path in sorted(SHIPPED.glob(f"*/{MANIFEST}")):
        made = read_base_manifest(path.parent)
        check = made.check
        low, high = check.alpha.ci95 or (0.0, 0.0)
        cells = (
            f"`{path.parent.name}`",
            f"{load_config(path.parent.name).seed}",
            f"{made.n_steps}",
            f"{100 * check.share_of_mixture:.2f} %",
            f"{number(check.alpha.value, 3)} [{number(low, 3)}, {number(high, 3)}]",
            f"{number(check.g_hat_discrete.value, 2)} ({number(check.g_hat_mixture, 2)})",
            f"{made.seconds / 60:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
