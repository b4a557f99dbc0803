"""What a model's answers depend on, hashed when it is opened and checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from palimpsest.files import digest_json
from palimpsest.lm.models.huggingface.checkpoint import Checkpoint, hash_files


class Fingerprint:
    """A hash of files by their content, whatever their place, and of settings.

    Args:
        checkpoints: By the part they play.
        settings: Whatever else changes answers, JSON-serialisable.
        code: Whether the Python files in the checkpoints count.
    """

    def __init__(
        self, checkpoints: Mapping[str, Checkpoint], settings: Mapping[str, object], *, code: bool
    ) -> None:
        files = {
            part: (*checkpoint.weights, *checkpoint.other_files(code=code))
            for part, checkpoint in checkpoints.items()
        }
        self._paths = [path for paths in files.values() for path in paths]
        self._states = self._look()
        hashes = {part: hash_files(paths) for part, paths in files.items()}
        self.text = digest_json([hashes, settings])

    def holds(self) -> bool:
        """Tell by size and time whether the files are still those that were hashed."""
        return self._look() == self._states

    def _look(self) -> list[tuple[Path, int, int] | None]:
        return [_state(path) for path in self._paths]


def _state(path: Path) -> tuple[Path, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # it is gone
        return None
    return path, status.st_size, status.st_mtime_ns
