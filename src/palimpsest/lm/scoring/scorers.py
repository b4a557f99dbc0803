"""Scorers by name: each says which task an answer belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.likelihoods import Likelihood
from palimpsest.lm.prompts import Prompt
from palimpsest.records import Outcome
from palimpsest.registry import Registry

DEFAULT_SCORER = "prefix"


@dataclass(frozen=True)
class Asked:
    """What a scorer may know of the question, beside the accepted answers."""

    language: str = "en"
    """A BCP 47 tag."""

    choices: tuple[str, ...] = ()
    """The answers to choose among, if there are any; the first is A."""

    prompt: Prompt = ""
    """The plain one."""

    item: Any = field(default=None, compare=False, repr=False)
    """What a suite's own scorer has to know."""


class ScoredAnswer(NamedTuple):
    """What a scorer says of an answer."""

    outcome: Outcome
    grade: float | None = None
    """From 0 to 1, if the scorer can say more than the outcome."""
    flags: tuple[str, ...] = ()
    """What a reader must know of the score, in fixed words."""


class Scorer(ABC):
    """Scores answers to one prompt; the first line of a subclass's docstring says how.

    Args:
        right: Accepted answers of the ability under test.
        intruding: Accepted answers of the other abilities. Blank texts match nothing.
        argument: What stands behind the colon of the scorer's name, as in ``number:first``.
        asked: What was asked.

    Raises:
        UserError: The scorer takes no such argument, or can use no such accepted answer.
    """

    arguments: ClassVar[tuple[str, ...] | None] = ()
    """The arguments that it takes; ``None`` if it looks at them itself."""

    reads_on: ClassVar[bool] = False
    """Whether it finds what stands behind a worked answer, so that none need end with its line."""

    of_texts: ClassVar[bool] = True
    """Whether accepted texts are answers as a model may write them, so that it fits any suite."""

    batched: ClassVar[bool] = False
    """Whether :meth:`prepare` does something."""

    of_files: ClassVar[bool] = True
    """Whether a file that was only read may name it: not if it runs code or asks a model."""

    def __init__(
        self,
        right: Sequence[str],
        intruding: Sequence[str],
        argument: str = "",
        asked: Asked | None = None,
    ) -> None:
        self.right = tuple(text for text in right if text.strip())
        self.intruding = tuple(text for text in intruding if text.strip())
        self.argument = argument
        self.asked = asked or Asked()
        self.set_up()

    def set_up(self) -> None:  # noqa: B027 - some need nothing
        """Work out once what every answer will need.

        Raises:
            UserError: An argument or an accepted text cannot be used.
        """

    @property
    def by_texts(self) -> Scorer:
        """The scorer that goes by accepted texts alone, without a look at an answer's form."""
        return self

    def score(self, answer: str) -> ScoredAnswer:
        """Return outcome, grade and flags, for less than asking for each where they share work."""
        return ScoredAnswer(self.outcome(answer), self.grade(answer), self.flags(answer))

    @abstractmethod
    def outcome(self, answer: str) -> Outcome:
        """Return what the answer is, taken as complete; ``broken`` if it is neither."""

    def grade(self, answer: str) -> float | None:
        """Return how good the answer is, from 0 to 1, if the scorer can say more than that."""
        return None

    def flags(self, answer: str) -> tuple[str, ...]:
        """Return what a reader must know of the score, in fixed words; mostly nothing."""
        return ()

    @classmethod  # noqa: B027 - most need nothing
    def prepare(cls, answers: Sequence[tuple[Self, str]]) -> None:
        """Get ready to score these answers, where that is faster for many at once."""

    def of_likelihoods(self, likelihoods: Sequence[Likelihood]) -> tuple[str, ScoredAnswer] | None:
        """Return which choice is taken and what it is worth, if that is not just the likeliest.

        Args:
            likelihoods: Of the choices, in their order.
        """
        return None

    def decided(self, certain_text: str) -> bool:
        """Return whether no continuation of ``certain_text`` can change the outcome.

        By default one always can, and every answer is asked for to its end.

        Args:
            certain_text: The beginning of the answer; every character of it is final.
        """
        return False

    def attempts_other(self, beginning: str) -> bool:
        """Return whether a wrong answer that begins so has another ability's form, however it ends.

        By default forms are not known.
        """
        return False

    @property
    def ambiguous(self) -> bool:
        """Whether some text is accepted on both sides, so that it tells nothing."""
        return any(self.outcome(text) != "right" for text in self.right) or any(
            self.outcome(text) != "intruded" for text in self.intruding
        )

    @property
    def separable(self) -> bool:
        """Whether every accepted answer is scored as what it is, and there is a right one."""
        return bool(self.right) and not self.ambiguous

    @staticmethod
    def of_side(right: bool, intruded: bool) -> Outcome:
        """Return the outcome of an answer that was found on these sides; not guessed if on both."""
        if right == intruded:
            return "broken"
        return "right" if right else "intruded"


