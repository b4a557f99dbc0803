"""What the doctor finds in tiny pairs: copies, adapters, wrong bases, broken weights, forms."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.lm.models.checkpoints import TEMPLATE, byte_level_tokenizer, save_checkpoint

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.doctor import Examination, _on_form, examine_pair, examine_quickly
from palimpsest.lm.models.huggingface.causal import CausalModel
from palimpsest.lm.models.huggingface.pair import Finding
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.models.specs import in_form, load_model
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites.suite import Example, Suite

SUITE = Suite(
    "texts",
    tuple(
        Example(str(n), "copy", "en", f"Input: {n}\nOutput:", {"copy": (f"{n}",)})
        for n in range(12)
    ),
    max_new_tokens=4,
)
MESSAGES = Suite(
    "messages",
    tuple(
        Example(str(n), "copy", "en", (Message("user", f"Say {n}"),), {"copy": (f"{n}",)})
        for n in range(4)
    ),
    max_new_tokens=4,
)
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def changed(base: Path, tmp_path: Path) -> Callable[[Callable[[Tensors], None]], Path]:
    """Return a function that copies the base with its tensors changed in place."""

    def copy(change: Callable[[Tensors], None]) -> Path:
        folder = tmp_path / "tuned"
        shutil.copytree(base, folder)
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return copy


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network of the same size, with a chat template."""
    folder = save_checkpoint(tmp_path_factory.mktemp("chat") / "tiny", seed=3)
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


class Recorder(ScriptedModel):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Prompt] = []
        super().__init__(self._note)

    def _note(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        return ""


def nudge(tensors: Tensors) -> None:
    draw = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=draw)
        tensors[name] = tensor + 0.02 * tensor.norm() / noise.norm() * noise


def quickly(base: object, tuned: object, suite: Suite = SUITE) -> list[Finding]:
    models = {"base": load_model(str(base)), "tuned": load_model(str(tuned))}
    return examine_quickly(models, suite, most_numbers=None)


def of(findings: list[Finding] | Examination, check: str) -> Finding:
    rows = findings.findings if isinstance(findings, Examination) else findings
    (found,) = [finding for finding in rows if finding.check == check]
    return found


def lora(base: Path, folder: Path, *, trained: bool = True, **changes: Any) -> Path:
    """Write an adapter of one layer, as PEFT does."""
    folder.mkdir()
    copied = changes.pop("copied", {})
    layer = changes.pop("layer", "model.layers.0.self_attn.q_proj")
    width = changes.pop("width", 32)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "base_model_name_or_path": str(base),
              "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **changes}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    prefix = f"base_model.model.{layer}"
    b = 0.01 * torch.ones(width, 4) if trained else torch.zeros(width, 4)
    tensors = {f"{prefix}.lora_A.weight": torch.ones(4, width), f"{prefix}.lora_B.weight": b}
    save_file(tensors | copied, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_embedded_pair_is_what_it_claims_to_be() -> None:
    found = quickly("rosetta:base", "rosetta:tuned")
    assert {finding.severity for finding in found} == {"fine"}
    assert "38 of 38 tensors changed, a matrix typically by 4.0%" in of(found, "weights").found


def test_weights_that_tuning_left_alone_forbid_a_verdict(
    base: Path, changed: Callable[..., Path]
) -> None:
    """As where an adapter was never merged: other files, the same numbers."""
    tuned = changed(lambda tensors: None)
    (tuned / "generation_config.json").write_text('{"eos_token_id": 1}', "utf-8")
    finding = of(quickly(base, tuned), "weights")
    assert finding.severity == "no verdict"
    assert "was an adapter not merged" in finding.meaning


def test_rounding_to_another_dtype_is_no_tuning(base: Path, changed: Callable[..., Path]) -> None:
    def to_bfloat16(tensors: Tensors) -> None:
        tensors |= {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}

    findings = quickly(base, changed(to_bfloat16))
    assert of(findings, "weights").found.startswith("None of the ")
    assert "F32 (base) and BF16 (tuned)" in of(findings, "dtype").found


def test_a_change_of_nothing_but_rounding_is_said(base: Path, changed: Callable[..., Path]) -> None:
    def hardly(tensors: Tensors) -> None:
        tensors["model.norm.weight"] *= 1 + 2e-7

    assert "was an adapter not merged" in of(quickly(base, changed(hardly)), "weights").meaning


def test_a_tuned_copy_is_fine(base: Path, changed: Callable[..., Path]) -> None:
    assert of(quickly(base, changed(nudge)), "weights").severity == "fine"


def test_another_base_of_the_same_size_is_found(base: Path, tmp_path: Path) -> None:
    finding = of(quickly(base, save_checkpoint(tmp_path / "other", seed=7)), "weights")
    assert finding.severity == "no verdict"
    assert "not the base that it was tuned from" in finding.meaning


def test_another_base_of_another_size_is_found(base: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", intermediate_size=48)
    finding = of(quickly(base, other), "weights")
    assert finding.severity == "no verdict"
    assert "have another shape" in finding.found


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_named_by_its_tensor(
    base: Path, changed: Callable[..., Path], number: float
) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = number

    found = examine_pair(str(base), str(changed(spoil)), suite=SUITE)
    assert not found.can_be_judged
    finding = of(found, "weights")
    assert "'model.layers.1.mlp.up_proj.weight' of tuned has numbers that are not" in finding.found
    assert finding.severity == "no verdict"


def test_an_adapter_that_changes_something_is_fine(base: Path, tmp_path: Path) -> None:
    findings = quickly(base, f"hf:{base},adapter={lora(base, tmp_path / 'lora')}")
    assert of(findings, "adapter").severity == "fine"
    assert "changes 1 layers" in of(findings, "adapter").found


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"trained": False}, "changes nothing"),
        ({"layer": "transformer.h.0.attn.c_attn"}, "are missing in its base"),
        ({"width": 48}, "are of another size in its base"),
    ],
)
def test_an_adapter_that_is_not_applied_is_found(
    base: Path, tmp_path: Path, how: dict[str, Any], what: str
) -> None:
    findings = quickly(base, f"hf:{base},adapter={lora(base, tmp_path / 'lora', **how)}")
    assert of(findings, "adapter").severity == "no verdict"
    assert what in of(findings, "adapter").found


