"""``palimpsest serve``: a conjugating proxy for programs that speak to OpenAI's API."""

from __future__ import annotations

from typing import Annotated

import typer

from palimpsest.errors import MissingExtraError

Upstream = Annotated[
    str,
    typer.Option("--upstream", "-u", help="A base URL (http://HOST/v1) or a local model."),
]
DefaultVia = Annotated[
    str,
    typer.Option(
        "--via", help="The conjugation of requests that name none: `leet`, `vote(fr,es)`."
    ),
]
Offer = Annotated[
    list[str] | None,
    typer.Option("--offer", help="A conjugation to show among the models; repeatable."),
]
Name = Annotated[str | None, typer.Option("--name", help="What clients call a local model.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for a free one.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Another name clients reach it by; repeatable."),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        "--key-env",
        help="The variable with the upstream's key.  [default: OPENAI_API_KEY, if set]",
    ),
]
TokenEnv = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        help="The variable with the token of clients.  [default: PALIMPSEST_SERVE_TOKEN, if set]",
    ),
]
MaxConcurrent = Annotated[int, typer.Option("--max-concurrent", min=1, help="Requests at a time.")]
MaxBody = Annotated[
    float, typer.Option("--max-body-mb", min=0.001, help="Longest request, in megabytes.")
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Longest time for a request, in seconds.")
]
Grace = Annotated[
    int, typer.Option("--grace", min=0, help="Seconds to finish requests when stopped.")
]
LogPrompts = Annotated[
    bool, typer.Option("--log-prompts", help="Write prompts and answers to the log.")
]


def serve(
    upstream: Upstream,
    via: DefaultVia = "identity",
    offer: Offer = None,
    name: Name = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    allow_host: AllowHost = None,
    key_env: KeyEnv = None,
    token_env: TokenEnv = None,
    max_concurrent: MaxConcurrent = 256,
    max_body_mb: MaxBody = 8.0,
    timeout: Timeout = 600.0,
    grace: Grace = 30,
    log_prompts: LogPrompts = False,
) -> None:
    """Serve a model over OpenAI's API, prompts conjugated.

    \b
    palimpsest serve --upstream http://127.0.0.1:8080/v1
    palimpsest serve --upstream hf:./tuned --name mine \\
        --via leet --port 8001

    Every prompt is conjugated and every answer inverted. Next: give your program the address
    http://127.0.0.1:8000/v1 and the model `mine@leet`, or have it send the header
    `X-Palimpsest-Via: leet`. Ctrl-C stops it.
    """
    import os

    try:
        from palimpsest.serve import DEFAULT_TOKEN_ENV, ServeSettings, secret, serve, upstream_key
    except ModuleNotFoundError as error:
        if error.name not in {"starlette", "uvicorn"}:
            raise
        raise MissingExtraError("HTTP servers", package=error.name, extra="serve") from error

    serve(
        ServeSettings(
            upstream=upstream,
            via=via,
            offer=tuple(offer or ()),
            name=name,
            host=host,
            port=port,
            allow_hosts=tuple(allow_host or ()),
            max_body_bytes=int(max_body_mb * 2**20),
            max_concurrent=max_concurrent,
            timeout_seconds=timeout,
            grace_seconds=grace,
            log_prompts=log_prompts,
            token=secret(os.environ, token_env or DEFAULT_TOKEN_ENV, required=bool(token_env)),
            upstream_key=upstream_key(os.environ, upstream, key_env),
        )
    )
