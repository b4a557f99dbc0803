"""Refusals of what a request may not ask for when its text is conjugated."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from palimpsest.lm.exchange import CANNOT_HONOUR, TOOLS_AND_VOTES, asks_for
from palimpsest.serve.errors import ApiError, bad_request
from palimpsest.serve.upstream import Body, Endpoint

_WITH_TOOLS = ("tools", "functions")


def check_honourable(endpoint: Endpoint, body: Body, via: str, *, n_members: int) -> None:
    """Refuse what cannot be honoured under a conjugation.

    Raises:
        ApiError: 400, with the field as ``param``.
    """
    for field, reason in CANNOT_HONOUR.items():
        if asks_for(field, body.get(field), chat=endpoint is Endpoint.chat):
            raise _refused(field, via, reason)
    modalities = body.get("modalities")
    if isinstance(modalities, list) and modalities not in ([], ["text"]):
        raise _refused("modalities", via, CANNOT_HONOUR["audio"])
    if n_members > 1:
        for field in _WITH_TOOLS:
            if body.get(field):
                raise _refused(field, via, TOOLS_AND_VOTES)


def _refused(field: str, via: str, reason: str) -> ApiError:
    return bad_request(
        f"'{field}' cannot be honoured under the conjugation '{via}': {reason}. Leave it out, or "
        "ask the model without a conjugation.",
        field,
        "unsupported_under_conjugation",
    )


def without_defaults(body: Body, endpoint: Endpoint) -> dict[str, Any]:
    """Return a request without the fields that ask for nothing.

    Some servers refuse fields that they do not know even where these say what happens anyway.
    """
    return {field: value for field, value in body.items() if not _is_idle(endpoint, field, value)}


def _is_idle(endpoint: Endpoint, field: str, value: Any) -> bool:
    if field in CANNOT_HONOUR:
        return not asks_for(field, value, chat=endpoint is Endpoint.chat)
    return field in _IDLE and value in _IDLE[field]


_IDLE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"n": (None, 1), "best_of": (None, 1), "modalities": (None, [], ["text"])}
)
"""Values that ask for no more than their absence."""
