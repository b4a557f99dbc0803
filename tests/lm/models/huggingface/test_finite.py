"""NaN and infinity end a run with the place where they first appear."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.choosing import NOT_FINITE, most_probable
from palimpsest.lm.models.specs import load_model

Ask = Callable[[Any], object]
WAYS: dict[str, Ask] = {
    "generate": lambda model: list(model.generate(["The cat", "12"], max_new_tokens=4)),
    "score": lambda model: model.score(["The cat"], [[" sleeps", " sits"]]),
    "score one": lambda model: model.score(["The cat"], [[" sleeps"]]),
}


def saved(folder: Path, architecture: str, spoil: Callable[[Any], None]) -> str:
    network = random_network(architecture)
    with torch.no_grad():
        spoil(network)
    network.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("architecture", "options", "value"),
    [
        ("llama", "", math.nan),
        ("llama", "", math.inf),
        ("llama", ",dtype=bfloat16", math.nan),
        ("gpt2", "", math.nan),
        ("mamba", "", math.nan),
    ],
)
def test_the_tensor_is_named(
    tmp_path: Path, architecture: str, options: str, way: str, value: float
) -> None:
    names: list[str] = []

    def spoil(network: Any) -> None:
        name, tensor = list(network.named_parameters())[3]
        tensor.view(-1)[0] = value
        names.append(name)

    model = load_model(saved(tmp_path, architecture, spoil) + options)
    with pytest.raises(UserError) as caught:
        WAYS[way](model)
    assert str(tmp_path) in caught.value.message
    assert names[0] in caught.value.message


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_layer_is_named_where_all_weights_are_finite(tmp_path: Path, way: str) -> None:
    def spoil(network: Any) -> None:
        network.model.layers[1].mlp.down_proj.weight.fill_(3e38)

    model = load_model(saved(tmp_path, "llama", spoil))
    with pytest.raises(UserError, match=r"output of model\.layers\.1\.mlp\.down_proj.*float32"):
        WAYS[way](model)


def test_a_token_that_is_ruled_out_is_no_fault() -> None:
    ruled_out = torch.tensor([[-math.inf, 1.0, -math.inf], [2.0, -math.inf, 0.0]])
    assert most_probable(ruled_out[:, None]) == [1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rows_without_a_largest_logit_have_no_token(dtype: torch.dtype, value: float) -> None:
    logits = torch.zeros(3, 1, 5, dtype=dtype)
    logits[0, 0, 3] = 1.0
    logits[1, 0, 4] = value
    logits[2] = -math.inf
    assert most_probable(logits) == [3, NOT_FINITE, NOT_FINITE]


def test_numpy_and_torch_take_the_same_of_equal_logits() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (50, 1, 9))).float()
    assert most_probable(logits) == most_probable(logits.double())
