import json
from dataclasses import fields
from pathlib import Path

import pytest
from tests.lab.micro import micro_config

from palimpsest.errors import UserError
from palimpsest.lab.measuring.bench import Measuring
from palimpsest.lab.problem.problem import Problem
from palimpsest.lab.runs.config import Config, known_keys, load_config, resolve
from palimpsest.lab.runs.presets import PRESETS, preset_text
from palimpsest.lab.training.loop import Training
from palimpsest.lab.training.remedies import REMEDIES, LowRankChange, Replay


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves_and_can_be_copied_to_a_file(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_text(preset_text(name), "utf-8")
    assert load_config(str(copy)) == load_config(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_resolved_configuration_survives_json(name: str) -> None:
    config = load_config(name, ["problem.noise_std=0.5", "pretrain.betas=[0.9, 0.95]"], seed=3)
    assert resolve(json.loads(json.dumps(config.to_dict()))) == config


def test_every_key_is_documented() -> None:
    schema = Config.model_json_schema()
    inner = schema["$defs"]
    for key, field in inner["Model"]["properties"].items():
        assert field.get("description"), key
    for key, field in schema["properties"].items():
        assert field.get("description"), key
    # The sections that science code takes as they are document their fields in their own files.
    assert {f"problem.{field.name}" for field in fields(Problem)} <= set(known_keys())
    assert {f"finetune.{field.name}" for field in fields(Training)} <= set(known_keys())
    assert {f"measure.{field.name}" for field in fields(Measuring)} <= set(known_keys())
    assert {f"remedies.{name}" for name in REMEDIES} <= set(known_keys())


def test_set_goes_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "tiny"\n[finetune]\nn_steps = 40\nbatch_size = 32\n', "utf-8")
    config = load_config(str(path), ["finetune.batch_size=16"])
    assert (config.finetune.n_steps, config.finetune.batch_size) == (40, 16)
    assert config.finetune.learning_rate == load_config("tiny").finetune.learning_rate


def test_the_seed_fills_all_seeds_that_are_not_given() -> None:
    config = load_config("tiny", ["problem.task_seed=5"], seed=2)
    assert (config.seed, config.problem.task_seed, config.pretrain.seed) == (2, 5, 2)
    assert config.finetune.seed not in (config.seed, config.pretrain.seed)


def test_the_tuned_model_is_tuned_plainly_or_with_a_remedy() -> None:
    assert load_config("tiny").tuning_remedies == ()
    assert load_config("tiny", ["tuned_with=replay 0.2"]).tuning_remedies == (Replay(0.2),)
    assert load_config("tiny", ["tuned_with=lora_rank 2"]).tuning_remedies == (LowRankChange(2),)


def test_a_new_discrete_set_is_another_one_of_the_same_size() -> None:
    config = load_config("tiny", ["new_tasks=true"])
    old, new = config.problem, config.tuned_problem
    assert old.task_fingerprint != new.task_fingerprint
    assert old.discrete.weights.shape == new.discrete.weights.shape
    assert load_config("tiny").tuned_problem == load_config("tiny").problem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("finetune.n_step=5", "Did you mean 'finetune.n_steps'?"),
        ("train.lr=1e-3", "Did you mean 'pretrain.learning_rate'?"),
        ("finetune.n_steps=1.5", "finetune.n_steps is 1.5"),
        ("finetune.n_steps=many", "finetune.n_steps is 'many'"),
        ("problem.alpha=1.5", "alpha is 1.5; it must lie between 0 and 1"),
        ("problem.n_dims=0", "n_dims is 0"),
        ("problem.n_tasks=-1", "n_tasks is -1"),
        ("problem.noise_std=-0.1", "noise_std is -0.1"),
        ("model.n_points=5", "20 exemplars; the model has positions for 4"),
        ("model.n_heads=7", "7"),
        ("model.architecture=gpt3", "No architecture named 'gpt3'"),
        ("measure.kind=rotation", "Did you mean 'rotations'?"),
        ("measure.ensemble_sizes=[]", "at least one size"),
        ("measure.ensemble_sizes=[0]", "measure.ensemble_sizes is 0"),
        ("measure.label_factors=[0.0]", "cannot be scaled"),
        ("measure.label_factors=[nan]", "holds nan; labels cannot be scaled"),
        ("measure.label_factors=[2.0, inf]", "holds inf; labels cannot be scaled"),
        ("measure.n_deciles=5000", "n_deciles is 5000, more than the 768 prompts"),
        ("pretrain.betas=[2, 3]", "betas is [2.0, 3.0]; it must be two numbers"),
        ("finetune.betas=[0.9, nan]", "betas is [0.9, nan]; it must be two numbers"),
        ("pretrain.betas=[0.9]", "pretrain.betas is [0.9], which is too short"),
        ("pretrain.betas=[0.9, 0.9, 0.9]", "pretrain.betas is [0.9, 0.9, 0.9]: "),
        ("remedies.replay=[1.5]", "replay is 1.5; it must lie between 0 and 1"),
        ("remedies.kl=[-1.0]", "kl is -1"),
        ("tuned_with=repla 0.1", "Did you mean 'replay'?"),
        ("tuned_with=replay", "tuned_with is 'replay', which has no strength"),
        ("tuned_with=replay 1.5", "replay is 1.5"),
        ("tuned_with=interpolation 0.5", "remedies.interpolation = [0.5]"),
        ("pretrain=5", "No key 'pretrain'"),
        ("finetune.n_steps", "it needs a key and a value"),
        ("=5", "it needs a key and a value"),
    ],
)
def test_a_mistake_is_named_before_anything_is_trained(setting: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("tiny", [setting])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('preset = "tny"', "Did you mean 'tiny'?"),
        ("name = ", "is no TOML file"),
        ('name = "x"', "lacks 'problem.n_dims'"),
        ('preset = "tiny"\n[finetun]\nn_steps = 1', "Did you mean 'finetune.n_steps'?"),
    ],
)
def test_a_mistake_in_a_file_is_named(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    assert said in str(caught.value)


@pytest.mark.parametrize("source", ["tny", "missing.toml", "."])
def test_what_is_neither_preset_nor_file_is_named(source: str) -> None:
    with pytest.raises(UserError, match=r"tny|missing|'\.'"):
        load_config(source)


def test_symmetries_are_counted_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There are 3 signs of 2 dimensions"):
        micro_config(tmp_path, "measure.kind=signs")


def test_what_is_no_symmetry_of_the_problem_is_no_kind_to_judge_a_run_by() -> None:
    fourier = ["problem.function_class=fourier", "problem.n_dims=3", "problem.n_frequencies=2"]
    with pytest.raises(UserError, match="no symmetries of this problem") as caught:
        load_config("tiny", [*fourier, "measure.kind=rotations"])
    assert "measure.kind = 'signed-permutations'" in str(caught.value)
    kinds = (None, "signed-permutations", "permutations")
    for kind, size in zip(kinds, (32, 32, 4), strict=True):
        settings = [*fourier, f"measure.ensemble_sizes=[{size}]"]
        settings += [f"measure.kind={kind}"] if kind else []
        assert load_config("tiny", settings).measure.kind == kind
