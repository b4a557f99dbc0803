"""API keys: read from the environment when they are used, and held nowhere else."""

from __future__ import annotations

import os
import re

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.options import DEFAULT_KEY, EndpointOptions

NO_KEY = "none"
"""What ``key_env`` is where no key is to be sent."""

_USABLE = re.compile(r"[!-~]+")


def read_key(options: EndpointOptions) -> str | None:
    """Return the key for an endpoint, ``None`` where none is needed.

    Raises:
        UserError: The variable is not set, what it holds cannot be a key, or the key would travel
            unencrypted.
    """
    if options.key_env == NO_KEY:
        return None
    variable = options.key_env or DEFAULT_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        if options.key_env is None and options.is_local:
            return None
        raise UserError(
            f"{options.url} needs a key, and the environment variable {variable} is not set.",
            hint=f"export {variable}=…, name another with key_env=NAME, or send no key with "
            f"key_env={NO_KEY}.",
        )
    if not _USABLE.fullmatch(key):
        raise UserError(
            f"The environment variable {variable} holds characters that no key has.",
            hint=f"Set it to the key alone: export {variable}=…",
        )
    if not (options.is_local or options.is_encrypted or options.insecure):
        raise UserError(
            f"The key in {variable} would travel unencrypted to {options.url}.",
            hint=f"Use https, send no key with key_env={NO_KEY}, or accept it with insecure=true.",
        )
    return key
