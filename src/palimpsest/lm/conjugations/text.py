"""Text conjugations: rewrite a prompt by rule, and read the answer back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from palimpsest.conjugation import Chain, Conjugation
from palimpsest.errors import UserError


class TooLongError(UserError):
    """A prompt that its conjugation could make longer than is allowed."""


class TextConjugation(Conjugation[str, str]):
    """A conjugation of text that can also say how much of a growing answer is settled."""

    batched: bool = False
    """Whether :meth:`prepare` does something: many texts at once are much faster than each."""

    rephrases: bool = False
    """Whether texts may come back in other words, and with another first letter's case, as from a
    translator. What is accepted as an answer then also counts as it stands."""

    changes_nothing: bool = False
    """Whether it is the identity, so that asking under it is asking plainly."""

    growth: float = 8.0
    """How many times as long as a text ``s`` of it can be, at most. A server refuses by it, before
    anything is computed, what a chain would make of a few hostile characters."""

    local: bool = True
    """Whether a text may be cut, and its parts conjugated and inverted one by one, except for what
    the characters beside the cut do. A stop string can be told in conjugated form only then."""

    beside: tuple[str, ...] = ()
    """What may stand beside a word in conjugated text and is not found in plain text, such as a
    separator of syllables. Stop strings are tried between them."""

    kept_spans: frozenset[str] = frozenset()
    """Kinds of protected spans (:data:`~palimpsest.lm.conjugations.spans.PATTERNS`) that
    ``s(P)`` has where ``P`` has them, if they are left alone, and no others: then each piece
    between them is inverted by itself, and protecting them is exact."""

    def certain(self, partial: str) -> str:
        """Return the part of the inverted answer that no further text can change.

        For every prefix ``p`` of a text ``t``, ``invert(t).startswith(certain(p))``. Decoding stops
        early, and streams, by it. Unless a subclass knows better, nothing is certain until the end.
        """
        return ""

    def likeness(self, word: str) -> float | None:
        """Return how likely a word of an answer is an image of ``s``, from 0 (plain) to 1.

        ``None`` where the word cannot tell, being the same in both forms or nothing but digits. By
        it an answer is recognised that a model gave in plain text: it must not be inverted. Unless
        a subclass knows better, no word can tell.
        """
        return None

    def apply_within(self, prompt: str, most: int) -> str:
        """Return ``s(prompt)``, if it cannot have more than ``most`` characters.

        Raises:
            TooLongError: It could; nothing was computed.
        """
        if len(prompt) * self.growth > most:
            raise TooLongError(
                f"Under '{self.name}', {len(prompt):,} characters can become "
                f"{len(prompt) * self.growth:,.0f}; {most:,} are allowed.",
                hint="Shorten the prompt, or take a conjugation of fewer links.",
            )
        return self.apply(prompt)

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        """Get ready to apply to these prompts and to invert these answers, one by one.

        For conjugations that work much faster on many texts at once, such as translation. What
        :meth:`apply` and :meth:`invert` return does not depend on it; most do nothing here.
        """

    def flags(self, prompt: str) -> tuple[str, ...]:
        """Return what went wrong in ``apply(prompt)`` that a reader must know; mostly nothing.

        Each is a fixed phrase, such as ``unchanged line``, so that they can be counted.
        """
        return ()

    def answer_flags(self, answer: str) -> tuple[str, ...]:
        """Return what went wrong in ``invert(answer)``, in the same words as :meth:`flags`."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what did not work as it should so far, though results are right."""
        return ()

    def facts(self) -> Mapping[str, str]:
        """Return what the report should say of how it works, such as a translator's version."""
        return {}


class TextChain(Chain[str, str], TextConjugation):
    """Text conjugations one after the other."""

    def __init__(self, links: tuple[TextConjugation, ...]) -> None:
        super().__init__(links)
        self._text_links = links
        self.batched = any(link.batched for link in links)
        self.rephrases = any(link.rephrases for link in links)
        self.growth = math.prod(link.growth for link in links)
        self.local = all(link.local for link in links)
        self.beside = tuple(dict.fromkeys(text for link in links for text in link.beside))

    def certain(self, partial: str) -> str:
        """Return what is certain of what is certain, last link first."""
        for link in reversed(self._text_links):
            partial = link.certain(partial)
        return partial

    def apply_within(self, prompt: str, most: int) -> str:
        """Apply every link to what the links before it have really made of the prompt."""
        for link in self._text_links:
            prompt = link.apply_within(prompt, most)
        return prompt

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        """Prepare every link for what the links before it make of the texts."""
        for link in self._text_links:
            link.prepare(prompts=prompts)
            prompts = [link.apply(prompt) for prompt in prompts]
        for link in reversed(self._text_links):
            link.prepare(answers=answers)
            answers = [link.invert(answer) for answer in answers]

    def flags(self, prompt: str) -> tuple[str, ...]:
        """Return the flags of every link, each once."""
        found: dict[str, None] = {}
        for link in self._text_links:
            found.update(dict.fromkeys(link.flags(prompt)))
            prompt = link.apply(prompt)
        return tuple(found)

    def answer_flags(self, answer: str) -> tuple[str, ...]:
        """Return the flags of every link, each once."""
        found: dict[str, None] = {}
        for link in reversed(self._text_links):
            found.update(dict.fromkeys(link.answer_flags(answer)))
            answer = link.invert(answer)
        return tuple(found)

    def likeness(self, word: str) -> float | None:
        """Return what the last link says, whose text the model was sent."""
        return self._text_links[-1].likeness(word)

    def notes(self) -> tuple[str, ...]:
        """Return the notes of every link, each once."""
        return tuple(dict.fromkeys(note for link in self._text_links for note in link.notes()))

    def facts(self) -> Mapping[str, str]:
        """Return the facts of every link; of two with one name, the last one's."""
        return {key: value for link in self._text_links for key, value in link.facts().items()}


def lower_each(text: str) -> str:
    """Return ``text`` in lower case, letter by letter.

    ``str.lower`` writes a capital sigma as ς or σ according to what follows; here it is always σ,
    so that a longer text never changes the beginning.

    Example:
        >>> lower_each("ΟΔΟΣ")
        'οδοσ'
    """
    return text.replace("Σ", "σ").lower()


def likeness_by_rule(conjugation: TextConjugation, word: str) -> float | None:
    """Return the likeness of a word where ``s`` rewrites words one by one.

    An image is what ``s`` makes again of its inverse. A word that is none, and that ``s`` would
    have written otherwise, is plain.
    """
    plain = conjugation.invert(word)
    if plain != word and conjugation.apply(plain) == word:
        return 1.0
    return None if conjugation.apply(word) == word else 0.0
