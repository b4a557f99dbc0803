from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface import memory
from palimpsest.lm.models.huggingface.memory import (
    BatchBudget,
    default_budget,
    is_out_of_memory,
    part_tokens,
    without_gaps,
)

CPU = torch.device("cpu")
SMALL = LlamaConfig(hidden_size=128, num_hidden_layers=4, num_attention_heads=4)
LARGE = LlamaConfig(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32)


def test_a_batch_has_at_least_one_row() -> None:
    budget = BatchBudget(100)
    assert [budget.rows(n) for n in (1, 30, 100, 101)] == [100, 3, 1, 1]


def test_what_rows_have_in_common_counts_once_but_takes_memory_in_each() -> None:
    assert BatchBudget(1000, 2000).rows(200, n_shared=150) == 10  # (1000 - 150) // 50 would be 17
    assert BatchBudget(1000, 8000).rows(200, n_shared=150) == 17
    assert BatchBudget(1000).rows(200, n_shared=150) == 5
    assert BatchBudget(100, 8000).rows(200, n_shared=150) == 1


def test_halving_holds_for_all_later_batches() -> None:
    budget = BatchBudget(1000)
    budget.halve(10, MemoryError(), CPU)
    assert [budget.rows(n) for n in (10, 300)] == [5, 3]


def test_one_row_cannot_be_halved() -> None:
    with pytest.raises(UserError, match="not enough memory for a single prompt"):
        BatchBudget(1000).halve(1, MemoryError(), CPU)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_error(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_failure_to_allocate_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_small_models_get_larger_batches_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda device: None)
    assert default_budget(SMALL, CPU, 4).n_tokens == 32768
    assert default_budget(LARGE, CPU, 4).n_tokens == 2048


def test_more_of_the_prompts_is_read_at_once_on_an_accelerator() -> None:
    assert part_tokens(CPU) == 1024
    assert part_tokens(torch.device("cuda")) == 16384


def test_little_free_memory_makes_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 10**9)
    budget = default_budget(LARGE, CPU, 4)
    assert 100 < budget.n_tokens < 500
    assert budget.n_held == budget.n_tokens  # also of prompts that have a prefix in common
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 0)
    assert default_budget(LARGE, CPU, 4).n_tokens == 1


def test_the_free_memory_of_this_machine_is_known_or_unknown() -> None:
    free = memory._free_bytes(CPU)
    assert free is None or free > 0


def test_gaps_are_filled_from_the_end() -> None:
    assert without_gaps(6, [0, 2, 5]) == [0, 5, 2]
    assert without_gaps(4, [0, 1, 2, 3]) == [0, 1, 2, 3]
    assert without_gaps(3, []) == []
