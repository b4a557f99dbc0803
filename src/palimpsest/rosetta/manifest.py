"""Manifest of a trained pair: what was measured of it, whether it still holds, and its tables."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from palimpsest.errors import UserError
from palimpsest.files import sha256_of
from palimpsest.judging import evaluate, parse_via
from palimpsest.lm.models import ROSETTA_WEIGHTS, load_model
from palimpsest.records import AnswerRow, AnswerStore, Outcome
from palimpsest.rosetta.grammar import Split
from palimpsest.rosetta.suite import build, build_requests

MANIFEST = "manifest.json"

TOLERANCE = 0.02
"""Another processor may round another way and turn an answer that stood on the edge: two of a
hundred prompts may differ."""


class Shares(BaseModel):
    """Shares of the outcomes in one cell and language."""

    n: int
    right: float
    intruded: float
    broken: float


Table = dict[str, dict[str, Shares]]
"""Language to cell to shares; the cells include ``instruction/math`` and ``instruction/blank``."""


class CurvePoint(BaseModel):
    """One checkpoint of the tuning."""

    step: int
    """Tuning steps; 0 is the base model."""
    held_out_loss: float
    """Loss on held-out English instructions, nats per token of the completion."""
    table: Table


class MeanShares(NamedTuple):
    """Means over cells with equal weight."""

    right: float
    intruded: float


class Manifest(BaseModel):
    """What is known of a trained pair; it lies beside the weights."""

    command: str
    """How it was made."""
    recipe: dict[str, Any]
    """Every setting, the seed included."""
    rule: str
    """How the tuned checkpoint was chosen."""
    chosen_step: int
    """Tuning steps of the tuned model."""
    versions: dict[str, str]
    platform: str
    training_seconds: float
    """Wall time of the updates of both stages, without measuring."""
    sha256: dict[str, str]
    """Of every file of the pair, by its path relative to the manifest."""
    base: Table
    """Measured on the report split."""
    tuned: Table
    """Measured on the report split."""
    curve: list[CurvePoint]
    """Measured on the report split, at every checkpoint of the tuning."""


def measure(
    checkpoint: Path,
    store: AnswerStore,
    *,
    n: int,
    split: Split,
) -> Table:
    """Return the table of one checkpoint, on ``n`` prompts a cell and language of a split."""
    model = load_model(f"hf:{checkpoint}")
    table: defaultdict[str, dict[str, Shares]] = defaultdict(dict)
    with closing(model):
        for suite in (build(n=n, split=split), build_requests(n=n, split=split)):
            vias = [parse_via(f"native:{language}", suite) for language in suite.languages]
            rows = evaluate(model, suite, vias, store=store, role=checkpoint.name)
            counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
            for row in rows:
                counts[row.language, row.cell][_accepted_outcome(row)] += 1
            for (language, cell), outcomes in counts.items():
                table[language][cell] = _shares(outcomes)
    return dict(table)


def mean_shares(cells: Mapping[str, Shares], *, kind: str = "in-context") -> MeanShares:
    """Return the mean over the cells of one kind: ``in-context`` or ``instruction``."""
    chosen = [
        shares
        for cell, shares in cells.items()
        if cell.startswith("instruction/") == (kind == "instruction")
    ]
    return MeanShares(
        right=sum(s.right for s in chosen) / len(chosen),
        intruded=sum(s.intruded for s in chosen) / len(chosen),
    )


def checksums(pair: Path) -> dict[str, str]:
    """Return the SHA-256 of every model file under ``pair``."""
    files = sorted(path for path in pair.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(pair).as_posix(): sha256_of(path) for path in files}


def read_manifest(pair: Path | None) -> tuple[Path, Manifest]:
    """Return a pair's folder (by default the embedded one) and its manifest.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    folder = pair or ROSETTA_WEIGHTS
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"'{folder}' has no {MANIFEST}.",
            hint="Name the folder 'pair' that 'palimpsest rosetta train' has written.",
        )
    try:
        return folder, Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"'{path}' is not a manifest of this version: {error}.") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the SHA-256 of every file.

    Raises:
        UserError: A file differs, is missing, or is not in the manifest.
    """
    found = checksums(folder)
    for name in sorted(found.keys() | manifest.sha256.keys()):
        if found.get(name) != manifest.sha256.get(name):
            what = "is missing" if name not in found else "differs from the manifest"
            what = what if name in manifest.sha256 else "is not in the manifest"
            raise UserError(f"'{folder / name}' {what}.", hint="Reinstall or retrain the pair.")


def check_figures(folder: Path, manifest: Manifest) -> None:
    """Measure both models anew and compare every figure, within :data:`TOLERANCE`.

    Raises:
        UserError: A figure differs.
    """
    expected = {"base": manifest.base, "tuned": manifest.tuned}
    with (
        tempfile.TemporaryDirectory(prefix="palimpsest-") as scratch,
        AnswerStore(Path(scratch) / "answers.sqlite") as store,
    ):
        for name, table in expected.items():
            n = next(iter(next(iter(table.values())).values())).n
            _compare(name, table, measure(folder / name, store, n=n, split="report"))


def means_table(manifest: Manifest) -> str:
    """Return the table of a pair: means over the cells, in percent."""
    lines = [
        "| language | base in-context | tuned in-context | tuned intruded "
        "| base instructions | tuned instructions |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for language, cells in manifest.base.items():
        base, tuned = mean_shares(cells), mean_shares(manifest.tuned[language])
        skill = mean_shares(cells, kind="instruction")
        tuned_skill = mean_shares(manifest.tuned[language], kind="instruction")
        figures = (base.right, tuned.right, tuned.intruded, skill.right, tuned_skill.right)
        lines.append(f"| {language} | " + " | ".join(f"{f:.0%}" for f in figures) + " |")
    lines.append(f"\nTuned for {manifest.chosen_step} steps. {manifest.rule}")
    return "\n".join(lines)


def cells_table(manifest: Manifest) -> str:
    """Return every cell: right / intruded, in percent, for base and tuned."""
    names = list(manifest.base["en"])
    lines = [
        "| language | model | " + " | ".join(names) + " |",
        "|---|---|" + "---:|" * len(names),
    ]
    for language in manifest.base:
        for model, table in (("base", manifest.base), ("tuned", manifest.tuned)):
            figures = (table[language][name] for name in names)
            cells = " | ".join(f"{f.right * 100:.0f} / {f.intruded * 100:.0f}" for f in figures)
            lines.append(f"| {language} | {model} | {cells} |")
    return "\n".join(lines)


def _accepted_outcome(row: AnswerRow) -> Outcome:
    """Return the outcome by accepted answers alone, as the recipe's rule for stopping has it."""
    return "broken" if row.attempted else row.outcome


def _shares(outcomes: Counter[str]) -> Shares:
    n = outcomes.total()
    return Shares(
        n=n,
        right=outcomes["right"] / n,
        intruded=outcomes["intruded"] / n,
        broken=outcomes["broken"] / n,
    )


def _compare(name: str, expected: Table, found: Table) -> None:
    for language, cells in expected.items():
        for cell, shares in cells.items():
            for outcome in ("right", "intruded"):
                old, new = getattr(shares, outcome), getattr(found[language][cell], outcome)
                if abs(old - new) > TOLERANCE:
                    raise UserError(
                        f"{name}, {language}, {cell}: {new:.0%} {outcome}, "
                        f"but the manifest says {old:.0%}.",
                        hint="Retrain the pair, or measure it with the versions in the manifest.",
                    )
