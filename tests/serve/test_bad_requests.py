import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai import NotFoundError
from tests.serve.conftest import Proxy, StartProxy
from tests.serve.stub import Stub
from tests.servers import free_port

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.simple import Rot13
from palimpsest.serve.app import create_app
from palimpsest.serve.settings import ServeSettings

CHAT = "/v1/chat/completions"


def _error(response: Any, status: int, part: str) -> dict[str, Any]:
    assert response.status_code == status, response.text[:500]
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert part in error["message"]
    return error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 1}),
        ("echo", True),
        ("suffix", "end"),
        ("prediction", {"type": "content", "content": "x"}),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("web_search_options", {"x": 1}),
        ("guided_json", {"x": 1}),
    ],
)
def test_what_cannot_be_honoured_under_a_conjugation_is_refused_by_name(
    proxy: Proxy, stub: Stub, field: str, value: Any
) -> None:
    n_before = len(stub.requests)
    error = _error(proxy.chat("echo@leet", "x", **{field: value}), 400, "'leet'")
    assert (error["param"], error["code"]) == (field, "unsupported_under_conjugation")
    assert len(stub.requests) == n_before
    assert proxy.chat("echo", "x", **{field: value}).status_code == 200


def test_log_probabilities_of_completions_are_refused_even_for_none_but_the_chosen(
    proxy: Proxy,
) -> None:
    _error(proxy.complete("echo@leet", "x", logprobs=0), 400, "logprobs")
    _error(proxy.complete("echo@leet", "x", logprobs=1, echo=True), 400, "logprobs")


def test_tools_cannot_be_put_to_the_vote(proxy: Proxy) -> None:
    _error(proxy.chat("echo@vote(leet,rot13)", "x", tools=[{"type": "function"}]), 400, "vote")


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [[1, 2], [[1], [2]], ["a", 1]])
def test_token_ids_cannot_be_conjugated(proxy: Proxy, prompt: Any) -> None:
    _error(proxy.complete("echo@leet", prompt), 400, "token ids")


@pytest.mark.slow
def test_an_unknown_conjugation_is_met_with_the_nearest(proxy: Proxy) -> None:
    error = _error(proxy.chat("echo@leat", "x"), 404, "Did you mean 'leet'?")
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    with pytest.raises(NotFoundError, match="Did you mean 'leet'"):
        proxy.openai.completions.create(model="echo@leat", prompt="x")
    response = proxy.http.post(
        "/v1/completions",
        json={"model": "echo", "prompt": "x"},
        headers={"X-Palimpsest-Via": "leat"},
    )
    assert _error(response, 400, "Did you mean 'leet'?")["param"] == "X-Palimpsest-Via"


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["", "leet|", "vote(leet", "vote()", "leet|" * 40 + "leet"])
def test_a_malformed_conjugation_is_no_model(proxy: Proxy, spec: str) -> None:
    _error(proxy.chat(f"echo@{spec}", "x"), 404, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    ["translate:es@model:hf:/etc", "translate:es@libretranslate", "translate:es@apertium,x=/tmp"],
)
def test_clients_cannot_have_the_server_open_files_or_other_servers(
    proxy: Proxy, spec: str
) -> None:
    _error(proxy.chat(f"echo@{spec}", "x"), 404, "does not offer")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"model": "echo@leet", "messages": [}', b"nonsense", b"[1]", b'"x"', b"NaN"],
)
def test_malformed_json_is_a_bad_request(proxy: Proxy, content: bytes) -> None:
    _error(proxy.http.post(CHAT, content=content), 400, "JSON")


