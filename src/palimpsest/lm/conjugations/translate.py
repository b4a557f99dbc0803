"""Translation as a conjugation: ``translate:es``, ``translate:fr@libretranslate``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.lm.conjugations.layout import (
    Masked,
    between_spans,
    keeps_spans,
    lines,
    mask,
    survives,
    whole_lines,
)
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.text_cache import TextCache
from palimpsest.lm.translators import (
    Translator,
    checked,
    english_name,
    is_unchanged,
    translate_cached,
)

UNCHANGED, EMPTY = "unchanged line", "untranslated line"
"""The flags: the translator returned the text as it was, or nothing; the source text is used."""

_RULES_VERSION = 1
"""Part of the fingerprint. Raise it when another text is sent, or an answer read otherwise."""

_N_REMEMBERED = 100_000


class _Pair(NamedTuple):
    source: str
    target: str


class _Rendered(NamedTuple):
    """A sentence in the other language."""

    text: str
    flags: tuple[str, ...] = ()


class Translate(TextConjugation):
    """Prompts in another language, answers translated back.

    Sentences are translated one by one; lines, white space around them, labels, marks of lists,
    numbers, code, addresses, placeholders and blanks stay. A sentence whose protected spans do not
    all come back is translated again with masks for them, and if these do not come back once each,
    in pieces between them. What a translator leaves as it is, or has nothing for, stays in its own
    language and is flagged.

    Args:
        translator: Does the work.
        target: The language of the conjugated prompts.
        source: The language of the prompts.
        cache: Translations made before; by default none are kept.
        name: What the user typed, in its shortest form.

    Raises:
        UserError: The languages are the same, or are no languages.
    """

    exact = False
    rephrases = True
    batched = True
    growth = 20  # which no translation of more than a word comes near
    local = False
    keeps = (
        "lines, labels, numbers, code, addresses and placeholders; of sentences, what survives "
        "being translated there and back"
    )

    def __init__(
        self,
        translator: Translator,
        *,
        target: str,
        source: str = "en",
        cache: TextCache | None = None,
        name: str | None = None,
    ) -> None:
        self.translator = translator
        self.source, self.target = checked(source), checked(target)
        if self.source == self.target:
            raise UserError(
                f"The prompts are in {english_name(source)} already: '{source}' cannot be "
                "translated into itself.",
                hint="Name another language, such as: translate:es",
            )
        self.name = name or f"translate:{self.source}:{self.target}@{translator.spec}"
        self._cache = cache or TextCache(None)
        self._there = _Pair(self.source, self.target)
        self._back = _Pair(self.target, self.source)
        self._rendered: dict[tuple[_Pair, str], _Rendered] = {}
        self._lock = Lock()

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Languages, and the translator with its version in both directions.

        Raises:
            TranslationError: The translator is not there, or does not know the languages.
        """
        return {
            "source": self.source,
            "target": self.target,
            "translator": self.translator.spec,
            "versions": [self.translator.version(*pair) for pair in (self._there, self._back)],
            "rules": _RULES_VERSION,
        }

    @property
    def fingerprint(self) -> str:
        """A hash of the parameters; ``translate:es`` and ``translate:en:es`` are the same."""
        return digest_json(["translate", self.parameters])

    def apply(self, prompt: str) -> str:
        """Return the prompt in the target language."""
        return self._convert(prompt, self._there)

    def invert(self, answer: str) -> str:
        """Return the answer in the source language."""
        return self._convert(answer, self._back)

    def certain(self, partial: str) -> str:
        """Return the translation of the lines that are complete."""
        return self.invert(whole_lines(partial))

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        """Translate all prompts in one request, and all answers in another."""
        self._render(_sentences(prompts), self._there)
        self._render(_sentences(answers), self._back)

    def flags(self, prompt: str) -> tuple[str, ...]:
        """Return ``unchanged line`` or ``untranslated line``, or both, if the prompt has some."""
        return self._flags(prompt, self._there)

    def answer_flags(self, answer: str) -> tuple[str, ...]:
        """Return the flags of the answer's own translation."""
        return self._flags(answer, self._back)

    def notes(self) -> tuple[str, ...]:
        """Return why translations are not kept for the next time, if they are not."""
        return self._cache.notes()

    def facts(self) -> Mapping[str, str]:
        """Return translator, version and licence, of both directions."""
        there = self.translator.describe(*self._there)
        back = self.translator.describe(*self._back)
        changed = {f"{key} back": text for key, text in back.items() if there.get(key) != text}
        return {**there, **changed}

    def _convert(self, text: str, pair: _Pair) -> str:
        return "".join(line.text for line in self._lines(text, pair))

    def _flags(self, text: str, pair: _Pair) -> tuple[str, ...]:
        return tuple(sorted({flag for line in self._lines(text, pair) for flag in line.flags}))

    def _lines(self, text: str, pair: _Pair) -> Iterator[_Rendered]:
        """Yield every line in the other language."""
        parsed = list(lines(text))
        rendered = self._render((part.text for line in parsed for part in line if part.free), pair)
        for line in parsed:
            made = [rendered[part.text] if part.free else _Rendered(part.text) for part in line]
            source = "".join(part.text for part in line)
            whole = "".join(part.text for part in made)
            if whole == source or survives(source, whole):
                yield _Rendered(whole, tuple(flag for part in made for flag in part.flags))
            else:  # a span became part of what stands beside it now
                yield _Rendered(source, (EMPTY,))

    def _render(self, sentences: Iterable[str], pair: _Pair) -> dict[str, _Rendered]:
        """Return the translation of every sentence, remembered or made now, all in one batch."""
        rendered: dict[str, _Rendered] = {}
        new: list[str] = []
        for sentence in dict.fromkeys(sentences):
            known = self._rendered.get((pair, sentence))
            if known is None:
                new.append(sentence)
            else:
                rendered[sentence] = known
        if new:
            made = self._translate(new, pair)
            self._remember(made, pair)
            rendered.update(made)
        return rendered

    def _remember(self, made: Mapping[str, _Rendered], pair: _Pair) -> None:
        with self._lock:
            self._rendered.update({(pair, sentence): each for sentence, each in made.items()})
            for _ in range(len(self._rendered) - max(_N_REMEMBERED, len(made))):
                del self._rendered[next(iter(self._rendered))]

    def _translate(self, sentences: Sequence[str], pair: _Pair) -> dict[str, _Rendered]:
        """Translate as they are; then, where a span is lost, with masks; then in pieces."""
        done: dict[str, _Rendered] = {}
        sent: dict[str, str] = {}
        for masked in (False, True):
            left = [_Try.of(each, masked=masked) for each in sentences if each not in done]
            tries = [each for each in left if sent.get(each.sentence) != each.sent]
            answers = self._ask([each.sent for each in tries], pair)
            for each, answer in zip(tries, answers, strict=True):
                rendered = each.read(answer)
                if rendered is not None:
                    done[each.sentence] = rendered
            sent = {each.sentence: each.sent for each in tries}
        done.update(self._in_pieces([each for each in sentences if each not in done], pair))
        return done

    def _in_pieces(self, sentences: Sequence[str], pair: _Pair) -> dict[str, _Rendered]:
        cut = {sentence: list(between_spans(sentence)) for sentence in sentences}
        free = {part.text for parts in cut.values() for part in parts if part.free}
        whole = {s: _Rendered(s, (EMPTY,)) for s in free & set(sentences)}  # no span to cut at
        rendered = {**self._render(sorted(free - set(whole)), pair), **whole}
        done: dict[str, _Rendered] = {}
        for sentence, parts in cut.items():
            text = "".join(rendered[p.text].text if p.free else p.text for p in parts)
            flags = {flag for p in parts if p.free for flag in rendered[p.text].flags}
            if keeps_spans(sentence, text):
                done[sentence] = _Rendered(text, tuple(sorted(flags)))
            else:  # a translation that grows together with the span beside it
                done[sentence] = _Rendered(sentence, (EMPTY,))
        return done

    def _ask(self, texts: Sequence[str], pair: _Pair) -> list[str]:
        distinct = list(dict.fromkeys(texts))
        answers = translate_cached(self.translator, distinct, *pair, cache=self._cache)
        known = dict(zip(distinct, answers, strict=True))
        return [" ".join(known[text].splitlines()).strip() for text in texts]


