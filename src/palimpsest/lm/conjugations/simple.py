"""The conjugations that need no rules of their own."""

from __future__ import annotations

import base64
import codecs
import re
import string

from palimpsest.lm.conjugations.text import TextConjugation, lower_each


class Identity(TextConjugation):
    """The prompt as it is."""

    name = "identity"
    exact = True
    changes_nothing = True
    growth = 1
    kept_spans = frozenset({"code", "urls", "labels", "placeholders", "numbers"})

    def apply(self, prompt: str) -> str:
        """Return the prompt."""
        return prompt

    def invert(self, answer: str) -> str:
        """Return the answer."""
        return answer

    def certain(self, partial: str) -> str:
        """Return all of it."""
        return partial


class Upper(TextConjugation):
    """Capitals throughout.

    Example:
        >>> Upper().apply("Say it.")
        'SAY IT.'
    """

    name = "upper"
    exact = False
    growth = 3  # as ΐ has no capital of its own
    keeps = "everything but case (answers come back in lower case; ß as ss)"

    def apply(self, prompt: str) -> str:
        """Return the prompt in capitals."""
        return prompt.upper()

    def invert(self, answer: str) -> str:
        """Return the answer in lower case."""
        return lower_each(answer)

    def likeness(self, word: str) -> float | None:
        """Tell by small letters; one capital alone may begin a sentence."""
        letters = [char for char in word if char.isalpha()]
        if any(map(str.islower, letters)):
            return 0.0
        return 1.0 if len(letters) > 1 else None

    def certain(self, partial: str) -> str:
        """Return all of it in lower case."""
        return self.invert(partial)


_HALF = len(string.ascii_lowercase) // 2
_ROTATED = str.maketrans(
    string.ascii_letters,
    "".join(
        letters[_HALF:] + letters[:_HALF]
        for letters in (string.ascii_lowercase, string.ascii_uppercase)
    ),
)


_COMMON = frozenset(
    """
    the of and to in is it that was for on are as with be at this have from not by he she they you
    we what which answer yes no true false there sum number an or word result sentence
    """.split()  # noqa: SIM905  # a list would take fifty lines
)


class Rot13(TextConjugation):
    """Every ASCII letter moved thirteen places; its own inverse.

    Example:
        >>> Rot13().apply("Hello, café!")
        'Uryyb, pnsé!'
    """

    name = "rot13"
    exact = True
    growth = 1
    # Letters stay letters, and the patterns name no particular letter. URLs are out: "uggc://"
    # becomes "http://".
    kept_spans = frozenset({"code", "labels", "placeholders", "numbers"})

    def apply(self, prompt: str) -> str:
        """Return the prompt with every ASCII letter moved thirteen places."""
        return prompt.translate(_ROTATED)

    def invert(self, answer: str) -> str:
        """Move the letters on by thirteen places more, which brings them home."""
        return answer.translate(_ROTATED)

    def likeness(self, word: str) -> float | None:
        """Tell by the commonest English words; every other word may be the image of one."""
        bare = word.strip(string.punctuation).lower()
        if bare in _COMMON:
            return 0.0
        return 1.0 if self.invert(bare) in _COMMON else None

    def certain(self, partial: str) -> str:
        """Return all of it, letter by letter."""
        return self.invert(partial)


class Base64(TextConjugation):
    """The UTF-8 bytes in base64, without line breaks.

    Example:
        >>> Base64().apply("Say é")
        'U2F5IMOp'
        >>> Base64().invert("Not base64.")
        'Not base64.'
    """

    name = "base64"
    exact = True
    # It writes no backtick, brace, colon or line break, so every one of them is a span's. Numbers
    # are out for its digits, URLs because the next piece would join them.
    kept_spans = frozenset({"code", "labels", "placeholders"})

    def apply(self, prompt: str) -> str:
        """Return the prompt in base64; lone surrogates are encoded like any other code point."""
        return base64.b64encode(prompt.encode("utf-8", "surrogatepass")).decode("ascii")

    def invert(self, answer: str) -> str:
        """Return the decoded answer, or the answer itself if it is not base64 of UTF-8.

        White space around it is dropped before decoding, as models like to begin with a space. An
        answer that was cut off is decoded as far as it goes, given at least two groups of four.
        """
        text = answer.strip()
        n_whole = len(text) // 4 * 4
        cut_off = len(text) > n_whole >= 8
        try:
            data = base64.b64decode(text[:n_whole] if cut_off else text, validate=True)
            return _decode(data, cut_off=cut_off)
        except ValueError:  # Not base64, not UTF-8, or not even ASCII.
            return answer


def _decode(data: bytes, *, cut_off: bool) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    return decoder.decode(data, final=not cut_off)


_SPACES = re.compile(r"(\s+)")


class ReverseWords(TextConjugation):
    """The words of each line in reverse order; whitespace stays where it is; its own inverse.

    Example:
        >>> ReverseWords().apply("to  be, or")
        'or  be, to'
    """

    name = "reverse-words"
    exact = True
    growth = 1

    def apply(self, prompt: str) -> str:
        """Return the prompt with the words of each line in reverse order."""
        return "\n".join(map(_reverse_line, prompt.split("\n")))

    def invert(self, answer: str) -> str:
        """Reverse the words of each line once more."""
        return self.apply(answer)

    def certain(self, partial: str) -> str:
        """Return the lines that are complete: the last word of a line comes first."""
        return self.apply(partial[: partial.rfind("\n") + 1])


def _reverse_line(line: str) -> str:
    parts = _SPACES.split(line)  # a word or nothing, spaces, a word, …, a word or nothing
    words = slice(0 if parts[0] else 2, len(parts) if parts[-1] else len(parts) - 2, 2)
    parts[words] = parts[words][::-1]
    return "".join(parts)
