"""Options of ``openai:MODEL@URL[,key=value…]``: address, key and the model that they open.

Nothing here loads an HTTP client, so that back ends can be listed without one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, cast, get_args
from urllib.parse import SplitResult, urlsplit

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.requests import Api
from palimpsest.lm.network import is_loopback
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from palimpsest.lm.models.openai.endpoint import EndpointModel

DEFAULT_KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key unless another is named."""

NO_KEY = "none"
"""What ``key_env`` is where no key is to be sent."""

_TARGET = re.compile(r"(.+?)@(https?://.+)", re.DOTALL | re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USABLE_KEY = re.compile(r"[!-~]+")
_EXAMPLE = "Write openai:MODEL@URL, such as openai:llama@http://localhost:8000/v1."


@dataclass(frozen=True)
class EndpointOptions:
    """A model at an address, and how to ask it."""

    model: str
    """The name that the server knows."""

    url: str
    """Everything before ``/chat/completions`` or ``/completions``."""

    api: Api | None = None
    """``chat`` or ``completions``; by default messages go to the first, text to the second."""

    key_env: str | None = None
    """The environment variable with the key, ``none`` for no key; by default :data:`DEFAULT_KEY`,
    which may be absent where the server is on this machine."""

    revision: str | None = None
    """Free text that stands for the weights behind the address; other text, other answers."""

    temperature: str = "0"
    """``0``, or ``default`` for models that refuse to be asked greedily."""

    thinking_tokens: int = 0
    """New tokens on top of a suite's limit, for models that think before they answer."""

    template: Mapping[str, object] = field(default_factory=dict)
    """Variables of the server's chat template, ``chat_template_kwargs``; each is written as
    ``template.NAME=VALUE``, such as ``template.enable_thinking=false``."""

    concurrency: int = 8
    """Requests at a time."""

    timeout: float = 120.0
    """Seconds for one request, from its first byte to the last byte of the reply."""

    attempts: int = 8
    """Requests for one prompt, faults included."""

    patience: float = 600.0
    """Seconds for one prompt, all attempts and waits together."""

    backoff: float = 0.5
    """Seconds that the first wait takes at most; each later one up to twice as long."""

    insecure: bool = False
    """Whether a key may be sent unencrypted to another machine."""

    @classmethod
    def parse(cls, spec: Spec) -> EndpointOptions:
        """Read the address and the options of ``spec``.

        Raises:
            UserError: The address is no address or has a secret in it, an option is unknown, or
                its value is not of its kind.
        """
        match = _TARGET.fullmatch(spec.target)
        if match is None:
            raise UserError(
                f"The model 'openai:{_without_secrets(spec.target)}' does not say where it is.",
                hint=_EXAMPLE,
            )
        template = spec.variables("template")
        names = [each.name for each in fields(cls) if each.name not in ("model", "url", "template")]
        spec.allow([*names, *(f"template.{name}" for name in template)])
        api = spec.options.get("api")
        return cls(
            model=match[1],
            url=normal_url(match[2]),
            api=None if api is None else cast(Api, spec.one_of("api", get_args(Api), api)),
            key_env=_key_env(spec.options.get("key_env")),
            revision=spec.options.get("revision"),
            temperature=spec.one_of("temperature", ("0", "default"), cls.temperature),
            thinking_tokens=(
                spec.count("thinking_tokens", 2048, most=1_000_000)
                if "thinking_tokens" in spec.options
                else cls.thinking_tokens
            ),
            template=template,
            concurrency=spec.count("concurrency", cls.concurrency, most=1000),
            timeout=spec.seconds("timeout", cls.timeout),
            attempts=spec.count("attempts", cls.attempts, most=100),
            patience=spec.seconds("patience", cls.patience),
            backoff=spec.seconds("backoff", cls.backoff),
            insecure=spec.flag("insecure"),
        )

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")

    def read_key(self) -> str | None:
        """Return the key from the environment, ``None`` where none is needed; it is not kept.

        Raises:
            UserError: The variable is not set, what it holds cannot be a key, or the key would
                travel unencrypted.
        """
        if self.key_env == NO_KEY:
            return None
        variable = self.key_env or DEFAULT_KEY
        key = os.environ.get(variable, "").strip()
        if not key:
            if self.key_env is None and self.is_local:
                return None
            raise UserError(
                f"{self.url} needs a key, and the environment variable {variable} is not set.",
                hint=f"export {variable}=…, name another with key_env=NAME, or send no key with "
                f"key_env={NO_KEY}.",
            )
        if not _USABLE_KEY.fullmatch(key):
            raise UserError(
                f"The environment variable {variable} holds characters that no key has.",
                hint=f"Set it to the key alone: export {variable}=…",
            )
        if not (self.is_local or self.url.startswith("https:") or self.insecure):
            raise UserError(
                f"The key in {variable} would travel unencrypted to {self.url}.",
                hint=f"Use https, send no key with key_env={NO_KEY}, or accept it with "
                "insecure=true.",
            )
        return key


def load(spec: Spec) -> EndpointModel:
    """A model behind any OpenAI-compatible server: MODEL@URL, such as llama@http://localhost:8000."""
    from palimpsest.lm.models.openai.endpoint import EndpointModel

    return EndpointModel(spec, EndpointOptions.parse(spec))


def normal_url(text: str) -> str:
    """Return an address as the base of all requests; ``/v1`` is added where no path is given.

    Raises:
        UserError: It is no address, or has a password, a query or a fragment in it.

    Example:
        >>> normal_url("http://LOCALHOST:8000/")
        'http://localhost:8000/v1'
        >>> normal_url("https://openrouter.ai/api/v1/chat/completions")
        'https://openrouter.ai/api/v1'
    """
    parts = _split(text)
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None:
        raise UserError(
            f"The address of '{host}' has a user name or password in it, which would be recorded.",
            hint="Leave it out, and name an environment variable with the key: key_env=NAME.",
        )
    if parts.query or parts.fragment:
        raise UserError(
            f"The address of '{host}' goes on after its path with '?' or '#'; such parts often "
            "hold keys, and would be recorded.",
            hint="Leave them out, and name an environment variable with the key: key_env=NAME.",
        )
    host = f"[{host}]" if ":" in host else host
    place = host if parts.port is None else f"{host}:{parts.port}"
    path = re.sub(r"(/chat)?/completions$", "", parts.path.rstrip("/"))
    return f"{parts.scheme}://{place}{path or '/v1'}"


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"'{_without_secrets(text)}' is no address.", hint=_EXAMPLE)
    return parts


def _without_secrets(text: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", text).partition("?")[0]


def _key_env(text: str | None) -> str | None:
    if text is None or _VARIABLE.fullmatch(text):
        return text
    # Not quoted: it may well be the key itself.
    raise UserError(
        "The option key_env is no name of an environment variable.",
        hint=f"Write key_env={DEFAULT_KEY}, and put the key into that variable.",
    )
