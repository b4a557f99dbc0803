"""The short training on the base's own text: what it changes, and that nothing can disturb it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.families.pairs import asked, save_adapted, save_pair
from tests.lm.models.checkpoints import ARCHITECTURES, byte_level_tokenizer, random_network
from tests.tiers import slow

from palimpsest.errors import UserError
from palimpsest.families import Family, HealingRecipe, heal, load_target, parse_recipe, restore
from palimpsest.families.healing import WEIGHTS
from palimpsest.families.self_written import FEWEST_TOKENS, N_TOGETHER
from palimpsest.families.short_training import WORK
from palimpsest.families.target import Target, example_digest
from palimpsest.files import write_whole
from palimpsest.lm.models import load_model

SHORT = HealingRecipe(
    n_steps=30, n_texts=24, text_tokens=12, n_prompts=6, answer_tokens=6, batch_size=3, rank=4
)
"""More texts than are written together, and more steps than are made between saves."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    file = tmp_path_factory.mktemp("target") / "rows.jsonl"
    rows = [{"prompt": f"What is {n}?", "completion": f" {n}."} for n in range(48)]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return load_target(f"text:{file}")


@pytest.fixture(scope="module")
def healed(
    pair: tuple[Path, Path], target: Target, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A healing that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("healed") / "healing"
    heal(family_of(pair), target, folder, SHORT)
    return folder


def family_of(pair: tuple[Path, Path]) -> Family:
    return Family(f"hf:{pair[0]}", f"hf:{pair[1]}")


def factors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def same(one: Path, other: Path) -> bool:
    """Return whether two healings are equal to the bit, the texts and all."""
    mine, theirs = factors(one), factors(other)
    texts = [(each / "texts.json").read_bytes() for each in (one, other)]
    return texts[0] == texts[1] and all(torch.equal(mine[name], theirs[name]) for name in mine)


def changed(recipe: HealingRecipe, **changes: Any) -> HealingRecipe:
    return recipe.model_copy(update=changes)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_no_step_gives_the_tuned_model_to_the_bit(
    tmp_path: Path, target: Target, architecture: str
) -> None:
    pair = save_pair(tmp_path, architecture)
    family = family_of(pair)
    member = heal(family, target, tmp_path / "healing", changed(SHORT, n_steps=0))
    family.write(member, tmp_path / "written")
    before, after = (load_file(f / "model.safetensors") for f in (pair[1], tmp_path / "written"))
    for name, tensor in before.items():
        assert torch.equal(tensor.view(torch.int32), after[name].view(torch.int32)), name
    assert asked(family.model(member)) == asked(family.tuned)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [*sorted(ARCHITECTURES.keys() - {"mamba"}), "mixtral"])
def test_every_architecture_can_be_healed(
    tmp_path: Path, target: Target, architecture: str
) -> None:
    family = family_of(save_pair(tmp_path, architecture))
    recipe = changed(SHORT, n_steps=3, learning_rate=1e-2)
    member = heal(family, target, tmp_path / "healing", recipe)
    family.write(member, tmp_path / "written")
    assert asked(family.model(member)) == asked(load_model(f"hf:{tmp_path / 'written'}"))


@pytest.mark.slow
def test_an_architecture_that_peft_does_not_adapt_is_refused_in_its_words(
    tmp_path: Path, target: Target
) -> None:
    family = family_of(save_pair(tmp_path, "mamba"))
    with pytest.raises(UserError, match="incompatible with Mamba"):
        heal(family, target, tmp_path / "healing", changed(SHORT, n_texts=2, n_prompts=2))


def test_layers_that_the_files_do_not_name_are_not_trained(
    pair: tuple[Path, Path], target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Family, "whole_tensors", ())
    with pytest.raises(UserError, match=r"No linear layer .*LlamaForCausalLM.* could not be"):
        heal(family_of(pair), target, tmp_path / "healing", changed(SHORT, n_texts=2, n_prompts=2))