class _Try(NamedTuple):
    """One way to send a sentence."""

    sentence: str
    masked: Masked
    sent: str
    capitals: bool

    @classmethod
    def of(cls, sentence: str, *, masked: bool) -> _Try:
        """Return the sentence as it is to be sent, with masks for all spans if ``masked``.

        Dictionaries hold small letters: what is all in capitals is sent as an ordinary sentence.
        """
        hidden = mask(sentence)
        capitals = hidden.text.isupper() and sum(map(str.isalpha, hidden.text)) > 1
        if capitals:
            small = hidden.text.lower()
            return cls(sentence, hidden, small[:1].upper() + small[1:], capitals=True)
        chosen = hidden if masked else mask(sentence, everything=False)
        return cls(sentence, chosen, chosen.text, capitals=False)

    def read(self, answer: str) -> _Rendered | None:
        """Return the translation; nothing if a protected span did not survive."""
        if not answer:
            return _Rendered(self.sentence, (EMPTY,))
        text = self.masked.restore(answer.upper() if self.capitals else answer)
        if text is None or not keeps_spans(self.sentence, text):
            return None
        if is_unchanged(self.sent, answer):
            return _Rendered(self.sentence, (UNCHANGED,))
        return _Rendered(text)


def _sentences(texts: Iterable[str]) -> list[str]:
    return [part.text for text in texts for line in lines(text) for part in line if part.free]
