"""A server that scores: ``echo`` and ``logprobs`` from a real model, in several servers' ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import AutoModelForCausalLM, AutoTokenizer


def echo_app(folder: Path, *, start: str | None = None, offsets: bool = True) -> Starlette:
    """Return an app that repeats the prompt with the log-probability of every token.

    Args:
        folder: A checkpoint.
        start: How the start token is written in the list of tokens; ``None`` leaves it out.
        offsets: Whether the start of each token is given.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    async def complete(request: Request) -> Response:
        body = await request.json()
        assert body["echo"]
        assert body["logprobs"] == 1
        ids = tokenizer(body["prompt"])["input_ids"]
        with torch.inference_mode():
            table = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        new = int(table[-1].argmax())
        tokens = [str(tokenizer.decode([index])) for index in [*ids, new]]
        logprobs: list[float | None] = [None]
        logprobs += [float(table[at, index]) for at, index in enumerate([*ids[1:], new])]
        if ids[0] == tokenizer.bos_token_id:
            tokens[0] = start or ""
            if start is None:
                tokens, logprobs = tokens[1:], logprobs[1:]
        return JSONResponse(_reply(body["prompt"], tokens, logprobs, offsets=offsets))

    return Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])


def _reply(
    prompt: str, tokens: list[str], logprobs: list[float | None], *, offsets: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {"tokens": tokens, "token_logprobs": logprobs}
    if offsets:
        found["text_offset"] = [len("".join(tokens[:n])) for n in range(len(tokens))]
    choice = {"index": 0, "text": prompt + tokens[-1], "logprobs": found, "finish_reason": "length"}
    return {"choices": [choice], "model": "echo"}