@pytest.mark.parametrize("architecture", [slow("llama"), "gpt2", slow("gemma3")])
def test_the_member_the_written_model_and_peft_s_adapter_are_one_model(
    tmp_path: Path, target: Target, architecture: str
) -> None:
    pair = save_pair(tmp_path, architecture)
    family = family_of(pair)
    member = heal(family, target, tmp_path / "healing", changed(SHORT, learning_rate=1e-2))
    family.write(member, tmp_path / "written")
    assert "a short training" in (tmp_path / "written" / "README.md").read_text("utf-8")
    texts, scores = asked(family.model(member))
    assert (texts, scores) == asked(load_model(f"hf:{tmp_path / 'written'}"))
    adapted = asked(load_model(f"hf:{pair[1]},adapter={tmp_path / 'healing'}"))
    assert texts == adapted[0]
    # The product is added to the weights in one, to what comes of them in the other.
    assert torch.allclose(torch.tensor(scores), torch.tensor(adapted[1]), atol=1e-3)
    tuned = asked(family.tuned)[1]
    assert not torch.allclose(torch.tensor(scores), torch.tensor(tuned), atol=1e-2)


@pytest.mark.slow
def test_an_adapter_is_healed_on_top_of_its_base(tmp_path: Path, target: Target) -> None:
    base, adapter = save_adapted(tmp_path)
    family = Family(f"hf:{base}", f"hf:{base},adapter={adapter}")
    none = heal(family, target, tmp_path / "none", changed(SHORT, n_steps=0))
    assert asked(family.model(none))[0] == asked(family.tuned)[0]
    member = heal(family, target, tmp_path / "healing", changed(SHORT, learning_rate=1e-2))
    family.write(member, tmp_path / "written")
    assert asked(family.model(member)) == asked(load_model(f"hf:{tmp_path / 'written'}"))


def test_a_tuned_model_with_more_tokens_is_healed(tmp_path: Path, target: Target) -> None:
    base, tuned = save_pair(tmp_path)
    network: Any = load_model(f"hf:{tuned}").open_network()  # type: ignore[attr-defined]
    network.resize_token_embeddings(410, mean_resizing=False)
    network.save_pretrained(tuned)
    family = Family(f"hf:{base}", f"hf:{tuned}")
    member = heal(family, target, tmp_path / "healing", changed(SHORT, n_steps=2))
    family.write(member, tmp_path / "written")
    assert asked(family.model(member)) == asked(load_model(f"hf:{tmp_path / 'written'}"))


@pytest.mark.slow
def test_the_loss_on_the_base_s_text_falls(
    pair: tuple[Path, Path], target: Target, tmp_path: Path
) -> None:
    recipe = changed(SHORT, n_steps=150, learning_rate=3e-2, keep=0.0, rank=16)
    for replay in ("text", "distribution"):
        found = heal(family_of(pair), target, tmp_path / replay, changed(recipe, replay=replay))
        first, *_, last = found.record.losses
        assert last[1] < 0.9 * first[1], replay


@pytest.mark.slow
def test_the_divergence_on_the_target_holds_the_tuned_model(
    pair: tuple[Path, Path], target: Target, tmp_path: Path
) -> None:
    recipe = changed(SHORT, n_steps=60, learning_rate=1e-2)
    free, held = (
        heal(family_of(pair), target, tmp_path / f"{keep:g}", changed(recipe, keep=keep))
        for keep in (0.01, 10.0)
    )
    assert held.record.losses[-1][2] < 0.5 * free.record.losses[-1][2]


@pytest.mark.slow
def test_the_seed_decides_and_nothing_else(
    pair: tuple[Path, Path], target: Target, healed: Path, tmp_path: Path
) -> None:
    torch.manual_seed(5)  # what others have drawn is of no account
    heal(family_of(pair), target, tmp_path / "again", SHORT)
    assert same(healed, tmp_path / "again")
    heal(family_of(pair), target, tmp_path / "other", changed(SHORT, seed=1))
    assert not same(healed, tmp_path / "other")


class _Killed(BaseException):
    """Nothing in the training may catch it."""


@pytest.mark.parametrize(
    "place",
    [
        slow(("healing, replay", N_TOGETHER)),
        slow(("healing, answers", 6)),
        ("healing, steps", 28),
    ],
)
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    pair: tuple[Path, Path], target: Target, healed: Path, tmp_path: Path, place: tuple[str, int]
) -> None:
    seen: list[tuple[str, int]] = []

    def stop(name: str, n_done: int, n_total: int) -> None:
        if (name, n_done) == place:
            raise _Killed

    with pytest.raises(_Killed):
        heal(family_of(pair), target, tmp_path / "healing", SHORT, progress=stop)
    assert not (tmp_path / "healing").exists()
    heal(
        family_of(pair), target, tmp_path / "healing", SHORT,
        progress=lambda name, n_done, n_total: seen.append((name, n_done)),
    )  # fmt: skip
    assert same(healed, tmp_path / "healing")
    assert not (tmp_path / f"healing{WORK}").exists()
    if place[0] == "healing, steps":  # neither written nor trained again
        assert seen[0] == ("healing, steps", 26)


