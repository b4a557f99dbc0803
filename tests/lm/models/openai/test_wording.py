"""What servers are known to say, sent by one of them: the run goes on with the right outcome."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fault_server import FaultServer, http_reply
from tests.lm.models.openai.conftest import endpoint

from palimpsest.lm.models.openai.wording import ending_of, sounds_too_long, told_of_prompt, wording

REFUSALS: list[dict[str, Any]] = wording()["refusal"]
ENDS = {"too long": ("", "length", 0), "filtered": ("", "filtered", 0)}


def test_at_least_twelve_servers_are_heard_and_every_report_is_linked() -> None:
    assert len({each["server"].partition(",")[0].partition(" in ")[0] for each in REFUSALS}) >= 12
    assert all(each["source"].startswith("https://") for each in REFUSALS)


@pytest.mark.slow
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: f"{each['server']}: {each['means']}")
def test_a_known_refusal_is_understood(server: FaultServer, refusal: dict[str, Any]) -> None:
    server.script = [http_reply(refusal["status"], refusal["body"].encode())]
    model = endpoint(server.url, concurrency=1, api="chat")
    answers = dict(model.generate(["Say 1", "Say 2"], max_new_tokens=5, stop=["\n"]))
    assert answers[1].text == " 2"
    if refusal["means"] in ENDS:
        assert answers[0][:3] == ENDS[refusal["means"]]
        assert len(server.bodies) == 2
        return
    assert answers[0].text == " 1"
    fields = {"no stop": "stop", "no temperature": "temperature"}
    left_out = fields.get(refusal["means"], "max_tokens")
    assert left_out in server.bodies[0]
    assert all(left_out not in body for body in server.bodies[1:])
    assert len(server.bodies) == 3
    assert model.describe()["asked with"]


@pytest.mark.parametrize(
    "said",
    [
        "the prompt exceeds the window",
        "input of 900 tokens is larger than the limit of 512",
        "sequence too long: 4097 > 4096",
    ],
)
def test_unknown_words_may_still_sound_of_a_long_prompt(said: str) -> None:
    assert told_of_prompt(said) is None
    assert sounds_too_long(said)


@pytest.mark.parametrize(
    "said",
    ["rate limit exceeded", "no such model", "max_tokens is too large: at most 16384 new tokens"],
)
def test_other_refusals_do_not_sound_of_a_long_prompt(said: str) -> None:
    assert told_of_prompt(said) is None
    assert not sounds_too_long(said)


def test_endings_are_known_in_the_words_of_several_servers() -> None:
    reasons = ["stop", "length", "MAX_TOKENS", "FinishReason.SAFETY", "model_length", "", None]
    found = [ending_of(reason) for reason in reasons]
    assert found == ["stop", "length", "length", "filtered", "length", "stop", "stop"]
