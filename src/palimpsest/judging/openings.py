"""Openings of answers: what the first tokens tell of the task that a model inferred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

from palimpsest.judging.questions import Question
from palimpsest.lm import ConjugationError, first_stop, glue
from palimpsest.lm.scoring import Match, accepted_form, compared_form, match_at_start, scorer_class

Side = Literal["right", "intruding", "other"]
"""Whose answer an opening opens."""


@dataclass(frozen=True)
class Openings:
    r"""How the answers of both sides begin under one way of asking.

    Example:
        >>> from palimpsest.judging import Settings, parse_via
        >>> from palimpsest.lm.suites import load_suite
        >>> suite = load_suite("rosetta:n=1")
        >>> question = Question.of("m", suite, parse_via("leet"), suite.examples[0], Settings())
        >>> openings = Openings.of(question)
        >>> [openings.side(text) for text in (" Wh", " Wh47", " \\1", " 50", " ", "\n")]
        ['right', 'right', 'intruding', 'other', None, 'other']
    """

    question: Question
    right: tuple[str, ...]
    """Right answers as the model would write them, under the question's conjugation."""

    intruding: tuple[str, ...]
    """Those of the other abilities."""

    @classmethod
    def of(cls, question: Question) -> Self | None:
        """Return the openings of a question; nothing if it has none on one of the two sides.

        So it is where no other ability has answers or a form, and where accepted texts are not
        what a model writes, as with patterns.
        """
        example = question.example
        ability, *others = example.answers
        formed = bool(example.scoring.intruding_forms)
        if not scorer_class(example.scorer).of_texts or not (example.intruding or formed):
            return None
        try:
            right = tuple(dict.fromkeys(_images(question, ability)))
            intruding = (image for other in others for image in _images(question, other))
            return cls(question, right, tuple(dict.fromkeys(intruding)))
        except ConjugationError:
            return None

    def side(self, text: str, *, ended: bool = False) -> Side | None:
        """Return whose answer an opening opens; ``None`` if only the next token can tell.

        That is so of white space alone, and of what both sides' answers may begin with.

        Args:
            text: The first tokens of the answer.
            ended: Whether the answer ends with them.
        """
        stop = first_stop(text, self.question.exchange.sent_stops)
        text, ended = text[:stop], ended or stop is not None
        body = compared_form(text)
        if not body.strip():
            return "other" if ended else None
        right, intruding = (_best(texts, body, ended) for texts in self._forms)
        if right == intruding == "no":
            return "intruding" if self._attempts_other(text) else "other"
        if "no" in (right, intruding):
            return "intruding" if right == "no" else "right"
        return "other" if ended or right == intruding == "yes" else None

    @cached_property
    def _forms(self) -> tuple[list[str], list[str]]:
        return list(map(accepted_form, self.right)), list(map(accepted_form, self.intruding))

    def _attempts_other(self, text: str) -> bool:
        read = self.question.exchange.read(text, cut_off=True).text
        return self.question.scorer.attempts_other(read)


def _best(texts: Sequence[str], body: str, ended: bool) -> Match:
    found = {match_at_start(text, body, whole=ended) for text in texts}
    return "yes" if "yes" in found else "open" if "open" in found else "no"


def _images(question: Question, ability: str) -> Iterator[str]:
    """Yield an ability's answers as they are sent, and in plain text where that is read so too."""
    exchange, example = question.exchange, question.example
    whole = example.whole_answers.get(ability)
    sides = ("right",) if ability == next(iter(example.answers)) else ("intruded",)
    for text in example.answers[ability]:
        if not text.strip():
            continue
        yield exchange.apply(text)
        if whole is not None and not exchange.conjugation.exact:
            yield " ".join(exchange.apply(whole).split()[: len(text.split())])
        if question.scorer.outcome(exchange.read(text).text) in sides:
            yield text


def forced(question: Question) -> tuple[str, str] | None:
    """Return a right answer's opening and the whole answer, as they may follow the sent prompt.

    ``None`` where the example has no longer answer than its opening.

    Example:
        >>> from palimpsest.judging import Settings, parse_via
        >>> from palimpsest.lm.suites import load_suite
        >>> suite = load_suite("rosetta:n=1")
        >>> forced(Question.of("m", suite, parse_via("identity"), suite.examples[0], Settings()))
        (' What', ' What is 3 plus 9?')
    """
    example = question.example
    ability, texts = next(iter(example.answers.items()))
    whole = example.whole_answers.get(ability)
    if whole is None:
        return None
    try:
        image, opening = map(question.exchange.apply, (whole, texts[0]))
    except ConjugationError:
        return None
    if not image.startswith(opening):
        opening = " ".join(image.split()[: len(texts[0].split())])
    if not image.startswith(opening) or not image[len(opening) :].strip():
        return None
    between = glue(question.sent)
    return between + opening, between + image
