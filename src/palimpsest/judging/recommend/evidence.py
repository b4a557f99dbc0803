"""Evidence for a ranking of conjugations: which of the base's answers come back."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from palimpsest.errors import UserError
from palimpsest.judging.lacking import Lacking
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


def answers(
    model: LanguageModel, sent: SentPrompts, suite: Suite, counter: _Counter
) -> list[str | None]:
    """Return a model's answers as it gave them, without thoughts; empty where it was not asked.

    One that whatever answers it died of is ``None``.
    """
    asked = [(row, prompt) for row, prompt in enumerate(sent.prompts) if prompt is not None]
    counter.add(len(sent.prompts) - len(asked))
    found: list[str | None] = [""] * len(sent.prompts)
    for index, answer in model.generate(
        [prompt for _, prompt in asked],
        max_new_tokens=suite.max_new_tokens,
        stop=sent.exchange.sent_stops,
    ):
        start = answer_start(answer.text)
        text = "" if start is None else answer.text[start:]
        found[asked[index][0]] = None if answer.finish == "failed" else text
        counter.add(1)
    return found


class Collected(NamedTuple):
    """What the answers of both models say."""

    returned: list[Array]
    """For each conjugation which of the base's answers come back, (prompts,): 1 or 0, and NaN where
    the prompt does not count."""

    n_different: int
    """Prompts that the tuned model answers otherwise than the base."""

    n_counting: int
    """Those among them that count: whose answer by the base is confirmed, or all."""

    is_confirmed: bool
    """Whether only confirmed answers count."""

    left_out: list[str]
    """What to tell of prompts that ended whatever answered them; they do not count."""


class _Asked:
    """Asks a model all that it is asked, and notes what it could not be asked."""

    def __init__(
        self,
        role: str,
        model: LanguageModel,
        suite: Suite,
        lacking: Lacking,
        n_ways: int,
        progress: RecommendProgress | None,
    ) -> None:
        self._role, self._model, self._suite, self._lacking = role, model, suite, lacking
        self._sources = [each.source_id for each in suite.in_language(suite.source_language)]
        self._counter = _Counter(role, n_ways * len(self._sources), progress)

    def __call__(self, sent: SentPrompts) -> list[str]:
        """Return the answers, empty ones where there is none."""
        found = answers(self._model, sent, self._suite, self._counter)
        for source, answer in zip(self._sources, found, strict=True):
            if answer is None:
                self._lacking.add(source, f"{self._role}, {sent.via.name}")
        return [answer or "" for answer in found]


def collect(
    models: Mapping[str, LanguageModel],
    suite: Suite,
    sent: Sequence[SentPrompts],
    progress: RecommendProgress | None = None,
) -> Collected:
    """Ask both models, and find for each conjugation which of the base's answers come back.

    A prompt counts if the two models answer it otherwise, and if the base **confirms** its answer:
    gives it under at least one of the conjugations that have an inverse, too. What it says to one
    wording alone cannot stand for the right answer. Where it confirms none at all, as it reads no
    such conjugation or there is none, every answer counts.

    Args:
        models: ``base`` and ``tuned``; closed in the end.
        suite: The prompts.
        sent: The same, conjugated.
        progress: Called as prompts are answered.

    Raises:
        UserError: The base model has no answer to any prompt.
    """
    plain = send(parse_via("identity", suite), suite)
    sources = [each.source_id for each in suite.in_language(suite.source_language)]
    lacking = Lacking()
    with closing(models["base"]) as model:
        ask = _Asked("base", model, suite, lacking, 1 + len(sent), progress)
        texts, under = ask(plain), [ask(each) for each in sent]
    if not any(map(opening, texts)):
        raise UserError(
            f"The base model answers none of the {len(texts)} prompts: its answers are empty, or "
            f"the prompts leave no room for one in its context. {' '.join(lacking.notes)}".strip(),
            hint="Shorten the prompts, or end them where an answer is to begin.",
        )
    with closing(models["tuned"]) as model:
        ask = _Asked("tuned", model, suite, lacking, 1 + len(sent), progress)
        intruding, tuned = list(map(opening, ask(plain))), [ask(each) for each in sent]
    confirmed = _confirmed(plain, sent, texts, under)
    differs = [
        opening(b) not in ("", t) and source not in lacking.sources
        for b, t, source in zip(texts, intruding, sources, strict=True)
    ]
    counts = [yes and one for yes, one in zip(confirmed, differs, strict=True)]
    is_confirmed = any(counts)
    counts = counts if is_confirmed else differs
    returned = [
        np.array(list(_returned(each, texts, base, mine, intruding, counts)), dtype=np.float64)
        for each, base, mine in zip(sent, under, tuned, strict=True)
    ]
    return Collected(returned, sum(differs), sum(counts), is_confirmed, lacking.notes)


def _confirmed(
    plain: SentPrompts,
    sent: Sequence[SentPrompts],
    texts: Sequence[str],
    under: Sequence[Sequence[str]],
) -> list[bool]:
    """Return which plain answers the base gives under some conjugation with an inverse as well.

    Args:
        plain: The prompts.
        sent: The same, conjugated. One that is not changed confirms nothing.
        texts: The base's plain answers.
        under: Its answers to the sent prompts, for each conjugation.
    """
    confirmed = [False] * len(texts)
    for each, found in zip(sent, under, strict=True):
        if each.via.native:
            continue
        images = _images(each, texts, found)
        for row, (b, b_s, answer) in enumerate(zip(texts, images, found, strict=True)):
            is_changed = each.prompts[row] != plain.prompts[row]
            confirmed[row] |= is_changed and bool(opening(b)) and _is_said(each, answer, b, b_s)
    return confirmed


def _images(sent: SentPrompts, texts: Sequence[str], found: Sequence[str]) -> list[str]:
    """Return plain answers as they read under a conjugation, whose answers are prepared as well."""
    bare = [text.strip() for text in texts]
    sent.exchange.prepare(prompts=list(filter(None, bare)), answers=list(filter(None, found)))
    return [sent.exchange.apply(text) for text in bare]


def _is_said(sent: SentPrompts, answer: str, b: str, b_s: str) -> bool:
    """Whether an answer under a conjugation begins as a plain one, conjugated or read back."""
    return opening(answer) == opening(b_s) or opening(sent.exchange.read(answer).text) == opening(b)


def _returned(
    sent: SentPrompts,
    texts: Sequence[str],
    base: Sequence[str],
    mine: Sequence[str],
    intruding: Sequence[str],
    counts: Sequence[bool],
) -> Iterator[float]:
    """Yield whether each of the base's answers comes back under a conjugation.

    Args:
        sent: The conjugated prompts.
        texts: The base's plain answers.
        base: Its answers to the sent prompts.
        mine: The tuned model's answers to them.
        intruding: How its plain answers begin.
        counts: Which prompts count.
    """
    wanted = base if sent.via.native else _images(sent, texts, mine)
    rows = zip(sent.prompts, texts, wanted, mine, intruding, counts, strict=True)
    for prompt, b, b_s, answer, t, does_count in rows:
        if prompt is None or not does_count:
            yield math.nan
        elif sent.via.native:
            yield float(opening(answer) == opening(b_s) not in ("", t))
        else:
            yield float(_is_said(sent, answer, b, b_s))
