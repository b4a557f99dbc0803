import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from tests.loops import run_to_end
from tests.serve.conftest import Proxy, StartProxy
from tests.serve.stub import USAGE, Stub

from palimpsest.lm.conjugations import CONJUGATIONS, parse_conjugation

TEXT = "Say 7 things · about\nTrash: now! 3 \\ é"
EXACT = [
    "leet", "pig-latin", "rot13", "base64", "reverse-words", "leet|rot13", "protect(leet,labels)",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("via", EXACT)
@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_arrives_conjugated_and_the_answer_comes_back_inverted(
    proxy: Proxy, stub: Stub, via: str, stream: bool
) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": TEXT}]
    asked = proxy.openai.chat.completions.create(
        model=f"echo@{via}", messages=messages, stream=stream
    )
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in asked)
    else:
        text = asked.choices[0].message.content
        assert asked.usage.model_dump(exclude_none=True) == USAGE
        assert asked.model == f"echo@{parse_conjugation(via).name}"
    assert text == TEXT
    apply = parse_conjugation(via).apply
    assert [each["content"] for each in stub.last["messages"]] == [apply("Be kind."), apply(TEXT)]
    assert stub.last["model"] == "echo"


@pytest.mark.slow
@pytest.mark.parametrize("via", EXACT)
@pytest.mark.parametrize("stream", [False, True])
def test_completions_work_as_chat_does(proxy: Proxy, stub: Stub, via: str, stream: bool) -> None:
    asked = proxy.openai.completions.create(model=f"echo@{via}", prompt=TEXT, stream=stream)
    text = "".join(chunk.choices[0].text for chunk in asked) if stream else asked.choices[0].text
    assert text == TEXT
    assert stub.last["prompt"] == parse_conjugation(via).apply(TEXT)


async def _ask_async(url: str) -> tuple[str | None, str]:
    client: Any = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    async with client:
        messages = [{"role": "user", "content": TEXT}]
        whole = await client.chat.completions.create(model="echo@leet", messages=messages)
        stream = await client.chat.completions.create(
            model="echo@leet", messages=messages, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    return whole.choices[0].message.content, "".join(pieces)


@pytest.mark.slow
def test_the_async_client_works_as_well(proxy: Proxy) -> None:
    assert run_to_end(_ask_async(proxy.url)) == (TEXT, TEXT)


def test_several_choices_and_several_prompts_are_inverted_each(proxy: Proxy) -> None:
    answer = proxy.openai.completions.create(model="echo@rot13", prompt=["one", "two"], n=2)
    assert [choice.text for choice in answer.choices] == ["one", "one", "two", "two"]
    stream = proxy.openai.completions.create(
        model="echo@rot13", prompt=["one", "two"], n=2, stream=True
    )
    texts = {0: "", 1: "", 2: "", 3: ""}
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert list(texts.values()) == ["one", "one", "two", "two"]


def test_roles_names_tools_and_calls_pass_untouched(proxy: Proxy, stub: Stub) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 5}'}}
    tool = {
        "type": "function",
        "function": {"name": "add", "description": "Add.", "parameters": {}},
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    proxy.openai.chat.completions.create(
        model="echo@rot13",
        messages=[
            {"role": "developer", "content": "Add."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "twelve"},
            {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "Look."}, image]},
        ],
        tools=[tool],
    )
    assert stub.last["tools"] == [tool]
    assert stub.last["messages"] == [
        {"role": "developer", "content": "Nqq."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "twelve"},
        {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "Ybbx."}, image]},
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools_come_back_untouched(proxy: Proxy, stream: bool) -> None:
    response = proxy.chat("tools@leet", "x", stream=stream)
    assert '"arguments":"{}"' in response.text.replace(" ", "")
    assert '"tool_calls"' in response.text
    assert '"finish_reason":"tool_calls"' in response.text.replace(" ", "")


def test_parameters_of_sampling_pass_and_defaults_are_left_out(proxy: Proxy, stub: Stub) -> None:
    proxy.chat(
        "echo@leet", "x", temperature=0.5, seed=3, n=1, logprobs=False, top_p=0.9, echo=False
    )
    assert {"temperature", "seed", "top_p"} < set(stub.last)
    assert not {"n", "logprobs", "echo", "stop"} & set(stub.last)


@pytest.mark.slow
def test_identity_passes_bytes_unchanged_both_ways(
    proxy: Proxy, stub: Stub, stub_at: tuple[Stub, str]
) -> None:
    body = b'{"model":  "echo", "messages": [{"role":"user","content":"\xc3\xa9 x"}], "odd": 1.0}'
    for content in (body, body.replace(b'"odd"', b'"stream": true, "odd"')):
        through = proxy.http.post("/v1/chat/completions", content=content)
        assert stub.bodies[-1] == content
        direct = httpx.post(f"{stub_at[1]}/chat/completions", content=content, trust_env=False)
        assert through.content == direct.content
        assert through.headers["content-type"] == direct.headers["content-type"]


