from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.model import HuggingFaceModel, InMemoryModel
from palimpsest.lm.models.specs import load_model

# peft 0.21 still asks for it.
deprecated = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

PROMPTS = ["The cat sleeps.", "Input: What is 5?\nOutput:", "où est le garçon"]
CANDIDATES = [[" yes", " no"]] * len(PROMPTS)


def opened(folder: Path) -> HuggingFaceModel:
    model = load_model(f"hf:{folder}")
    assert isinstance(model, HuggingFaceModel)
    return model


def wrapped(network: Any, tokenizer: Any, **options: Any) -> InMemoryModel:
    return InMemoryModel(network, tokenizer, name="mine", fingerprint="step-1", **options)


def answers(model: Any) -> list[str]:
    found = dict(model.generate(PROMPTS, max_new_tokens=12))
    return [found[index].text for index in range(len(PROMPTS))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["llama", "gpt2", pytest.param("mamba", marks=pytest.mark.slow)]
)
def test_a_network_in_memory_answers_as_its_checkpoint_does(
    checkpoint: Any, architecture: str
) -> None:
    model = opened(checkpoint(architecture))
    inner = wrapped(model.network, model.tokenizer)
    assert answers(inner) == answers(model)
    assert inner.score(PROMPTS, CANDIDATES) == model.score(PROMPTS, CANDIDATES)


def test_it_is_called_what_the_caller_says(llama: Path) -> None:
    model = opened(llama)
    inner = wrapped(model.network, model.tokenizer)
    assert (inner.spec, inner.fingerprint) == ("mine", "step-1")
    assert inner.describe()["parameters"] == model.describe()["parameters"]


def test_closing_leaves_the_network_to_its_owner(llama: Path) -> None:
    model = opened(llama)
    inner = wrapped(model.network, model.tokenizer)
    before = answers(inner)
    inner.close()
    assert answers(inner) == before


@deprecated
def test_an_adapter_around_the_network_counts(llama: Path) -> None:
    model = opened(llama)
    before = answers(model)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    network = get_peft_model(model.network, config).eval()
    assert answers(wrapped(network, model.tokenizer)) != before


def test_what_wraps_its_forward_counts(llama: Path) -> None:
    model = opened(llama)
    exact = wrapped(model.network, model.tokenizer).score(PROMPTS, CANDIDATES)
    network = model.network
    network.forward = torch.autocast("cpu", torch.bfloat16)(network.forward)
    rounded = wrapped(network, model.tokenizer).score(PROMPTS, CANDIDATES)
    assert rounded != exact
    assert torch.allclose(torch.tensor(rounded), torch.tensor(exact), rtol=0.05, atol=0.5)


def test_a_network_in_training_mode_is_refused(llama: Path) -> None:
    model = opened(llama)
    with pytest.raises(UserError, match=r"Call network\.eval\(\)"):
        wrapped(model.network.train(), model.tokenizer)


@deprecated
def test_virtual_tokens_are_refused(llama: Path) -> None:
    model = opened(llama)
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    with pytest.raises(UserError, match="works by virtual tokens"):
        wrapped(get_peft_model(model.network, config).eval(), model.tokenizer)
