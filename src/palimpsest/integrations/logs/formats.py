"""Registry of log formats; and from files or folders that the user names to a model's answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from palimpsest.errors import UserError
from palimpsest.files import check_file, digest, refuse_packed, sha256_of
from palimpsest.integrations.logs.collecting import LogCollector
from palimpsest.judging.compare import LoggedRun, LogOptions
from palimpsest.registry import Registry

_SECRET = re.compile(r"((?:[\w-]*(?:key|token|secret|password))\"?'?\s*[=:]\s*)[^,\s}]+", re.I)


class LogFiles(NamedTuple):
    """The logs that a path stands for."""

    paths: Sequence[Path]
    notes: Sequence[str] = ()
    """What to know of this choice."""


class LogFormat(Protocol):
    """A format of logs; the first line of its docstring says to users which files it reads."""

    @property
    def writer(self) -> str:
        """Who writes such logs, as the report names it."""

    def find(self, path: Path) -> LogFiles | UserError | None:
        """Return the logs that a path stands for, ``None`` if it has none of this format.

        An error is one that the user sees if no other format takes the path.

        Args:
            path: An existing file or folder.
        """

    def read(self, paths: Sequence[Path], log: LogCollector) -> Mapping[str, Any]:
        """Add one model's answers to the collector, and return facts on the run.

        The fact ``model`` is what the log calls the model; keys are cut out of all of them.

        Raises:
            UserError: A log that cannot be read, or lacks what the collector's options ask for.
        """


LOG_FORMATS: Registry[Callable[[], LogFormat]] = Registry(
    "log format",
    {
        "table": "palimpsest.integrations.logs.tables:Tables",
        "inspect": "palimpsest.integrations.logs.inspect_logs:InspectLogs",
        "lm-eval": "palimpsest.integrations.logs.lm_eval_samples:LmEvalSamples",
    },
)
"""Names to classes of readers, the most general first: the last one is asked first whether a file
is its own. Plugins use ``palimpsest.log_formats``."""


def read_run(
    logs: str | Path | Sequence[str | Path], options: LogOptions | None = None
) -> LoggedRun:
    """Read what one model answered.

    Args:
        logs: A file or folder, or several, in one of :data:`LOG_FORMATS`.
        options: Which metric counts, what identifies an item, and so on.

    Raises:
        UserError: Nothing there that can be read, or logs of different kinds.
    """
    named = [logs] if isinstance(logs, str | Path) else list(logs)
    found = [_find(Path(one).expanduser()) for one in named]
    name = ", ".join(map(str, named))
    if len({kind for kind, _ in found}) != 1:
        raise UserError(f"{name} are logs of different kinds.", hint=_known())
    reader = LOG_FORMATS.get(found[0][0])()
    paths = list(dict.fromkeys(path for _, files in found for path in files.paths))
    log = LogCollector(options or LogOptions())
    facts = {
        fact: _without_secrets(value if isinstance(value, str) else json.dumps(value, default=str))
        for fact, value in reader.read(paths, log).items()
        if value not in (None, "", {}, [])
    }
    if not log.tasks:
        raise UserError(f"{name} has no answers.", hint=_known())
    log.check_complete()
    return LoggedRun(
        name=name,
        kind=reader.writer,
        model=facts.pop("model", name),
        fingerprint=digest("".join(sorted(map(sha256_of, paths)))),
        tasks=log.tasks,
        facts=facts,
        notes=(*(note for _, files in found for note in files.notes), *log.notes),
    )


def newest_of_each(logs: Iterable[tuple[Any, Path]]) -> LogFiles:
    """Return the newest log of each task, with a note on the others.

    Args:
        logs: Tasks with a log each, the oldest first.
    """
    pairs = list(logs)
    newest = dict(pairs)
    older = [path.name for task, path in pairs if path != newest[task]]
    more = f" and {len(older) - 1} more" if len(older) > 1 else ""
    notes = [
        f"Of several logs of a task the newest counts; not used: {name}{more}."
        for name in older[:1]
    ]
    return LogFiles(list(newest.values()), notes)


def split_by_folder(paths: Iterable[Path]) -> list[list[Path]]:
    """Return files in groups of those that lie in one folder, in order of first appearance."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.parent, []).append(path)
    return list(groups.values())


def _find(path: Path) -> tuple[str, LogFiles]:
    """Return the name of a path's format, and the logs that it stands for."""
    if not path.exists():
        raise UserError(f"No file or folder '{path}'.", hint=_known())
    if not path.is_dir():
        check_file(path)
    asked = ((name, LOG_FORMATS.get(name)().find(path)) for name in reversed(list(LOG_FORMATS)))
    claims = ((name, claim) for name, claim in asked if claim is not None)
    # A folder may hold logs of several formats; a file is of the first that takes it.
    found = list(claims if path.is_dir() else islice(claims, 1))
    usable = [(name, claim) for name, claim in found if isinstance(claim, LogFiles)]
    if len(usable) > 1:
        raise UserError(f"'{path}' has logs of different kinds.", hint=_known())
    if usable:
        return usable[0]
    for _, claim in found:
        if isinstance(claim, UserError):
            raise claim
    for packed in (path,) if path.is_file() else sorted(path.glob("*.jsonl.*")):
        refuse_packed(packed)
    if path.is_dir():
        raise UserError(f"The folder '{path}' has no logs.", hint=_known())
    raise UserError(f"'{path}' is no log that is known here.", hint=_known())


def _known() -> str:
    return "Known are: " + "; ".join(text.rstrip(".") for _, text in LOG_FORMATS.describe()) + "."


def _without_secrets(text: str) -> str:
    """Return what a log says of a run without the keys that it may have been given.

    Example:
        >>> _without_secrets("model=gpt,api_key=abc,via=leet")
        'model=gpt,api_key=…,via=leet'
    """
    return _SECRET.sub(r"\1…", text)
