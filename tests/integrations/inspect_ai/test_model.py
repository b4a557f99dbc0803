import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import Sample
from inspect_ai.event import ModelEvent
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelCall,
    ModelOutput,
    ModelUsage,
    ResponseSchema,
    get_model,
    modelapi,
)
from inspect_ai.scorer import includes
from inspect_ai.tool import ToolCall, ToolInfo
from inspect_ai.util import JSONSchema
from tenacity import wait_none
from tests.integrations.inspect_ai.mock import Recorder, mock, run, said, samples_of

from palimpsest.errors import UserError
from palimpsest.integrations.inspect_ai.model import ConjugateAPI
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.conjugations.ensembles import TextEnsemble
from palimpsest.lm.conjugations.leet import Leet

pytestmark = pytest.mark.slow  # quicker: test_in_short.py

TEXT = "Say 7 things · about\nTrash: now! 3 \\ é"
EXACT = [
    "leet", "pig-latin", "rot13", "base64", "reverse-words", "leet|rot13", "protect(leet,labels)",
]  # fmt: skip


def ask(model: Any, *messages: ChatMessage | str, **options: Any) -> ModelOutput:
    said = [ChatMessageUser(content=m) if isinstance(m, str) else m for m in messages]
    output: ModelOutput = asyncio.run(model.generate(said, **options))
    return output


@pytest.mark.parametrize("via", EXACT)
def test_the_prompt_arrives_conjugated_and_the_answer_comes_back_inverted(via: str) -> None:
    recorder = Recorder()
    output = ask(mock(recorder, via), ChatMessageSystem(content="Be kind."), TEXT)
    apply = parse_conjugation(via).apply
    assert output.completion == output.message.text == TEXT
    assert recorder.texts == [[apply("Be kind."), apply(TEXT)]]
    assert [message.role for message in recorder.inputs[0]] == ["system", "user"]


def test_tools_their_calls_and_results_pass_untouched() -> None:
    call = ToolCall(id="c", function="add", arguments={"a": "site"})
    asking = ModelOutput.for_tool_call("mockllm", "add", {"a": "site"}, content="17 15")
    recorder = Recorder(lambda _: asking)
    messages: list[ChatMessage] = [
        ChatMessageUser(content="It is."),
        ChatMessageAssistant(content="I add.", tool_calls=[call]),
        ChatMessageTool(content="It is a site.", tool_call_id="c", function="add"),
    ]
    tool = ToolInfo(name="add", description="It adds.")
    output = ask(mock(recorder, "leet"), *messages, tools=[tool])
    assert recorder.texts == [["I7 15.", "I 4dd.", "It is a site."]]
    assert recorder.inputs[0][1].tool_calls == [call]  # type: ignore[union-attr]
    [asked] = output.message.tool_calls or []
    assert (asked.function, asked.arguments) == ("add", {"a": "site"})
    assert output.message.text == "it is"
    assert output.stop_reason == "tool_calls"


def test_images_and_reasoning_pass_untouched() -> None:
    image = ContentImage(image="data:image/png;base64,iVBORw0KGgo=")
    thought = ContentReasoning(reasoning="It is easy.")
    answer = ChatMessageAssistant(content=[thought, ContentText(text="17"), ContentText(text="15")])
    recorder = Recorder(lambda _: ModelOutput.from_message(answer))
    asked = ChatMessageUser(content=[ContentText(text="It is."), image])
    output = ask(mock(recorder, "leet"), asked)
    assert recorder.inputs[0][0].content == [ContentText(text="I7 15."), image]
    assert output.message.content == [thought, ContentText(text="it"), ContentText(text="is")]


def test_every_choice_is_inverted() -> None:
    output = ask(mock(Recorder(lambda _: said("17", "15")), "leet"), "Say it.")
    assert [choice.message.text for choice in output.choices] == ["it", "is"]


