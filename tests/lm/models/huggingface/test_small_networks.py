"""The fused Llama is the network that transformers has, or is not used; threads change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.models.checkpoints import random_network

from palimpsest.lm.models.huggingface import fused_llama
from palimpsest.lm.models.huggingface.fused_llama import FusedLlama, fused
from palimpsest.lm.models.huggingface.memory import reserved_cache
from palimpsest.lm.models.huggingface.small_networks import DividedDecoder, one_core_threads
from palimpsest.lm.models.specs import load_model

PROMPTS = ["The cat", "", "où est le garçon", "Wat is vijf plus zeven?", "12 " * 9, "a", "bb"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "grouped heads": {},
    "one key per query": {"num_key_value_heads": 4},
    "tied embeddings": {"tie_word_embeddings": True},
    "wide heads": {"head_dim": 16},
    "scaled positions": {"rope_parameters": LLAMA3},
}


def trained_norms(network: Any) -> Any:
    """Give the norms weights other than one."""
    for name, parameter in network.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_logits_equal_those_of_transformers(variant: str) -> None:
    network = trained_norms(random_network(**VARIANTS[variant]))
    fast = fused(network)
    assert isinstance(fast, FusedLlama)
    mask = torch.ones(3, 40, dtype=torch.long)
    mask[0, :7], mask[2, :20] = 0, 0
    ids = torch.randint(0, 400, (3, 40), generator=torch.Generator().manual_seed(0))
    whole = network(
        input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)
    ).logits
    for padded in (mask, None):
        if padded is None:  # rows of one length: the kernel's own causal mask
            whole = network(input_ids=ids).logits
        positions = ((mask if padded is not None else torch.ones_like(mask)).cumsum(-1) - 1).clamp(
            min=0
        )
        cache = reserved_cache(network.config, 3, 40)
        for start, end, n_kept in ((0, 30, 1), (30, 31, 1), (31, 39, 8), (39, 40, 1)):
            logits = fast.forward(
                input_ids=ids[:, start:end],
                attention_mask=None if padded is None else padded[:, :end],
                position_ids=positions[:, start:end],
                past_key_values=cache,
                logits_to_keep=n_kept,
            )
            # Float32 sums in another order.
            torch.testing.assert_close(logits, whole[:, end - n_kept : end], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "network",
    [
        random_network("mistral"),
        random_network("gpt2"),
        random_network(attention_bias=True),
        random_network(hidden_act="gelu"),
        random_network().to(torch.bfloat16),
    ],
    ids=["Mistral", "GPT-2", "biased", "other activation", "half precision"],
)
def test_other_networks_have_no_fused_form(network: Any) -> None:
    assert fused(network.eval()) is None


def test_a_fused_form_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FusedLlama.forward
    monkeypatch.setattr(FusedLlama, "forward", lambda *args, **kwargs: real(*args, **kwargs) + 0.1)
    assert fused(random_network().eval()) is None


def test_the_check_is_strict_enough_to_see_a_changed_weight() -> None:
    network = random_network().eval()
    other = fused(random_network(seed=1).eval())
    assert other is not None
    with torch.inference_mode():
        assert not fused_llama._agrees(other, network)


@pytest.fixture(params=[2, 3])
def n_cores(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let torch use several cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Counting:
    """A decoder whose next token is one more than the last; it starts with the prompt's own."""

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self.tokens = [prompt[0] for prompt in prompts]

    def start(self) -> list[int]:
        return self.tokens

    def feed(self, tokens: Sequence[int]) -> list[int]:
        assert len(tokens) == len(self.tokens)
        return [token + 1 for token in tokens]

    def keep(self, rows: list[int]) -> None:
        assert all(row >= len(rows) for place, row in enumerate(rows) if row != place)
        self.tokens = [self.tokens[row] for row in rows]


def test_every_worker_computes_on_one_core_and_the_caller_on_all(n_cores: int) -> None:
    with one_core_threads(n_cores) as threads:
        assert list(threads.map(lambda _: torch.get_num_threads(), range(9))) == [1] * 9
    assert torch.get_num_threads() == n_cores


def test_rows_come_back_in_their_order(n_cores: int) -> None:
    threads = one_core_threads(n_cores)
    decoder = DividedDecoder(threads, n_cores, [[10 * row] for row in range(7)], Counting)
    tokens = decoder.start()
    assert tokens == [0, 10, 20, 30, 40, 50, 60]
    assert decoder.feed(tokens) == [1, 11, 21, 31, 41, 51, 61]
    decoder.keep([0, 6, 2])
    assert decoder.feed([1, 61, 21]) == [2, 62, 22]
    decoder.keep([0])
    assert decoder.feed([2]) == [3]


def test_answers_do_not_depend_on_the_number_of_cores(llama: Path, n_cores: int) -> None:
    options = {"max_new_tokens": 20}
    several = load_model(str(llama))
    found = dict(several.generate(PROMPTS, **options))  # type: ignore[arg-type]
    cut = dict(several.generate(PROMPTS, decided=lambda i, text: len(text) > i, **options))  # type: ignore[arg-type]
    torch.set_num_threads(1)
    alone = dict(load_model(str(llama)).generate(PROMPTS, **options))  # type: ignore[arg-type]
    assert {i: answer.text for i, answer in found.items()} == {
        i: answer.text for i, answer in alone.items()
    }
    assert all(alone[i].text.startswith(answer.text) for i, answer in cut.items())
    several.close()


def test_an_error_in_a_worker_reaches_the_caller(n_cores: int) -> None:
    def fail(item: int) -> None:
        raise MemoryError(item)

    with pytest.raises(MemoryError):
        list(one_core_threads(n_cores).map(fail, [1, 2, 3]))
