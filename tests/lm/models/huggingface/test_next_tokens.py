"""Next tokens, against one pass of the whole text."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.lm.models.checkpoints import ARCHITECTURES
from tests.lm.models.huggingface.test_likelihood import PROMPTS, opened, theirs

from palimpsest.errors import UserError
from palimpsest.lm.models import TellsNextTokens

TEXTS = [prompt for prompt in PROMPTS if isinstance(prompt, str) and prompt]


def naive(folder: Path, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = theirs(folder)[0](input_ids=torch.tensor([tokens])).logits
    return logits[0, -1].log_softmax(-1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_probabilities_are_those_of_one_pass_however_prompts_are_batched(
    checkpoint: Callable[[str], Path], architecture: str
) -> None:
    folder = checkpoint(architecture)
    model = opened(folder)
    assert isinstance(model, TellsNextTokens)
    found = model.next_tokens(TEXTS, [()] * len(TEXTS), n=7)
    for prompt, tokens in zip(TEXTS, found, strict=True):
        expected = naive(folder, theirs(folder)[1](prompt)["input_ids"])
        values, ids = expected.topk(7)
        assert [token.tokens for token in tokens] == [(each,) for each in ids.tolist()]
        # Sums of float32 in another order.
        assert [t.log_probability for t in tokens] == pytest.approx(values.tolist(), abs=2e-4)


def test_a_token_that_is_handed_back_is_gone_on_from(checkpoint: Callable[[str], Path]) -> None:
    folder = checkpoint("llama")
    model = opened(folder)
    [first] = model.next_tokens(["The cat"], [()], n=3)
    followed = model.next_tokens(["The cat"] * 3, [token.tokens for token in first], n=2)
    prompt = theirs(folder)[1]("The cat")["input_ids"]
    for start, tokens in zip(first, followed, strict=True):
        values, ids = naive(folder, [*prompt, *start.tokens]).topk(2)
        assert [token.tokens for token in tokens] == [(*start.tokens, i) for i in ids.tolist()]
        assert [t.log_probability for t in tokens] == pytest.approx(values.tolist(), abs=2e-4)


def test_all_tokens_together_are_certain_and_the_end_token_is_told(
    checkpoint: Callable[[str], Path],
) -> None:
    model = opened(checkpoint("llama"))
    [tokens] = model.next_tokens(["The cat"], [()], n=10**6)
    assert math.fsum(math.exp(token.log_probability) for token in tokens) == pytest.approx(1)
    ends = [token.tokens for token in tokens if token.ends]
    assert ends == [(model.tokenizer.eos_token_id,)]


def test_texts_are_those_that_stand_behind_a_prompt(checkpoint: Callable[[str], Path]) -> None:
    model = opened(checkpoint("llama"))
    [tokens] = model.next_tokens(["The cat"], [()], n=10**6)
    texts = {token.tokens[0]: token.text for token in tokens}
    for word in (" sleeps", "12", "\n"):
        ids = model.tokenizer(word, add_special_tokens=False)["input_ids"]
        assert word.startswith(texts[ids[0]])


def test_a_prompt_that_leaves_no_room_has_no_next_token(
    checkpoint: Callable[[str], Path],
) -> None:
    model = opened(checkpoint("llama"))
    assert model.n_context is not None
    found = model.next_tokens(["x " * 2 * model.n_context, "x"], [(), ()], n=1)
    assert list(map(len, found)) == [0, 1]


def test_numbers_that_are_none_end_with_the_place_where_they_appear(
    checkpoint: Callable[[str], Path],
) -> None:
    model = opened(checkpoint("llama"))
    with torch.no_grad():
        model.network.get_output_embeddings().weight[:] = math.nan
    with pytest.raises(UserError, match="NaN"):
        model.next_tokens(["x"], [()], n=1)
