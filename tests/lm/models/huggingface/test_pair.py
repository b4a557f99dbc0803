from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lm.models.checkpoints import (
    TEMPLATE,
    byte_level_tokenizer,
    save_checkpoint,
    save_model,
    sentencepiece_tokenizer,
)

from palimpsest.lm.models.huggingface.pair import check_pair
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message


def warnings(base: object, tuned: object) -> list[str]:
    return [each.sentence for each in check_pair(load_model(str(base)), load_model(str(tuned)))]


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """The tiny Llama with other weights."""
    return save_checkpoint(tmp_path, seed=1)


def test_a_tuned_copy_raises_no_warning(llama: Path, tuned: Path) -> None:
    assert warnings(llama, tuned) == []


def test_the_same_model_twice_is_named(llama: Path) -> None:
    (warning,) = warnings(llama, llama)
    assert "are the same model: every difference will be zero" in warning


def test_an_added_token_is_counted_with_what_follows(llama: Path, tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<|im_start|>"])
    tokenizer.save_pretrained(tmp_path)
    (vocabulary, parameters) = warnings(llama, save_model(tmp_path, vocab_size=401))
    assert "base 400 tokens, tuned 401; 1 only in tuned: '<|im_start|>'" in vocabulary
    assert "accuracies stay comparable; log-likelihoods are not" in vocabulary
    assert parameters.startswith("The parameters differ")


def test_another_tokenizer_is_described(llama: Path, tmp_path: Path) -> None:
    sentencepiece_tokenizer().save_pretrained(tmp_path)
    vocabulary, segmentation = warnings(llama, save_model(tmp_path))
    assert "only in base" in vocabulary
    assert "only in tuned" in vocabulary
    assert "with another number" in vocabulary
    assert "divide the same text differently" in segmentation


def test_another_architecture_is_named(llama: Path, checkpoint: Callable[[str], Path]) -> None:
    found = warnings(llama, checkpoint("gpt2"))
    assert any("base LlamaForCausalLM, tuned GPT2LMHeadModel" in warning for warning in found)


def test_different_dtypes_are_named(llama: Path, tuned: Path) -> None:
    (warning,) = warnings(llama, f"{tuned},dtype=bfloat16")
    assert "base float32, tuned bfloat16" in warning
    assert "give both the same dtype= option" in warning


@pytest.fixture
def with_template(tmp_path: Path) -> Path:
    """The tiny Llama with other weights and a chat template."""
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    return save_model(tmp_path, seed=1)


def test_a_template_that_is_not_used_is_said_with_the_option_to_write(
    llama: Path, with_template: Path
) -> None:
    (warning,) = warnings(llama, with_template)
    assert warning.startswith("The tuned model has a chat template that is not used")
    assert "write --tuned-form chat (chat=true behind the model)" in warning


def test_a_template_that_is_used_on_one_side_only_is_said(llama: Path, with_template: Path) -> None:
    (warning,) = warnings(llama, f"{with_template},chat=true")
    assert warning.startswith("Only tuned reads the prompts in its chat template")
    assert "write --base-form chat or --tuned-form plain" in warning


def test_for_messages_a_template_is_used_by_default(llama: Path, with_template: Path) -> None:
    asked = [(Message("user", "hi"),)]
    models = load_model(f"{llama},chat=false"), load_model(str(with_template))
    (finding,) = check_pair(*models, asked)
    assert "Only tuned reads the prompts in its chat template" in finding.found


def test_a_template_that_ends_answers_where_the_model_goes_on_is_named(
    llama: Path, tmp_path: Path
) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.chat_template = TEMPLATE.replace("\n{% endfor", "<|im_end|>\n{% endfor")
    tokenizer.save_pretrained(tmp_path)
    found = warnings(llama, f"{save_model(tmp_path, vocab_size=401)},chat=true")
    assert any("ends an answer with '<|im_end|>', at which the model does not" in w for w in found)


def test_two_start_tokens_are_named(llama: Path, tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    found = warnings(llama, f"{save_model(tmp_path, seed=1)},chat=true")
    assert any("puts two start tokens before a prompt" in warning for warning in found)


def test_scripted_models_have_nothing_to_compare() -> None:
    one, other = (ScriptedModel(lambda prompt: "", name=name) for name in "ab")
    assert check_pair(one, other) == []