def test_under_identity_the_other_model_gets_and_gives_the_very_same_objects() -> None:
    answer = said("17 15")
    answer.choices[0].logprobs = Logprobs(content=[Logprob(token="17", logprob=-0.5)])
    recorder = Recorder(lambda _: answer)
    model = mock(recorder, "identity")
    config = GenerateConfig(stop_seqs=["s"], logprobs=True)
    message = ChatMessageUser(content="It is.")
    result = asyncio.run(model.api.generate([message], [], "none", config))
    assert isinstance(result, tuple)
    assert result[0] is answer
    assert recorder.inputs[0][0] is message
    assert recorder.configs == [config]
    assert str(model) == "conjugate/mockllm/model"


def test_stop_sequences_are_sent_where_they_mean_the_same_and_read_after_inversion() -> None:
    recorder = Recorder(lambda _: "17 15 \\7 U53r: no")
    stops = ["User:", "7"]
    output = ask(mock(recorder, "leet"), "Say it.", config=GenerateConfig(stop_seqs=stops))
    assert recorder.configs[0].stop_seqs == ["U53r:"]
    assert output.completion == "it is "
    assert output.stop_reason == "stop"


def test_a_model_is_told_no_stop_sequences_if_none_mean_the_same() -> None:
    recorder = Recorder(lambda _: "17 15 \\7 n0")
    output = ask(mock(recorder, "leet"), "Say it.", config=GenerateConfig(stop_seqs=["7"]))
    assert recorder.configs[0].stop_seqs is None
    assert output.completion == "it is "


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("logprobs", GenerateConfig(logprobs=True)),
        ("top_logprobs", GenerateConfig(top_logprobs=2)),
        ("prompt_logprobs", GenerateConfig(prompt_logprobs=1)),
        ("logit_bias", GenerateConfig(logit_bias={1: 5.0})),
        (
            "response_schema",
            GenerateConfig(
                response_schema=ResponseSchema(name="x", json_schema=JSONSchema(type="string"))
            ),
        ),
        ("guided_json", GenerateConfig(extra_body={"guided_json": {"type": "object"}})),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(
    name: str, config: GenerateConfig
) -> None:
    recorder = Recorder()
    with pytest.raises(PrerequisiteError) as caught:
        ask(mock(recorder, "leet"), "Say it.", config=config)
    message = str(caught.value.message)
    assert f"'{name}' cannot be honoured under the conjugation 'leet': " in message
    assert "without a conjugation" in message
    assert recorder.inputs == []


def test_logprobs_that_nobody_asked_for_are_dropped() -> None:
    answer = said("17")
    answer.choices[0].logprobs = Logprobs(content=[Logprob(token="17", logprob=-0.5)])
    assert ask(mock(Recorder(lambda _: answer), "leet"), "Say it.").choices[0].logprobs is None


def counted(text: str) -> ModelOutput:
    output = said(text)
    output.usage = ModelUsage(input_tokens=5, output_tokens=2, total_tokens=7)
    return output


def test_usage_is_the_models_own() -> None:
    output = ask(mock(Recorder(lambda _: counted("17")), "leet"), "Say it.")
    assert output.usage == ModelUsage(input_tokens=5, output_tokens=2, total_tokens=7)


def test_the_members_of_a_vote_answer_in_turn_and_their_tokens_add_up() -> None:
    answers = {"Say it.": "no", "S4y 17.": "17 15.", "Fnl vg.": "vg vf"}
    recorder = Recorder(lambda text: counted(answers[text]))
    output = ask(mock(recorder, "vote(identity,leet,rot13)"), "Say it.")
    assert recorder.texts == [["Say it."], ["S4y 17."], ["Fnl vg."]]
    assert output.completion == "it is."
    assert output.usage == ModelUsage(input_tokens=15, output_tokens=6, total_tokens=21)
    assert output.metadata is not None
    assert output.metadata["palimpsest"] == {
        "via": "vote(identity,leet,rot13)",
        "read_as": "leet",
        "members": [
            {"via": "identity", "raw": ["no"], "answer": ["no"]},
            {"via": "leet", "raw": ["17 15."], "answer": ["it is."]},
            {"via": "rot13", "raw": ["vg vf"], "answer": ["it is"]},
        ],
    }