@pytest.mark.slow
def test_a_training_that_was_killed_ends_with_the_same_weights(
    pair: tuple[Path, Path], target: Target, tmp_path: Path
) -> None:
    file = target.suite.name
    recipe = changed(SHORT, n_steps=150)  # long enough to be killed behind the first save
    heal(family_of(pair), target, tmp_path / "whole", recipe)
    code = (
        "import sys; from pathlib import Path\n"
        "from palimpsest.families import Family, HealingRecipe, heal, load_target\n"
        f"heal(Family('hf:{pair[0]}', 'hf:{pair[1]}'), load_target({file!r}),\n"
        f"     Path({str(tmp_path / 'healing')!r}),\n"
        f"     HealingRecipe.model_validate_json({recipe.model_dump_json()!r}))\n"
    )
    for name in ("texts.json", "state.safetensors"):
        process = subprocess.Popen([sys.executable, "-c", code])
        while process.poll() is None and not (tmp_path / f"healing{WORK}" / name).exists():
            time.sleep(0.005)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert same(tmp_path / "whole", tmp_path / "healing")


def test_a_healing_that_is_there_is_not_made_again_and_another_is_named(
    pair: tuple[Path, Path], target: Target, healed: Path
) -> None:
    told: list[str] = []
    again = heal(
        family_of(pair), target, healed, SHORT, progress=lambda name, *_: told.append(name)
    )
    assert (again.folder, told) == (healed, [])
    with pytest.raises(UserError, match=r"recipe\.n_steps is 30 there and 31 here") as caught:
        heal(family_of(pair), target, healed, changed(SHORT, n_steps=31))
    assert "Name another folder" in str(caught.value)


def test_a_healing_is_of_one_tuned_model(
    pair: tuple[Path, Path], healed: Path, tmp_path: Path
) -> None:
    [member] = family_of(pair).members([f"healing:{healed}"])
    assert member.is_trained
    [chain] = family_of(pair).members([f"healing:{healed}|interpolate:0.5"])
    assert chain.trained_on() == member.trained_on() != frozenset()
    other = save_pair(tmp_path, change=0.04)
    with pytest.raises(UserError, match="has other weights"):
        family_of(other).members([f"interpolate:0.5|healing:{healed}"])
    with pytest.raises(UserError, match="has no healing in it"):
        family_of(pair).members([f"healing:{tmp_path}"])
    with pytest.raises(UserError, match="without its folder"):
        family_of(pair).members(["healing"])
    (healed.parent / "torn").mkdir()
    for name in (WEIGHTS, "healing.json"):
        (healed.parent / "torn" / name).write_text("{}", "utf-8")
    with pytest.raises(UserError, match="is no record of a healing"):
        family_of(pair).members([f"healing:{healed.parent / 'torn'}"])


