"""The sittings of a run: how long each call that asked in its folder took, killed ones too."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from palimpsest.errors import UserError
from palimpsest.records.run_folder import RunFolder

_FILE = "sittings.json"


@dataclass
class Sittings:
    """The sittings of a run, of which one is going on; get them with :func:`sit_down`."""

    earlier: list[float]
    """Seconds of those that are over."""
    began: float = field(default_factory=time.time)
    """Seconds since 1970."""
    n_new: int = 0
    """Answers that this one brought; without any, its time is nobody's."""

    @property
    def all(self) -> list[float]:
        """Seconds of each, this one so far."""
        return [*self.earlier, *([max(0.0, time.time() - self.began)] if self.n_new else [])]


@contextmanager
def sit_down(folder: RunFolder) -> Iterator[Sittings]:
    """Note that a call begins to work in a run's folder, and at the end how long it took.

    Of a call that was killed, the last answer that it wrote says how long it went on; so this is to
    be entered before the answers are opened.
    """
    sittings = Sittings(_earlier(folder))
    _write(folder, sittings.earlier, sittings.began)
    try:
        yield sittings
    finally:
        with suppress(Exception):  # a full disk has been told by whoever met it first
            _write(folder, sittings.all, None)


def _write(folder: RunFolder, seconds: list[float], began: float | None) -> None:
    folder.write_json(_FILE, {"seconds": [round(each, 3) for each in seconds], "began": began})


def _earlier(folder: RunFolder) -> list[float]:
    try:
        told = json.loads(folder.read_text(_FILE))
        seconds = [float(each) for each in told["seconds"]]
        began = None if told["began"] is None else float(told["began"])
    except (UserError, ValueError, KeyError, TypeError):
        return []
    if began is not None:
        seconds += [each] if (each := _last_answer(folder) - began) > 0 else []
    return seconds


def _last_answer(folder: RunFolder) -> float:
    """Return when the answers were last written to; seconds since 1970."""
    found = 0.0
    for path in (folder.answers, folder.answers.with_name(f"{folder.answers.name}-wal")):
        with suppress(OSError):
            found = max(found, path.stat().st_mtime)
    return found
