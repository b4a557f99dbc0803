"""Two models compared after the fact, from logs of what each answered to the same items."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.judging.compare.comparison import compare
    from palimpsest.judging.compare.logged import (
        LoggedItem,
        LoggedRun,
        LoggedTask,
        LogOptions,
        Sample,
        Scale,
        digest_of,
    )
    from palimpsest.judging.compare.tasks import MatchOptions, find_versions

__all__ = [
    "LogOptions", "LoggedItem", "LoggedRun", "LoggedTask", "MatchOptions", "Sample", "Scale",
    "compare", "digest_of", "find_versions",
]  # fmt: skip

lazy_face(globals())
