"""Keys come from the environment, go to the server, and turn up nowhere else."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest
from tests.fault_server import FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.openai.endpoint import EndpointModel
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.run_folder import RunFolder
from palimpsest.records.store import AnswerStore

KEY = "sk-secret/1234567890+abc"

SUITE = Suite(
    name="keys",
    examples=tuple(
        Example(
            source_id=str(n),
            cell="a/b",
            language="en",
            prompt=f"Say {n}",
            answers={"icl": (str(n),), "instruction": ("x",)},
        )
        for n in range(20)
    ),
)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MY_KEY", KEY)
    return KEY


def ask(model: EndpointModel, *prompts: str) -> list[str]:
    answers = dict(model.generate(prompts or ("Say it",), max_new_tokens=9))
    return [answers[index].text for index in range(len(answers))]


def test_the_key_is_sent_as_a_bearer_token(server: FaultServer, key: str) -> None:
    ask(endpoint(server.url, key_env="MY_KEY"))
    assert f"authorization: Bearer {key}".lower() in server.headers[0].lower()


def test_on_this_machine_no_key_is_needed(server: FaultServer) -> None:
    ask(endpoint(server.url))
    assert "authorization" not in server.headers[0].lower()


def test_no_key_is_sent_where_none_is_wanted(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ask(endpoint(server.url, key_env="none"))
    assert "authorization" not in server.headers[0].lower()


@pytest.mark.parametrize("options", [{}, {"key_env": "MY_KEY"}])
def test_a_missing_key_names_its_variable(options: dict[str, str]) -> None:
    variable = options.get("key_env", "OPENAI_API_KEY")
    with pytest.raises(UserError, match=f"export {variable}="):
        endpoint("https://api.example.org", **options)


@pytest.mark.parametrize("bad", ["two words", "line\nbreak-secret", "schlüssel-secret"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", bad)
    with pytest.raises(UserError, match="MY_KEY") as caught:
        endpoint("https://api.example.org", key_env="MY_KEY")
    assert bad not in str(caught.value)


def test_line_breaks_around_a_key_do_not_matter(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    ask(endpoint(server.url, key_env="MY_KEY"))
    assert KEY in server.headers[0]


@pytest.mark.usefixtures("key")
def test_no_key_travels_unencrypted_to_another_machine_unless_allowed() -> None:
    with pytest.raises(UserError, match="insecure=true"):
        endpoint("http://192.0.2.1", key_env="MY_KEY")
    endpoint("http://192.0.2.1", key_env="MY_KEY", insecure="true")
    endpoint("http://192.0.2.1", key_env="none")
    endpoint("https://192.0.2.1", key_env="MY_KEY")


def test_the_key_is_not_sent_on_to_where_a_server_redirects(server: FaultServer, key: str) -> None:
    with FaultServer() as other:
        location = f"Location: {other.url}/v1/completions"
        server.script = [http_reply(307, b"", location)]
        with pytest.raises(UserError, match="redirects to"):
            ask(endpoint(server.url, key_env="MY_KEY"))
        assert not other.headers


def test_a_redirect_that_repeats_the_key_is_shown_without_it(server: FaultServer, key: str) -> None:
    server.script = [http_reply(302, b"", f"Location: http://x/Bearer {key}")]
    with pytest.raises(UserError, match="redirects to") as caught:
        ask(endpoint(server.url, key_env="MY_KEY"))
    assert key not in str(caught.value)
    assert "[key]" in str(caught.value)


@pytest.mark.slow
def test_the_key_turns_up_in_no_object_record_log_or_error(
    server: FaultServer, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A server that repeats the key in answers and errors, escaped and not.
    slashed = json_bytes({"choices": [{"text": f" {key} {key}"}], "model": f"m-{key}"})
    said = json_bytes({"error": {"message": f"Wrong key {key}", "code": key}})
    server.script = [
        http_reply(200, slashed.replace(b"/", b"\\/")),
        http_reply(200, slashed),
        http_reply(500, said),
        http_reply(429, f"<p>{key}</p>".encode()),
    ]
    seen: list[str] = []
    with caplog.at_level(logging.DEBUG):
        model = endpoint(server.url, key_env="MY_KEY", concurrency=1)
        folder = RunFolder.create(tmp_path / "run")
        folder.record({"model": model.spec, "fingerprint": model.fingerprint})
        with AnswerStore(folder.answers) as store:
            vias = [parse_via("identity", SUITE)]
            rows = evaluate(model, SUITE, vias, store=store, role="base")
        seen += [repr(rows), repr(model), repr(vars(model)), repr(model.account)]
        seen += [json.dumps(dict(model.describe())), model.fingerprint]
        for status in (400, 401, 403, 404, 422):
            server.script = [http_reply(status, said)]
            with pytest.raises(UserError, match=str(status)) as caught:
                ask(endpoint(server.url, key_env="MY_KEY"))
            seen.append("".join(traceback.format_exception(caught.value)))
            assert "[key]" in str(caught.value)
        server.script = [http_reply(500, said)] * 2
        with pytest.raises(UserError, match="2 attempts") as caught:
            ask(endpoint(server.url, key_env="MY_KEY", attempts=2))
        seen.append("".join(traceback.format_exception(caught.value)))
    seen.append("\n".join(f"{r.getMessage()} {r.args!r} {r.exc_text}" for r in caplog.records))
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    with contextlib.suppress(TypeError):  # locks and the like may forbid it
        seen.append(pickle.dumps(vars(model)).decode("latin-1"))
    assert len(rows) == len(SUITE.examples)
    assert key in server.headers[-1]
    for text in seen:
        assert key not in text
        assert "1234567890" not in text
