"""Log-likelihoods, against one pass of the whole text for each candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.models.checkpoints import ARCHITECTURES, TEMPLATE, byte_level_tokenizer, save_model
from tokenizers import processors
from transformers import AutoModelForCausalLM

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface import likelihood
from palimpsest.lm.models.huggingface.decoding import CachedDecoder
from palimpsest.lm.models.huggingface.likelihood import encode_candidates
from palimpsest.lm.models.huggingface.model import HuggingFaceModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message, Prompt

PROMPTS: list[Prompt] = [
    "Repeat the input.\n\nInput: The cat",
    "Wat is vijf plus zeven? ",
    "x",
    "",
    "où est le garçon naïf ?\n",
]
CANDIDATES = [
    [" sleeps.", " sits", " sleeps."],
    ["Twaalf.", "12", "", "zeven"],
    ["y"],
    ["The cat", " The cat"],
    ["là-bas", "ici"],
]


def opened(folder: Path, options: str = "") -> HuggingFaceModel:
    model = load_model(f"{folder},device=cpu{options}")
    assert isinstance(model, HuggingFaceModel)
    return model


@cache
def theirs(folder: Path) -> tuple[Any, Any]:
    """The network of a folder as transformers opens it, and the tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, opened(folder).tokenizer


def naive(folder: Path, prompt: Prompt, candidate: str) -> float:
    """The sum over the tokens after the context, from one forward pass of the whole text."""
    model, tokenizer = theirs(folder)
    assert isinstance(prompt, str)
    n_context = len(tokenizer(prompt.rstrip())["input_ids"])
    ids = torch.tensor([tokenizer(prompt + candidate)["input_ids"]])
    with torch.no_grad():
        log_probabilities = model(input_ids=ids).logits[0].log_softmax(-1)
    return float(
        sum(log_probabilities[at - 1, ids[0, at]] for at in range(n_context, ids.shape[1]))
    )


def flat(scores: Sequence[Sequence[float]]) -> list[float]:
    return [score for row in scores for score in row]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_equal_a_naive_computation(
    checkpoint: Callable[[str], Path], architecture: str
) -> None:
    folder = checkpoint(architecture)
    scores = opened(folder).score(PROMPTS, CANDIDATES)
    assert [len(row) for row in scores] == [len(row) for row in CANDIDATES]
    expected = [
        naive(folder, prompt, candidate)
        for prompt, texts in zip(PROMPTS, CANDIDATES, strict=True)
        for candidate in texts
    ]
    # Float32 sums in another order; the values are up to about 50.
    assert flat(scores) == pytest.approx(expected, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 30, 100])
def test_scores_do_not_depend_on_the_batch(llama: Path, batch_tokens: int) -> None:
    small = opened(llama, f",batch_tokens={batch_tokens}").score(PROMPTS, CANDIDATES)
    whole = opened(llama).score(PROMPTS, CANDIDATES)
    assert flat(small) == pytest.approx(flat(whole), abs=2e-4)  # as above


def test_what_candidates_share_is_read_once(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = CachedDecoder

    def watched(model: Any, prompts: Sequence[Sequence[int]], **options: Any) -> Any:
        read.extend(map(len, prompts))
        return real(model, prompts, **options)

    monkeypatch.setattr(likelihood, "CachedDecoder", watched)
    model = opened(llama)
    n_context = len(model.tokenizer(PROMPTS[0])["input_ids"])
    model.score(PROMPTS[:1], CANDIDATES[:1])
    assert read == [n_context - 1]


def test_probabilities_of_all_one_token_continuations_sum_to_one(llama: Path) -> None:
    model = opened(llama)
    ids = range(len(model.tokenizer))
    pairs = [likelihood.TokenizedCandidate(0, token, (0, 40, 41), (token,)) for token in ids]
    groups = [likelihood.Group((pair,), 0) for pair in pairs]
    values = likelihood._score_batch(model.network, groups, margins=False)
    found = [math.exp(value.log_probability) for _, value in values]
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-5)


