import random
from collections.abc import Callable

import pytest
from tests.fault_server import FaultServer, http_reply
from tests.lm.models.openai.conftest import endpoint

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.faults import Backoff
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.network import (
    LONGEST_WAIT_SECONDS,
    bypasses_proxy,
    is_loopback,
    proxy_of,
    retry_after,
)
from palimpsest.lm.translators.json_service import JsonService
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.upstream_http import HttpUpstream


def test_loopback_is_recognised() -> None:
    names = ["127.0.0.1", "127.9.9.9", "localhost", "api.localhost", "::1", "[::1]"]
    assert all(map(is_loopback, names))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "example.org", ""]))
    assert ServeSettings("x", host="0.0.0.0").allowed_hosts == frozenset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("Fri, 20 Nov 2026 00:00:10 GMT", 10.0),
        ("Thu, 19 Nov 2026 23:00:00 GMT", 0.0),
        ("Fri, 20 Nov 99999 00:00:10 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header: str, seconds: float | None) -> None:
    midnight = 1_795_132_800.0  # of 20 November 2026, UTC
    assert retry_after(header, midnight) == seconds


def test_no_server_is_waited_for_as_long_as_it_likes() -> None:
    centuries = retry_after("Fri, 31 Dec 9999 23:59:59 GMT", 0.0)
    assert centuries is not None
    waits = Backoff(0.5, random.Random(1))
    assert waits.seconds(1, centuries) <= LONGEST_WAIT_SECONDS * 1.1
    assert retry_after("9" * 100_000, 0.0) is None


PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
FAR = "https://api.example.org/v1"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("value", ["http://proxy:3128", "proxy:3128", "https://u:p@proxy:3128/"])
def test_a_proxy_counts_unless_the_host_is_listed(env: pytest.MonkeyPatch, value: str) -> None:
    env.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")  # is not looked at
    env.setenv("https_proxy", value)
    proxy = proxy_of(FAR)
    assert proxy is not None
    assert (proxy.url.host, proxy.url.port) == ("proxy", 3128)
    env.setenv("NO_PROXY", "[::1],fe80::/10, .example.org")
    assert proxy_of(FAR) is None


@pytest.mark.parametrize(
    "value",
    [
        "socks://127.0.0.1:1080/",
        "socks4://h:1",
        "socks5://h:1080",
        "http://[::1",
        "http://h:port",
        "ftp://h",
        "http://",
        "://",
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_with_what_to_set(
    env: pytest.MonkeyPatch, value: str
) -> None:
    env.setenv("OPENAI_API_KEY", "key")
    env.setenv("ALL_PROXY", value)
    doors: list[Callable[[], object]] = [
        lambda: load_model(f"openai:m@{FAR}"),
        lambda: HttpUpstream(ServeSettings(FAR)),
        lambda: JsonService(FAR, name="It").ask("/"),
    ]
    for door in doors:
        with pytest.raises(UserError, match="ALL_PROXY") as caught:
            door()
        assert "NO_PROXY=api.example.org" in str(caught.value)


def test_the_password_of_a_proxy_is_not_shown(env: pytest.MonkeyPatch) -> None:
    env.setenv("ALL_PROXY", "socks4://me:hunter2@h:1")
    with pytest.raises(UserError, match="ALL_PROXY=socks4://h:1 cannot") as caught:
        proxy_of(FAR)
    assert "hunter2" not in str(caught.value)


def test_what_stays_on_this_machine_goes_through_no_proxy(env: pytest.MonkeyPatch) -> None:
    env.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
    env.setenv("NO_PROXY", "[::1]")
    for url in ("http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9"):
        assert proxy_of(url) is None
        HttpUpstream(ServeSettings(url))


@pytest.mark.parametrize(
    ("listed", "host", "expected"),
    [
        ("*", "example.org", True),
        ("example.org", "api.example.org", True),
        ("*.example.org", "api.example.org", True),
        ("ample.org", "example.org", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("fe80::/10", "fe80::1", True),
        ("fe80::/10", "10.1.2.3", False),
        ("[2001:db8::1]:443", "2001:db8::1", True),
        ("[2001:db8::1]:80", "2001:db8::1", False),
        ("[::1", "example.org", False),
        ("/,:,[,]:,..,http://", "example.org", False),
    ],
)
def test_hosts_are_listed_in_many_ways(listed: str, host: str, expected: bool) -> None:
    assert bypasses_proxy(listed, host, 443) == expected


def test_cookies_of_a_server_are_not_sent_back(env: pytest.MonkeyPatch) -> None:
    body = b'{"choices": [{"text": "x"}]}'
    with FaultServer() as server:
        server.script = [http_reply(200, body, "Set-Cookie: session=1; Path=/")]
        list(endpoint(server.url, concurrency=1).generate(["a", "b"], max_new_tokens=1))
        assert not any("cookie" in head.lower() for head in server.headers)
