"""Likelihoods through an endpoint equal local ones; where there are none, that is said."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Any

import pytest
from tests.fault_server import FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint
from tests.lm.models.openai.echo_server import echo_app
from tests.servers import serving

from palimpsest.errors import UserError
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.models.openai.replies import Echo, continuation_logprob
from palimpsest.lm.models.protocol import ScoringUnavailableError, can_score
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites import load_suite

SUITE = load_suite("rosetta", limit=1)
PROMPTS: list[Prompt] = [example.prompt for example in SUITE.examples[:12:3]]
CANDIDATES = [[f" {example.right[0]}", " 12", " garçon"] for example in SUITE.examples[:12:3]]
PROMPTS += ["2 + 2 = ", "Où est"]
CANDIDATES += [["4", ""], [" le garçon 😀", ""]]


@pytest.fixture(scope="module")
def local() -> list[list[float]]:
    """The scores of the same model without a server."""
    with closing(load_model("rosetta:base")) as model:
        return model.score(PROMPTS, CANDIDATES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"start": "<s>"},
        {},
        pytest.param({"offsets": False}, marks=pytest.mark.slow),
        pytest.param({"start": ""}, marks=pytest.mark.slow),
    ],
)
def test_scores_equal_those_of_the_same_model_here(
    kind: dict[str, Any], local: list[list[float]]
) -> None:
    with serving(echo_app(ROSETTA_WEIGHTS / "base", **kind)) as url:
        found = endpoint(url).score(PROMPTS, CANDIDATES)
    for row, other in zip(found, local, strict=True):
        # float32 sums in another order
        assert row == pytest.approx(other, abs=1e-4)


def test_a_start_token_in_front_shifts_nothing() -> None:
    echo = Echo(["<s>", "a", " b", " c"], [None, -1, -2, -4], [0, 3, 4, 6], "a b c", 1)
    assert continuation_logprob(echo, "a", " b") == -2
    assert continuation_logprob(echo, "a ", "b") == -2
    assert continuation_logprob(echo, "", "a") == -1


def test_a_space_that_sentencepiece_writes_shifts_nothing() -> None:
    echo = Echo(["<s>", " a", " b"], [None, -1, -2], None, "a b", 0)
    assert continuation_logprob(echo, "a", " b") == -2


def test_tokens_that_are_no_text_go_by_the_servers_offsets() -> None:
    tokens = ["x", "bytes: \\xf0\\x9f", "bytes:\\x98\\x80", " z"]
    echo = Echo(tokens, [None, -1, -2, -4], [0, 1, 1, 3], "x 😀 z", 1)
    assert continuation_logprob(echo, "x", " 😀") == -3
    assert continuation_logprob(echo._replace(offsets=None), "x", " 😀") is None


def test_parts_of_characters_that_cannot_be_counted_are_told_apart_by_what_is_between() -> None:
    tokens = ["<s>", "O", "�", "�", " est", " ", "�", "�", "�", " �"]
    logprobs = [None, -1, -2, -4, -8, -16, -32, -64, -128, -256]
    echo = Echo(tokens, logprobs, None, "", 1)
    assert continuation_logprob(echo, "Où est", " 😀") == -16 - 32 - 64 - 128
    assert continuation_logprob(echo, "Où", " est 😀") == -8 - 16 - 32 - 64 - 128
    assert continuation_logprob(echo, "O", "ù est 😀") == -2 - 4 - 8 - 16 - 32 - 64 - 128
    unseen = Echo(["�", "�", "�", "x"], [None, -1, -2, -4], None, "", 1)
    assert continuation_logprob(unseen, "é", "😀") is None


@pytest.mark.parametrize(
    "echo",
    [
        Echo([" other"], [-1], [0], " other", 0),
        Echo([], [], [], "", None),
        Echo(["a", " b"], [None, None], [0, 1], "a b", 0),
        Echo(["a b"], [None], [0], "a b", 0),
    ],
)
def test_an_echo_of_something_else_gives_no_score(echo: Echo) -> None:
    assert continuation_logprob(echo, "a", " b") is None


def test_a_server_that_ignores_echo_is_asked_once_and_said_to(server: FaultServer) -> None:
    model = endpoint(server.url)
    for _ in range(2):
        with pytest.raises(ScoringUnavailableError, match="ignores echo and logprobs"):
            model.score(["a", "b"], [[" x", " y"], [" x"]])
    assert sum(server.received.values()) == 1


def test_logprobs_without_echo_are_not_taken_for_those_of_the_prompt(server: FaultServer) -> None:
    logprobs = {"tokens": [" x"], "token_logprobs": [-1.0], "text_offset": [0]}
    body = {"choices": [{"text": " x", "logprobs": logprobs}]}
    server.script = [http_reply(200, json_bytes(body))]
    with pytest.raises(ScoringUnavailableError, match="does not repeat the prompt"):
        endpoint(server.url).score(["a"], [[" x"]])


@pytest.mark.parametrize("status", [400, 404, 422, 501])
def test_a_server_that_refuses_echo_is_quoted(server: FaultServer, status: int) -> None:
    server.script = [http_reply(status, json_bytes({"detail": "echo is not supported"}))]
    with pytest.raises(ScoringUnavailableError, match="echo is not supported") as caught:
        endpoint(server.url).score(["a"], [[" x"]])
    assert "vLLM" in str(caught.value)


def test_chat_has_no_probabilities_of_a_prompt(server: FaultServer) -> None:
    with pytest.raises(ScoringUnavailableError, match="asked by chat"):
        endpoint(server.url, api="chat").score(["a"], [[" x"]])
    assert not can_score(endpoint(server.url, api="chat"))
    assert not server.received
    server.scores = True
    with pytest.raises(ScoringUnavailableError, match="asked by chat"):
        endpoint(server.url).score([(Message("user", "a"),)], [["x"]])


def test_a_candidate_too_long_for_the_model_is_impossible(server: FaultServer) -> None:
    said = {"error": {"message": "maximum context length is 8 tokens"}}
    server.scores = True
    model = endpoint(server.url)
    assert can_score(model)
    server.script = [http_reply(400, json_bytes(said))]
    assert model.score(["a"], [[" x"]]) == [[-math.inf]]


def test_whether_it_can_is_found_out_once_with_nothing_to_score(server: FaultServer) -> None:
    mute = endpoint(server.url)
    assert not can_score(mute)
    assert not can_score(mute)
    assert sum(server.received.values()) == 1
    server.scores = True
    able = endpoint(server.url)
    assert can_score(able)
    assert can_score(able)
    assert able.score(["a", "b"], [[], [""]]) == [[], [0.0]]
    assert able.score(["a b"], [[" c d", ""]]) == [[-2.0, 0.0]]
    assert sum(server.received.values()) == 3


def test_a_server_that_is_not_there_is_not_taken_for_one_that_cannot() -> None:
    with pytest.raises(UserError, match="no connection"):
        can_score(endpoint("http://127.0.0.1:9"))
