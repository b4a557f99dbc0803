"""Tokens that are drawn: from the distribution that is asked for, and by the prompt alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare
from tests.lm.models.checkpoints import save_checkpoint

from palimpsest.lm.models import Sampling, load_model
from palimpsest.lm.models.huggingface.choosing import NOT_FINITE, DrawnTokens

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0])


def counts(how: Sampling, n: int = 4000) -> list[int]:
    rows = DrawnTokens(how, [[at] for at in range(n)])
    tokens = Counter(rows.choose(LOGITS.repeat(n, 1)[:, None]))
    return [tokens[token] for token in range(len(LOGITS))]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_the_softmax_says(temperature: float) -> None:
    expected = torch.softmax(LOGITS.double() / temperature, -1) * 4000
    # Seeded: a p-value of 0.001 would be a mistake, not chance.
    assert chisquare(counts(Sampling(temperature)), expected.tolist()).pvalue > 0.001


def test_top_p_keeps_the_likeliest_tokens_that_reach_it() -> None:
    shares = torch.softmax(LOGITS, -1)  # 0.64, 0.24, 0.09, 0.03
    found = counts(Sampling(1.0, top_p=0.7))
    assert found[2:] == [0, 0]
    assert found[0] / found[1] == pytest.approx(float(shares[0] / shares[1]), rel=0.1)
    assert counts(Sampling(1.0, top_p=0.6))[0] == 4000


def test_rows_keep_their_numbers_when_others_leave() -> None:
    def drawn(prompts: list[list[int]]) -> DrawnTokens:
        return DrawnTokens(Sampling(1.0), prompts)

    logits = torch.zeros(1, 1, 1000)
    together, alone = drawn([[1], [2], [3]]), drawn([[3]])
    assert together.choose(logits.repeat(3, 1, 1))[2] == alone.choose(logits)[0]
    together.keep([2])
    assert together.choose(logits) == alone.choose(logits)


def test_a_row_without_finite_logits_has_no_token() -> None:
    logits = torch.zeros(3, 1, 4)
    logits[0, 0, 1], logits[1, 0, 2], logits[2, 0, :3] = float("nan"), float("inf"), -float("inf")
    found = DrawnTokens(Sampling(1.0), [[1], [2], [3]]).choose(logits)
    assert found == [NOT_FINITE, NOT_FINITE, 3]


PROMPTS = ["The cat", "12", "A much longer prompt than the others", "Zug", "x" * 40]


@pytest.mark.parametrize("architecture", ["llama", pytest.param("mamba", marks=pytest.mark.slow)])
def test_samples_depend_on_no_batch_and_no_order(tmp_path: Path, architecture: str) -> None:
    save_checkpoint(tmp_path, architecture)
    model = load_model(str(tmp_path))
    how = Sampling(1.0, seed=5)

    def said(prompts: list[str], drawn: Sampling = how) -> dict[str, str]:
        with model.sampling(drawn):  # type: ignore[attr-defined]
            found = list(model.generate(prompts, max_new_tokens=8))
        return {prompts[index]: answer.text for index, answer in found}

    together = said(PROMPTS)
    assert said(PROMPTS[::-1]) == together
    assert {prompt: said([prompt])[prompt] for prompt in PROMPTS} == together
    assert said(PROMPTS, replace(how, number=2)) != together
    assert said(PROMPTS, replace(how, seed=6)) != together
    greedy = dict(model.generate(PROMPTS, max_new_tokens=8))
    assert {PROMPTS[i]: each.text for i, each in greedy.items()} != together