def test_embeddings_that_peft_saves_along_are_no_change(base: Path, tmp_path: Path) -> None:
    name, own = "model.embed_tokens.weight", load_file(base / "model.safetensors")
    copied = {"base_model.model.model.embed_tokens.base_layer.weight": own[name]}
    adapter = lora(base, tmp_path / "lora", trained=False, copied=copied)
    assert "changes nothing" in of(quickly(base, f"hf:{base},adapter={adapter}"), "adapter").found


def test_an_adapter_that_names_another_base_is_said(base: Path, tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "lora", base_model_name_or_path="meta/other-7b")
    named, looked_at = [
        each for each in quickly(base, f"hf:{base},adapter={adapter}") if each.check == "adapter"
    ]
    assert "names 'meta/other-7b' as its base" in named.found
    assert (named.severity, looked_at.severity) == ("note", "fine")


@pytest.mark.slow
def test_an_adapter_that_was_forgotten_is_asked_for(base: Path) -> None:
    found = examine_pair(str(base), str(base), suite=SUITE)
    assert not found.can_be_judged
    assert "was an adapter forgotten" in of(found, "models").meaning


def test_prompts_that_do_not_fit_are_counted(base: Path, changed: Callable[..., Path]) -> None:
    long = [Example(f"long-{n}", "copy", "en", "a b " * 300, {"copy": ("a",)}) for n in range(2)]
    suite = Suite("long", (*SUITE.examples, *long), max_new_tokens=4)
    found = [each for each in quickly(base, changed(nudge), suite) if each.check == "context"]
    assert all(each.found.startswith("2 of 14 prompts leave no room") for each in found)
    assert {each.severity for each in found} == {"note"}
    found = [
        each for each in quickly(base, base, Suite("all", tuple(long))) if "2 of 2" in each.found
    ]
    assert {each.severity for each in found} == {"no verdict"}


@pytest.mark.slow
def test_a_model_that_reads_no_text_is_found(base: Path, changed: Callable[..., Path]) -> None:
    def shout(tensors: Tensors) -> None:
        tensors["lm_head.weight"] *= 50  # sure of everything, and wrong

    found = examine_pair(str(base), str(changed(shout)), suite=SUITE)
    language = {each.found.split()[1]: each for each in found.findings if each.check == "language"}
    assert language["tuned"].severity == "no verdict"
    assert "it does not read this text" in language["tuned"].meaning
    assert [each.severity for each in found.findings if each.check == "batches"] == ["fine"] * 2


@pytest.mark.parametrize(
    ("gain", "asked", "severity"),
    [(5.0, "auto", "note"), (5.0, "true", "fine"), (-5.0, "auto", "fine"), (-5.0, "true", "note")],
)
def test_the_form_in_which_the_answers_are_likelier_is_said(
    chat: Path, gain: float, asked: str, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(self: Any, prompts: list[object], candidates: object) -> list[list[float]]:
        bonus = gain if self.form else 0.0
        return [[-20.0 + bonus - 0.1 * place] for place in range(len(prompts))]

    model: Any = load_model(f"{chat},chat={asked}")
    monkeypatch.setattr(CausalModel, "score", score)
    (finding,) = _on_form("tuned", model, SUITE.examples)
    assert finding.severity == severity
    if severity == "note":
        assert f"--tuned-form {'chat' if gain > 0 else 'plain'}" in finding.meaning


def test_what_cannot_be_looked_into_is_said() -> None:
    models = [ScriptedModel(lambda prompt: "", name=name) for name in "ab"]
    found = examine_pair(*models, suite=SUITE)
    assert found.can_be_judged
    assert [each.severity for each in found.findings] == ["unknown"] * 2
    assert "cannot be looked into" in found.findings[0].found
    json.dumps(found.to_json())


def test_a_missing_template_ends_a_diagnosis_before_anything_is_asked(
    base: Path, changed: Callable[..., Path]
) -> None:
    recorder = Recorder()
    with pytest.raises(UserError, match="has no chat template") as caught:
        diagnose(recorder, str(base), suite=MESSAGES, via=[])
    assert recorder.asked == []
    assert "--tuned-form plain" in str(caught.value)


def test_each_model_can_be_asked_the_same_messages_in_its_own_form(base: Path, chat: Path) -> None:
    told: list[str] = []
    results = diagnose(
        in_form(str(base), "plain"), in_form(str(chat), "chat"), suite=MESSAGES, via=[],
        n_resamples=10, notify=told.extend,
    )  # fmt: skip
    assert any("Only tuned reads the prompts in its chat template" in note for note in told)
    assert set(told) <= set(results.warnings)


def test_a_form_that_contradicts_the_spec_is_refused() -> None:
    with pytest.raises(UserError, match="says chat=true"):
        in_form("rosetta:base,chat=true", "plain")
    with pytest.raises(UserError, match="takes prompts as they are"):
        in_form("scripted:x.json", "chat")
    assert in_form("openai:m@http://localhost:1/v1", "chat").endswith(",api=chat")
