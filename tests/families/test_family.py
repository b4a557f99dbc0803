"""Members asked through one network, and written as checkpoints that answer the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.families.pairs import CANDIDATES, PROMPTS, asked, save_pair

from palimpsest.families import Family
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel

ARCHITECTURES = ["llama", "gpt2", "gpt_neox", "mistral", "bloom", "gemma3", "mamba", "mixtral"]
MEMBERS = ["interpolate:0.4", "dg-hard", "ties:0.3", "dare:0.5", "only:attention", "lines:0.3"]


def plain(spec: object) -> HuggingFaceModel:
    model = load_model(str(spec))
    assert isinstance(model, HuggingFaceModel)
    return model


def test_both_ends_answer_as_the_plain_models_and_one_network_serves_all() -> None:
    family = Family("rosetta:base", "rosetta:tuned")
    found = {}
    for member in family.members(["base", "interpolate:0,0.5,1", "tuned"]):
        model = family.model(member)
        found[member.spec] = (*asked(model), model.fingerprint)
    for role in ("base", "tuned"):
        model = plain(f"rosetta:{role}")
        assert found[role] == (*asked(model), model.fingerprint)
        assert family.model(family.members([role])[0]).describe() == model.describe()
    assert found["interpolate:0"][:2] == found["base"][:2]
    assert found["interpolate:1"][:2] == found["tuned"][:2]
    assert len({fingerprint for _, _, fingerprint in found.values()}) == 5
    assert family.n_loaded == 1


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_written_member_answers_as_it_does_in_place(architecture: str, tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path, architecture)
    family = Family(str(base), str(tuned))
    found = {}
    for member in family.members(MEMBERS):
        found[member.spec] = asked(family.model(member))
        family.write(member, tmp_path / member.name)
        assert asked(plain(tmp_path / member.name)) == found[member.spec]
    assert len({str(scores) for _, scores in found.values()}) == len(MEMBERS)
    assert family.n_loaded == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_swapping_back_gives_the_tuned_model_to_the_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path, dtype=dtype)
    family = Family(str(base), f"{tuned}")
    half, end, start = family.members(["interpolate:0.5", "tuned", "base"])
    expected = {name: plain(tmp_path / name).network.state_dict() for name in ("tuned", "base")}
    for member in (half, end, half, start, end):
        model = family.model(member)
        assert isinstance(model.score(PROMPTS, CANDIDATES), list)
        weights = model.network.state_dict()  # type: ignore[attr-defined]
        if member.spec in expected:
            same = {
                name: torch.equal(expected[member.spec][name], weights[name]) for name in weights
            }
            assert all(same.values()), same
        else:
            name = "model.layers.0.mlp.up_proj.weight"
            assert not torch.equal(expected["tuned"][name], weights[name])
    assert family.n_loaded == 1


@pytest.mark.slow
def test_the_same_member_is_the_same_model_and_has_its_own_fingerprint(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path)
    family = Family(str(base), str(tuned))
    members = family.members(["interpolate:0.5", "ties:0.5", "dare:0.5", "dare:0.5,seed=1"])
    assert len({family.fingerprint(member) for member in members}) == len(members)
    assert family.model(members[0]) is family.model(members[0])
    again = Family(str(base), str(tuned))
    assert again.fingerprint(members[0]) == family.fingerprint(members[0])
    in_half = Family(f"{base},dtype=bfloat16", f"{tuned},dtype=bfloat16")
    assert in_half.fingerprint(members[0]) != family.fingerprint(members[0])


@pytest.mark.slow
def test_two_members_cannot_answer_at_the_same_time(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path, "gpt2")
    family = Family(str(base), str(tuned))
    one, other = map(family.model, family.members(["interpolate:0.2,0.8"]))
    answers = one.generate(PROMPTS, max_new_tokens=3)
    next(answers)
    other.score(PROMPTS, CANDIDATES)
    with pytest.raises(RuntimeError, match="lost its weights to another member"):
        list(answers)


@pytest.mark.slow
def test_end_tokens_are_those_of_the_model_that_is_asked(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path, "gpt2")
    first = plain(base)
    [(_, answer)] = first.generate(["The cat"], max_new_tokens=1)
    token = first.tokenizer(answer.text, add_special_tokens=False)["input_ids"][0]
    settings = json.loads((base / "generation_config.json").read_text("utf-8"))
    settings["eos_token_id"] = token
    (base / "generation_config.json").write_text(json.dumps(settings), "utf-8")
    family = Family(str(base), str(tuned))
    for spec, expected in (("base", ""), ("interpolate:0", answer.text), ("base", "")):
        [member] = family.members([spec])
        [(_, found)] = family.model(member).generate(["The cat"], max_new_tokens=1)
        assert found.text == expected


IN_A_NEW_PROCESS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
assert not any(map(len, report.values())), report
AutoTokenizer.from_pretrained(folder)
torch.save(model.state_dict(), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["50GB", "40KB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_opens_what_is_written_with_equal_tensors(
    tmp_path: Path, dtype: torch.dtype, shard: str
) -> None:
    base, tuned = save_pair(tmp_path, dtype=dtype, shard=shard)
    family = Family(str(base), str(tuned))
    [member] = family.members(["dg-hard|interpolate:0.7"])
    done: list[float] = []
    family.write(member, tmp_path / "out", card="| loss |\n|---|\n| 1.8 |", progress=done.append)
    assert done == sorted(done)
    assert 0.5 < done[-1] <= 1
    subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path / "out"), str(tmp_path / "loaded")],
        check=True,
        timeout=300,
    )
    loaded = torch.load(tmp_path / "loaded")
    before, after = (
        {
            name: each
            for path in folder.glob("*.safetensors")
            for name, each in load_file(path).items()
        }
        for folder in (base, tuned)
    )
    assert loaded.keys() >= after.keys()
    for name, tensor in after.items():
        made = member.tensor(before[name], tensor, name, family.config)
        assert loaded[name].dtype == dtype
        # In pieces, products of DG-Hard are summed in another order; then one unit of bfloat16.
        tolerance = 1e-6 if dtype == torch.float32 else 2**-8 * float(made.abs().max())
        torch.testing.assert_close(loaded[name].float(), made, atol=tolerance, rtol=0)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in tuned.iterdir()} | {"README.md"}


@pytest.mark.slow
def test_the_card_says_what_was_done_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path / "secret", "gpt2")
    family = Family(str(base), str(tuned))
    [member] = family.members(["interpolate:0.25"])
    family.write(member, tmp_path / "quarter", card="Kept: 75 %.")
    card = (tmp_path / "quarter" / "README.md").read_text("utf-8")
    expected = [
        "# quarter",
        "`interpolate:0.25`: 25% of the change",
        "arXiv 2109.01903",
        "Kept: 75 %.",
    ]
    for text in (*expected, family.base.fingerprint, family.tuned.fingerprint, member.formula):
        assert text in card
    assert "secret" not in card
