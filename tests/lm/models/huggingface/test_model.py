"""Facts, fingerprints, dtypes, chat and adapters of Hugging Face models."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PromptTuningConfig, TaskType, get_peft_model
from tests.lm.models.checkpoints import (
    TEMPLATE,
    byte_level_tokenizer,
    random_network,
    save_checkpoint,
    save_model,
)

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.models.huggingface.loading import choose_device
from palimpsest.lm.models.huggingface.model import HuggingFaceModel, InMemoryModel
from palimpsest.lm.models.huggingface.quiet import quietly
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message, Prompt


def opened(spec: object) -> HuggingFaceModel:
    model = load_model(str(spec))
    assert isinstance(model, HuggingFaceModel)
    return model


def text(model: HuggingFaceModel, prompt: Prompt = "The cat") -> str:
    ((_, result),) = model.generate([prompt], max_new_tokens=12)
    return result.text


def adapted(network: Any, config: PeftConfig) -> Any:
    """Wrap a network; peft itself still uses a name that transformers has deprecated."""
    with quietly():
        return get_peft_model(network, config)


def save_adapter(folder: Path, *, scale: float = 1.0) -> Path:
    """Write a random LoRA adapter of the tiny Llama."""
    torch.manual_seed(7)
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, target_modules=["q_proj", "down_proj"])
    network = adapted(random_network(), config)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=scale)
    network.save_pretrained(str(folder))
    return folder


def test_describe_states_what_the_report_needs(llama: Path) -> None:
    model = opened(f"{llama},device=cpu")
    facts = model.describe()
    assert facts["architecture"] == "LlamaForCausalLM"
    assert facts["parameters"] == f"{random_network().num_parameters():,}"
    assert (facts["device"], facts["dtype"], facts["revision"]) == ("cpu", "float32", "local")
    assert facts["tokenizer"].endswith("400 tokens")
    assert facts["context"] == "256 tokens"


def test_describing_a_model_does_not_load_its_weights(llama: Path) -> None:
    model = opened(llama)
    model.describe()
    assert model._network is None


def test_tied_parameters_are_counted_once(tmp_path: Path) -> None:
    model = opened(save_checkpoint(tmp_path, tie_word_embeddings=True))
    assert model.describe()["parameters"] == f"{random_network().num_parameters() - 400 * 32:,}"
    assert text(model)


def test_the_fingerprint_depends_on_content_and_not_on_the_place(
    llama: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(llama, tmp_path / "copy")
    assert opened(copy).fingerprint == opened(llama).fingerprint


@pytest.mark.parametrize("change", ["weights", "config", "tokenizer", "generation"])
def test_the_fingerprint_changes_with_every_file_that_decides_answers(
    llama: Path, tmp_path: Path, change: str
) -> None:
    copy = Path(shutil.copytree(llama, tmp_path / "copy"))
    name = {
        "weights": "model.safetensors",
        "config": "config.json",
        "tokenizer": "tokenizer.json",
        "generation": "generation_config.json",
    }[change]
    content = bytearray((copy / name).read_bytes())
    if change == "weights":
        content[-1] ^= 1
    else:
        content += b"\n"
    (copy / name).write_bytes(content)
    assert opened(copy).fingerprint != opened(llama).fingerprint


@pytest.mark.parametrize("option", ["dtype=bfloat16", "chat=true", "trust_remote_code=true"])
def test_the_fingerprint_changes_with_every_option_that_decides_answers(
    llama: Path, option: str
) -> None:
    assert opened(f"{llama},{option}").fingerprint != opened(llama).fingerprint


@pytest.mark.parametrize("option", ["batch_tokens=100", "dtype=float32", "device=cpu"])
def test_options_without_an_effect_keep_the_fingerprint(llama: Path, option: str) -> None:
    if not torch.cuda.is_available():
        assert opened(f"{llama},{option}").fingerprint == opened(llama).fingerprint


def test_on_the_cpu_a_half_precision_checkpoint_runs_in_float32(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    random_network().to(torch.bfloat16).save_pretrained(tmp_path)
    model = opened(f"{tmp_path},device=cpu")
    assert model.describe()["dtype"] == "float32"
    text(model)
    assert model.network.dtype == torch.float32


def test_a_dtype_that_was_asked_for_is_used(llama: Path) -> None:
    model = opened(f"{llama},dtype=bf16,device=cpu")
    assert model.describe()["dtype"] == "bfloat16"
    text(model)
    assert model.network.dtype == torch.bfloat16


def test_auto_takes_the_first_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


def test_weights_that_do_not_fit_are_a_message(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError

    model = opened(llama)
    monkeypatch.setattr("transformers.PreTrainedModel.to", full)
    with pytest.raises(UserError, match="does not fit into the memory of"):
        model.score(["a"], [["b"]])


def test_chat_changes_what_is_sent(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    save_model(tmp_path)
    chat, plain = opened(f"{tmp_path},chat=true"), opened(tmp_path)
    assert text(chat) == text(plain, (Message("user", "The cat"),)) != text(plain)
    assert text(chat) == text(plain, "[user] The cat\n[assistant]")


def test_messages_without_a_template_are_refused_before_anything_runs(llama: Path) -> None:
    model = opened(llama)
    with pytest.raises(UserError, match="has no chat template"):
        text(model, (Message("user", "hi"),))
    assert model._network is None


def test_the_head_below_an_adapter_is_not_copied_for_each_prompt(
    llama: Path, tmp_path: Path
) -> None:
    tuned = opened(f"{llama},adapter={save_adapter(tmp_path / 'lora')}")
    prompts = ["a b", "b c", "c d"]
    for _ in range(2):  # the second time nothing is loaded
        with torch.profiler.profile(record_shapes=True) as found:
            list(tuned.generate(prompts, max_new_tokens=2))
            tuned.score(prompts, [["a", "b"]] * 3)
    sizes = [size for each in found.events() for size in each.input_shapes if len(size) == 3]
    # Attention has products of three dimensions as well, none as wide as the vocabulary.
    assert not [size for size in sizes if size[2] == len(tuned.tokenizer) and size[1] > 8]


@pytest.mark.slow
def test_an_adapter_changes_the_answers_and_is_reported(llama: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "lora")
    tuned = opened(f"{llama},adapter={adapter}")
    assert text(tuned) != text(opened(llama))
    assert tuned.describe()["adapter"] == str(adapter)
    assert tuned.fingerprint != opened(llama).fingerprint


@pytest.mark.slow
def test_an_adapted_model_answers_as_peft_merges_it(llama: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    adapter = save_adapter(tmp_path / "lora")
    with quietly():
        merged: Any = PeftModel.from_pretrained(random_network(), str(adapter))
        merged = merged.merge_and_unload()
    byte_level_tokenizer().save_pretrained(tmp_path / "merged")
    merged.save_pretrained(tmp_path / "merged")
    prompts: list[Prompt] = ["The cat", "Repeat the input.\n\nInput: x", "12"]
    tuned, whole = opened(f"{llama},adapter={adapter}"), opened(tmp_path / "merged")
    assert [g.text for _, g in sorted(tuned.generate(prompts, max_new_tokens=12))] == [
        g.text for _, g in sorted(whole.generate(prompts, max_new_tokens=12))
    ]
    ours, theirs = (m.score(["The"], [[" cat", " dog"]])[0] for m in (tuned, whole))
    assert ours == pytest.approx(theirs, abs=1e-4)  # sums in another order


def test_the_fingerprint_follows_the_adapter(llama: Path, tmp_path: Path) -> None:
    one = opened(f"{llama},adapter={save_adapter(tmp_path / 'a')}").fingerprint
    other = opened(f"{llama},adapter={save_adapter(tmp_path / 'b', scale=0.5)}").fingerprint
    assert one != other


@pytest.mark.slow
def test_the_tokenizer_of_an_adapter_is_used_with_its_new_tokens(
    llama: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "lora")
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(adapter)
    model = opened(f"{llama},adapter={adapter}")
    assert len(model.tokenizer) == 401
    assert text(model, "a<new>b")


def test_an_adapter_of_another_model_is_a_message(llama: Path, tmp_path: Path) -> None:
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, target_modules=["q_proj"])
    adapted(random_network(hidden_size=64), config).save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match="Check that it was trained on this model"):
        text(opened(f"{llama},adapter={tmp_path}"))


EMBEDDINGS: dict[str, dict[str, Any]] = {
    "saved whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "of low rank": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", EMBEDDINGS)
@pytest.mark.parametrize(
    ("n_rows", "with_tokenizer"),
    [(402, True), (448, True), (402, False), (400, True)],
    ids=["as the tokenizer", "padded", "without the tokenizer", "cut"],
)
def test_an_adapter_brings_the_rows_of_its_embeddings(
    tmp_path: Path, kind: str, n_rows: int, with_tokenizer: bool
) -> None:
    base = save_checkpoint(tmp_path / "base", vocab_size=420 if n_rows == 400 else 400)
    network = opened(base).network
    tokenizer = byte_level_tokenizer()
    if n_rows > 400:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    options = {"target_modules": ["q_proj"], "task_type": TaskType.CAUSAL_LM, **EMBEDDINGS[kind]}
    with quietly():
        network.resize_token_embeddings(n_rows, mean_resizing=False)
        tuned: Any = get_peft_model(network, LoraConfig(init_lora_weights=False, **options))
        tuned.save_pretrained(str(tmp_path / "adapter"))
    if with_tokenizer:
        tokenizer.save_pretrained(tmp_path / "adapter")
    model = opened(f"{base},adapter={tmp_path / 'adapter'}")
    alone = InMemoryModel(tuned.eval(), tokenizer, name="alone", fingerprint="alone")
    assert model._encoder.n_embeddings == n_rows
    candidates = [[" sleeps", " sits"]]
    assert model.score(["The cat"], candidates) == alone.score(["The cat"], candidates)


def test_an_adapter_of_another_width_says_both(llama: Path, tmp_path: Path) -> None:
    other = random_network(hidden_size=64)
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, target_modules=["q_proj"])
    adapted(other, config).save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match=r"size mismatch .*64.*32"):
        opened(f"{llama},adapter={tmp_path}").network.eval()


def test_virtual_tokens_are_refused(llama: Path, tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    adapted(random_network(), config).save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match="works by virtual tokens"):
        text(opened(f"{llama},adapter={tmp_path}"))


@pytest.mark.slow
def test_a_pickled_adapter_is_opened_only_when_asked_for(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    adapter = save_adapter(tmp_path / "lora")
    expected = text(opened(f"{llama},adapter={adapter}"))
    weights = adapter / "adapter_model.safetensors"
    torch.save(load_file(weights), adapter / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match="only pickle weights"):
        opened(f"{llama},adapter={adapter}")
    assert text(opened(f"{llama},adapter={adapter},pickle=true")) == expected


def test_without_peft_the_message_names_the_command_that_installs_it(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_peft(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    model = opened(f"{llama},adapter={save_adapter(tmp_path / 'lora')}")
    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(MissingExtraError, match=r"pip install 'peft"):
        text(model)
