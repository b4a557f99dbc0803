import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cli.conftest import Palimpsest, palimpsest
from tests.serve.conftest import StartProxy
from tests.serve.stub import Stub

import palimpsest.serve as palimpsest_serve
from palimpsest.errors import UserError
from palimpsest.serve.choosing import Chooser
from palimpsest.serve.listening import bound
from palimpsest.serve.running import secret, upstream_key

__all__ = ["palimpsest"]  # the fixture

PATIENCE_SECONDS = 60


class Command:
    """``palimpsest serve`` as a process, with its log."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "palimpsest", "serve", *arguments, "--port", "0"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.of("listening"):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.url = self.of("listening")[0]["url"]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def line(self, place: int) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.lines) <= place:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self.lines[place]

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code


@contextmanager
def command(*arguments: str, **environment: str) -> Iterator[Command]:
    started = Command(*arguments, **environment)
    try:
        yield started
    finally:
        started.process.kill()
        started.wait()
        assert started.process.stdout is not None
        assert started.process.stderr is not None
        started.process.stdout.close()
        started.process.stderr.close()


def _curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_curl_gets_answers_and_the_log_tells_of_them_without_their_text(
    stub_at: tuple[Stub, str],
) -> None:
    _, upstream = stub_at
    body = {"model": "echo@leet", "messages": [{"role": "user", "content": "my secret"}]}
    with command("-u", upstream, OPENAI_API_KEY="sk-upstream") as server:
        url = f"{server.url}/chat/completions"
        assert '"echo@leet"' in _curl(f"{server.url}/models").stdout
        whole = _curl(url, "-d", json.dumps(body)).stdout
        assert json.loads(whole)["choices"][0]["message"]["content"] == "my secret"
        streamed = _curl("-N", url, "-d", json.dumps({**body, "stream": True})).stdout
        assert streamed.endswith("data: [DONE]\n\n")
        wrong = _curl("-i", url, "-d", "{").stdout
        assert wrong.startswith("HTTP/1.1 400")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    asked = [line for line in server.of("request") if line["method"] == "POST"]
    assert [line["status"] for line in asked] == [200, 200, 400]
    assert asked[0]["via"] == "leet"
    assert asked[0]["model"] == "echo"
    assert asked[0]["prompt_tokens"] == 7
    assert asked[1]["stream"] is True
    logged = json.dumps(server.lines)
    assert "secret" not in logged
    assert "sk-upstream" not in logged
    assert server.lines[-1]["event"] == "stopped"


@pytest.mark.slow
def test_prompts_are_logged_where_that_was_asked_for(stub_at: tuple[Stub, str]) -> None:
    with command("-u", stub_at[1], "--log-prompts", "--via", "leet") as server:
        body = {"model": "echo", "prompt": "my secret"}
        httpx.post(f"{server.url}/completions", json=body, trust_env=False)
        httpx.post(f"{server.url}/completions", json={**body, "stream": True}, trust_env=False)
        server.process.send_signal(signal.SIGTERM)
        server.wait()
    for line in server.of("request"):
        assert line["prompt"] == "my secret"
        assert line["answers"] == {"0": "my secret"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_server_that_is_stopped_finishes_what_it_has_begun(
    stub_at: tuple[Stub, str], kind: signal.Signals
) -> None:
    stub, upstream = stub_at
    answers: list[httpx.Response] = []
    with command("-u", upstream) as server:

        def ask() -> None:
            body = {"model": "slow@leet", "prompt": "x"}
            answers.append(
                httpx.post(f"{server.url}/completions", json=body, timeout=30, trust_env=False)
            )

        asking = threading.Thread(target=ask)
        n_before = len(stub.requests)
        asking.start()
        while len(stub.requests) == n_before:
            time.sleep(0.02)
        server.process.send_signal(kind)
        asking.join(30)
        assert server.wait() == 0
    assert answers[0].json()["choices"][0]["text"] == "x"
    assert [line["event"] for line in server.lines] == [
        "listening",
        "stopping",
        "request",
        "stopped",
    ]


@pytest.mark.slow
def test_a_request_that_outlasts_the_grace_is_cut_off(stub_at: tuple[Stub, str]) -> None:
    with command("-u", stub_at[1], "--grace", "1") as server:
        body = {"model": "hang@leet", "prompt": "private"}
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(
                httpx.post(f"{server.url}/completions", json=body, timeout=30, trust_env=False)
            )

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        asking.join(10)
        assert time.monotonic() - began < 10
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "stopping"
    assert "private" not in json.dumps(server.lines)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_unless_told_otherwise_only_this_machine_reaches_it(stub_at: tuple[Stub, str]) -> None:
    def reached_at(server: Command, address: str) -> bool:
        try:
            socket.create_connection((address, httpx.URL(server.url).port or 0), 5).close()
        except ConnectionRefusedError:
            return False
        return True

    with command("-u", stub_at[1]) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert reached_at(server, "127.0.0.1")
        assert not reached_at(server, "127.0.0.2")  # stands for the addresses that others reach
    with command("-u", stub_at[1], "--host", "0.0.0.0") as server:
        assert reached_at(server, "127.0.0.2")


@pytest.mark.slow
def test_what_is_open_to_the_network_is_warned_of(stub_at: tuple[Stub, str]) -> None:
    with command("-u", stub_at[1], "--host", "0.0.0.0") as server:
        assert "set a token" in server.line(1)["event"]
    with command(
        "-u", stub_at[1], "--host", "0.0.0.0", PALIMPSEST_SERVE_TOKEN="sk-token"
    ) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401
        headers = {"Authorization": "Bearer sk-token"}
        assert httpx.get(f"{url}/models", headers=headers, trust_env=False).status_code == 200
        assert "sk-token" not in json.dumps(server.lines)
        assert len(server.of("listening")) == 1
        assert [line["level"] for line in server.lines] == ["info"] * len(server.lines)


def test_a_port_that_is_taken_is_said_with_another(
    palimpsest: Palimpsest, stub_at: tuple[Stub, str]
) -> None:
    port = httpx.URL(stub_at[1]).port
    ended = palimpsest("serve", "-u", stub_at[1], "--port", port)
    assert ended.code == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in ended.err
    assert "try: --port" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["-u", "http://h/v1", "--via", "leat"], "Did you mean 'leet'?"),
        (["-u", "http://h/v1", "--key-env", "NO_SUCH_KEY"], "'NO_SUCH_KEY' is not set"),
        (["-u", "http://h/v1", "--token-env", "NO_SUCH_TOKEN"], "'NO_SUCH_TOKEN' is not set"),
        (["-u", "http://h/v1", "--host", "no.such.host.invalid"], "No address"),
        (["-u", "rosetta:bse"], "Did you mean 'base'?"),
        ([], "--upstream"),
    ],
)
def test_mistakes_of_whoever_starts_the_server_are_told_at_once(
    palimpsest: Palimpsest, arguments: list[str], part: str
) -> None:
    ended = palimpsest("serve", *arguments)
    assert ended.code == 2
    assert part in ended.err


@pytest.mark.slow
def test_without_the_extra_the_command_says_how_to_install_it(
    palimpsest: Palimpsest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "palimpsest.serve.running", raising=False)
    for name in palimpsest_serve.__all__:  # what other tests have loaded
        monkeypatch.delitem(vars(palimpsest_serve), name, raising=False)
    ended = palimpsest("serve", "-u", "http://h/v1")
    assert ended.code == 2
    assert "pip install 'starlette" in ended.err


def test_the_help_shows_two_commands_to_copy(palimpsest: Palimpsest) -> None:
    ended = palimpsest("serve", "--help")
    assert ended.code == 0
    assert ended.out.count("  palimpsest serve ") >= 2


def test_secrets_come_from_the_environment_and_may_be_missing() -> None:
    assert secret({"A": " x \n"}, "A", required=True) == "x"
    assert secret({"A": ""}, "A", required=False) is None
    with pytest.raises(UserError):
        secret({}, "A", required=True)


def test_the_usual_key_goes_only_where_nobody_reads_it_on_the_way() -> None:
    usual = {"OPENAI_API_KEY": "sk-a", "MINE": "sk-b"}
    assert upstream_key(usual, "https://h/v1", None) == "sk-a"
    assert upstream_key(usual, "http://127.0.0.1:1/v1", None) == "sk-a"
    assert upstream_key(usual, "http://h/v1", None) is None
    assert upstream_key(usual, "http://h/v1", "MINE") == "sk-b"
    assert upstream_key({}, "https://h/v1", None) is None


@pytest.mark.slow
def test_a_key_that_is_sent_in_clear_is_warned_of() -> None:
    with command("-u", "http://no.such.host.invalid/v1", "--key-env", "MINE", MINE="sk-b") as it:
        assert "plain http" in it.line(1)["event"]
        assert "sk-b" not in json.dumps(it.lines)


def test_whoever_was_told_the_address_gets_in() -> None:
    with bound("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as client:
            assert client.getpeername() == address


@pytest.mark.slow
def test_sockets_of_ip_version_6_serve_as_well(
    start: StartProxy, stub_at: tuple[Stub, str]
) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    with command("-u", stub_at[1], "--host", "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(f"{server.url}/models", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("default", "offer"),
    [
        ("translate:es@apertium,timeout=7", ()),
        ("leet", ("vote(leet,translate:es@apertium,timeout=8)",)),
    ],
)
def test_a_translator_that_is_not_there_is_said_at_the_start(
    default: str, offer: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def no_models() -> list[str]:
        return []

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Apertium"):
        Chooser(default, offer, no_models)
