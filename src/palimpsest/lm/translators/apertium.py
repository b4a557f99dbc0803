"""The translator ``apertium``: rule-based, offline, from Debian's packages."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from palimpsest.errors import UserError
from palimpsest.lm.translators.languages import base_language, canonical
from palimpsest.lm.translators.pipeline import Pipeline
from palimpsest.lm.translators.translator import TranslationError, Translator
from palimpsest.specs import Spec

REWRITER = "apertium-wblank-mode"
"""Prints a mode's pipeline with every stage flushing at NUL; part of Debian's ``apertium``."""

PACKAGES = (
    "apertium apertium-eng-spa apertium-eng-cat apertium-eo-en apertium-en-gl apertium-fr-es "
    "apertium-fra-cat"
)
"""Debian's packages for English with Spanish, Catalan, Esperanto, Galician, and with French."""

_FILE = re.compile(r"([a-z]{2,3}(?:_[A-Za-z0-9]+)?)-([a-z]{2,3}(?:_[A-Za-z0-9]+)?)\.mode")
_BEST_PIVOT = "es"
_SHELL = re.compile(r"[;&<>()|$`]")
_SECONDS = 20


@dataclass(frozen=True)
class Mode:
    """One installed direction."""

    path: Path
    source: str
    target: str

    @property
    def name(self) -> str:
        """As Apertium calls it, such as ``eng-spa``."""
        return self.path.stem


def installation() -> Path:
    """Return the folder of the installed modes.

    Raises:
        TranslationError: Apertium is not installed.
    """
    program = shutil.which(REWRITER)
    if program is None:
        raise TranslationError(
            f"Apertium is not installed: there is no program '{REWRITER}'.",
            hint="On Debian or Ubuntu, as root: apt-get install -y --no-install-recommends "
            f"{PACKAGES}",
        )
    return Path(program).resolve().parents[1] / "share" / "apertium" / "modes"


def installed_modes(folder: Path) -> list[Mode]:
    """Return the modes in a folder, by name; of two for one pair, only the last.

    Variants of the pipeline (``en-eo-bytecode``) are left out; variants of a language
    (``eng-cat_valencia``) are languages of their own.
    """
    found: dict[tuple[str, str], Mode] = {}
    for path in sorted(folder.glob("*.mode")) if folder.is_dir() else ():
        match = _FILE.fullmatch(path.name)
        if match:
            source, target = (canonical(code) for code in match.groups())
            found[source, target] = Mode(path, source, target)
    return sorted(found.values(), key=lambda mode: mode.name)


def find_route(modes: Iterable[Mode], source: str, target: str) -> tuple[Mode, ...]:
    """Return the fewest modes that lead from one language to another.

    Of several such routes, the one over Spanish is taken (300 English sentences come back from
    French over it with a chrF of 61, over Catalan with 56), else the first by name.

    A region that has no mode of its own is taken for its language: ``en-GB`` for ``en``.

    Raises:
        TranslationError: There is no such route.
    """
    edges: dict[str, list[Mode]] = {}
    for mode in sorted(modes, key=lambda mode: (mode.target != _BEST_PIVOT, mode.name)):
        edges.setdefault(mode.source, []).append(mode)
    targets = {mode.target for leaving in edges.values() for mode in leaving}
    start = canonical(source) if canonical(source) in edges else base_language(source)
    goal = canonical(target) if canonical(target) in targets else base_language(target)
    routes: dict[str, tuple[Mode, ...]] = {start: ()}
    queue = deque([start])
    while queue:
        place = queue.popleft()
        for mode in edges.get(place, ()):
            # Through another variant than the one that was asked for, no route leads.
            if mode.target not in routes and (mode.target == goal or "-" not in mode.target):
                routes[mode.target] = (*routes[place], mode)
                queue.append(mode.target)
    if goal not in routes or goal == start:
        raise _no_route(source, target, sorted(set(routes) - {start}))
    return routes[goal]


def _no_route(source: str, target: str, reached: list[str]) -> TranslationError:
    there = f"from '{source}' it reaches: {', '.join(reached)}" if reached else "it has none from"
    there = there if reached else f"it has none that starts at '{source}'"
    return TranslationError(
        f"Apertium has no installed pair that leads from '{source}' to '{target}'; {there}.",
        hint="Look for a package with both languages: apt-cache search apertium- "
        "(then: apt-get install NAME), or use another translator: palimpsest list translators",
    )


def read_stages(mode: Mode) -> list[list[str]]:
    """Return the command lines of a mode's programs, all flushing at NUL and without marks.

    Raises:
        TranslationError: The mode cannot be read, or is more than programs joined by pipes.
    """
    line = _output([REWRITER, "-z", str(mode.path)]).strip()
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|")
    lexer.whitespace_split, lexer.commenters = True, ""
    stages: list[list[str]] = [[]]
    for token in lexer:
        if token == "|":
            stages.append([])
        elif token == "$1":  # of the generator: write unknown words without a mark
            stages[-1].append("-n")
        elif _SHELL.search(token.replace("$2", "")):
            raise _strange(mode, token)
        elif token != "$2":  # of the tagger: nothing
            stages[-1].append(token)
    if not all(stages):
        raise _strange(mode, "|")
    return [[shutil.which(name) or name, *arguments] for name, *arguments in stages]


