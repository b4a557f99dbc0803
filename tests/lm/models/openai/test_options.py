from __future__ import annotations

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.options import EndpointOptions, normal_url
from palimpsest.lm.models.specs import load_model, parse_model_spec


def parse(text: str) -> EndpointOptions:
    return EndpointOptions.parse(parse_model_spec(text))


def test_model_and_address_are_parted_at_the_last_sign_before_the_address() -> None:
    options = parse("openai:/models/base@main@http://localhost:8000")
    assert options.model == "/models/base@main"
    assert options.url == "http://localhost:8000/v1"


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("HTTPS://API.example.org/v1", "https://api.example.org/v1"),
        ("https://example.org/v1/completions", "https://example.org/v1"),
        ("https://example.org/api/v1/chat/completions", "https://example.org/api/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_an_address_has_one_form(typed: str, used: str) -> None:
    assert normal_url(typed) == used
    assert normal_url(used) == used


@pytest.mark.parametrize(
    "text", ["openai:gpt", "openai:@http://x", "openai:m@ftp://x", "openai:m@http://", "openai:m@x"]
)
def test_a_spec_without_model_or_address_shows_how_to_write_one(text: str) -> None:
    with pytest.raises(UserError, match=r"openai:llama@http://localhost:8000/v1"):
        parse(text)


@pytest.mark.parametrize(
    "url", ["http://h:x", "http://h:99999", "http://a b", "http://[::1", "http://h:0"]
)
def test_an_impossible_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="is no address"):
        parse(f"openai:m@{url}")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2hunter2@example.org/v1",
        "https://hunter2hunter2@example.org/v1",
        "https://example.org/v1?api_key=hunter2hunter2",
        "https://example.org/v1#hunter2hunter2",
        "https://me:hunter2hunter2@example.org:port",
    ],
)
def test_secrets_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(f"openai:m@{url}")
    assert "hunter2" not in str(caught.value)


def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="key_env is no name") as caught:
        parse("openai:m@https://example.org,key_env=sk-hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_key_as_an_option_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="no option 'api_key'") as caught:
        parse("openai:m@https://example.org,api_key=sk-hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("api=chats", "Did you mean 'chat'"),
        ("concurrency=0", "from 1 to 1000"),
        ("concurrency=many", "from 1 to 1000"),
        ("attempts=-1", "from 1 to 100"),
        ("timeout=0", "seconds above zero"),
        ("timeout=soon", "seconds above zero"),
        ("patience=inf", "seconds above zero"),
        ("backoff=nan", "seconds above zero"),
        ("temperature=1", "expected 0 or default"),
        ("insecure=maybe", "expected true"),
        ("concurency=4", "Did you mean 'concurrency'"),
        ("model=x", "no option 'model'"),
    ],
)
def test_a_wrong_option_is_explained(option: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        parse(f"openai:m@http://localhost,{option}")


def test_options_of_other_models_answer_differently_and_so_hash_differently() -> None:
    def fingerprint(text: str) -> str:
        return load_model(text).fingerprint

    plain = fingerprint("openai:m@http://localhost:1")
    others = [
        "openai:n@http://localhost:1",
        "openai:m@http://localhost:2",
        "openai:m@http://localhost:1,api=chat",
        "openai:m@http://localhost:1,revision=2026-11-01",
        "openai:m@http://localhost:1,temperature=default",
    ]
    assert len({plain, *map(fingerprint, others)}) == 1 + len(others)
    same = "openai:m@http://LOCALHOST:1/v1/,concurrency=2,timeout=3,attempts=2,patience=9,backoff=1"
    assert fingerprint(same) == plain
