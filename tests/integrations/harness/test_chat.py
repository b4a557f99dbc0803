"""Chat templates: the messages are conjugated, not what a template wrote around them."""

import json
from typing import Any, NamedTuple

import dill  # type: ignore[import-untyped]
import pytest
from tests.integrations.harness.conftest import SHOTS, Recorder, generating, scoring

from palimpsest.errors import UserError
from palimpsest.integrations.lm_eval import ConjugateLM
from palimpsest.integrations.lm_eval.chat import ChatContext

CHAT: dict[str, Any] = {"apply_chat_template": True, "fewshot_as_multiturn": True}


def test_messages_are_conjugated_and_the_templates_marks_are_not(evaluate: Any) -> None:
    inner = Recorder()
    evaluate(ConjugateLM(inner, via="rot13"), "fewshot", limit=1, **CHAT)
    [sent] = inner.asked
    assert sent.args[0] == (
        "<|system|>Ercrng gur vachg.\n\n"
        f"<|user|>Vachg: {_rot13(_shown(sent, 0))}\nBhgchg:<|assistant|>{_rot13(_shown(sent, 0))}"
        f"<|user|>Vachg: {_rot13(_shown(sent, 1))}\nBhgchg:<|assistant|>{_rot13(_shown(sent, 1))}"
        "<|user|>Vachg: Oblf guebj oyhr onyyf va fhzzre.\nBhgchg:<|assistant|>"
    )


def _shown(sent: Any, place: int) -> str:
    """Return which of the two worked examples the harness has put in a place."""
    first, second = SHOTS
    is_first = sent.args[0].index(_rot13(first)) < sent.args[0].index(_rot13(second))
    return (SHOTS if is_first else SHOTS[::-1])[place]


def _rot13(text: str) -> str:
    import codecs

    return codecs.encode(text, "rot13")


def test_the_log_has_the_prompts_of_the_plain_model(evaluate: Any) -> None:
    plain = evaluate(Recorder(), "fewshot", **CHAT)["samples"]["fewshot"]
    logged = evaluate(ConjugateLM(Recorder(), via="rot13"), "fewshot", **CHAT)["samples"]["fewshot"]
    for key in ("arguments", "doc_hash", "prompt_hash", "target_hash"):
        assert [each[key] for each in logged] == [each[key] for each in plain]


def test_an_answer_that_is_begun_for_the_model_is_gone_on_with(evaluate: Any) -> None:
    inner = Recorder()
    evaluate(ConjugateLM(inner, via="leet"), "prefixed", limit=1, **CHAT)
    right, wrong = inner.asked
    assert right.args[0].endswith("Ou7pu7:<|assistant|>S0:")
    assert right.args == (wrong.args[0], " B0y5 7hr0w 8lu3 84ll5 1n 5umm3r.")
    assert wrong.args[1] == " N07h1ng."


@pytest.mark.slow
def test_prompts_that_were_kept_in_a_file_are_conjugated_alike(
    evaluate: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))
    first, again, other, plain = Recorder(), Recorder(), Recorder(), Recorder()
    for inner, via in ((first, "leet"), (again, "leet"), (other, "rot13"), (plain, "identity")):
        evaluate(ConjugateLM(inner, via=via), "fewshot", cache_requests=True, **CHAT)
    asked = [[each.args[0] for each in inner.asked] for inner in (first, again, other, plain)]
    assert asked[0] == asked[1]
    assert "1npu7" in asked[0][0]
    assert "Vachg" in asked[2][0]
    assert "Input" in asked[3][0]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_context_survives_being_pickled() -> None:
    context = ChatContext("<|user|>Hi", [{"role": "user", "content": "Hi"}])
    again = dill.loads(dill.dumps(context))
    assert (again, again.messages, again.add_generation_prompt) == (
        "<|user|>Hi",
        ({"role": "user", "content": "Hi"},),
        True,
    )


def test_a_prompt_that_a_task_changes_after_the_template_is_refused() -> None:
    model = ConjugateLM(Recorder(), via="leet")
    context = model.apply_chat_template([{"role": "user", "content": "Hi"}])
    model.generate_until([generating(context, until=[])])
    with pytest.raises(UserError, match="changes its prompts after the chat template"):
        model.generate_until([generating(context + " Go on.", until=[])])
    model.generate_until([generating("Not from a template.", until=[])])


class JsonChat(NamedTuple):
    """As the harness writes messages for models behind chat APIs."""

    prompt: str


@pytest.mark.parametrize("form", ["json", "list"])
def test_templates_that_write_messages_down_are_read_again(form: str) -> None:
    class Api(Recorder):
        def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> Any:
            return JsonChat(json.dumps(chat_history)) if form == "json" else chat_history

    inner = Api()
    model = ConjugateLM(inner, via="leet")
    history = [{"role": "user", "content": "Is it?"}]
    context = model.apply_chat_template(history)
    assert context == (JsonChat(json.dumps(history)) if form == "json" else history)
    model.generate_until([generating(context, until=["\n"])])
    model.loglikelihood(scoring((context, "Yes")))
    sent = [{"role": "user", "content": "I5 17?"}]
    asked = [each.args[0] for each in inner.asked]
    assert asked == [JsonChat(json.dumps(sent)) if form == "json" else sent] * 2
    assert inner.asked[1].args[1] == "Y35"


def test_messages_with_pictures_are_refused() -> None:
    model = ConjugateLM(Recorder(), via="leet")
    context = ChatContext("x", [{"role": "user", "content": [{"type": "image"}]}])
    with pytest.raises(UserError, match="holds a list where text is expected"):
        model.generate_until([generating(context, until=[])])


def test_a_template_keeps_its_own_name_and_text() -> None:
    class Templated(Recorder):
        def chat_template(self, chat_template: bool | str = False) -> str | None:
            return f"template {chat_template}"

    assert ConjugateLM(Templated(), via="leet").chat_template("short") == "template short"


def test_a_model_behind_a_chat_api_gets_conjugated_messages(
    evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[dict[str, Any]] = []

    class Response:
        ok = True

        def raise_for_status(self) -> None:
            """All is well."""

        def json(self) -> dict[str, Any]:
            return {"choices": [{"index": 0, "message": {"content": "17 15 50.\nInpu7:"}}]}

    def post(url: str, *, json: dict[str, Any], **_: Any) -> Response:
        posted.append(json)
        return Response()

    monkeypatch.setattr("requests.post", post)
    model = ConjugateLM(
        "local-chat-completions", via="leet", base_url="http://localhost:1", model="m"
    )
    results = evaluate(model, "fewshot", limit=1, **CHAT)
    [body] = posted
    assert [turn["role"] for turn in body["messages"]] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]
    assert body["messages"][0]["content"] == "R3p347 7h3 1npu7.\n\n"
    assert body["stop"] == ["\n"]
    [sample] = results["samples"]["fewshot"]
    assert sample["filtered_resps"] == ["it is so."]
    assert "Repeat the input." in str(sample["arguments"])
