"""Evidence for a ranking of conjugations: which of the base's answers come back."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.via import Via, parse_via
from palimpsest.lm import Exchange, Prompt, answer_start, texts_of
from palimpsest.lm.models import LanguageModel
from palimpsest.lm.scoring import is_unspaced
from palimpsest.lm.suites import Suite
from palimpsest.stats import Array

_PUNCTUATION = re.compile(r"(?<=\w)[^\w\s]+$")


class RecommendProgress(Protocol):
    """Told how far the questions to one model have come."""

    def __call__(self, role: str, n_done: int, n_total: int, /) -> None:
        """Show it; the role is ``base`` or ``tuned``."""


@dataclass(frozen=True)
class SentPrompts:
    """The prompts under one conjugation."""

    via: Via
    """How they are asked."""

    exchange: Exchange
    """How answers come back."""

    prompts: Sequence[Prompt | None]
    """As the model sees them; ``None`` where the suite has no version in the via's language."""

    n_changed: int
    """How many of them are other than the plain ones."""

    flags: Mapping[str, int]
    """What the conjugation flags, and for how many prompts."""


def opening(text: str) -> str:
    r"""Return an answer's first word, without the punctuation behind it.

    Where a script puts no spaces between words, the first character is one.

    Example:
        >>> [opening(text) for text in (" Paris, of course", "___ barks.", "巴黎。", "\n")]
        ['Paris', '___', '巴', '']
    """
    first, *_ = [*text.split(), ""]
    if is_unspaced(first[:1]):
        return first[0]
    return _PUNCTUATION.sub("", first)


def send(via: Via, suite: Suite) -> SentPrompts:
    """Conjugate every prompt of a suite, in the order of its source language.

    Raises:
        UserError: The suite has none in the via's language, or a plugin fails on a prompt.
    """
    exchange = Exchange(via.conjugation, suite.stop)
    plain = {e.source_id: e.prompt for e in suite.in_language(suite.source_language)}
    versions = {example.source_id: example.prompt for example in via.examples(suite)}
    exchange.prepare(prompts=[text for prompt in versions.values() for text in texts_of(prompt)])
    sent = {key: exchange.send(prompt) for key, prompt in versions.items()}
    if via.form is not None:
        sent = {key: via.form.of(prompt) for key, prompt in sent.items()}
    flags = Counter(
        flag for prompt in versions.values() for flag in exchange.flags(texts_of(prompt))
    )
    prompts = [sent.get(key) for key in plain]
    n_changed = sum(one != other for one, other in zip(prompts, plain.values(), strict=True))
    return SentPrompts(via, exchange, prompts, n_changed, flags)


class _Counter:
    """How far the questions to one model have come."""

    def __init__(self, role: str, n_total: int, progress: RecommendProgress | None) -> None:
        self._role, self._n_total, self._progress = role, n_total, progress
        self._n_done = 0

    def add(self, n: int) -> None:
        self._n_done += n
        if n and self._progress is not None:
            self._progress(self._role, self._n_done, self._n_total)


def answers(model: LanguageModel, sent: SentPrompts, suite: Suite, counter: _Counter) -> list[str]:
    """Return a model's answers as it gave them, without thoughts; empty where it was not asked."""
    asked = [(row, prompt) for row, prompt in enumerate(sent.prompts) if prompt is not None]
    counter.add(len(sent.prompts) - len(asked))
    found = [""] * len(sent.prompts)
    for index, answer in model.generate(
        [prompt for _, prompt in asked],
        max_new_tokens=suite.max_new_tokens,
        stop=sent.exchange.sent_stops,
    ):
        start = answer_start(answer.text)
        found[asked[index][0]] = "" if start is None else answer.text[start:]
        counter.add(1)
    return found


def collect(
    models: Mapping[str, LanguageModel],
    suite: Suite,
    sent: Sequence[SentPrompts],
    progress: RecommendProgress | None = None,
) -> list[Array]:
    """Ask both models, and return for each conjugation which of the base's answers come back.

    Args:
        models: ``base`` and ``tuned``; closed in the end.
        suite: The prompts.
        sent: The same, conjugated.
        progress: Called as prompts are answered.

    Returns:
        For each conjugation an array, (prompts,): 1 or 0, and NaN where the prompt does not count
        since both models answer it alike, the base not at all, or it has no such version.

    Raises:
        UserError: The base model has no answer to any prompt.
    """
    plain = send(parse_via("identity", suite), suite)
    native = [each for each in sent if each.via.native]
    n = len(plain.prompts)
    with closing(models["base"]) as model:
        counter = _Counter("base", n * (1 + len(native)), progress)
        texts = answers(model, plain, suite, counter)
        abroad = {each.via.name: answers(model, each, suite, counter) for each in native}
    if not any(map(opening, texts)):
        raise UserError(
            f"The base model answers none of the {n} prompts: its answers are empty, or the "
            "prompts leave no room for one in its context.",
            hint="Shorten the prompts, or end them where an answer is to begin.",
        )
    found = []
    with closing(models["tuned"]) as model:
        counter = _Counter("tuned", n * (1 + len(sent)), progress)
        intruding = list(map(opening, answers(model, plain, suite, counter)))
        for each in sent:
            mine = answers(model, each, suite, counter)
            hits = _returned(each, texts, abroad.get(each.via.name), mine, intruding)
            found.append(np.array(list(hits), dtype=np.float64))
    return found


def _returned(
    sent: SentPrompts,
    base: Sequence[str],
    abroad: Sequence[str] | None,
    mine: Sequence[str],
    intruding: Sequence[str],
) -> Iterator[float]:
    """Yield whether each of the base's answers comes back under a conjugation.

    Args:
        sent: The conjugated prompts.
        base: The base's plain answers.
        abroad: Its answers to the sent prompts, where they are in another language.
        mine: The tuned model's answers to the sent prompts.
        intruding: How its plain answers begin.
    """
    if abroad is None:
        texts = [text.strip() for text in base]
        sent.exchange.prepare(prompts=list(filter(None, texts)), answers=list(filter(None, mine)))
        abroad = [sent.exchange.apply(text) for text in texts]
    for prompt, b, b_s, answer, t in zip(sent.prompts, base, abroad, mine, intruding, strict=True):
        if prompt is None or not opening(b) or opening(b) == t:
            yield math.nan
        elif sent.via.native:
            yield float(opening(answer) == opening(b_s) not in ("", t))
        else:
            read = sent.exchange.read(answer).text
            yield float(opening(answer) == opening(b_s) or opening(read) == opening(b))
