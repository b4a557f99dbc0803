from __future__ import annotations

import json

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.requests import (
    Api,
    ApiRequest,
    Dialect,
    api_of,
    echo_request,
    generation_request,
)
from palimpsest.lm.models.sampling import Sampling
from palimpsest.lm.prompts import Message, Prompt

CHAT: Prompt = (Message("system", "Be brief."), Message("user", "2 + 2?"))


def request(prompt: Prompt, api: Api, **options: object) -> ApiRequest:
    settings: dict[str, object] = {"max_new_tokens": 3, "dialect": Dialect(), **options}
    return generation_request(prompt, model="m", api=api, **settings)  # type: ignore[arg-type]


def test_text_goes_to_completions_and_messages_to_chat_unless_told_otherwise() -> None:
    assert api_of("text", None) == "completions"
    assert api_of(CHAT, None) == "chat"
    assert api_of("text", "chat") == "chat"
    assert api_of(CHAT, "completions") == "completions"


def test_messages_become_plain_text_for_completions() -> None:
    assert request(CHAT, "completions").body["prompt"] == "Be brief.\n\n2 + 2?"


def test_messages_keep_their_roles() -> None:
    sent = request(CHAT, "chat")
    assert sent.path == "/chat/completions"
    assert sent.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
    ]


def test_text_becomes_one_user_message_for_chat() -> None:
    assert request("Hi", "chat").body["messages"] == [{"role": "user", "content": "Hi"}]


def test_no_field_is_sent_that_is_not_needed() -> None:
    assert set(request("Hi", "completions").body) == {
        "model",
        "prompt",
        "max_tokens",
        "temperature",
    }
    assert "temperature" not in request("Hi", "chat", temperature="default").body


def test_at_most_four_stop_strings_are_sent() -> None:
    assert request("Hi", "completions", stop=list("abcdef")).body["stop"] == list("abcd")


def test_a_refusal_teaches_the_dialect_once() -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    learnt = Dialect().after_refusal("max_tokens", said)
    assert learnt == Dialect(limit="max_completion_tokens")
    assert learnt.after_refusal("max_tokens", said) is None
    assert request("Hi", "chat", dialect=learnt).body["max_completion_tokens"] == 3
    mute = Dialect().after_refusal("stop", "Not supported with this model.")
    assert mute == Dialect(stops=False)
    assert "stop" not in request("Hi", "chat", stop=["\n"], dialect=mute).body


@pytest.mark.parametrize("text", ["", "a\x00b", "a\ud800b", "😀" * 9, "long " * 20_000])
def test_every_text_can_be_sent_and_has_no_more_tokens_than_counted(text: str) -> None:
    for sent in (
        request(text, "completions"),
        request(text, "chat"),
        echo_request(text, model="m"),
    ):
        json.dumps(sent.body, ensure_ascii=False).encode()
        assert sent.most_prompt_tokens > len(text)


def test_a_sample_has_a_temperature_and_a_seed_of_its_own() -> None:
    bodies = [
        dict(request("2 + 2 =", "completions", sampling=Sampling(0.7, 0.9, number=n)).body)
        for n in (1, 2)
    ]
    assert [(body["temperature"], body["top_p"]) for body in bodies] == [(0.7, 0.9)] * 2
    assert bodies[0]["seed"] != bodies[1]["seed"]
    assert "top_p" not in request("2 + 2 =", "completions", sampling=Sampling(0.7)).body


def test_a_server_that_takes_no_seed_is_asked_without_and_one_that_takes_no_temperature_not() -> (
    None
):
    learnt = Dialect().after_refusal("seed", "Unknown parameter: 'seed'.")
    assert learnt is not None
    assert "seed" not in request("a", "chat", sampling=Sampling(0.7), dialect=learnt).body
    assert str(learnt) == "no seed: another run draws other samples"
    stiff = Dialect().after_refusal("temperature", "Unsupported value: 'temperature'.")
    with pytest.raises(UserError, match="takes no temperature for 'm'"):
        request("a", "chat", sampling=Sampling(0.7), dialect=stiff)
