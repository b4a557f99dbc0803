"""Servers that tell log-probabilities of a real model, in several servers' ways."""

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


def telling_app(folder: Path, *, most: int = 20, listed: bool = False, end: str = "") -> Starlette:
    """Return an app that completes greedily, and tells the likeliest tokens where it is asked to.

    Args:
        folder: A checkpoint.
        most: So many tokens it tells, and refuses more.
        listed: Whether completions have them as a list of tokens, as chats always do.
        end: How the token that ends an answer is written.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def greedy(body: dict[str, Any]) -> str:
        ids = tokenizer(body["prompt"], return_tensors="pt")["input_ids"]
        made = model.generate(ids, max_new_tokens=body["max_tokens"], do_sample=False)[0]
        text = tokenizer.decode(made, skip_special_tokens=True)
        return str(text[len(tokenizer.decode(ids[0], skip_special_tokens=True)) :])

    async def tell(request: Request) -> Response:
        body = await request.json()
        chat = "messages" in body
        if "logprobs" not in body:
            return JSONResponse({"choices": [{"text": greedy(body), "finish_reason": "stop"}]})
        n = body["top_logprobs" if chat else "logprobs"]
        if n > most:
            said = f"Requested sample logprobs of {n}, which is greater than max allowed: {most}"
            return JSONResponse({"error": {"message": said}}, status_code=400)
        text = body["messages"][0]["content"] if chat else body["prompt"]
        ids = tokenizer(text)["input_ids"]
        with torch.inference_mode():
            told = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1).topk(n)
        n_before = len(tokenizer.decode(ids))
        rows = [[*ids, each] for each in told.indices.tolist()]
        texts = [str(tokenizer.decode(row))[n_before:] for row in rows]
        ends = tokenizer.eos_token
        pairs = [
            (end if each == ends else each, chance)
            for each, chance in zip(texts, told.values.tolist(), strict=True)
        ]
        return JSONResponse({"choices": [_said(pairs, chat=chat, listed=listed)]})

    paths = ("/v1/completions", "/v1/chat/completions")
    return Starlette(routes=[Route(path, tell, methods=["POST"]) for path in paths])


def _said(pairs: list[tuple[str, float]], *, chat: bool, listed: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"tokens": [pairs[0][0]], "top_logprobs": [dict(pairs)]}
    if chat or listed:
        rows = [
            {"token": text, "logprob": chance, "bytes": list(text.encode())}
            for text, chance in pairs
        ]
        found = {"content": [{**rows[0], "top_logprobs": rows}]}
    said = {"message": {"content": pairs[0][0]}} if chat else {"text": pairs[0][0]}
    return {**said, "logprobs": found, "finish_reason": "length"}
