"""One prompt that gets no answer does not end the run; a server that answers none does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fault_server import FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.questions import REFUSED, TOO_LONG
from palimpsest.judging.via import parse_via
from palimpsest.judging.warnings import find_oddities
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.store import AnswerStore

REFUSAL = http_reply(400, json_bytes({"error": {"message": "I will not have this."}}))
LONG = http_reply(400, json_bytes({"error": {"message": "prompt is too long"}}))
PROMPTS = [f"Say {n}" for n in range(8)]


def ask(model: object, prompts: list[str] = PROMPTS) -> dict[int, tuple[str, str]]:
    answers = model.generate(prompts, max_new_tokens=5)  # type: ignore[attr-defined]
    return {index: (answer.text, answer.finish) for index, answer in answers}


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("n_refused", [1, 2])
def test_prompts_refused_before_others_are_answered_are_told_apart(
    server: FaultServer, n_refused: int, concurrency: int
) -> None:
    server.script = [REFUSAL] * n_refused
    model = endpoint(server.url, concurrency=concurrency)
    answers = ask(model)
    assert len(answers) == len(PROMPTS)
    assert sum(answer == ("", "refused") for answer in answers.values()) == n_refused
    assert model.describe()["prompts refused"] == str(n_refused)


def test_the_third_in_a_row_ends_a_run_without_any_answer(server: FaultServer) -> None:
    server.script = [REFUSAL] * 8
    model = endpoint(server.url, concurrency=1)
    seen: list[object] = []
    with pytest.raises(UserError, match="I will not have this"):
        seen.extend(model.generate(PROMPTS, max_new_tokens=5))
    assert len(server.bodies) == 3
    assert not seen


def test_three_in_a_row_are_refused_if_what_was_answered_is_answered_again(
    server: FaultServer,
) -> None:
    model = endpoint(server.url, concurrency=1)
    answers = {}
    for index, answer in model.generate(PROMPTS, max_new_tokens=5):
        answers[index] = answer.finish
        if index == 1:
            server.script = [REFUSAL] * 3
    assert sorted(answers) == list(range(8))
    assert list(answers.values()).count("refused") == 3
    assert server.received["Say 1"] + server.received["Say 2"] >= 3


def test_a_server_that_turns_bad_ends_the_run_and_spoils_no_answer(server: FaultServer) -> None:
    model = endpoint(server.url, concurrency=1)
    seen = []
    answers = model.generate(PROMPTS, max_new_tokens=5)
    seen.append(next(answers)[1].finish)
    server.script = [REFUSAL] * 9
    with pytest.raises(UserError, match="I will not have this"):
        seen.extend(answer.finish for _, answer in answers)
    assert set(seen) == {"stop"}


def test_a_prompt_at_which_the_server_fails_again_and_again_is_refused(
    server: FaultServer,
) -> None:
    empty = http_reply(200, json_bytes({"choices": []}))
    server.script = [empty, http_reply(500, b"<h1>Oh</h1>")]
    model = endpoint(server.url, concurrency=1, attempts=2)
    assert ask(model)[0] == ("", "refused")


def test_outcomes_of_prompts_are_in_the_records_and_are_warned_of(
    server: FaultServer, tmp_path: Path
) -> None:
    examples = tuple(
        Example(str(n), "a/b", "en", f"Say {n}", {"icl": (str(n),), "instruction": ("x",)})
        for n in range(6)
    )
    suite = Suite(name="s", examples=examples)
    server.script = [LONG, REFUSAL]
    vias = [parse_via("identity", suite)]
    model = endpoint(server.url, concurrency=1)
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        rows = evaluate(model, suite, vias, store=store, role="base")
        assert [row.flags for row in rows[:3]] == [TOO_LONG, REFUSED, ""]
        assert f"1 of 6 questions under 'identity': {REFUSED}." in find_oddities(rows, suite, vias)
        again = evaluate(model, suite, vias, store=store, role="base")
    assert [row.finish for row in again[:3]] == ["length", "stop", "stop"]  # asked once more