def test_what_is_not_utf_8_is_a_bad_request(proxy: Proxy) -> None:
    _error(proxy.http.post(CHAT, content=b'{"model": "\xff"}'), 400, "byte 11 is 0xff")
    _error(proxy.http.post(CHAT, content='{"model": "x"}'.encode("utf-16")), 400, "UTF-8")


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"model": ' * 50_000, b"1" * 10_000])
def test_json_made_to_break_parsers_is_a_bad_request(proxy: Proxy, content: bytes) -> None:
    _error(proxy.http.post(CHAT, content=content), 400, "JSON")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"stream": "yes"}, "stream"),
        ({"stop": 7}, "stop"),
        ({"stop": ["a", None]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"n": 0}, "n"),
        ({"n": "two"}, "n"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": 1}, "stream_options"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
    ],
)
def test_fields_of_the_wrong_type_are_named(
    proxy: Proxy, fields: dict[str, Any], param: str
) -> None:
    body = {"model": "echo@leet", "messages": [{"role": "user", "content": "x"}], **fields}
    assert _error(proxy.http.post(CHAT, json=body), 400, "")["param"] == param


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [None, 7, [], {}])
def test_a_completion_needs_a_prompt(proxy: Proxy, prompt: Any) -> None:
    assert _error(proxy.complete("echo@leet", prompt), 400, "prompt")["param"] == "prompt"


def test_what_the_server_does_not_have_is_told_in_the_same_form(proxy: Proxy) -> None:
    _error(proxy.http.get("/v1/nothing"), 404, "nothing at")
    _error(proxy.http.get(CHAT), 405, "not possible")
    _error(proxy.http.post("/v1/embeddings", json={}), 404, "embeddings")


@pytest.mark.slow
def test_a_request_that_is_too_long_is_refused_before_it_is_read(start: StartProxy) -> None:
    with start(max_body_bytes=1000) as proxy:
        _error(proxy.complete("echo@leet", "x" * 2000), 413, "1,000 bytes")

        def endless() -> Any:
            for _ in range(10):
                yield b"x" * 200

        _error(proxy.http.post(CHAT, content=endless()), 413, "1,000 bytes")
        assert proxy.complete("echo@leet", "x").status_code == 200


