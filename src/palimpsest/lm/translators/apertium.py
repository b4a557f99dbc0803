"""The translator ``apertium``: rule-based, offline, from Debian's packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from palimpsest.lm.translators.modes import (
    Mode,
    engine_version,
    find_route,
    hash_mode,
    installation,
    installed_modes,
    licences,
    read_stages,
)
from palimpsest.lm.translators.pipeline import Pipeline
from palimpsest.lm.translators.protocol import Translator
from palimpsest.lm.translators.specs import TranslatorSpec


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


def load(spec: TranslatorSpec) -> Translator:
    """Rule-based and offline, with the pairs that Debian's apertium packages install."""
    spec.allow(["timeout"])
    return Apertium(timeout_seconds=spec.number("timeout", 10, most=3600))