def _strange(mode: Mode, token: str) -> TranslationError:
    return TranslationError(
        f"The Apertium mode '{mode.path}' is no plain list of programs: it has '{token}'.",
        hint="Reinstall its package; a mode file is not run by a shell here.",
    )


def data_files(stages: Iterable[Iterable[str]]) -> list[Path]:
    """Return the dictionaries and rules that the programs read."""
    arguments = {each for _, *rest in stages for each in rest if each.startswith("/")}
    return [path for path in map(Path, sorted(arguments)) if path.is_file()]


def hash_mode(stages: Iterable[Iterable[str]]) -> str:
    """Return a hash of a mode's programs, options and data; paths do not count."""
    digest = hashlib.sha256()
    listed = [list(stage) for stage in stages]
    for stage in listed:
        digest.update("\0".join(Path(argument).name for argument in stage).encode() + b"\n")
    for path in data_files(listed):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def engine_version() -> str:
    """Return the version of lttoolbox, whose programs do most of the work."""
    words = _output(["lt-proc", "--version"]).split()
    return words[-1] if words else "unknown"


def licences(stages: Iterable[Iterable[str]]) -> Mapping[str, str]:
    """Return the licence of every language package in use, as Debian's records state it."""
    names = sorted({path.parent.name for path in data_files(stages)})
    return {name: _licence(Path("/usr/share/doc", name, "copyright")) for name in names}


def _licence(path: Path) -> str:
    try:
        match = re.search(r"^License: *(\S.*)$", path.read_text("utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        match = None
    return match[1].strip() if match else "GPL (see the language package)"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TranslationError(
            f"Apertium's program '{command[0]}' failed: {error}.",
            hint="Reinstall Apertium: apt-get install apertium",
        ) from error
    return done.stdout.decode(errors="replace")


@dataclass(frozen=True)
class _Step:
    """One mode of a route, ready to run."""

    mode: Mode
    pipeline: Pipeline
    hash: str
    licences: Mapping[str, str]


class Apertium:
    """Apertium's installed language pairs, joined where no pair leads all the way.

    The programs of a direction start at its first text and stay.

    Args:
        folder: The installed modes; by default those beside the programs on the ``PATH``.
        timeout_seconds: How long one text may take before the programs are restarted.
    """

    spec = "apertium"

    def __init__(self, folder: Path | None = None, *, timeout_seconds: float = 10.0) -> None:
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._lock = Lock()
        self._modes: list[Mode] | None = None
        self._steps: dict[Mode, _Step] = {}
        self._engine = ""

    def version(self, source: str, target: str) -> str:
        """Return the programs' version and a hash of every dictionary and rule on the route."""
        route = self._route(source, target)
        used = " ".join(f"{step.mode.name}:{step.hash}" for step in route)
        return f"lttoolbox {self._engine} {used}"

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        """Return the route, versions and the licences of the language packages."""
        route = self._route(source, target)
        terms = {name: text for step in route for name, text in step.licences.items()}
        return {
            "translator": self.spec,
            "version": self.version(source, target),
            "route": "→".join([route[0].mode.source, *(step.mode.target for step in route)]),
            "licence": ", ".join(f"{name}: {text}" for name, text in terms.items()),
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of every text; texts on which Apertium fails become empty."""
        translated = list(texts)
        for step in self._route(source, target):
            done = iter(step.pipeline.translate([text for text in translated if text.strip()]))
            translated = [next(done) if text.strip() else "" for text in translated]
        return translated

    def close(self) -> None:
        """End all programs; they start again when they are needed."""
        with self._lock:
            for step in self._steps.values():
                step.pipeline.close()

    def _route(self, source: str, target: str) -> list[_Step]:
        with self._lock:
            if self._modes is None:
                self._modes = installed_modes(installation() if not self._folder else self._folder)
                self._engine = engine_version()
            route = find_route(self._modes, source, target)
            for mode in route:
                if mode not in self._steps:
                    self._steps[mode] = self._open(mode)
            return [self._steps[mode] for mode in route]

    def _open(self, mode: Mode) -> _Step:
        stages = read_stages(mode)
        pipeline = Pipeline(stages, name=mode.name, timeout_seconds=self._timeout_seconds)
        return _Step(mode, pipeline, hash_mode(stages), licences(stages))


def load(spec: Spec) -> Translator:
    """Rule-based and offline, with the pairs that Debian's apertium packages install."""
    spec.allow(["timeout"])
    if spec.target:
        raise UserError(
            f"The translator 'apertium' takes nothing after a colon, but got '{spec.target}'.",
            hint="Write: @apertium",
        )
    return Apertium(timeout_seconds=spec.count("timeout", 10, most=3600))
