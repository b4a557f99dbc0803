"""Logs of evaluations that others wrote, read for a comparison. No science in here."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.integrations.logs.collecting import LogCollector
    from palimpsest.integrations.logs.formats import LogFiles, read_run, split_by_folder

__all__ = ["LogCollector", "LogFiles", "read_run", "split_by_folder"]

lazy_face(globals())
