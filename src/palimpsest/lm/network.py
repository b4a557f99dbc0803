"""Addresses and headers of HTTP, as clients and servers here read them."""

from __future__ import annotations

import ipaddress
import math
from email.utils import parsedate_to_datetime
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
