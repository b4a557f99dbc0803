"""Ensembles of text conjugations, whose answers are put to the vote: ``vote(fr,es,leet)``."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.conjugation import Ensemble, majority_vote
from palimpsest.errors import UserError
from palimpsest.lm.conjugations.specs import parse_conjugation, split_links
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.specs import is_option

MOST_MEMBERS = 16
"""A vote asks the model once for each member; a server must not be made to ask without end."""

_EXAMPLE = "Write members with commas between, such as: vote(identity,leet,translate:fr)"
_FINAL = ".,;:!?…。！？"


class TextEnsemble(Ensemble[str, str]):
    """A prompt asked under every member; the inverted answers vote.

    Called with a function from prompt to answer, it returns that function asked so. A model that
    takes batches is better asked with what every member's ``apply`` gives; ``combine`` then takes
    what every member's ``invert`` made of the answers, in the order of the members.

    Args:
        members: At least one.

    Example:
        >>> ensemble = parse_ensemble("vote(identity, leet, upper)")
        >>> [member.apply("Say it.") for member in ensemble.members]
        ['Say it.', 'S4y 17.', 'SAY IT.']
        >>> ensemble.combine(["No.", " It", "it."])
        ' It'
    """

    def __init__(self, members: Sequence[TextConjugation]) -> None:
        super().__init__(members, combine=vote)
        self.members = tuple(members)
        names = [member.name for member in self.members]
        self.name = names[0] if len(names) == 1 else f"vote({','.join(names)})"
        """In its shortest form; an ensemble of one has the name of its member."""

    @property
    def is_identity(self) -> bool:
        """Whether asking under it is asking plainly."""
        return len(self.members) == 1 and self.members[0].changes_nothing

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def parse_ensemble(spec: str, *, source_language: str = "en") -> TextEnsemble:
    """Return the ensemble that a spec describes; one without ``vote(…)`` has a single member.

    Members are conjugations as :func:`parse_conjugation` reads them, separated by commas. A comma
    that ``key=`` follows belongs to the options of the member before it, such as a translator's.

    Args:
        spec: What the user typed.
        source_language: The language of the prompts, for translations that do not name it.

    Raises:
        UserError: No member, one given twice, more than :data:`MOST_MEMBERS`, a vote inside
            another conjugation, or a member that is no conjugation.

    Example:
        >>> parse_ensemble("vote(leet | upper, rot13)").name
        'vote(leet|upper,rot13)'
        >>> parse_ensemble("leet").members
        (<Leet leet>,)
    """
    first, *others = split_links(spec)
    if not _is_vote(first):
        return TextEnsemble([parse_conjugation(spec, source_language=source_language)])
    if others:
        raise UserError(
            f"'{spec}' puts a vote into a chain, where it would have several answers to pass on.",
            hint="Write the chain inside the parentheses: vote(fr|upper,leet|upper)",
        )
    members = [parse_conjugation(name, source_language=source_language) for name in _members(first)]
    _check_distinct(members, spec)
    return TextEnsemble(members)


def vote(answers: Sequence[str]) -> str:
    """Return the answer that most members gave, in the form in which it was given first.

    Answers that differ only in white space around them, case, or punctuation at their end are the
    same vote: conjugations that lose these would otherwise never agree with others. A blank answer
    abstains, unless all are blank. Of several answers with as many votes, the first one wins.

    Raises:
        ValueError: There are no answers.

    Example:
        >>> vote(["12", "Paris", " paris.", "12!", "Rome"])
        '12'
    """
    return answers[agreeing(answers)[0]]


def agreeing(answers: Sequence[str]) -> tuple[int, ...]:
    """Return which answers gave the winning vote, as indices in order.

    Raises:
        ValueError: There are no answers.

    Example:
        >>> agreeing(["No.", " It", "it."])
        (1, 2)
    """
    if not answers:
        raise ValueError("A vote needs at least one answer; got none.")
    ballots = [_ballot(answer) for answer in answers]
    winner = majority_vote([ballot for ballot in ballots if ballot] or ballots)
    return tuple(place for place, ballot in enumerate(ballots) if ballot == winner)


def _ballot(answer: str) -> str:
    """Return what two answers must share to be the same vote."""
    text = answer.strip().casefold()
    return text.rstrip(_FINAL).rstrip() or text


def _is_vote(link: str) -> bool:
    return link.partition("(")[0].strip() == "vote"


def _members(link: str) -> list[str]:
    _, _, rest = link.partition("(")
    if not rest.endswith(")") or not rest[:-1].strip():
        raise UserError(f"'{link}' names nothing to vote.", hint=_EXAMPLE)
    names: list[str] = []
    for part in split_links(rest[:-1], ","):
        if names and is_option(part):
            names[-1] += f",{part}"
        else:
            names.append(part)
    if len(names) > MOST_MEMBERS:
        raise UserError(
            f"The vote has {len(names)} members; {MOST_MEMBERS} are allowed, as the model is "
            "asked once for each.",
            hint="Leave some out.",
        )
    for name in names:
        if _is_vote(name):
            raise UserError(
                f"'{link}' puts a vote into a vote.", hint="Name all members in one: vote(a,b,c)"
            )
    return names


def _check_distinct(members: Sequence[TextConjugation], spec: str) -> None:
    names = [member.name for member in members]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UserError(
                f"'{spec}' has '{name}' twice, which would give the same answer again.",
                hint="Name every member once.",
            )
