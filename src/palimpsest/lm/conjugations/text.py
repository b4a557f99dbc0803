"""Text conjugations: rewrite a prompt by rule, and read the answer back."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.conjugation import Chain, Conjugation


class TextConjugation(Conjugation[str, str]):
    """A conjugation of text that can also say how much of a growing answer is settled."""

    def certain(self, partial: str) -> str:
        """Return the part of the inverted answer that no further text can change.

        For every prefix ``p`` of a text ``t``, ``invert(t).startswith(certain(p))``. Decoding stops
        early, and streams, by it. Unless a subclass knows better, nothing is certain until the end.
        """
        return ""

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        """Get ready to apply to these prompts and to invert these answers, one by one.

        For conjugations that work much faster on many texts at once, such as translation. What
        :meth:`apply` and :meth:`invert` return does not depend on it; most do nothing here.
        """


class TextChain(Chain[str, str], TextConjugation):
    """Text conjugations one after the other."""

    def __init__(self, links: tuple[TextConjugation, ...]) -> None:
        super().__init__(links)
        self._text_links = links

    def certain(self, partial: str) -> str:
        """Return what is certain of what is certain, last link first."""
        for link in reversed(self._text_links):
            partial = link.certain(partial)
        return partial

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        """Prepare every link for what the links before it make of the texts."""
        for link in self._text_links:
            link.prepare(prompts=prompts)
            prompts = [link.apply(prompt) for prompt in prompts]
        for link in reversed(self._text_links):
            link.prepare(answers=answers)
            answers = [link.invert(answer) for answer in answers]


def lower_each(text: str) -> str:
    """Return ``text`` in lower case, letter by letter.

    ``str.lower`` writes a capital sigma as ς or σ according to what follows; here it is always σ,
    so that a longer text never changes the beginning.

    Example:
        >>> lower_each("ΟΔΟΣ")
        'οδοσ'
    """
    return text.replace("Σ", "σ").lower()
