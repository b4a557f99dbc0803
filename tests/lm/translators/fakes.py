"""Translators by rule, well behaved and not, for tests."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence

from palimpsest.lm.translators.pipeline import Pipeline
from palimpsest.lm.translators.translator import TranslationError


class FakeTranslator:
    """Translates by a function, and counts what it is asked.

    Args:
        rule: Takes a text and the target language.
        version: What :meth:`version` says.
    """

    def __init__(self, rule: Callable[[str, str], str], *, version: str = "1") -> None:
        self.rule = rule
        self.number = version
        self.requests: list[list[str]] = []
        self.fails = False

    spec = "fake"

    @property
    def asked(self) -> list[str]:
        return [text for request in self.requests for text in request]

    def version(self, source: str, target: str) -> str:
        return self.number

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        return {"translator": "fake", "version": self.number, "licence": "none"}

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        if self.fails:
            raise TranslationError("The fake failed.")
        self.requests.append(list(texts))
        return [self.rule(text, target) for text in texts]

    def close(self) -> None:
        """There is nothing to end."""


def backwards(text: str, target: str) -> str:
    """Every word backwards, which the way back undoes."""
    return re.sub(r"[^\W\d_]+", lambda match: match[0][::-1], text)


def well_behaved() -> FakeTranslator:
    return FakeTranslator(backwards)


# Whatever a translator may do to a text, as functions of it.
TRICKS: list[Callable[[str], str]] = [
    lambda text: "",
    lambda text: text,
    lambda text: " \n ",
    lambda text: re.sub(r"⟦\d+⟧", "", text),
    lambda text: re.sub(r"⟦\d+⟧", "⟦0⟧", text),
    lambda text: re.sub(r"⟦(\d+)⟧", r"⟦ \1 ⟧", text)[::1],
    lambda text: f"⟦0⟧ {text} ⟦7⟧",
    lambda text: f"⟦{text}",
    lambda text: text.replace(" ", "\n"),
    lambda text: text.replace(" ", ""),
    lambda text: re.sub(r"\d", "9", text),
    lambda text: f"a{text}5",
    lambda text: f"5{text}a",
    lambda text: f"\t- Note: {text}\r\n",
    lambda text: re.sub(r"[`{}]", "", text),
    lambda text: f"{text} `",
    lambda text: "```" + text,
    lambda text: text.upper(),
    lambda text: " ".join(reversed(text.split())),
    lambda text: "\ud800" + text,
]


def ill_behaved(seed: int) -> FakeTranslator:
    """Does something bad to every text, always the same to the same one."""

    def rule(text: str, target: str) -> str:
        number = zlib.crc32(f"{seed}{target}{text}".encode("utf-8", "surrogatepass"))
        return TRICKS[number % len(TRICKS)](text)

    return FakeTranslator(rule)


def processes_of(pipeline: Pipeline) -> list[int]:
    groups = pipeline._groups
    running = [programs for group in groups for programs in (group._running, group._spare)]
    return [process.pid for programs in running if programs for process in programs.processes]