@pytest.mark.slow
def test_a_request_that_does_not_arrive_is_given_up(start: StartProxy) -> None:
    with start(body_timeout_seconds=0.3) as proxy:
        address = urlsplit(proxy.url)
        with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{{"
            connection.sendall(head.encode())
            connection.settimeout(10)
            assert b"408" in connection.recv(100)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("via", ["", "@leet"])
def test_errors_of_the_upstream_pass_with_their_status(
    proxy: Proxy, via: str, stream: bool
) -> None:
    for status in (400, 401, 404, 429, 500, 503):
        response = proxy.chat(f"status-{status}{via}", "x", stream=stream)
        error = _error(response, status, f"no: {status}")
        assert error["code"] == "c"
    assert proxy.chat(f"status-429{via}", "x").headers["retry-after"] == "3"


@pytest.mark.parametrize("via", ["", "@leet"])
def test_errors_in_another_form_are_translated(proxy: Proxy, via: str) -> None:
    _error(proxy.chat(f"detail{via}", "x"), 422, "Unsupported field: x")


def test_a_key_that_an_upstream_repeats_is_hidden(proxy: Proxy) -> None:
    for via in ("", "@leet"):
        response = proxy.chat(f"leak{via}", "x")
        assert response.status_code == 401
        assert "sk-secret" not in response.text
        assert "[key]" in response.text


@pytest.mark.slow
@pytest.mark.parametrize("model", ["garbage", "schema", "redirect"])
def test_an_upstream_that_does_not_speak_the_format_is_a_bad_gateway(
    proxy: Proxy, model: str
) -> None:
    _error(proxy.chat(f"{model}@leet", "x"), 502, "upstream")


@pytest.mark.slow
@pytest.mark.parametrize("via", ["", "@leet", "@vote(leet,rot13)"])
def test_an_upstream_that_is_down_is_a_bad_gateway(start: StartProxy, via: str) -> None:
    with start(upstream=f"http://127.0.0.1:{free_port()}/v1") as proxy:
        _error(proxy.chat(f"echo{via}", "x"), 502, "cannot be reached")
        _error(proxy.chat(f"echo{via}", "x", stream=True), 502, "cannot be reached")
        _error(proxy.http.get("/v1/models"), 502, "cannot be reached")
        assert proxy.http.get("/health").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("via", ["", "@leet", "@vote(leet,rot13)"])
def test_an_upstream_that_is_too_slow_is_a_gateway_timeout(start: StartProxy, via: str) -> None:
    with start(timeout_seconds=0.3) as proxy:
        _error(proxy.chat(f"hang{via}", "x"), 504, "")


@pytest.mark.slow
def test_an_upstream_that_is_only_slow_is_waited_for(start: StartProxy) -> None:
    with start(keep_alive_seconds=0.2) as proxy:
        assert proxy.chat("slow@leet", "x").status_code == 200
        assert proxy.chat("slow@leet", "x", stream=True).text.endswith("data: [DONE]\n\n")
        vote = proxy.chat("slow@vote(leet,rot13)", "x", stream=True)
        assert vote.text.startswith(": ")
        assert vote.text.endswith("data: [DONE]\n\n")


@pytest.mark.slow
def test_requests_beyond_the_limit_are_sent_away_for_a_second(start: StartProxy) -> None:
    body = {"model": "endless@leet", "prompt": "x", "stream": True}
    with start(max_concurrent=1) as proxy:
        with proxy.http.stream("POST", "/v1/completions", json=body) as running:
            pieces = running.iter_bytes()  # kept, as httpx closes what nobody reads
            next(pieces)
            refused = proxy.complete("echo@leet", "x")
            assert _error(refused, 503, "as many requests")["code"] == "overloaded"
            assert refused.headers["retry-after"] == "1"
            assert proxy.http.get("/health").is_success
        deadline = time.monotonic() + 10
        while not proxy.complete("echo@leet", "x").is_success:
            assert time.monotonic() < deadline


@pytest.mark.slow
def test_only_the_bearer_of_the_token_may_ask(start: StartProxy, stub: Stub) -> None:
    with start(token="correct-horse-é", upstream_key="sk-up") as proxy:
        body = {"model": "echo@leet", "prompt": "x"}
        for given in (None, "Bearer wrong", "Basic correct-horse-é", "Bearer"):
            headers = [] if given is None else [(b"Authorization", given.encode())]
            response = proxy.http.post("/v1/completions", json=body, headers=headers)
            assert _error(response, 401, "token")["code"] == "invalid_api_key"
            assert proxy.http.get("/v1/models", headers=headers).status_code == 401
        right = [(b"Authorization", "Bearer correct-horse-é".encode())]
        assert proxy.http.post("/v1/completions", json=body, headers=right).status_code == 200
        assert proxy.http.get("/health").status_code == 200
        assert stub.headers[-1]["authorization"] == "Bearer sk-up"


@pytest.mark.slow
def test_the_clients_own_key_never_reaches_the_upstream(start: StartProxy, stub: Stub) -> None:
    with start() as proxy:
        for model in ("echo", "echo@leet"):
            body = {"model": model, "prompt": "x"}
            headers = {"Authorization": "Bearer sk-client", "X-Secret": "s"}
            assert proxy.http.post("/v1/completions", json=body, headers=headers).is_success
            assert "authorization" not in stub.headers[-1]
            assert "x-secret" not in stub.headers[-1]


@pytest.mark.slow
def test_pages_of_other_sites_may_not_ask(proxy: Proxy, start: StartProxy) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Host": ""}):
        _error(proxy.http.get("/v1/models", headers=headers), 403, "")
    home = {"Host": "localhost:8000", "Origin": "http://127.0.0.1:3000"}
    assert proxy.http.get("/v1/models", headers=home).status_code == 200
    with start(allow_hosts=("gate.example",)) as other:
        response = other.http.get("/v1/models", headers={"Host": "gate.example"})
        assert response.status_code == 200


@pytest.mark.slow
def test_every_answer_has_an_id_that_the_log_knows(proxy: Proxy) -> None:
    for response in (
        proxy.chat("echo@leet", "x"),
        proxy.chat("echo@no", "x"),
        proxy.chat("echo", "x"),
    ):
        assert len(response.headers["x-request-id"]) == 32


@pytest.mark.slow
def test_other_requests_go_on_while_a_slow_conjugation_works(
    start: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_end = threading.Event(), threading.Event()

    def slow_apply(self: Rot13, prompt: str) -> str:
        began.set()
        assert may_end.wait(30)
        return prompt

    monkeypatch.setattr(Rot13, "batched", True)
    monkeypatch.setattr(Rot13, "apply", slow_apply)
    with start() as proxy, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(proxy.chat, "echo@rot13", "x")
        assert began.wait(30)
        assert proxy.http.get("/health").is_success
        may_end.set()
        assert slow.result().is_success


@pytest.mark.slow
def test_a_conjugation_that_fails_is_told_without_the_prompt(
    start: StartProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(self: Rot13, text: str) -> str:
        raise UserError("The translator is down.", hint="Start it.")

    def broken(self: Rot13, text: str) -> str:
        raise ValueError(text)

    with start() as proxy:
        monkeypatch.setattr(Rot13, "invert", failing)
        _error(proxy.chat("echo@rot13", "private"), 502, "The translator is down. Start it.")
        streamed = proxy.chat("echo@rot13", "private", stream=True)
        assert '"conjugation_failed"' in streamed.text
        monkeypatch.setattr(Rot13, "invert", broken)
        _error(proxy.chat("echo@rot13", "private"), 500, "failed")
    logged = json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert "ValueError" in logged
    assert "private" not in logged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"upstream": "http://user:pw@h/v1"}, "password"),
        ({"upstream": "http://h/v1?key=1"}, "query"),
        ({"upstream": "http:///v1"}, "no host"),
        ({"upstream": "http://h:port"}, "no URL"),
        ({"upstream": "nowhere:x"}, "No model"),
        ({"upstream": "http://h/v1", "via": "leat"}, "leet"),
        ({"upstream": "http://h/v1", "offer": ("leat",)}, "leet"),
        ({"upstream": "http://h/v1", "upstream_key": "sk-a\nb"}, "line break"),
    ],
)
def test_settings_that_cannot_work_are_told_at_the_start(settings: Any, part: str) -> None:
    with pytest.raises(UserError) as caught:
        create_app(ServeSettings(**settings))
    assert part in str(caught.value)
    assert "sk-a" not in str(caught.value)


