"""Next tokens through an endpoint are those of the same model here, as far as it tells them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.fault_server import FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint
from tests.lm.models.openai.echo_server import telling_app
from tests.servers import serving

from palimpsest.errors import UserError
from palimpsest.judging import diagnose, parse_via
from palimpsest.judging.inference import measure
from palimpsest.lm.models import ROSETTA_WEIGHTS, NextToken, TellsNextTokens
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites import load_suite

SUITE = load_suite("rosetta:n=1,languages=en")
PROMPTS: list[Prompt] = [example.prompt for example in SUITE.examples]

WAYS: list[Any] = [
    pytest.param({}, marks=pytest.mark.slow),
    {"listed": True, "most": 5},
    pytest.param({"end": "</s>"}, marks=pytest.mark.slow),
]


def here() -> TellsNextTokens:
    model = load_model("rosetta:base")
    assert isinstance(model, TellsNextTokens)
    return model


def facts(tokens: list[NextToken]) -> dict[str, float]:
    return {"" if each.ends else each.text: each.log_probability for each in tokens}


@pytest.mark.parametrize("way", WAYS)
def test_they_are_those_of_the_same_model(way: dict[str, Any]) -> None:
    local = here()
    with serving(telling_app(ROSETTA_WEIGHTS / "base", **way)) as url:
        model = endpoint(url)
        found = model.next_tokens(PROMPTS, [()] * len(PROMPTS), n=512)
        followed = model.next_tokens(PROMPTS, [each[0].tokens for each in found], n=512)
    first = local.next_tokens(PROMPTS, [()] * len(PROMPTS), n=20)
    second = local.next_tokens(PROMPTS, [each[0].tokens for each in first], n=20)
    for told, known in ((found, first), (followed, second)):
        for mine, theirs in zip(told, known, strict=True):
            assert len(mine) == way.get("most", 20)
            expected = facts(theirs)
            for text, chance in list(facts(mine).items())[:3]:
                assert chance == pytest.approx(expected[text], abs=1e-3)  # float32, other order
    assert model.account.dialect.most_logprobs == way.get("most", 20)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["base", "tuned"])
def test_masses_are_those_of_the_model_here_but_for_what_is_not_told(role: str) -> None:
    vias = [parse_via("identity"), parse_via("leet")]
    local = load_model(f"rosetta:{role}")
    with serving(telling_app(ROSETTA_WEIGHTS / role)) as url:
        found = measure(endpoint(url), SUITE, vias)
    for key, expected in measure(local, SUITE, vias).items():
        right, intruding, _, unseen = found[key].masses
        assert found[key].rest is None  # nothing counts the tokens of a server
        for mine, theirs in (
            (right, expected.masses.right),
            (intruding, expected.masses.intruding),
        ):
            assert theirs - unseen - 1e-3 <= mine <= theirs + 1e-3


@pytest.mark.slow
def test_a_pair_behind_endpoints_is_measured(tmp_path: Path) -> None:
    with (
        serving(telling_app(ROSETTA_WEIGHTS / "base")) as one,
        serving(telling_app(ROSETTA_WEIGHTS / "tuned")) as other,
    ):
        results = diagnose(
            f"openai:base@{one}", f"openai:tuned@{other}",
            suite="rosetta:n=2,languages=en", via=[], inference=True, n_resamples=200,
            out=tmp_path / "run",
        )  # fmt: skip
    [found] = results.inference
    assert found.base.g is not None
    assert found.tuned.g is not None
    assert found.base.g < 0.2 < 0.5 < found.tuned.g  # Rosetta's English, docs/rosetta.md
    assert found.drift is None


def test_a_chat_is_asked_for_its_first_token_and_does_not_go_on_from_one() -> None:
    chats: list[Prompt] = [(Message("user", str(prompt)),) for prompt in PROMPTS]
    with serving(telling_app(ROSETTA_WEIGHTS / "base")) as url:
        model = endpoint(url)
        found = model.next_tokens(chats, [()] * len(chats), n=3)
        assert model.next_tokens(chats, [found[0][0].tokens] * len(chats), n=3) == [[]] * len(chats)
    known = here().next_tokens(PROMPTS, [()] * len(PROMPTS), n=3)
    assert [facts(each).keys() for each in found] == [facts(each).keys() for each in known]


def test_a_server_that_tells_none_is_said_before_anything_is_asked(
    server: FaultServer, tmp_path: Path
) -> None:
    spec = f"openai:m@{server.url}"
    with pytest.raises(UserError, match="asked for the likeliest next tokens") as caught:
        diagnose(spec, spec, suite=SUITE, inference=True, out=tmp_path / "run")
    assert "honours logprobs" in str(caught.value.hint)
    assert [body["max_tokens"] for body in server.bodies] == [1]


def test_a_server_that_refuses_logprobs_is_quoted(server: FaultServer) -> None:
    said = {"error": {"message": "logprobs is not supported with this model", "param": "logprobs"}}
    server.script = [http_reply(400, json_bytes(said))] * 2
    with pytest.raises(UserError, match="logprobs is not supported"):
        endpoint(server.url).check_tells("a")
    assert [body["logprobs"] for body in server.bodies] == [20, 5]


@pytest.mark.parametrize(
    "told",
    [
        {"top_logprobs": [{" a": 0.5}]},
        {"top_logprobs": [{" a": "likely"}]},
        {"content": [{"top_logprobs": [{"token": 1, "logprob": -1.0}]}]},
        {"content": [{"top_logprobs": ["a"]}]},
    ],
)
def test_log_probabilities_that_are_none_are_a_fault(server: FaultServer, told: Any) -> None:
    good = {"top_logprobs": [{" a": -0.5, " b": -1.5}]}
    bodies = [{"choices": [{"text": " a", "logprobs": each}]} for each in (told, good)]
    server.script = [http_reply(200, json_bytes(body)) for body in bodies]
    [tokens] = endpoint(server.url).next_tokens(["x"], [()], n=20)
    assert [(each.text, each.log_probability) for each in tokens] == [(" a", -0.5), (" b", -1.5)]


def test_parts_of_characters_are_left_out_and_bytes_go_before_what_a_server_writes_of_them(
    server: FaultServer,
) -> None:
    rows = [
        {"token": "bytes:\\xc3", "logprob": -0.1, "bytes": [0xC3]},
        {"token": "é", "logprob": -1.0, "bytes": [0xC3, 0xA9]},
        {"token": "z", "logprob": -2.0, "bytes": None},
        {"token": "y", "logprob": -math.inf, "bytes": [999]},
    ]
    body = {"choices": [{"text": "", "logprobs": {"content": [{"top_logprobs": rows}]}}]}
    server.script = [http_reply(200, json_bytes(body).replace(b"-Infinity", b"-9999.0"))]
    [tokens] = endpoint(server.url).next_tokens(["x"], [()], n=20)
    assert [each.text for each in tokens] == ["", "é", "z", "y"]