def test_of_all_continuations_one_is_greedy_and_its_margin_is_its_lead(llama: Path) -> None:
    model = opened(llama)
    ids = range(len(model.tokenizer))
    pairs = [likelihood.TokenizedCandidate(0, token, (0, 40, 41), (token,)) for token in ids]
    groups = [likelihood.Group((pair,), 0) for pair in pairs]
    values = [value for _, value in likelihood._score_batch(model.network, groups, margins=True)]
    best, second = sorted((value.log_probability for value in values), reverse=True)[:2]
    [greedy] = [value for value in values if value.greedy]
    assert greedy.log_probability == best
    assert greedy.margin == pytest.approx(best - second, abs=1e-4)  # of logits, in float32
    assert all(value.margin == pytest.approx(value.log_probability - best, abs=1e-4)
               for value in values if not value.greedy)  # fmt: skip


def test_of_several_tokens_the_least_margin_counts(llama: Path) -> None:
    model = opened(llama)
    [[one, two]] = model.likelihoods(["The cat"], [[" sits", " sits down"]])
    assert one.margin is not None
    assert two.margin is not None
    assert two.margin <= one.margin


def test_spaces_at_the_end_of_a_prompt_go_to_the_continuation(llama: Path) -> None:
    encoder = opened(llama)._encoder
    spaced, plain = encode_candidates(encoder, ["The ", "The"], [["cat"], [" cat"]])
    assert (spaced.context, spaced.continuation) == (plain.context, plain.continuation)


@pytest.mark.slow
def test_a_whole_text_is_scored_from_its_first_token_also_without_a_start_token(
    tmp_path: Path,
) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(tmp_path / "marked")
    marked = opened(save_model(tmp_path / "marked"))
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save_pretrained(tmp_path / "plain")
    plain = opened(save_model(tmp_path / "plain"))
    assert plain.tokenizer("The cat")["input_ids"][0] != plain.tokenizer.bos_token_id
    [one], [other] = (
        encode_candidates(model._encoder, [""], [["The cat"]]) for model in (marked, plain)
    )
    assert one == other
    [[score]] = plain.score([""], [["The cat"]])
    assert score == pytest.approx(naive(tmp_path / "marked", "", "The cat"), abs=2e-4)  # as above


def test_a_candidate_without_tokens_is_certain(llama: Path) -> None:
    assert opened(llama).score(["The cat"], [[""]]) == [[0.0]]


def test_a_prompt_without_candidates_has_no_scores(llama: Path) -> None:
    assert opened(llama).score(["a", "b"], [[], ["c"]])[0] == []


@pytest.mark.slow
def test_a_candidate_beyond_the_context_is_impossible(llama: Path) -> None:
    scores = opened(llama).score(["The cat"], [["word " * 20_000, " sits"]])
    assert scores[0][0] == -math.inf
    assert scores[0][1] > -math.inf


def test_messages_are_scored_after_their_template(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    model = opened(save_model(tmp_path))
    tokenizer.chat_template = None
    rendered = "[user] hi\n[assistant]"
    assert flat(model.score([(Message("user", "hi"),)], [[" yes", " no"]])) == pytest.approx(
        flat(model.score([rendered], [[" yes", " no"]]))
    )


@pytest.mark.slow
def test_scoring_halves_its_batches_when_memory_runs_out(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = flat(opened(llama).score(PROMPTS, CANDIDATES))
    real, sizes = likelihood._score_batch, []

    def short_of_memory(model: Any, batch: Any, **options: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError
        return real(model, batch, **options)

    monkeypatch.setattr(likelihood, "_score_batch", short_of_memory)
    found = flat(opened(llama).score(PROMPTS, CANDIDATES))
    assert found == pytest.approx(expected, abs=2e-4)  # as above
    assert max(sizes) > 1


def test_a_candidate_that_does_not_fit_into_memory_is_a_message(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Any, batch: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(likelihood, "_score_batch", full)
    with pytest.raises(UserError, match="not enough memory"):
        opened(llama).score(PROMPTS, CANDIDATES)
