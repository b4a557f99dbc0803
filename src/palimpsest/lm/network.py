"""Rules for every HTTP client and server here: proxies, bounded replies, waiting, strict JSON."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from palimpsest.errors import UserError

if TYPE_CHECKING:
    import ssl

    import httpx

LONGEST_WAIT_SECONDS = 120.0
"""No ``Retry-After`` is waited for longer than this: then the server is asked again."""

MOST_ERROR_BYTES = 64 * 1024
"""So much is read of an error's body; what is behind it is cut off."""


class WrongBodyError(Exception):
    """A reply that is too large, or in an encoding that was not asked for."""


class BoundedReply(NamedTuple):
    """A whole reply."""

    status: int
    headers: httpx.Headers
    content: bytes


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own.

    Example:
        >>> is_loopback("127.0.0.2"), is_loopback("[::1]"), is_loopback("api.localhost")
        (True, True, True)
        >>> is_loopback("0.0.0.0"), is_loopback("example.org")
        (False, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def strict_json(content: bytes | str) -> Any:
    """Return the value of a JSON text, in which every number is one.

    Raises:
        ValueError: It is no JSON, or has a number beyond a float's range, ``NaN`` or ``Infinity``,
            or nests too deep.

    Example:
        >>> strict_json(b"[1e999]")
        Traceback (most recent call last):
        ...
        ValueError: the number 1e999 is out of range
    """
    try:
        return json.loads(content, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def open_client(
    url: str,
    *,
    timeout: httpx.Timeout | float,
    headers: Mapping[str, str] | None = None,
    limits: httpx.Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """Return the client for requests to one address: no cookies, no redirects, no compression.

    Raises:
        UserError: The environment names a proxy for it that cannot be used.
    """
    import httpx

    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity", **(headers or {})},
        cookies=no_cookies(),
        timeout=timeout,
        limits=limits or httpx.Limits(),
        proxy=proxy_of(url),
        verify=tls or open_tls(url),
        trust_env=False,  # its reading of proxy variables fails on what desktops write there
        follow_redirects=False,
    )


def open_tls(url: str) -> ssl.SSLContext:
    """Return what checks a server's certificate: ``SSL_CERT_FILE`` counts beyond this machine."""
    import ssl

    import httpx

    if urlsplit(url).scheme != "https":  # it trusts nobody, and takes a hundredth of the time
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context(trust_env=not is_loopback(urlsplit(url).hostname or ""))


async def fetch(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    most_bytes: int,
    seconds: float,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> BoundedReply:
    """Return a reply, read raw and no further than its bounds.

    Args:
        client: From :func:`open_client`.
        method: ``GET`` or ``POST``.
        url: The address.
        most_bytes: Of the body; that of an error is cut off at :data:`MOST_ERROR_BYTES`.
        seconds: For all of it, as httpx limits only each read: a server may drip.
        content: The body to send.
        headers: Beside those of the client.

    Raises:
        WrongBodyError: The body is longer, or compressed: a few bytes may stand for gigabytes.
        TimeoutError: It took longer.
        httpx.RequestError: There was no connection, or it broke.
    """
    async with (
        asyncio.timeout(seconds),
        client.stream(method, url, content=content, headers=headers) as response,
    ):
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            if response.is_error:
                return BoundedReply(response.status_code, response.headers, b"")
            raise WrongBodyError(f"the encoding '{encoding[:40]}', which was not asked for")
        data = bytearray()
        async for piece in response.aiter_raw():
            data += piece
            if response.is_error and len(data) > MOST_ERROR_BYTES:
                del data[MOST_ERROR_BYTES:]
                break
            if len(data) > most_bytes:
                raise WrongBodyError(f"a reply of more than {most_bytes / 2**20:.0f} MiB")
        return BoundedReply(response.status_code, response.headers, bytes(data))


def proxy_of(url: str) -> httpx.Proxy | None:
    """Return the proxy that the environment names for an address, if there is one.

    The variable of its scheme counts, else ``ALL_PROXY``, in small letters or capitals, unless
    ``NO_PROXY`` lists the host; what goes to this machine goes through no proxy.

    Raises:
        UserError: It is of a kind that cannot be used, or no address.
    """
    from urllib.request import getproxies

    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    named = getproxies()  # the environment's, or else the system's
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    kind = next((kind for kind in (parts.scheme, "all") if named.get(kind)), None)
    if kind is None or bypasses_proxy(named.get("no", ""), host, port):
        return None
    variable = next(
        (name for name in (f"{kind}_proxy", f"{kind}_PROXY".upper()) if os.environ.get(name)),
        "of the system's settings",
    )
    return _usable_proxy(named[kind].strip(), variable, parts.scheme, host)


def _usable_proxy(text: str, variable: str, scheme: str, host: str) -> httpx.Proxy:
    import httpx

    address = text if "://" in text else f"http://{text}"
    way_out = (
        f"Set {scheme.upper()}_PROXY=http://HOST:PORT to an HTTP proxy, which most programs also "
        f"offer, or write NO_PROXY={host} to go without one."
    )
    expected = "expected http://, https:// or socks5://, then a host and a port"
    shown = "…"  # what cannot be taken apart may hold a password
    with suppress(ValueError, httpx.InvalidURL):
        parts, shown = urlsplit(address), bare_url(address)
        if parts.scheme in ("socks5", "socks5h") and find_spec("socksio") is None:
            expected = "it needs the package 'socksio'"
            way_out = f"Install it with: pip install 'httpx[socks]'\n{way_out}"
        elif parts.hostname and parts.port != 0:
            return httpx.Proxy(address)
    raise UserError(f"The proxy {variable}={shown} cannot be used; {expected}.", hint=way_out)


def bypasses_proxy(listed: str, host: str, port: int) -> bool:
    """Return whether a list such as ``NO_PROXY`` has a host; what it cannot mean is skipped.

    Listed may be hosts, with the hosts below them, addresses and networks, each with a port.

    Example:
        >>> bypasses_proxy("[::1], fe80::/10,.example.org:8080", "fe80::7", 443)
        True
        >>> bypasses_proxy(".example.org:8080", "api.example.org", 443)
        False
    """
    return any(_lists(item, host, port) for item in re.split(r"[,\s]+", listed.lower()) if item)


def _lists(item: str, host: str, port: int) -> bool:
    name = item.rpartition("://")[2]
    if name.startswith("["):
        name, _, wanted = name[1:].partition("]")
    else:
        name, _, wanted = name.partition(":") if name.count(":") == 1 else (name, "", "")
    if wanted.lstrip(":") not in ("", str(port)):
        return False
    try:
        network, address = ipaddress.ip_network(name, strict=False), ipaddress.ip_address(host)
    except ValueError:
        name = name.removeprefix("*").removeprefix(".")
        return item == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))
    return address.version == network.version and address in network


def no_cookies() -> CookieJar:
    """Return a jar that keeps no cookie: what a server sets for one request stays out of others."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, at the Unix time ``now``.

    Example:
        >>> retry_after("7", 0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50.0)
        (7.0, 10.0)
        >>> retry_after("soon", 0.0) is None
        True
    """
    if text is None or len(text) > 64:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def bare_url(url: str) -> str:
    """Return an address without user, password and query.

    Example:
        >>> bare_url("https://me:secret@example.org:5000/api?key=1")
        'https://example.org:5000/api'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
