"""The fused Llama is the network that transformers has, or is not used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network
from transformers import AutoConfig

from palimpsest.lm.models.huggingface import HuggingFaceModel, find_model, fused_llama
from palimpsest.lm.models.huggingface.fused_llama import (
    FusedLlama,
    fused,
    open_plain,
    plain_config,
)
from palimpsest.lm.models.huggingface.memory import reserved_cache
from palimpsest.lm.models.specs import load_model

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


@pytest.mark.slow
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


def saved(folder: Path, **changes: Any) -> Any:
    """Write a checkpoint whose norms are trained; return its network."""
    network = trained_norms(random_network(**{"head_dim": 8, **changes}))
    network.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return network


def read_config(folder: Path) -> Any:
    return plain_config(json.loads((folder / "config.json").read_text("utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "scaled positions"])
@torch.inference_mode()
def test_a_plain_llama_is_opened_as_transformers_would(tmp_path: Path, variant: str) -> None:
    network = saved(tmp_path, **VARIANTS[variant])
    model = load_model(str(tmp_path))
    assert isinstance(model, HuggingFaceModel)
    config = read_config(tmp_path)
    checkpoint = find_model(str(tmp_path), revision=None, pickle=False, code=False)
    plain, other = open_plain(checkpoint, config), fused(network)
    assert plain is not None
    assert other is not None
    arguments: dict[str, Any] = {
        "input_ids": torch.arange(60).view(2, 30),
        "position_ids": torch.arange(30).expand(2, 30),
    }
    logits = [
        each.forward(**arguments, past_key_values=reserved_cache(network.config, 2, 30))
        for each in (plain, other)
    ]
    assert torch.equal(*logits)
    list(model.generate(["The cat"], max_new_tokens=2))
    assert model._network is None
    assert model.describe()["parameters"] == f"{network.num_parameters():,}"


def test_the_plain_configuration_says_what_transformers_says(tmp_path: Path) -> None:
    saved(tmp_path)
    ours, theirs = read_config(tmp_path), AutoConfig.from_pretrained(tmp_path)
    for name in ours.to_dict().keys() - {"transformers_version", "_name_or_path"}:
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["LlamaForSequenceClassification"]},
        {"model_type": "mistral"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"rope_parameters": LLAMA3},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"quantization_config": {"quant_method": "gptq"}},
        {"auto_map": {"AutoModelForCausalLM": "mine.Model"}},
        {"head_dim": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_plain_llama_does_not_say_is_left_to_transformers(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    saved(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert plain_config(facts) is not None
    assert plain_config(facts | changes) is None


def test_tensors_that_are_not_as_expected_are_left_to_transformers(tmp_path: Path) -> None:
    saved(tmp_path)
    config = read_config(tmp_path)
    checkpoint = find_model(str(tmp_path), revision=None, pickle=False, code=False)
    config.intermediate_size += 1
    assert open_plain(checkpoint, config) is None


@pytest.mark.slow
def test_asking_a_small_llama_imports_no_classes_of_models() -> None:
    code = (
        "import sys; from palimpsest.cli.main import run;"
        "run(['prompt', '-m', 'rosetta:tuned', '--via', 'leet', 'Input: a Output:']);"
        "assert not {'transformers.modeling_utils', 'torch._dynamo'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0
