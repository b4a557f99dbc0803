"""Pairs that cannot be mixed, and what is said of each."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.families.pairs import asked, save_pair
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network

from palimpsest.errors import UserError
from palimpsest.families import Family
from palimpsest.lm.models import load_model


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return save_pair(tmp_path)


def refused(base: object, tuned: object, said: str) -> str:
    """Return what is said of a pair."""
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        Family(str(base), str(tuned))
    assert caught.value.hint
    return str(caught.value)


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, {"format": "pt"})


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_a_back_end_without_weights_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"a": "b"}), "utf-8")
    refused(pair[0], f"scripted:{answers}", "the back end 'scripted' gives answers alone")


def test_another_architecture_is_refused_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other, _ = save_pair(tmp_path / "other", "gpt2")
    said = refused(pair[0], other, "weights of different architectures cannot be mixed")
    assert "LlamaForCausalLM" in said
    assert "GPT2LMHeadModel" in said


def test_other_shapes_are_refused_with_names_and_sizes(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    _, wide = save_pair(tmp_path / "wide", intermediate_size=96)
    said = refused(pair[0], wide, "do not belong together")
    assert "'model.layers.0.mlp.down_proj.weight' is 32 × 64 in the base and 32 × 96" in said
    assert "and 3 more" in said
    _, deep = save_pair(tmp_path / "deep", num_hidden_layers=3)
    assert "is in the tuned model alone" in refused(pair[0], deep, "do not belong together")
    assert "is in the base alone" in refused(deep, pair[1], "do not belong together")


def test_another_vocabulary_is_refused(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    tokens = sorted(content["model"]["vocab"].items(), key=lambda item: item[1])
    turned = [*tokens[:2], *reversed(tokens[2:])]
    content["model"]["vocab"] = {token: index for index, (token, _) in enumerate(turned)}
    path.write_text(json.dumps(content), "utf-8")
    refused(*pair, "398 of 400 tokens have another text in the tuned model")


def test_equal_weights_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    refused(pair[0], shutil.copytree(pair[0], tmp_path / "copy"), "Was the adapter not applied")
    # Stored more coarsely, they are still the same.
    half = tmp_path / "half"
    shutil.copytree(pair[0], half)
    edit_weights(
        half, lambda weights: weights.update({k: w.bfloat16() for k, w in weights.items()})
    )
    refused(pair[0], half, "there is nothing between them")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["base", "tuned"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("spec", ["interpolate:0.5", "dg-hard", "ties:0.5", "dare:0.5"])
def test_numbers_that_are_not_finite_are_told_with_their_tensor(
    pair: tuple[Path, Path], tmp_path: Path, role: str, number: float, spec: str
) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights[name][3, 4] = number

    edit_weights(tmp_path / role, spoil)
    family = Family(*map(str, pair))
    [member] = family.members([spec])
    said = f"The tensor '{name}' of the {role} model has NaN or infinity: 1 of the 2,048 numbers"
    with pytest.raises(UserError, match=re.escape(said)):
        family.model(member).score(["a"], [["b"]])
    with pytest.raises(UserError, match=re.escape(said)):
        family.write(member, tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.slow
def test_numbers_beyond_float16_are_told(tmp_path: Path) -> None:
    pair = save_pair(tmp_path, dtype=torch.float16)

    def enlarge(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.0.mlp.up_proj.weight"] += 60_000

    edit_weights(pair[1], enlarge)
    family = Family(*map(str, pair))
    [member] = family.members(["dare:0.5"])
    with pytest.raises(UserError, match="too large for float16"):
        family.write(member, tmp_path / "out")


def test_quantised_weights_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    coded = shutil.copytree(pair[1], tmp_path / "coded")
    edit_weights(coded, lambda weights: weights.update({name: weights[name].to(torch.int8)}))
    assert f"such as '{name}' in int8" in refused(pair[0], coded, "are quantised")
    said = shutil.copytree(pair[1], tmp_path / "said")
    edit_json(said / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(pair[0], said, "are quantised (gptq)")


def test_pickled_weights_are_refused(pair: tuple[Path, Path]) -> None:
    torch.save(load_file(pair[1] / "model.safetensors"), pair[1] / "pytorch_model.bin")
    (pair[1] / "model.safetensors").unlink()
    refused(pair[0], f"{pair[1]},pickle=true", "are pickled")


def test_a_checkpoint_that_is_being_written_is_refused(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path, shard="40KB")
    shards = sorted(tuned.glob("model-*.safetensors"))
    missing = shards[-1].rename(tmp_path / "later")
    refused(base, tuned, "lacks 1 of the")
    missing.rename(shards[-1])
    content = shards[0].read_bytes()
    shards[0].write_bytes(content[: len(content) // 2])
    assert "an interrupted copy" in refused(base, tuned, "is damaged")


def test_two_dtypes_in_memory_are_refused(pair: tuple[Path, Path]) -> None:
    refused(pair[0], f"{pair[1]},dtype=bfloat16", "is asked with dtype=float32 and tuned")


@pytest.mark.slow
def test_tied_and_untied_heads_are_told(tmp_path: Path) -> None:
    base, _ = save_pair(tmp_path / "tied", tie_word_embeddings=True)
    _, tuned = save_pair(tmp_path / "own")
    family = Family(str(base), str(tuned))
    assert any("has no 'lm_head.weight' of its own" in note for note in family.notes)
    [start, half] = family.members(["base", "interpolate:0.5"])
    assert asked(family.model(start)) == asked(load_model(str(base)))
    family.write(half, tmp_path / "half")
    made = load_file(tmp_path / "half" / "model.safetensors")["lm_head.weight"]
    read = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    own = load_file(tuned / "model.safetensors")["lm_head.weight"]
    torch.testing.assert_close(made, (read + own) / 2)
    # The other way round there is nothing that a head of its own could be mixed with.
    assert "'lm_head.weight' 400 × 32 is in the base alone" in refused(
        tuned, base, "do not belong together"
    )


@pytest.mark.slow
def test_added_tokens_are_the_tuned_models_in_every_member(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path)
    network = random_network(seed=3)
    network.resize_token_embeddings(402, mean_resizing=False)
    shutil.rmtree(tuned)
    network.save_pretrained(tuned)
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(tuned)
    family = Family(str(base), str(tuned))
    assert "The tuned model has 2 more tokens, such as '<one>'." in family.notes
    assert any("the last 2 are the tuned model's in every mixture" in each for each in family.notes)
    start, none, half = family.members(["base", "interpolate:0,0.5"])
    assert asked(family.model(start)) == asked(load_model(str(base)))
    family.write(none, tmp_path / "none")
    before, after, made = (
        load_file(folder / "model.safetensors")["lm_head.weight"]
        for folder in (base, tuned, tmp_path / "none")
    )
    assert torch.equal(made, torch.cat([before, after[400:]]))
    assert asked(family.model(none)) == asked(load_model(str(tmp_path / "none")))
    asked(family.model(half))


def test_a_name_for_a_reserved_token_is_told(pair: tuple[Path, Path]) -> None:
    path = pair[1] / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary["<|turn|>"] = vocabulary.pop(last)
    content["model"]["merges"] = [
        merge for merge in content["model"]["merges"] if "".join(merge) != last
    ]
    path.write_text(json.dumps(content), "utf-8")
    notes = Family(*map(str, pair)).notes
    assert any("1 tokens have another text in the tuned model" in note for note in notes)


@pytest.mark.slow
def test_a_setting_that_changes_the_function_is_told_and_the_base_keeps_its_own(
    pair: tuple[Path, Path],
) -> None:
    edit_json(pair[1] / "config.json", rms_norm_eps=0.1)
    family = Family(*map(str, pair))
    assert any("The configurations differ in rms_norm_eps" in note for note in family.notes)
    start, end = family.members(["base", "tuned"])
    assert asked(family.model(start)) == asked(load_model(str(pair[0])))
    assert asked(family.model(end)) == asked(load_model(str(pair[1])))


@pytest.mark.slow
def test_a_file_without_the_prefix_of_its_names_is_matched(pair: tuple[Path, Path]) -> None:
    expected = Family(*map(str, pair))
    [half] = expected.members(["interpolate:0.5"])
    answers = asked(expected.model(half))

    def shorten(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[name.removeprefix("model.")] = weights.pop(name)
        weights["rotary_emb.inv_freq"] = torch.ones(4)

    edit_weights(pair[0], shorten)
    family = Family(*map(str, pair))
    assert asked(family.model(half)) == answers
