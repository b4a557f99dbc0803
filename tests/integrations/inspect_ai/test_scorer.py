import asyncio
from typing import Any

import pytest
from inspect_ai.model import ModelName, ModelOutput, StopReason
from inspect_ai.scorer import Score, Target
from inspect_ai.solver import TaskState

from palimpsest.integrations.inspect_registry import outcome

pytestmark = pytest.mark.slow  # quicker: test_in_short.py

ANSWERS = {"in-context": ["What"], "instruction": ["12", "Twelve"]}
OUTCOMES = ("right", "intruded", "broken", "unparsed")


def score(
    completion: str,
    *,
    answers: Any = ANSWERS,
    note: dict[str, Any] | None = None,
    stop_reason: StopReason = "stop",
    **options: Any,
) -> Score:
    output = ModelOutput.from_content("mockllm/model", completion, stop_reason)
    output.metadata = None if note is None else {"palimpsest": note}
    state = TaskState(
        model=ModelName("mockllm/model"),
        sample_id="repeat/math/0000",
        epoch=1,
        input="What is 5 plus 7?",
        messages=[],
        output=output,
        metadata={} if answers is None else {"answers": answers},
    )
    scored = asyncio.run(outcome(**options)(state, Target(["What"])))
    assert scored is not None
    return scored


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (" What is 5 plus 7?", "right"),
        ("12.", "intruded"),
        ("Twelve\nWhat", "intruded"),
        ("Whatever", "broken"),
        ("120", "broken"),
        ("", "unparsed"),
        (" \nWhat", "unparsed"),
    ],
)
def test_each_outcome_counts_once(completion: str, expected: str) -> None:
    scored = score(completion)
    assert scored.value == {each: int(each == expected) for each in OUTCOMES}
    assert scored.metadata is not None
    assert scored.metadata["outcome"] == expected
    assert scored.explanation is not None
    assert scored.explanation.startswith(f"{expected}: ")


def test_the_explanation_says_what_was_expected_and_what_the_model_itself_said() -> None:
    note = {"read_as": "leet", "members": [{"via": "leet", "raw": ["\\1\\2"]}]}
    assert score("12", note=note).explanation == (
        "intruded: `12`\n\n"
        "Right (in-context) is what begins with: `What`\n\n"
        "Intruded (instruction) is what begins with: `12`, `Twelve`\n\n"
        r"Under leet the model said: `\1\2`"
    )


def test_under_a_lossy_conjugation_the_image_of_an_answer_is_right() -> None:
    note = {"read_as": "upper", "members": [{"via": "upper", "raw": ["WHAT"]}]}
    assert score("what is", note=note).value == score("What is").value
    assert score("what is").metadata == {"outcome": "broken"}


def test_answers_may_be_single_texts() -> None:
    assert score("12", answers={"repeat": "What", "answer": "12"}).metadata == {
        "outcome": "intruded"
    }


def test_a_sample_of_another_task_has_its_targets_alone() -> None:
    assert score("What", answers=["something else"]).metadata == {"outcome": "right"}
    assert score("What", answers=None).metadata == {"outcome": "right"}
    assert score("12", answers=None).metadata == {"outcome": "broken"}


def test_no_text_has_a_reason() -> None:
    assert score("").reason == "no_response"
    assert score("", stop_reason="content_filter").reason == "refusal"
    assert score("What").reason is None


def test_answers_end_before_the_stop_strings_that_are_given() -> None:
    assert score("12\nWhat", stop=[]).answer == "12\nWhat"
    assert score("12|What", stop=["|", "\n"]).answer == "12"