def test_keys_do_not_show_in_the_settings() -> None:
    settings = ServeSettings("http://h", token="sk-token", upstream_key="sk-upstream")
    assert "sk-" not in repr(settings)


HOSTILE = {
    "backslashes doubled again and again": ("|".join(["leet"] * 9), "\\" * 40_000),
    "dots doubled again and again": ("|".join(["pig-latin"] * 9), "·" * 40_000),
    "base64 of base64": ("|".join(["base64"] * 8), "a" * 1_000_000),
    "a vote of these": (f"vote({'|'.join(['leet'] * 6)},{'|'.join(['leet'] * 5)})", "\\" * 90_000),
}


@pytest.mark.slow
@pytest.mark.parametrize(("via", "text"), HOSTILE.values(), ids=HOSTILE)
def test_a_request_that_would_grow_without_end_is_refused_before_it_is_computed(
    proxy: Proxy, via: str, text: str
) -> None:
    began = time.process_time()
    _error(proxy.chat(f"echo@{via}", text), 413, "are allowed")
    assert time.process_time() - began < 5  # 2 ** 9 times 40,000 characters take a minute


@pytest.mark.parametrize("stop", [["\\" * 30_000], ["ab"] * 2000, ["x" * 300, "y"]])
def test_stops_beyond_number_and_length_are_refused(proxy: Proxy, stop: list[str]) -> None:
    began = time.process_time()
    _error(proxy.chat("echo@leet", "Hello", stop=stop), 400, "'stop' has")
    assert time.process_time() - began < 2


def test_a_request_of_many_links_is_refused(proxy: Proxy) -> None:
    _error(proxy.chat(f"echo@{'|'.join(['leet'] * 12)}", "Hello"), 404, "too long")
