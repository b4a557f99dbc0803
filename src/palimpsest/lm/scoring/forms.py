"""Forms of answers: a wrong answer that has the form of an ability's answers is an attempt at it.

A tuned model often attempts another task than the one asked for, and gets it wrong: a wrong sum
where a sentence was to be repeated. Such an answer is none of the accepted ones, and yet tells
which task the model inferred.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any, ClassVar

from palimpsest.errors import UserError
from palimpsest.lm.likelihoods import Likelihood
from palimpsest.lm.scoring.json_values import json_values, tool_calls
from palimpsest.lm.scoring.numbers import announces_number, begins_with_number
from palimpsest.lm.scoring.scorers import DEFAULT_SCORER, Asked, ScoredAnswer, Scorer, scorer_for
from palimpsest.lm.scoring.words import normalise
from palimpsest.records import ATTEMPTED, Outcome
from palimpsest.registry import Registry

_WORD = re.compile(r"\W*(?:\w|(?<=\w)[-'’·](?=\w))+\W*")
_CHOICE = re.compile(
    r"[\s(\[*_`]{0,8}(?:(?:answer|option|choice)\s{0,2}:?\s{0,2})?[(\[*_`]{0,4}"
    r"(?-i:[A-J])[)\]*_`.:]{0,6}(?:\s|$)",
    re.IGNORECASE,
)


_MORE = ("", " xyz")
"""Ends of an answer, none and a word that no form expects: what has a form with both has it by how
it begins."""


class Form(ABC):
    """What the answers of an ability look like; the first line of a subclass's docstring says it.

    Args:
        argument: What stands behind the colon of the form's name, as in ``regex:^#``.
        asked: What was asked.
    """

    takes_argument: ClassVar[bool] = False

    def __init__(self, argument: str = "", asked: Asked | None = None) -> None:
        self.argument = argument
        self.asked = asked or Asked()

    @abstractmethod
    def fits(self, answer: str) -> bool:
        """Return whether an answer, taken as complete, has this form."""


class NumberForm(Form):
    """A number at the beginning of the answer, or announced by a phrase like *the answer is*.

    Example:
        >>> [NumberForm().fits(text) for text in ("17", "The answer is 17.", "What is 17?")]
        [True, True, False]
    """

    def fits(self, answer: str) -> bool:
        """Return whether the answer comes to a number."""
        language = self.asked.language
        return begins_with_number(answer, language) or announces_number(answer, language)


class ChoiceForm(Form):
    """A letter from A to J at the beginning, dressed or not, or an announced one.

    Example:
        >>> [ChoiceForm().fits(text) for text in ("(D)", "Answer: C", "A cat")]
        [True, True, False]
    """

    def fits(self, answer: str) -> bool:
        """Return whether the answer is a letter."""
        answer = answer.strip()
        match = _CHOICE.match(answer)
        if match is None:
            return False
        is_bare = match[0].strip() in "AI"
        return not is_bare or not answer[match.end() :]


class WordForm(Form):
    """One word and nothing else.

    Example:
        >>> [WordForm().fits(text) for text in ("Dog.", " the", "a dog", "___ barks")]
        [True, True, False, False]
    """

    def fits(self, answer: str) -> bool:
        """Return whether the answer is one word."""
        return _WORD.fullmatch(answer) is not None and any(map(str.isalpha, answer))


class JsonForm(Form):
    """A JSON object or list, or the call of a tool.

    Example:
        >>> [JsonForm().fits(text) for text in ('{"a": 1}', "Sure: [f(x=1)]", "12")]
        [True, False, False]
    """

    def fits(self, answer: str) -> bool:
        """Return whether the answer has a JSON object or list, or calls a tool."""
        values = json_values(answer)
        return any(isinstance(value, dict | list) for value in values) or bool(tool_calls(answer))


class RegexForm(Form):
    """An RE2 pattern that is found in the answer.

    Example:
        >>> RegexForm("^#").fits("#12")
        True
    """

    takes_argument = True

    def __init__(self, argument: str = "", asked: Asked | None = None) -> None:
        from palimpsest.lm.scoring.regex import compiled, is_found

        super().__init__(argument, asked)
        self._is_found = partial(is_found, compiled(argument))

    def fits(self, answer: str) -> bool:
        """Return whether the pattern is found."""
        return self._is_found(normalise(answer).rstrip())


FORMS: Registry[type[Form]] = Registry(
    "form",
    {
        "number": "palimpsest.lm.scoring.forms:NumberForm",
        "choice": "palimpsest.lm.scoring.forms:ChoiceForm",
        "word": "palimpsest.lm.scoring.forms:WordForm",
        "json": "palimpsest.lm.scoring.forms:JsonForm",
        "regex": "palimpsest.lm.scoring.forms:RegexForm",
    },
)
"""Names to classes. Plugins use ``palimpsest.forms``."""


def form_for(spec: str, asked: Asked | None = None) -> Form:
    """Return the form of a spec ``NAME[:ARGUMENT]``.

    Raises:
        UserError: There is no such form, it takes no argument, or it needs one.
    """
    name, _, argument = spec.partition(":")
    found = FORMS.get(name)
    if bool(argument) != found.takes_argument:
        does = "takes no argument" if argument else "needs an argument"
        raise UserError(
            f"The form '{name}' {does}.",
            hint=f"Write {name}{':PATTERN' if found.takes_argument else ''}.",
        )
    return found(argument, asked)


@dataclass(frozen=True)
class Scoring:
    """By what answers to one prompt are scored, beside the accepted texts."""

    scorer: str = DEFAULT_SCORER
    """``NAME[:ARGUMENT]``, a name in ``SCORERS``."""

    right_form: str | None = None
    """The form of the ability under test, ``NAME[:ARGUMENT]`` with a name in :data:`FORMS`."""

    intruding_forms: tuple[str, ...] = ()
    """Those of the others."""

    choices: tuple[str, ...] = ()
    """The answers to choose among, if there are any."""

    stop: tuple[str, ...] | None = None
    """Where an answer ends, if it is elsewhere than in its suite."""

    def scorer_of(
        self, right: Sequence[str], intruding: Sequence[str], asked: Asked | None = None
    ) -> Scorer:
        """Return what scores answers by these accepted texts.

        Raises:
            UserError: No such scorer or form, or one that cannot be used with these texts.
        """
        asked = replace(asked or Asked(), choices=self.choices)
        scorer = scorer_for(right, intruding, self.scorer, asked)
        mine = None if self.right_form is None else form_for(self.right_form, asked)
        if not self.intruding_forms:
            return scorer
        return FormedScorer(scorer, mine, [form_for(form, asked) for form in self.intruding_forms])

    def to_json(self) -> str:
        """Return all that is not the default, as JSON; nothing if everything is.

        Example:
            >>> Scoring(intruding_forms=("number",)).to_json(), Scoring().to_json()
            ('{"intruding_forms": ["number"]}', '')
        """
        return _as_json(self)

    @classmethod
    def from_json(cls, text: str) -> Scoring:
        """Read what :meth:`to_json` wrote; fields that are not known are left out."""
        said = json.loads(text) if text else {}
        values: dict[str, Any] = {
            each.name: tuple(value) if isinstance(value, list) else value
            for each in fields(cls)
            if (value := said.get(each.name)) is not None
        }
        return cls(**values)


@lru_cache(maxsize=1024)
def _as_json(scoring: Scoring) -> str:
    default = asdict(Scoring())
    said = {name: value for name, value in asdict(scoring).items() if value != default[name]}
    return json.dumps(said, ensure_ascii=False) if said else ""


class FormedScorer(Scorer):
    """A scorer, and the forms of both sides for answers that it takes for neither's.

    A wrong answer in the form of the other abilities is *intruded*; not if it has the form of the
    ability under test as well, since then it cannot be told which task was attempted.

    Args:
        scorer: Scores by accepted answers.
        right_form: The form of the ability under test.
        intruding_forms: Those of the others.

    Example:
        >>> from palimpsest.lm.scoring import scorer_for
        >>> scorer = FormedScorer(scorer_for(["What"], ["12"]), None, [NumberForm()])
        >>> [scorer.outcome(answer) for answer in ("12", "17", "Hm")], scorer.flags("17")
        (['intruded', 'intruded', 'broken'], ('another ability attempted',))
    """

    def __init__(
        self, scorer: Scorer, right_form: Form | None, intruding_forms: Sequence[Form]
    ) -> None:
        super().__init__(scorer.right, scorer.intruding, scorer.argument, scorer.asked)
        self._by_texts = scorer
        self._right_form = right_form
        self._intruding_forms = intruding_forms

    @property
    def by_texts(self) -> Scorer:
        """The scorer without forms."""
        return self._by_texts

    def score(self, answer: str) -> ScoredAnswer:
        """Return what the scorer says, or that the form alone tells the other ability."""
        scored = self.by_texts.score(answer)
        if scored.outcome != "broken" or not self._has_their_form(answer):
            return scored
        return scored._replace(outcome="intruded", flags=(*scored.flags, ATTEMPTED))

    def outcome(self, answer: str) -> Outcome:
        """Return whose answer, or else whose form, the answer is."""
        return self.score(answer).outcome

    def grade(self, answer: str) -> float | None:
        """Return the scorer's own grade."""
        return self.by_texts.grade(answer)

    def flags(self, answer: str) -> tuple[str, ...]:
        """Return the scorer's own, and whether an answer is intruded by its form alone."""
        return self.score(answer).flags

    def of_likelihoods(self, likelihoods: Sequence[Likelihood]) -> tuple[str, ScoredAnswer] | None:
        """Return what the scorer says: a choice has no form."""
        return self.by_texts.of_likelihoods(likelihoods)

    def decided(self, certain_text: str) -> bool:
        """Return whether the scorer is sure, and no form could turn a broken answer.

        The form of an answer can change up to its end, so only an accepted one is decided.
        """
        return self.by_texts.decided(certain_text) and (
            not self._intruding_forms or self.by_texts.outcome(certain_text) != "broken"
        )

    @property
    def ambiguous(self) -> bool:
        """Whether some text is accepted on both sides."""
        return self.by_texts.ambiguous

    @property
    def separable(self) -> bool:
        """Whether every accepted answer is scored as what it is."""
        return self.by_texts.separable

    def attempts_other(self, beginning: str) -> bool:
        """Return whether another ability's form is there already, and other words leave it there.

        Example:
            >>> from palimpsest.lm.scoring import scorer_for
            >>> scorer = FormedScorer(scorer_for(["What"], ["12"]), None, [NumberForm()])
            >>> [scorer.attempts_other(text) for text in ("1", "What", "Well")]
            [True, False, False]
        """
        return all(self._has_their_form(beginning + more) for more in _MORE)

    def _has_their_form(self, answer: str) -> bool:
        if not answer.strip() or not any(form.fits(answer) for form in self._intruding_forms):
            return False
        return self._right_form is None or not self._right_form.fits(answer)