def test_calls_of_tools_are_not_put_to_the_vote() -> None:
    with pytest.raises(PrerequisiteError, match="cannot be put to the vote"):
        ask(
            mock(Recorder(), "vote(leet,rot13)"),
            "Say it.",
            tools=[ToolInfo(name="add", description="It adds.")],
        )


def test_a_vote_arrives_as_the_command_line_takes_it_apart() -> None:
    model = mock(Recorder(), ["vote(leet", "rot13)"])  # type: ignore[arg-type]
    assert str(model) == "conjugate/mockllm/model@vote(leet,rot13)"


def test_arguments_for_the_other_model_reach_it() -> None:
    model = mock(Recorder(), "leet", model_path="./weights")
    assert model.api.inner.model_args == {"model_path": "./weights"}  # type: ignore[attr-defined]


def test_the_conjugation_may_stand_behind_the_name() -> None:
    plain = get_model("conjugate/mockllm/model@leet", memoize=False)
    assert isinstance(plain.api, ConjugateAPI)
    assert plain.api.inner.model_name == "model"
    again = get_model(str(plain), via="leet", memoize=False)  # as inspect eval-retry does
    assert str(again) == str(plain)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("conjugate/mockllm/model", {}, "Add -M via=leet"),
        ("conjugate/mockllm/model", {"via": "lete"}, "Did you mean 'leet'?"),
        ("conjugate/mockllm/model@lete", {}, "Did you mean 'leet'?"),
    ],
)
def test_a_missing_or_unknown_conjugation_is_told_without_a_traceback(
    name: str, arguments: dict[str, str], expected: str
) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        get_model(name, memoize=False, **arguments)  # type: ignore[arg-type]
    assert expected in str(caught.value.message)


def test_all_that_inspect_asks_of_a_provider_is_answered_by_the_other_one() -> None:
    api = mock(Recorder(), "leet").api
    assert isinstance(api, ConjugateAPI)
    ours = {
        "generate", "count_tokens", "count_text_tokens", "tokenize", "compact", "connection_key",
        "should_retry", "close", "aclose",
    }  # fmt: skip
    hooks = {name for name in vars(ModelAPI) if not name.startswith("_")}
    hooks -= {"qualified_model_name"}
    assert ours < hooks
    for name in hooks - ours:
        assert getattr(api, name) == getattr(api.inner, name), name


class LostError(Exception):
    """A fault that passes."""


@modelapi(name="faulty")
class Faulty(ModelAPI):
    """A provider that fails the first time, and the second in a way that does not pass."""

    def __init__(self, model_name: str, **_: Any) -> None:
        super().__init__(model_name)
        self.faults: list[Exception] = [LostError("lost"), ValueError("spoilt")]

    async def generate(self, *_: Any) -> Any:
        if self.faults:
            raise self.faults.pop(0)
        return said("17")

    def should_retry(self, ex: Exception) -> bool:
        return isinstance(ex, LostError)

    def retry_wait(self) -> Any:
        return wait_none()

    def connection_key(self) -> str:
        return "mine"


def test_retries_and_connections_are_as_the_other_provider_says() -> None:
    model = get_model("conjugate/faulty/model", via="leet", memoize=False)
    assert model.api.connection_key() == "Faulty:mine"
    with pytest.raises(ValueError, match="spoilt"):
        ask(model, "Say it.")
    assert ask(model, "Say it.").completion == "it"


def test_a_translator_that_fails_is_told_and_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = get_model("conjugate/faulty/model", via="leet", memoize=False)

    def fail(*_: Any) -> str:
        raise UserError("The translator is down.", hint="Start it.")

    monkeypatch.setattr(model.api.ensemble.members[0], "apply", fail)  # type: ignore[attr-defined]
    monkeypatch.setattr(model.api.inner, "should_retry", lambda _: True)  # type: ignore[attr-defined]
    with pytest.raises(PrerequisiteError) as caught:
        ask(model, "Say it.")
    assert caught.value.message == "The translator is down.\nStart it."