SCORERS: Registry[type[Scorer]] = Registry(
    "scorer",
    {
        "contains": "palimpsest.lm.scoring.contains:ContainsScorer",
        DEFAULT_SCORER: "palimpsest.lm.scoring.prefix:PrefixScorer",
        "exact": "palimpsest.lm.scoring.exact:ExactScorer",
        "number": "palimpsest.lm.scoring.number:NumberScorer",
        "choice": "palimpsest.lm.scoring.choice:ChoiceScorer",
        "regex": "palimpsest.lm.scoring.regex:RegexScorer",
        "json": "palimpsest.lm.scoring.json_values:JsonScorer",
        "lm-eval": "palimpsest.integrations.lm_eval_tasks.scoring:HarnessScorer",
        "python": "palimpsest.lm.scoring.python_function:PythonScorer",
        "judge": "palimpsest.lm.judge:JudgeScorer",
    },
)
"""Names to classes. Plugins use ``palimpsest.scorers``."""


def scorer_class(spec: str, *, in_file: bool = False) -> type[Scorer]:
    """Return the class that a spec ``NAME[:ARGUMENT]`` names.

    Args:
        spec: As the user wrote it.
        in_file: Whether it stands in a file that was only read, which may run no code.

    Raises:
        UserError: No such scorer, one that no file may name, or an argument that it does not take.
    """
    name, _, argument = spec.partition(":")
    found = SCORERS.get(name)
    if in_file and not found.of_files:
        raise UserError(
            f"The scorer '{spec}' runs code or asks a model, so no file may name it.",
            hint=f"Ask for it yourself: --scorer {spec}",
        )
    if found.arguments is not None and argument not in ("", *found.arguments):
        takes = ", ".join(f"{name}:{each}" for each in found.arguments)
        raise UserError(
            f"The scorer '{name}' does not take '{argument}'."
            f"{did_you_mean(argument, found.arguments)}",
            hint=f"Write {name}{' or ' + takes if takes else ''}.",
        )
    return found


def scorer_for(
    right: Sequence[str],
    intruding: Sequence[str],
    spec: str = DEFAULT_SCORER,
    asked: Asked | None = None,
) -> Scorer:
    """Return the scorer of a spec for the answers of both sides.

    Raises:
        UserError: There is no such scorer, or it cannot use an accepted answer.

    Example:
        >>> scorer_for(["What"], ["12"]).outcome("12, of course")
        'intruded'
        >>> scorer_for(["12"], [], "number:first").outcome("12 of 15")
        'right'
    """
    if spec == DEFAULT_SCORER:  # nothing else is asked of an example
        return _by_prefix(tuple(right), tuple(intruding))
    return scorer_class(spec)(right, intruding, spec.partition(":")[2], asked)


@lru_cache(maxsize=8192)
def _by_prefix(right: tuple[str, ...], intruding: tuple[str, ...]) -> Scorer:
    """Return the scorer of an example, which is the same in most ways of asking it."""
    return scorer_class(DEFAULT_SCORER)(right, intruding)


def prepare_all(answers: Iterable[tuple[Scorer, str]]) -> None:
    """Let scorers that work best on many answers see all of these before each is scored."""
    waiting: dict[type[Scorer], list[tuple[Scorer, str]]] = defaultdict(list)
    for scorer, answer in answers:
        if scorer.by_texts.batched:
            waiting[type(scorer.by_texts)].append((scorer.by_texts, answer))
    for kind, theirs in waiting.items():
        kind.prepare(theirs)
