"""Whatever a server says, it is taken apart or called wrong; nothing else happens."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.lm.models.openai.replies import (
    WrongReplyError,
    parse_completion,
    parse_echo,
    parse_json,
    server_error,
    token_counts,
)
from palimpsest.lm.models.openai.requests import Api

NAMES = ["choices", "text", "message", "content", "role", "logprobs", "tokens", "token_logprobs"]
NAMES += ["text_offset", "finish_reason", "usage", "error", "detail", "code", "param", "x"]

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)
TEXT_REPLY: dict[str, Any] = {"choices": [{"text": " 4", "finish_reason": "stop"}]}


@given(JSON)
def test_any_json_is_a_reply_or_called_wrong(value: object) -> None:
    data = json.dumps(value).encode()
    server_error(data, "a-secret-key")
    try:
        parsed = parse_json(data, "a-secret-key")
    except WrongReplyError:
        return
    for api in get_args(Api):
        try:
            reply = parse_completion(parsed, api)
            assert isinstance(reply.text, str)
        except WrongReplyError:
            pass
    try:
        echo = parse_echo(parsed)
        assert echo is None or len(echo.tokens) == len(echo.logprobs)
    except WrongReplyError:
        pass


@given(st.binary())
def test_any_bytes_are_called_wrong_or_are_json(data: bytes) -> None:
    server_error(data, None)
    try:
        json.loads(data)
    except ValueError:
        with pytest.raises(WrongReplyError):
            parse_json(data, None)


def test_endless_nesting_is_wrong_json() -> None:
    deep = b"[" * 200_000
    with pytest.raises(WrongReplyError):
        parse_json(deep, None)
    assert server_error(deep, None).message


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"text": None}]},
        {"choices": ["text"]},
        {"choices": [{"message": {"content": "for chat"}}]},
        {"result": "fine"},
    ],
)
def test_a_completion_without_a_text_is_wrong(body: dict[str, Any]) -> None:
    with pytest.raises(WrongReplyError):
        parse_completion(body, "completions")


def test_a_refusal_in_a_field_of_its_own_is_what_the_model_said() -> None:
    message = {"role": "assistant", "content": None, "refusal": "No."}
    body = {"choices": [{"message": message, "finish_reason": "length"}]}
    assert parse_completion(body, "chat")[:2] == ("No.", "refused")


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 0}, (3, 0)),
        ({"prompt_tokens": -1, "completion_tokens": "2"}, (None, None)),
        ({"prompt_tokens": True}, (None, None)),
        ({"completion_tokens": 10**30}, (None, None)),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_token_counts_that_are_none_are_not_believed(
    usage: object, counts: tuple[int | None, int | None]
) -> None:
    assert token_counts({"usage": usage})[:2] == counts
    assert parse_completion({**TEXT_REPLY, "usage": usage}, "completions").text == " 4"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "No.", "type": "t", "param": "stop", "code": None}}, "No."),
        ({"error": "No."}, "No."),
        ({"detail": "No."}, "No."),
        ({"message": "No.", "code": 400}, "No."),
        ({"detail": [{"loc": ["body"], "msg": "No."}]}, "body: No."),
    ],
)
def test_errors_are_understood_in_all_their_forms(body: object, message: str) -> None:
    assert server_error(json.dumps(body).encode(), None).message == message


def test_what_a_server_says_is_shown_in_one_short_harmless_line() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J<b>\u202e\r\n" + "x" * 10_000
    for body in (evil.encode(), json.dumps({"error": {"message": evil}}).encode()):
        message = server_error(body, None).message
        assert message.isprintable()
        assert len(message) <= 301
