"""Scorer by choice: the letter or the text of one of several answers, however it is dressed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from palimpsest.errors import UserError
from palimpsest.lm.scoring.scorers import Scorer
from palimpsest.lm.scoring.words import accepted_form, match_at_start, places
from palimpsest.records import Outcome

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORDS = "AIOY"
"""Letters that are words in some language."""

_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?([^{}]*)\}")
_ANSWERS = (
    "answer", "option", "choice", "réponse", "choix", "respuesta", "opción", "antwort",
    "möglichkeit", "antwoord", "optie", "válasz", "lehetőség",
)  # fmt: skip
_IS = (
    r"\s*(?:(?:correcte|correcta|correct|finale|final|helyes)\s*)?"
    r"(?:is|est|es|ist|lautet|az?)?\s*:?\s*"
)
_OR = "or|and|ou|et|o|y|oder|und|of|en|vagy|és|&|/"
_DRESS = r"[\s(\[*_`\"'“„«]*"
_UNDRESS = r"(?=[\s)\]*_`\"'”“».,:;!?]|$)"


class ChoiceScorer(Scorer):
    r"""The letter or text of one choice, as in ``(B)``, ``**B.**`` or ``The answer is B``.

    What an answer commits itself to goes before what it merely mentions: ``\boxed{}``, a phrase
    like *the answer is B*, a letter at its beginning, a letter by itself, the text of a choice.
    Where two choices stand in the same place, the answer is broken; so it is where letter and text
    contradict each other.

    Example:
        >>> from palimpsest.lm.scoring import Asked
        >>> asked = Asked(choices=("London", "Paris"))
        >>> scorer = ChoiceScorer(right=("Paris",), intruding=(), asked=asked)
        >>> answers = ("(B)", "**B.** Paris", "It is Paris.", "A or B", "B) London", "a")
        >>> [scorer.outcome(answer) for answer in answers]
        ['right', 'right', 'right', 'broken', 'broken', 'broken']
    """

    reads_on = True

    def set_up(self) -> None:
        """Find out which choices are accepted."""
        choices = self.asked.choices
        if len(choices) > len(LETTERS):
            raise UserError(
                f"There are {len(choices)} choices, more than letters.",
                hint="Choose another scorer: palimpsest list scorers",
            )
        self._labels = LETTERS[: len(choices)] if choices else LETTERS[:10]
        self._texts = {_form(text): at for at, text in enumerate(choices)}
        for text in (*self.right, *self.intruding):
            if self._label(text) is None:
                self._texts.setdefault(_form(text), len(LETTERS) + len(self._texts))
        self._right = {self._label(text) for text in self.right}
        self._intruding = {self._label(text) for text in self.intruding}

    def _label(self, text: str) -> int | None:
        """Return which choice an accepted text is: by its text, else by its letter."""
        known = self._texts.get(_form(text))
        if known is not None:
            return known
        letter = text.strip().strip("().").upper()
        return self._labels.index(letter) if letter and letter in self._labels else None

    def outcome(self, answer: str) -> Outcome:
        """Return whose choice the answer is."""
        chosen = self._chosen(answer)
        if chosen is None:
            return "broken"
        return self.of_side(chosen in self._right, chosen in self._intruding)

    def _chosen(self, answer: str) -> int | None:
        boxed = _BOXED.findall(answer)
        if boxed:
            return self._chosen(boxed[-1])
        for letters in (_announced, _leading, _alone):
            found = {self._labels.index(letter) for letter in letters(self._labels, answer)}
            if found:
                chosen = found.pop() if len(found) == 1 else None
                is_sure = letters is not _leading or self._named(answer) in (None, chosen)
                return chosen if is_sure else None
        mentioned = set(self._mentioned(answer))
        return mentioned.pop() if len(mentioned) == 1 else None

    def _named(self, answer: str) -> int | None:
        """Return the choice whose text an answer is, or has behind its first letter."""
        whole = self._texts.get(_form(answer))
        if whole is not None:
            return whole
        text = _form(re.sub(r"^[\s(\[*_`\"'“„«]*\w[\s)\]*_`\"'”».:,–—-]+", "", answer.strip()))
        found = [each for each in self._texts if match_at_start(each, text, whole=True) == "yes"]
        return self._texts[max(found, key=len)] if found else None

    def _mentioned(self, answer: str) -> Iterator[int]:
        """Yield the choices whose text stands in the answer, in no longer one's."""
        text = _form(answer)
        spans = [
            (start, start + len(each), at)
            for each, at in self._texts.items()
            if each
            for start in places(each, text, whole=True)
        ]
        for start, end, at in spans:
            longer = ((a, b) for a, b, _ in spans if b - a > end - start)
            if not any(a <= start and end <= b for a, b in longer):
                yield at


def _form(text: str) -> str:
    return accepted_form(text).casefold().rstrip(".!")


def _announced(labels: str, answer: str) -> list[str]:
    """Return the letters behind the last phrase like *the answer is*."""
    folded = answer.lower()
    if not any(word in folded for word in _ANSWERS):
        return []
    pattern, several = _announcing(labels)
    matches = list(pattern.finditer(answer))
    if not matches:
        return []
    last = matches[-1]
    other = several.match(answer, last.end())
    return [last[1].upper(), *([other[1].upper()] if other else [])]


@lru_cache(maxsize=32)
def _announcing(labels: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    letter = f"([{labels}])"
    return (
        re.compile(
            rf"\b(?:{'|'.join(_ANSWERS)}){_IS}{_DRESS}{letter}{_UNDRESS}(?!\s+[^\W\dA-Z])",
            re.IGNORECASE,
        ),
        re.compile(
            rf"[\s)\]*_`.]*(?:{_OR}|,)\s{_DRESS}{letter}{_UNDRESS}",
            re.IGNORECASE,
        ),
    )


def _leading(labels: str, answer: str) -> str:
    """Return the letter with which the answer begins, and others that are listed with it."""
    body = answer.strip()
    match = re.match(rf"{_DRESS}([{labels}{labels.lower()}])[)\]*_`\"'”».:,]*(?:\s|$)", body)
    if match is None:
        return ""
    rest = body[match.end() :]
    listed = re.match(rf"(?:(?:{_OR})\s)?{_DRESS}([{labels}]){_UNDRESS}", rest)
    if listed is not None:
        return match[1].upper() + listed[1]
    is_dressed = len(match[0].strip()) > 1
    if rest.strip() and not is_dressed and (match[1].islower() or match[1] in _WORDS):
        return match[1] if re.match(r"[-–—=]", rest) else ""  # "A good answer", "I think"
    return match[1].upper()


def _alone(labels: str, answer: str) -> list[str]:
    """Return the capital letters that stand by themselves, dressed where they are words too."""
    plain = "".join(letter for letter in labels if letter not in _WORDS)
    found = re.findall(
        rf"[(\[*]([{labels}])[)\]*.]|(?<![\w'’])([{plain or labels}])(?![\w'’])", answer
    )
    return [dressed or bare for dressed, bare in found]
