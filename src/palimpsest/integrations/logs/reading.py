"""From what the user names, files or folders, to a model's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from palimpsest.errors import UserError
from palimpsest.integrations.logs import inspect_logs, lm_eval_samples, tables
from palimpsest.integrations.logs.lines import first_object
from palimpsest.judging.compare.logged import LoggedRun, LogOptions

Kind = Literal["lm_eval", "inspect", "table"]

_READERS = {
    "lm_eval": lm_eval_samples.read,
    "inspect": inspect_logs.read,
    "table": tables.read,
}
_WHAT = (
    "Name samples_*.jsonl of lm-evaluation-harness or its output folder, .eval logs of Inspect or "
    "their folder, or tables as CSV, TSV or JSON lines."
)


class _Files(NamedTuple):
    """What one path stands for."""

    kind: Kind
    paths: list[Path]
    notes: list[str]


def read_run(
    logs: str | Path | Sequence[str | Path], options: LogOptions | None = None
) -> LoggedRun:
    """Read what one model answered.

    Args:
        logs: A file or folder, or several: of lm-evaluation-harness, of Inspect AI, or tables.
        options: Which metric counts, what identifies an item, and so on.

    Raises:
        UserError: Nothing there that can be read, or logs of different kinds.
    """
    named = [logs] if isinstance(logs, str | Path) else list(logs)
    found = [_files(Path(one).expanduser()) for one in named]
    kinds = {files.kind for files in found}
    name = ", ".join(map(str, named))
    if len(kinds) != 1:
        raise UserError(f"{name} are logs of different kinds.", hint=_WHAT)
    paths = list(dict.fromkeys(path for files in found for path in files.paths))
    run = _READERS[kinds.pop()](paths, name, options or LogOptions())
    notes = [note for files in found for note in files.notes]
    return replace(run, notes=(*notes, *run.notes))


def split_by_folder(paths: Iterable[Path]) -> list[list[Path]]:
    """Return files in groups of those that lie in one folder, in order of first appearance."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.parent, []).append(path)
    return list(groups.values())


def _files(path: Path) -> _Files:
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        raise UserError(f"No file or folder '{path}'.", hint=_WHAT)
    if path.suffix == ".eval":
        return _Files("inspect", [path], [])
    if path.suffix == ".json":
        if path.name.startswith("results_"):
            return _beside_results(path)
        return _Files("inspect", [path], [])
    if path.suffix == ".jsonl":
        named = path.name.startswith("samples_")
        is_sample = named or lm_eval_samples.is_sample(first_object(path))
        return _Files("lm_eval" if is_sample else "table", [path], [])
    if path.suffix in tables.SUFFIXES:
        return _Files("table", [path], [])
    raise UserError(f"'{path}' is no log that is known here.", hint=_WHAT)


def _in_folder(folder: Path) -> _Files:
    samples, notes = lm_eval_samples.find_samples(folder)
    inspected = sorted(folder.glob("*.eval"))
    if samples and inspected:
        raise UserError(f"'{folder}' has logs of different kinds.", hint=_WHAT)
    if samples:
        return _Files("lm_eval", samples, notes)
    if inspected:
        return _Files("inspect", *inspect_logs.newest_by_task(inspected))
    if lm_eval_samples.has_results(folder):
        raise lm_eval_samples.without_samples(folder)
    raise UserError(f"The folder '{folder}' has no logs.", hint=_WHAT)


def _beside_results(path: Path) -> _Files:
    """Return the samples that were written with a results file."""
    date = path.stem.removeprefix("results_")
    samples = sorted(path.parent.glob(f"samples_*_{date}.jsonl"))
    if not samples:
        raise lm_eval_samples.without_samples(path)
    return _Files("lm_eval", samples, [])