def test_a_providers_error_is_logged_with_its_call() -> None:
    failed = ModelCall.create({"messages": []}, {"body": "spoilt"})

    @modelapi(name="erring")
    class Erring(ModelAPI):
        async def generate(self, *_: Any) -> Any:
            return ValueError("spoilt"), failed

    api = get_model("conjugate/erring/model", via="leet", memoize=False).api
    result = asyncio.run(
        api.generate([ChatMessageUser(content="it")], [], "none", GenerateConfig())
    )
    assert isinstance(result, tuple)
    assert isinstance(result[0], ValueError)
    assert result[1].request == {"via": "leet", "messages": []}
    assert result[1].response == {"body": "spoilt"}


def test_a_closed_model_is_not_found_again() -> None:
    async def opened_twice() -> tuple[object, object]:
        async with get_model("conjugate/faulty/closed", via="leet") as model:
            first = model.api.inner  # type: ignore[attr-defined]
        return first, get_model("faulty/closed").api

    first, second = asyncio.run(opened_twice())
    assert first is not second


def test_tokens_are_those_of_the_conjugated_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(text: str) -> int:
        return len(text)

    model = mock(Recorder(), "vote(identity,base64)")
    monkeypatch.setattr(model.api.inner, "count_text_tokens", count)  # type: ignore[attr-defined]
    expected = len(parse_conjugation("base64").apply(TEXT))
    assert asyncio.run(model.api.count_text_tokens(TEXT)) == expected
    assert asyncio.run(model.api.count_tokens(TEXT)) == expected
    messages: list[ChatMessage] = [ChatMessageUser(content=TEXT)]
    assert asyncio.run(model.api.count_tokens(messages)) >= expected


def test_a_slow_conjugation_leaves_the_event_loop_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = set()

    def answer(text: str) -> str:
        threads.add(threading.current_thread())
        return text

    class Slow(Leet):
        batched = True

        def apply(self, prompt: str) -> str:
            threads.add(threading.current_thread())
            return super().apply(prompt)

    model = mock(Recorder(answer), "leet")
    monkeypatch.setattr(model.api, "ensemble", TextEnsemble([Slow()]))
    assert ask(model, "Say it.").completion == "Say it."
    assert len(threads) == 2


def test_the_conversation_that_was_passed_in_stays_as_it_was() -> None:
    messages: list[ChatMessage] = [ChatMessageUser(content=[ContentText(text="It is.")])]
    before = [message.model_dump() for message in messages]
    ask(mock(Recorder(), "leet"), *messages)
    assert [message.model_dump() for message in messages] == before


def test_answers_of_two_conjugations_are_cached_apart() -> None:
    texts = []
    for via in ("leet", "rot13", "leet"):
        recorder = Recorder()
        output = ask(mock(recorder, via), "Say it.", cache=True)
        texts.append((output.completion, len(recorder.inputs)))
    assert texts == [("Say it.", 1), ("Say it.", 1), ("Say it.", 0)]


def test_the_log_has_the_raw_and_the_inverted_text(tmp_path: Path) -> None:
    task = Task(dataset=[Sample(input="Say it.", target="Say it.")], scorer=includes())
    log = run(task, mock(Recorder(), "leet"), tmp_path)
    [sample] = samples_of(log)
    [event] = [each for each in sample.events if isinstance(each, ModelEvent)]
    assert event.input[0].text == event.output.completion == "Say it."
    assert event.call is not None
    assert event.call.request["via"] == "leet"
    assert event.call.request["messages"][0]["content"] == "S4y 17."  # type: ignore[index, call-overload]
    assert event.call.response is not None
    assert event.call.response["content"] == "S4y 17."
    assert sample.output.metadata is not None
    assert sample.output.metadata["palimpsest"]["members"][0]["raw"] == ["S4y 17."]
    assert log.eval.model == "conjugate/mockllm/model@leet"
    assert log.eval.model_args["via"] == "leet"
