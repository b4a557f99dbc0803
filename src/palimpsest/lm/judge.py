"""Scorer by a language model that is asked whether an answer means an accepted one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Self

from palimpsest.errors import UserError
from palimpsest.lm.models import LanguageModel, WritesPrompts, load_model
from palimpsest.lm.prompts import Message, Prompt, plain_text
from palimpsest.lm.scoring import Scorer
from palimpsest.lm.stops import answer_start
from palimpsest.lm.text_cache import TextCache, cache_key, cache_path
from palimpsest.records import Outcome

VERSION = "1"
"""Raise it when the question changes: what judges said before is then asked again."""

UNDECIDED = "the judge did not say yes or no, or not in both orders"
"""Flag of an answer that no judgement could be had of; it is broken."""

QUESTION = """Does the given answer say the same as one of the expected answers? Other words, \
another language or format do not matter; only the meaning does.

Question:
{prompt}

{first}

{second}

Reply with one word, yes or no.
Reply:"""
"""What a judge is asked, once with the expected answers first and once with the given one."""

_GIVEN, _EXPECTED = "Given answer:\n{}", "Expected answers:\n{}"
_MOST_CHARACTERS = 4000
"""Of prompt and answer, each, that a judge is shown."""
_N_TOKENS = 8

_VERDICT = re.compile(
    r"[\W_]*(?:(?:reply|answer|response|verdict|judge?ment|boxed|text)[\W_]+)*"
    r"(yes|no)(?![^\W_]|[-/][^\W_]|[\s,]+(?:and|or)\s+(?:yes|no)\b)",
    re.IGNORECASE,
)
"""Yes or no at the beginning of a reply, however it is dressed; not both."""


class JudgeScorer(Scorer):
    """A language model says whether the answer means an accepted one: ``judge:MODEL_SPEC``.

    It is asked greedily, in both orders, and its replies are kept for all runs. An answer on which
    the two differ, or are neither yes nor no, is broken and flagged. The judge reads what the model
    under test wrote, so that an answer can try to persuade it.
    """

    arguments = None
    batched = True
    reads_on = True
    of_texts = False
    of_files = False

    def set_up(self) -> None:
        """Open the judge."""
        self._judge = judge_of(self.argument)

    def outcome(self, answer: str) -> Outcome:
        """Return what the judge says."""
        self._judge.ask(list(self._questions(answer)))
        return self.of_side(
            self._said(self.right, answer) is True, self._said(self.intruding, answer) is True
        )

    def flags(self, answer: str) -> tuple[str, ...]:
        """Return whether the judge could not be understood."""
        said = [self._said(side, answer) for side in (self.right, self.intruding) if side]
        return (UNDECIDED,) if answer.strip() and None in said else ()

    @classmethod
    def prepare(cls, answers: Sequence[tuple[Self, str]]) -> None:
        """Ask the judge of all answers at once."""
        for judge in {scorer._judge for scorer, _ in answers}:
            mine = (each for each in answers if each[0]._judge is judge)
            judge.ask([q for scorer, answer in mine for q in scorer._questions(answer)])

    @property
    def ambiguous(self) -> bool:
        """Whether a text is accepted on both sides; the judge is not asked for that."""
        return not set(self.right).isdisjoint(self.intruding)

    def _questions(self, answer: str) -> Iterator[str]:
        if answer.strip():
            for side, turned in product((self.right, self.intruding), (False, True)):
                if side:
                    yield self._question(side, answer, turned=turned)

    def _question(self, side: Sequence[str], answer: str, *, turned: bool) -> str:
        expected = _EXPECTED.format("\n".join(f"- {text}" for text in side))
        given = _GIVEN.format(answer.strip()[:_MOST_CHARACTERS])
        first, second = (given, expected) if turned else (expected, given)
        prompt = plain_text(self.asked.prompt)[-_MOST_CHARACTERS:]
        return QUESTION.format(prompt=prompt, first=first, second=second)

    def _said(self, side: Sequence[str], answer: str) -> bool | None:
        """Return what the judge said in both orders; ``None`` if the two differ."""
        if not side or not answer.strip():
            return False
        orders = (self._question(side, answer, turned=turned) for turned in (False, True))
        said = {self._judge.said(question) for question in orders}
        return said.pop() if len(said) == 1 else None


class Judge:
    """A model that says yes or no, with all that it has said.

    Args:
        model: Asked greedily.
        cache: Where its replies are kept for other runs.
    """

    def __init__(self, model: LanguageModel, cache: TextCache) -> None:
        self.model = model
        self._cache = cache
        self._replies: dict[str, str] = {}

    def ask(self, questions: Sequence[str]) -> None:
        """Ask what is not known yet, in one call of the model."""
        new = [each for each in dict.fromkeys(questions) if each not in self._replies]
        keys = {question: self._key(question) for question in new}
        kept = self._cache.get(keys.values())
        self._replies |= {q: kept[key] for q, key in keys.items() if key in kept}
        missing = [question for question in new if question not in self._replies]
        if not missing:
            return
        prompts = [self._prompt(question) for question in missing]
        for index, reply in self.model.generate(prompts, max_new_tokens=_N_TOKENS, stop=("\n\n",)):
            self._replies[missing[index]] = reply.text
            self._cache.put({keys[missing[index]]: reply.text})

    def said(self, question: str) -> bool | None:
        """Return yes, no, or neither, of a question that was asked.

        Example:
            >>> from palimpsest.lm.models import ScriptedModel
            >>> judge = Judge(ScriptedModel(lambda prompt: " **Yes**, it does."), TextCache(None))
            >>> judge.ask(["Does it?"])
            >>> judge.said("Does it?")
            True
        """
        return verdict_in(self._replies[question])

    def _key(self, question: str) -> bytes:
        return cache_key("judge", VERSION, self.model.fingerprint, question)

    def _prompt(self, question: str) -> Prompt:
        """Return the question as a message where the model has a template for it."""
        messages = (Message("user", question),)
        if not isinstance(self.model, WritesPrompts):
            return question
        try:
            self.model.written(messages)
        except UserError:
            return question
        return messages


def verdict_in(reply: str) -> bool | None:
    """Return yes, no, or neither, of what a judge replied.

    Example:
        >>> replies = ("**Yes**, it does.", "Reply: no.", "Yes and no", "It depends.")
        >>> [verdict_in(reply) for reply in replies]
        [True, False, None, None]
    """
    start = answer_start(reply)
    match = _VERDICT.match(reply, start) if start is not None else None
    return match[1].casefold() == "yes" if match else None


@lru_cache(maxsize=4)
def judge_of(spec: str) -> Judge:
    """Return the judge that a model spec names; opened once.

    Raises:
        UserError: The spec names no model.
    """
    if not spec:
        raise UserError(
            "The scorer 'judge' does not say which model judges.", hint="Write judge:MODEL_SPEC."
        )
    return Judge(load_model(spec), TextCache(cache_path("judgements"), "judgements"))
