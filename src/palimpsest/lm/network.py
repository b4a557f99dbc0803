"""Rules for every HTTP client and server here: near hosts, waiting, cookies, strict JSON."""

from __future__ import annotations

import ipaddress
import json
import math
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit, urlunsplit


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
    if text is None:
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
