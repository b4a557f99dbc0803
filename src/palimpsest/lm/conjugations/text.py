"""Text conjugations: rewrite a prompt by rule, and read the answer back."""

from __future__ import annotations

from palimpsest.conjugation import Chain, Conjugation


class TextConjugation(Conjugation[str, str]):
    """A conjugation of text that can also say how much of a growing answer is settled."""

    def certain(self, partial: str) -> str:
        """Return the part of the inverted answer that no further text can change.

        For every prefix ``p`` of a text ``t``, ``invert(t).startswith(certain(p))``. Decoding stops
        early, and streams, by it. Unless a subclass knows better, nothing is certain until the end.
        """
        return ""


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


def lower_each(text: str) -> str:
    """Return ``text`` in lower case, letter by letter.

    ``str.lower`` writes a capital sigma as ς or σ according to what follows; here it is always σ,
    so that a longer text never changes the beginning.

    Example:
        >>> lower_each("ΟΔΟΣ")
        'οδοσ'
    """
    return text.replace("Σ", "σ").lower()
