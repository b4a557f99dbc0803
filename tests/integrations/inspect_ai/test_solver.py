from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalSample
from inspect_ai.model import (
    ChatMessageAssistant,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import Solver, chain, generate, prompt_template, use_tools
from inspect_ai.tool import Tool, tool
from tests.integrations.inspect_ai.mock import Recorder, mock, run, said, samples_of

from palimpsest.integrations.inspect_registry import conjugated

pytestmark = pytest.mark.slow  # quicker: test_in_short.py


def solved(solver: Solver, recorder: Recorder, logs: Path, **options: Any) -> EvalSample:
    task = Task(
        dataset=[Sample(input="Say it.", target="it")], solver=solver, scorer=includes(), **options
    )
    [sample] = samples_of(run(task, mock(recorder), logs))
    return sample


def test_the_model_is_asked_conjugated_and_the_conversation_stays_plain(tmp_path: Path) -> None:
    recorder = Recorder()
    sample = solved(conjugated("leet"), recorder, tmp_path)
    assert recorder.texts == [["S4y 17."]]
    assert [(each.role, each.text) for each in sample.messages] == [
        ("user", "Say it."),
        ("assistant", "Say it."),
    ]
    assert sample.output.completion == "Say it."
    assert sample.messages[-1].id == sample.output.message.id


def test_the_store_and_the_event_have_the_raw_text(tmp_path: Path) -> None:
    sample = solved(conjugated("leet"), Recorder(), tmp_path)
    assert sample.store["palimpsest"] == [
        {
            "via": "leet",
            "read_as": "leet",
            "members": [{"via": "leet", "raw": ["S4y 17."], "answer": ["Say it."]}],
        }
    ]
    [event] = [each for each in sample.events if isinstance(each, ModelEvent)]
    assert event.output.completion == "S4y 17."


def test_another_solver_is_wrapped(tmp_path: Path) -> None:
    recorder = Recorder()
    inner = chain(prompt_template("{prompt} Now!"), generate())
    sample = solved(conjugated("leet", inner), recorder, tmp_path)
    assert recorder.texts == [["S4y 17. N0w!"]]
    assert sample.messages[0].text == "Say it. Now!"
    assert sample.output.completion == "Say it. Now!"


def test_identity_changes_nothing(tmp_path: Path) -> None:
    plain, same = Recorder(), Recorder()
    expected = solved(generate(), plain, tmp_path / "plain")
    sample = solved(conjugated("identity"), same, tmp_path / "same")
    assert same.texts == plain.texts
    assert [each.text for each in sample.messages] == [each.text for each in expected.messages]
    assert sample.output.model_dump(exclude={"time", "choices"}) == expected.output.model_dump(
        exclude={"time", "choices"}
    )
    assert sample.store == expected.store == {}


@tool
def add() -> Tool:
    async def execute(a: str) -> str:
        """Add a site.

        Args:
            a: The site.
        """
        return f"It is {a}."

    return execute


def test_a_loop_of_tools_is_read_back_message_by_message(tmp_path: Path) -> None:
    asking = ModelOutput.for_tool_call("mockllm", "add", {"a": "a site"}, content="I 4dd.")
    answers = iter([asking, said("17 15.")])
    recorder = Recorder(lambda _: next(answers))
    sample = solved(chain(use_tools(add()), conjugated("leet")), recorder, tmp_path)
    assert recorder.texts == [["S4y 17."], ["S4y 17.", "I 4dd.", "It is a site."]]
    assert [(each.role, each.text) for each in sample.messages] == [
        ("user", "Say it."),
        ("assistant", "I add."),
        ("tool", "It is a site."),
        ("assistant", "it is."),
    ]
    called = sample.messages[1]
    assert isinstance(called, ChatMessageAssistant)
    assert called.tool_calls
    assert called.tool_calls[0].arguments == {"a": "a site"}


def test_a_vote_leaves_one_answer(tmp_path: Path) -> None:
    answers = {"Say it.": "no", "S4y 17.": "17 15.", "Fnl vg.": "vg vf"}
    recorder = Recorder(lambda text: answers[text])
    sample = solved(conjugated("vote(identity,leet,rot13)"), recorder, tmp_path)
    assert [each.text for each in sample.messages] == ["Say it.", "it is."]
    assert sample.output.completion == "it is."
    assert len(recorder.inputs) == 3


def test_stop_sequences_of_the_task_are_conjugated_and_read_after_inversion(
    tmp_path: Path,
) -> None:
    recorder = Recorder(lambda _: "17 15 U53r: no")
    config = GenerateConfig(stop_seqs=["User:", "7"])
    sample = solved(conjugated("leet"), recorder, tmp_path, config=config)
    assert recorder.configs[0].stop_seqs == ["U53r:"]
    assert sample.output.completion == "it is "


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GenerateConfig(stop_seqs=["7"]), "wrap the model"),
        (GenerateConfig(logprobs=True), "cannot be honoured"),
    ],
)
def test_what_a_solver_cannot_do_fails_the_sample_with_the_way_out(
    tmp_path: Path, config: GenerateConfig, expected: str
) -> None:
    task = Task(dataset=[Sample(input="Say it.")], solver=conjugated("leet"), config=config)
    [log] = eval(task, model=mock(Recorder()), log_dir=str(tmp_path), display="none")
    assert log.status == "error"
    assert log.error is not None
    assert expected in log.error.message


def test_an_unknown_conjugation_is_told_without_a_traceback() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        conjugated("lete")
    assert "Did you mean 'leet'?" in str(caught.value.message)
