"""The same prompts through other people's code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch

HARNESS_BATCH = 64
"""What the harness's automatic batch size comes to on a CPU: its own maximum."""


def one_at_a_time(
    network: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int
) -> list[str]:
    """Answer as the code of the paper does: ``generate``, one prompt after the other."""
    texts = []
    with torch.no_grad():
        for prompt in prompts:
            encoded = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            output = network.generate(
                **encoded, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0
            )
            new = output[0, encoded["input_ids"].shape[1] :]
            texts.append(tokenizer.decode(new, skip_special_tokens=True))
    return texts


def harness(
    network: Any, tokenizer: Any
) -> Callable[[Sequence[str], int, Sequence[str]], list[str]] | None:
    """Return ``generate_until`` of lm-evaluation-harness, or ``None`` if it is not installed."""
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        model = HFLM(
            pretrained=network, tokenizer=tokenizer, batch_size=HARNESS_BATCH, device="cpu"
        )

    def generate(prompts: Sequence[str], max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        options = {"until": list(stop), "max_gen_toks": max_new_tokens, "do_sample": False}
        requests = [
            Instance("generate_until", doc={}, arguments=(prompt, dict(options)), idx=0)
            for prompt in prompts
        ]
        texts: list[str] = model.generate_until(requests, disable_tqdm=True)
        return texts

    return generate
