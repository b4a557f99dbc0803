"""Check a trained pair against its manifest."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import ValidationError

from palimpsest.errors import UserError
from palimpsest.records.store import AnswerStore
from palimpsest.rosetta.measure import Table, measure
from palimpsest.rosetta.models import ROSETTA_WEIGHTS
from palimpsest.rosetta.train import MANIFEST, Manifest, checksums

TOLERANCE = 0.02
"""Another processor may round another way and turn an answer that stood on the edge: two of a
hundred prompts may differ."""


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
