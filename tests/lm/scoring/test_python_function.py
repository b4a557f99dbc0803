from collections.abc import Sequence

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.scoring import scorer_class, scorer_for

HERE = f"python:{__name__}"


def begins(answer: str, right: Sequence[str], intruding: Sequence[str]) -> str:
    if answer.startswith(tuple(right)):
        return "right"
    return "intruded" if answer.startswith(tuple(intruding)) else "broken"


def is_long(answer: str, right: Sequence[str], intruding: Sequence[str]) -> bool:
    return len(answer) > 3


def share(answer: str, right: Sequence[str], intruding: Sequence[str]) -> float:
    return len(answer) / 4


def fails(answer: str, right: Sequence[str], intruding: Sequence[str]) -> float:
    raise ValueError("no")


def test_a_function_says_outcome_truth_or_grade() -> None:
    scorer = scorer_for(["a"], ["b"], f"{HERE}:begins")
    assert [scorer.outcome(answer) for answer in "abc"] == ["right", "intruded", "broken"]
    assert scorer.grade("a") is None
    scorer = scorer_for([], [], f"{HERE}:is_long")
    assert [scorer.outcome(answer) for answer in ("long", "no")] == ["right", "broken"]
    scorer = scorer_for([], [], f"{HERE}:share")
    assert [(scorer.outcome(a), scorer.grade(a)) for a in ("four", "no")] == [
        ("right", 1.0),
        ("broken", 0.5),
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("python", "does not name a function"),
        ("python:no_such_module:f", "cannot be imported"),
        (f"{HERE}:beginns", r"has no function 'beginns'\. Did you mean 'begins'"),
    ],
)
def test_a_function_that_is_not_there_is_named(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scorer_for(["a"], [], spec)


@pytest.mark.parametrize(("name", "message"), [("fails", "fails on the answer"), ("share", "1.25")])
def test_what_it_may_not_do_is_said(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scorer_for(["a"], [], f"{HERE}:{name}").outcome("four!")


def test_no_file_may_name_one() -> None:
    with pytest.raises(UserError, match="no file may name it"):
        scorer_class(f"{HERE}:begins", in_file=True)
