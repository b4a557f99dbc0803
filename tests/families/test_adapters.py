"""Adapters in a family: scaled they stay adapters, otherwise they become whole models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.families.pairs import asked, save_adapted
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network

from palimpsest.errors import UserError
from palimpsest.families import Family, restore
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import quietly

SCALING = ["interpolate:0.4", "lines:0.5", "only:attention"]
OTHERS = ["ties:0.3", "dare:0.5", "dg-hard|interpolate:0.5"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "with patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 3}},
    "with a head of its own": {"modules_to_save": ["lm_head"]},
    "with embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
}


def family_of(base: Path, adapter: Path, **options: str) -> Family:
    extra = "".join(f",{name}={value}" for name, value in options.items())
    return Family(f"{base}{extra}", f"{base},adapter={adapter}{extra}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_members_answer_as_what_is_written_of_them(kind: str, tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path, **KINDS[kind])
    family = family_of(base, adapter)
    for member in family.members([*SCALING, *OTHERS, *SCALING[:1]]):
        texts, scores = asked(family.model(member))
        family.write(member, tmp_path / member.spec)
        names = {path.name for path in (tmp_path / member.spec).iterdir()}
        assert ("adapter_config.json" in names) == member.scales
        spec = (
            f"{base},adapter={tmp_path / member.spec}" if member.scales else tmp_path / member.spec
        )
        found = asked(load_model(str(spec)))
        assert found[0] == texts
        if member.scales:
            assert found[1] == scores
        else:  # on the way, LoRA's layers add zero to what the same weights give
            assert torch.allclose(torch.tensor(found[1]), torch.tensor(scores), atol=1e-5)
    assert family.n_loaded == 1


@pytest.mark.slow
def test_the_ends_answer_as_the_plain_models_whatever_was_asked_between(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path, modules_to_save=["lm_head"])
    family = family_of(base, adapter)
    expected = {
        "base": load_model(str(base)),
        "tuned": load_model(f"{base},adapter={adapter}"),
    }
    for spec in ("tuned", "ties:0.3", "base", "interpolate:0.5", "tuned", "dare:0.5", "base"):
        [member] = family.members([spec])
        found = asked(family.model(member))
        if spec in expected:
            texts, scores = asked(expected[spec])
            assert found[0] == texts
            # The plain base is asked in its fused form, whose sums are in another order.
            assert torch.allclose(torch.tensor(found[1]), torch.tensor(scores), atol=1e-5)
            assert family.fingerprint(member) == expected[spec].fingerprint
    assert family.n_loaded == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "embeddings" not in kind])
def test_merged_weights_are_those_that_peft_merges(kind: str, tmp_path: Path) -> None:
    check_merged("llama", kind, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "rank-stabilised"])
def test_layers_with_their_inputs_along_the_rows_are_merged_as_well(
    kind: str, tmp_path: Path
) -> None:
    check_merged("gpt2", kind, tmp_path)


def check_merged(architecture: str, kind: str, tmp_path: Path) -> None:
    """Compare what a member with all of the change has with what PEFT makes."""
    from peft import PeftModel

    base, adapter = save_adapted(tmp_path, architecture, **KINDS[kind])
    with quietly():
        network: Any = PeftModel.from_pretrained(random_network(architecture), str(adapter))
        merged = network.merge_and_unload().state_dict()
    family = family_of(base, adapter)
    [everything] = family.members(["ties:1"])
    family.write(everything, tmp_path / "merged")
    written = load_file(tmp_path / "merged" / "model.safetensors")
    for name, tensor in written.items():
        # Products summed in another order.
        torch.testing.assert_close(tensor, merged[name], atol=1e-5, rtol=0)


def test_denoising_leaves_an_adapter_as_it_is_and_says_so(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path)
    family = Family(f"hf:{base}", f"hf:{base},adapter={adapter}")
    [member, chain, other] = family.members(["dg-hard", "dg-hard|interpolate:0.5", "ties:0.3"])
    [note] = member.notes(family)
    assert "'dg-hard' leaves the change of this adapter as it is" in note
    assert chain.notes(family) == (note,)
    assert other.notes(family) == ()
    family.write(member, tmp_path / "written")
    assert note in (tmp_path / "written" / "README.md").read_text("utf-8")
    merged = load_model(f"hf:{base},adapter={adapter}").open_network().merge_and_unload()  # type: ignore[attr-defined]
    written = load_file(tmp_path / "written" / "model.safetensors")
    for name, tensor in merged.state_dict().items():
        if name in written:  # what is tied is not stored twice
            assert torch.allclose(written[name], tensor, atol=1e-5), name
    whole = Family(f"hf:{base}", f"hf:{tmp_path / 'written'}")
    assert member.notes(whole) == ()


def test_a_restoration_says_so_before_anything_is_asked(tmp_path: Path) -> None:
    network = load_model("rosetta:base").open_network()  # type: ignore[attr-defined]
    base, adapter = save_adapted(tmp_path, network=network)
    load_model("rosetta:base").tokenizer.save_pretrained(base)  # type: ignore[attr-defined]
    told: list[str] = []
    with pytest.raises(UserError, match="it takes at least 30"):
        restore(
            f"hf:{base}", f"hf:{base},adapter={adapter}", suite="rosetta",
            target="rosetta-instructions", members=["dg-hard|interpolate:0.5"], via=[], limit=1,
            notify=told.extend,
        )  # fmt: skip
    assert any("'dg-hard' leaves the change of this adapter as it is" in each for each in told)


def test_an_adapter_with_a_wide_rank_may_be_denoised(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path, r=20)
    family = Family(f"hf:{base}", f"hf:{base},adapter={adapter}")
    [member] = family.members(["dg-hard"])
    assert member.notes(family) == ()


def test_an_adapter_of_half_the_change_changes_half(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path, modules_to_save=["lm_head"])
    family = family_of(base, adapter)
    [half] = family.members(["interpolate:0.5"])
    family.write(half, tmp_path / "half")
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (adapter, tmp_path / "half")
    )
    own = load_file(base / "model.safetensors")["lm_head.weight"]
    for name, tensor in before.items():
        expected = tensor
        if "lora_B" in name:
            expected = 0.5 * tensor
        elif "lora_" not in name:
            expected = (own + tensor) / 2
        torch.testing.assert_close(after[name], expected)


@pytest.mark.slow
def test_rows_of_new_tokens_are_the_adapters_own(tmp_path: Path) -> None:
    network = random_network()
    base = tmp_path / "base"
    network.save_pretrained(base)
    byte_level_tokenizer().save_pretrained(base)
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<one>", "<two>"])
    network.resize_token_embeddings(402, mean_resizing=False)
    _, adapter = save_adapted(
        tmp_path / "resized", network=network, modules_to_save=["embed_tokens", "lm_head"]
    )
    tokenizer.save_pretrained(adapter)
    family = family_of(base, adapter)
    assert any("The last 2 rows of" in note for note in family.notes)
    start, half = family.members(["base", "interpolate:0.5"])
    assert asked(family.model(start)) == asked(load_model(str(base)))
    asked(family.model(half))
    family.write(half, tmp_path / "half")
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (adapter, tmp_path / "half")
    )
    name = next(name for name in before if "lm_head" in name and "lora" not in name)
    assert torch.equal(after[name][400:], before[name][400:])
    with pytest.raises(UserError, match=r"resizes 'lm_head.weight' from 400 × 32 to 402 × 32"):
        family.model(family.members(["ties:0.5"])[0])


@pytest.mark.slow
def test_a_head_that_was_trained_apart_from_the_embeddings_it_was_tied_to(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path, "gpt2", modules_to_save=["lm_head"])
    family = family_of(base, adapter)
    assert any("has no 'lm_head.weight' of its own" in note for note in family.notes)
    start, none, half, end = family.members(["base", "interpolate:0,0.5", "tuned"])
    assert asked(family.model(none)) == asked(load_model(str(base))) == asked(family.model(start))
    assert asked(family.model(end)) == asked(load_model(f"{base},adapter={adapter}"))
    family.write(half, tmp_path / "half")
    assert asked(family.model(half)) == asked(load_model(f"{base},adapter={tmp_path / 'half'}"))
    with pytest.raises(UserError, match="do not have as a tensor of its own"):
        family.model(family.members(["ties:0.5"])[0])


def edit_config(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**config, **changes}), "utf-8")


@pytest.mark.slow
def test_an_adapter_on_another_base_is_refused(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path / "one")
    other, _ = save_adapted(tmp_path / "other", network=random_network(seed=5))
    with pytest.raises(UserError, match="which has other weights"):
        Family(str(base), f"{other},adapter={adapter}")
    wide, _ = save_adapted(tmp_path / "wide", network=random_network(hidden_size=64))
    with pytest.raises(UserError, match="of another size in the base") as caught:
        Family(str(wide), f"{wide},adapter={adapter}")
    assert "(64, 64) and (32, 64)" in str(caught.value)
    gpt2, _ = save_adapted(tmp_path / "gpt2", "gpt2")
    with pytest.raises(UserError, match="missing in the base"):
        Family(str(gpt2), f"{gpt2},adapter={adapter}")


@pytest.mark.slow
def test_the_name_of_another_base_is_noted(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path)
    assert family_of(base, adapter).notes == ()
    edit_config(adapter, base_model_name_or_path="org/another-7b")
    assert family_of(base, adapter).notes == (
        f"The adapter names 'org/another-7b' as its base, here it is '{base}'.",
    )


@pytest.mark.slow
def test_an_adapter_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path)
    weights = load_file(adapter / "adapter_model.safetensors")
    zero = {name: 0 * each if "lora_B" in name else each for name, each in weights.items()}
    save_file(zero, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="are the same: there is nothing between them"):
        family_of(base, adapter)


@pytest.mark.slow
def test_an_adapter_with_nan_names_the_tensor(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path)
    weights = load_file(adapter / "adapter_model.safetensors")
    name = sorted(weights)[-1]
    weights[name][0, 0] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="has NaN or infinity") as caught:
        family_of(base, adapter)
    assert name in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "LOHA"}, "is of the kind LOHA"),
        ({"use_dora": True}, "has use_dora=True"),
    ],
)
def test_kinds_that_are_no_sum_of_products_are_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    base, adapter = save_adapted(tmp_path)
    edit_config(adapter, **changes)
    with pytest.raises(UserError, match=said) as caught:
        family_of(base, adapter)
    assert "merge_and_unload" in str(caught.value)


def test_a_base_with_an_adapter_is_refused(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path)
    with pytest.raises(UserError, match="has an adapter itself"):
        Family(f"{base},adapter={adapter}", f"{base},adapter={adapter}")