def test_answers_go_by_what_was_trained_and_not_by_the_folder(
    pair: tuple[Path, Path], healed: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").symlink_to(healed)
    family = family_of(pair)
    one, other = family.members([f"healing:{healed}", f"healing:{tmp_path / 'elsewhere'}"])
    assert family.fingerprint(one) == family.fingerprint(other)


def test_what_is_trained_on_is_not_judged(target: Target) -> None:
    trained = target.for_training(6)
    assert len(trained) == 6
    judged = target.without(frozenset(example_digest(each, target) for each in trained))
    names = {each.source_id for each in judged.suite.examples}
    assert names == {each.source_id for each in target.suite.examples} - {
        each.source_id for each in trained
    }
    # The same again, and more of them have these among them.
    assert trained == target.for_training(6) == target.for_training(12)[:6]
    assert len(target.for_training(1_000)) == 12  # a quarter


@pytest.mark.slow
def test_a_restoration_trains_asks_and_judges_on_other_prompts(tmp_path: Path) -> None:
    recipe = HealingRecipe(n_steps=40, n_texts=64, text_tokens=64, n_prompts=20)
    settings: dict[str, Any] = {
        "suite": "rosetta", "target": "rosetta-instructions", "via": [], "limit": 20,
        "target_margin": 0.3, "n_resamples": 1_000, "out": tmp_path / "run",
    }  # fmt: skip
    found = restore("rosetta:base", "rosetta:tuned", members=[], train=recipe, **settings)
    name = f"healing:{tmp_path / 'run' / 'healings' / recipe.label}"
    assert [point.name for point in found.points] == ["base", "tuned", name]
    assert found.target.n_examples == 60
    assert any("20 of 80 examples of the target" in each for each in found.warnings)
    point, tuned = found.point(name), found.point("tuned")
    assert point is not None
    assert tuned is not None
    assert (point.kept.value or 0) > (tuned.kept.value or 0)
    # Named, it is asked again without a training, and judged on the same prompts.
    again = restore("rosetta:base", "rosetta:tuned", members=[name], **settings)
    assert again.point(name) == point
    # With more members, nobody is judged by them either.
    both = restore("rosetta:base", "rosetta:tuned", members=["dg-hard", name], **settings)
    assert both.target.n_examples == 60


def test_a_target_with_too_few_examples_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl"
    rows = [{"prompt": f"What is {n}?", "completion": f" {n}."} for n in range(33)]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    few = load_target(f"text:{file}")
    with pytest.raises(UserError, match=r"has 33 examples.* at least 30 others"):
        heal(family_of(pair), few, tmp_path / "healing", SHORT)
    assert list(tmp_path.iterdir()) == [file]


def save_silent_pair(folder: Path) -> tuple[Path, Path]:
    """Write a pair that ends every text at once: the end token's row points where all states do."""
    network = random_network(tie_word_embeddings=False)
    for role, share in (("base", 1.0), ("tuned", 1.01)):
        with torch.no_grad():
            network.lm_head.weight.zero_()
            network.lm_head.weight[1] = 50.0
            network.model.norm.weight.fill_(share)
            for layer in network.model.layers:
                layer.mlp.down_proj.weight.zero_()
                layer.self_attn.o_proj.weight.zero_()
            network.model.embed_tokens.weight.fill_(1.0)
        network.save_pretrained(folder / role)
        byte_level_tokenizer().save_pretrained(folder / role)
    return folder / "base", folder / "tuned"


def test_a_base_that_writes_nothing_is_named(target: Target, tmp_path: Path) -> None:
    family = family_of(save_silent_pair(tmp_path))
    with pytest.raises(
        UserError, match=rf"writes next to nothing.*24 of its 24 .* within {FEWEST_TOKENS}"
    ) as caught:
        heal(family, target, tmp_path / "healing", SHORT)
    assert "openings=natural" in str(caught.value)


def test_a_base_can_begin_with_natural_openings(
    pair: tuple[Path, Path], target: Target, tmp_path: Path
) -> None:
    recipe = changed(SHORT, openings="natural", n_steps=1)
    heal(family_of(pair), target, tmp_path / "healing", recipe)
    texts = json.loads((tmp_path / "healing" / "texts.json").read_bytes())["replay"]
    words = byte_level_tokenizer()
    begun = {words.decode(ids[1:n_given]) for ids, n_given in texts}
    assert {"The", "In the", "def"} <= begun
    assert len(begun) == 24


def test_without_peft_the_command_that_installs_it_is_named(
    pair: tuple[Path, Path], target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="need the package 'peft'") as caught:
        heal(family_of(pair), target, tmp_path / "healing", SHORT)
    assert "pip install 'peft" in str(caught.value)


@pytest.mark.parametrize("name", ["texts.json", slow("state.safetensors"), slow(WEIGHTS)])
def test_a_full_disk_is_named_and_leaves_nothing_that_looks_whole(
    pair: tuple[Path, Path],
    target: Target,
    healed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    with monkeypatch.context() as patched:
        patched.setattr("palimpsest.records.run_folder.write_whole", full)
        with pytest.raises(UserError, match="is full"):
            heal(family_of(pair), target, tmp_path / "healing", SHORT)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(WORK)] == []
    heal(family_of(pair), target, tmp_path / "healing", SHORT)
    assert same(healed, tmp_path / "healing")


def test_a_training_that_diverges_says_so(
    pair: tuple[Path, Path], target: Target, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has diverged") as caught:
        heal(family_of(pair), target, tmp_path / "healing", changed(SHORT, learning_rate=1e30))
    assert "learning_rate=" in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("n_step=5", "Did you mean 'n_steps'"),
        ("n_steps", "Write KEY=VALUE"),
        ("n_steps=many", "setting n_steps=many is wrong"),
        ("rank=0", "greater than or equal to 1"),
        ("openings=loud", "'start' or 'natural'"),
        ("keep=inf", "finite"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_recipe([setting])
    assert said in str(caught.value)
