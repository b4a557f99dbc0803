"""The sittings of a run: how long each call that asked in its folder took, killed ones too."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.records.run_folder import RunFolder

_FILE = "sittings.json"


@dataclass
class Sittings:
    """The sittings of a run, of which one is going on; get them with :func:`sit_down`."""

    earlier: list[float]
    """Seconds of those that are over."""
    began: float = field(default_factory=time.monotonic)
    """By a clock that nobody sets."""
    n_new: int = 0
    """Answers that this one brought; without any, its time is nobody's."""

    @property
    def all(self) -> list[float]:
        """Seconds of each, this one so far."""
        return [*self.earlier, *([time.monotonic() - self.began] if self.n_new else [])]


@contextmanager
def sit_down(folder: RunFolder, last_written: float) -> Iterator[Sittings]:
    """Note that a call begins to work in a run's folder, and at the end how long it took.

    Of a call that was killed, the last answer that it wrote says how long it went on. Both times
    are then the disk's, whose clock may differ from this machine's.

    Args:
        folder: The run's, in which nobody else is writing.
        last_written: What :func:`last_written` said before the answers were opened, which changes
            them.
    """
    sittings = Sittings(_earlier(folder, last_written))
    _write(folder, sittings.earlier, goes_on=True)
    try:
        yield sittings
    finally:
        with suppress(Exception):  # a full disk has been told by whoever met it first
            _write(folder, sittings.all, goes_on=False)


def _write(folder: RunFolder, seconds: list[float], *, goes_on: bool) -> None:
    folder.write_json(_FILE, {"seconds": [round(each, 3) for each in seconds], "goes_on": goes_on})


def last_written(folder: RunFolder) -> float:
    """Return when the answers were last written to, by the disk's clock from 1970; or 0."""
    answers = folder.answers
    return _changed(answers, answers.with_name(f"{answers.name}-wal"))


def _earlier(folder: RunFolder, last_written: float) -> list[float]:
    try:
        told = json.loads(folder.read_text(_FILE))
        seconds = [float(each) for each in told["seconds"]]
        goes_on = bool(told.get("goes_on"))
    except (UserError, ValueError, KeyError, TypeError):
        return []
    killed_after = last_written - _changed(folder.path / _FILE)
    return [*seconds, killed_after] if goes_on and killed_after > 0 else seconds


def _changed(*paths: Path) -> float:
    found = 0.0
    for path in paths:
        with suppress(OSError):
            found = max(found, path.stat().st_mtime)
    return found
