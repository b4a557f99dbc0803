"""Logs that say of every question whether it was passed, one a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.integrations.logs import LogCollector, LogFiles
from palimpsest.judging.compare import Sample

SCORES = {"PASS": 1.0, "FAIL": 0.0}


class PassFail:
    """Lists of passed and failed questions: .passfail files with lines such as: sum-1 PASS."""

    writer = "a list of passed questions"

    def find(self, path: Path) -> LogFiles | None:
        """Return the file if it is called like one of these."""
        return LogFiles([path]) if path.suffix == ".passfail" else None

    def read(self, paths: Sequence[Path], log: LogCollector) -> Mapping[str, Any]:
        """Read the lists of one model, one a task."""
        for path in paths:
            for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
                question, _, said = line.rpartition(" ")
                place = f"{path}, line {number}"
                if said not in SCORES:
                    raise UserError(
                        f"{place}: neither PASS nor FAIL at its end.",
                        hint="A line looks like: sum-1 PASS",
                    )
                log.add(path.stem, Sample(question, SCORES[said]), metric="passed", place=place)
        return {}
