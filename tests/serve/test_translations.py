"""Translations through the server, with the real translator."""

import json
import shutil

import pytest
from tests.serve.conftest import Proxy
from tests.serve.stub import Stub

pytestmark = [
    pytest.mark.apertium,
    pytest.mark.skipif(shutil.which("apertium") is None, reason="Apertium is not installed"),
]

TEXT = "Input: The cat sleeps.\n\nThe dog runs in the garden.\nSee {name} at https://a.org."


def test_prompts_go_out_in_spanish_and_answers_come_back_in_english(
    proxy: Proxy, stub: Stub
) -> None:
    answer = proxy.complete("echo@translate:es", TEXT)
    assert "gato" in stub.last["prompt"]
    assert "{name}" in stub.last["prompt"]
    assert "cat" in answer.json()["choices"][0]["text"]
    assert answer.headers["X-Palimpsest-Via"] == "translate:es@apertium"


def test_a_streamed_translation_is_the_one_that_is_answered_at_once(proxy: Proxy) -> None:
    whole = proxy.complete("echo@fr|upper", TEXT).json()["choices"][0]["text"]
    streamed = proxy.complete("echo@fr|upper", TEXT, stream=True).text
    chunks = [json.loads(line[6:]) for line in streamed.split("\n\n") if line.startswith("data: {")]
    texts = [chunk["choices"][0]["text"] for chunk in chunks]
    assert "".join(texts) == whole
    assert sum(map(bool, texts)) > 1  # line by line


def test_what_was_not_translated_is_flagged(proxy: Proxy) -> None:
    answer = proxy.complete("echo@translate:es", "Xyzzy qwrt.")
    assert "unchanged" in answer.headers.get("X-Palimpsest-Flags", "")


def test_a_vote_of_languages_asks_each(proxy: Proxy, stub: Stub) -> None:
    n_before = len(stub.requests)
    answer = proxy.complete("echo@vote(es,ca,leet)", "The cat sleeps.")
    assert answer.status_code == 200
    assert len(stub.requests) == n_before + 3


def test_a_language_that_nobody_translates_is_told_at_once(proxy: Proxy) -> None:
    response = proxy.complete("echo@translate:zz", "x")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
