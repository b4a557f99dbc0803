"""Measurements made while a model is trained: one line of JSON a suite and step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from palimpsest.errors import UserError
from palimpsest.files import lines_of, read_bytes
from palimpsest.records.failures import explained
from palimpsest.records.results import Best, ConjugationResult, Plain, Record, Verdict

SCHEMA: Final = "palimpsest.measurement/1"

FILE_NAME = "measurements.jsonl"


class Measurement(Record):
    """One suite at one step of a training: the base against the model as it was then."""

    schema_: Literal["palimpsest.measurement/1"] = Field(default=SCHEMA, alias="schema")
    step: int
    """Updates so far; 0 is before the first."""
    epoch: float
    suite: str
    """As typed."""
    base: str
    """Fingerprint of the base model."""
    plain: Plain
    conjugations: list[ConjugationResult]
    best: Best | None
    verdict: Verdict
    verdict_reason: str
    measuring_seconds: float
    """What all measurements so far took together, this one included."""
    training_seconds: float
    """What the training itself took so far, without measuring."""


class MeasurementLog:
    """The measurements of one training, in a file that survives its interruptions.

    Args:
        path: The file, JSON lines.

    Example:
        >>> import tempfile
        >>> MeasurementLog(Path(tempfile.mkdtemp()) / "measurements.jsonl").resume(step=100)
        []
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self) -> None:
        """Begin a new training; the file of an earlier one is kept under another name.

        Raises:
            UserError: The folder cannot be written.
        """
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size:
                self.path.rename(_free_name(self.path))
            self.path.touch()

    def resume(self, *, step: int) -> list[Measurement]:
        """Return what was measured up to a step, and forget what came after it.

        The training goes on from there and measures the later steps once more.

        Raises:
            UserError: The file cannot be read, or is another's.
        """
        if not self.path.exists():
            return []
        kept = [row for row in read_measurements(self.path) if row.step <= step]
        fresh = self.path.with_suffix(".new")
        with explained(self.path):
            fresh.write_text("".join(map(_line, kept)), "utf-8")
            fresh.replace(self.path)
        return kept

    def append(self, rows: Sequence[Measurement]) -> None:
        """Add the measurements of a step.

        Raises:
            UserError: The file cannot be written.
        """
        with explained(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_line, rows)))


def read_measurements(path: Path | str) -> list[Measurement]:
    """Return the measurements in a file, or in the file of that name in a folder.

    A last line that was being written when the process was killed is left out.

    Raises:
        UserError: There is no such file, or it is another's.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    lines = lines_of(read_bytes(path))[:-1]
    try:
        return [Measurement.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise UserError(
            f"'{path}' does not hold measurements of this version: {error.errors()[0]['msg']}.",
            hint="Move it away, or choose another folder.",
        ) from error


def _line(row: Measurement) -> str:
    return row.model_dump_json(by_alias=True) + "\n"


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return name