def test_identity_as_a_suffix_changes_nothing_but_the_model(proxy: Proxy, stub: Stub) -> None:
    response = proxy.chat("echo@identity", TEXT, logprobs=True)
    assert response.json()["choices"][0]["message"]["content"] == TEXT
    assert stub.last["model"] == "echo"
    assert stub.last["logprobs"] is True


def test_the_answers_of_a_vote_are_asked_together_and_their_tokens_added(
    proxy: Proxy, stub: Stub
) -> None:
    n_before = len(stub.requests)
    answer = proxy.openai.completions.create(
        model="echo@vote(identity,leet,rot13)", prompt="Paris", n=2
    )
    assert [choice.text for choice in answer.choices] == ["Paris", "Paris"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3 * USAGE["total_tokens"]
    asked = sorted(each["prompt"] for each in stub.requests[n_before:])
    assert asked == ["Cnevf", "P4r15", "Paris"]
    assert answer.model == "echo@vote(identity,leet,rot13)"


def test_a_vote_streams_its_answer_at_the_end(proxy: Proxy) -> None:
    stream = proxy.openai.chat.completions.create(
        model="echo@vote(leet,rot13)",
        messages=[{"role": "user", "content": "Paris"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["", "Paris", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 2 * USAGE["total_tokens"]


def test_a_vote_fails_when_one_member_fails(proxy: Proxy) -> None:
    response = proxy.chat("status-500@vote(leet,rot13)", "x")
    assert response.status_code == 500
    streamed = proxy.chat("status-500@vote(leet,rot13)", "x", stream=True)
    assert streamed.status_code == 500


@pytest.mark.slow
@pytest.mark.parametrize("via", [name for name in CONJUGATIONS if name != "identity"])
def test_a_header_chooses_the_conjugation_and_the_suffix_comes_first(
    proxy: Proxy, stub: Stub, via: str
) -> None:
    headers = {"X-Palimpsest-Via": via}
    body = {"model": "echo", "prompt": "It is so"}
    response = proxy.http.post("/v1/completions", json=body, headers=headers)
    assert response.headers["X-Palimpsest-Via"] == via
    assert stub.last["prompt"] == parse_conjugation(via).apply("It is so")
    proxy.http.post("/v1/completions", json={**body, "model": "echo@rot13"}, headers=headers)
    assert stub.last["prompt"] == "Vg vf fb"


@pytest.mark.slow
def test_the_default_is_used_where_neither_suffix_nor_header_is(
    start: StartProxy, stub: Stub
) -> None:
    with start(via="rot13") as proxy:
        assert proxy.complete("echo", "It").headers["X-Palimpsest-Via"] == "rot13"
        assert stub.last["prompt"] == "Vg"
        proxy.complete("echo@identity", "It")
        assert stub.last["prompt"] == "It"
        names = [model.id for model in proxy.openai.models.list()]
        assert "echo@rot13" in names


def test_the_models_are_listed_with_their_variants(proxy: Proxy) -> None:
    names = [model.id for model in proxy.openai.models.list()]
    assert {"echo", "echo@leet", "echo@pig-latin", "name@with@at@leet"} <= set(names)
    assert proxy.openai.models.retrieve("echo@vote(leet,rot13)").id == "echo@vote(leet,rot13)"
    assert proxy.http.get("/v1/models/none").status_code == 404


@pytest.mark.slow
def test_what_is_offered_is_listed_instead(start: StartProxy) -> None:
    with start(offer=("vote(leet, rot13)",)) as proxy:
        names = {model.id for model in proxy.openai.models.list()}
        assert names >= {"echo", "echo@vote(leet,rot13)"}
        assert "echo@leet" not in names


def test_a_model_that_is_listed_with_an_at_sign_keeps_it(proxy: Proxy, stub: Stub) -> None:
    proxy.complete("name@with@at", "It")
    assert (stub.last["model"], stub.last["prompt"]) == ("name@with@at", "It")
    proxy.complete("name@with@at@rot13", "It")
    assert (stub.last["model"], stub.last["prompt"]) == ("name@with@at", "Vg")


def test_health_says_ok(proxy: Proxy) -> None:
    assert proxy.http.get("/health").json() == {"status": "ok"}


def test_texts_with_lone_surrogates_survive(proxy: Proxy) -> None:
    content = json.dumps({"model": "echo@leet", "prompt": "a\ud800b"}).encode()
    response = proxy.http.post("/v1/completions", content=content)
    assert json.loads(response.content)["choices"][0]["text"] == "a\ud800b"
