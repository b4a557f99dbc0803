"""Errors as OpenAI's API words them, so that its clients understand ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lm import strict_json

_MOST_SHOWN = 2000
"""Characters of an upstream's error that are passed on."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    r"""What goes wrong with one request, as the client is told it.

    Args:
        status: The HTTP status.
        message: What happened, what was expected, what to do next.
        param: Which field of the request is meant.
        code: A word for programs.
        headers: To be sent along, such as ``Retry-After``.
        content: The upstream's own error in OpenAI's shape, which is passed on byte by byte.

    Example:
        >>> ApiError(400, "No 'n' here.", param="n").body().decode()[:44]
        '{"error": {"message": "No \'n\' here.", "type"'
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})
        self._content = content

    def body(self) -> bytes:
        """Return the JSON that tells of it."""
        if self._content is not None:
            return self._content
        default = "invalid_request_error" if self.status < 500 else "server_error"
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, default),
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": error}).encode()


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error for a request that can never succeed as it is."""
    return ApiError(400, message, param=param, code=code)


def sentence(error: UserError) -> str:
    """Return a user's error with its hint on one line."""
    return str(error).replace("\n", " ")


def from_upstream(status: int, content: bytes, headers: Mapping[str, str]) -> ApiError:
    """Return an upstream's error in OpenAI's shape, with its status.

    Example:
        >>> from_upstream(422, b'{"detail": "Unsupported field: n"}', {}).message
        'Unsupported field: n'
    """
    try:
        value = strict_json(content)
    except ValueError:
        value = content.decode("utf-8", "replace")
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        message = str(value["error"].get("message", ""))
        return ApiError(status, message, headers=headers, content=content)
    try:
        message = _message(value)[:_MOST_SHOWN]
    except RecursionError:
        message = content.decode("utf-8", "replace")[:_MOST_SHOWN]
    message = message or f"The upstream answered with status {status}."
    return ApiError(status, message, code="upstream_error", headers=headers)


def _message(value: Any) -> str:
    """Find the text in what a server that is not OpenAI's says is wrong."""
    if isinstance(value, dict):
        for name in ("error", "detail", "message", "msg"):
            if name in value:
                return _message(value[name])
    if isinstance(value, list):
        return "; ".join(map(_message, value))
    return value.strip() if isinstance(value, str) else json.dumps(value)
