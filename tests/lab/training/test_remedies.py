import copy
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.lab.tiny import PROBLEM, SIZES, TRAINING, same, weights

from palimpsest.errors import UserError
from palimpsest.lab.predictors.transformer import new_transformer
from palimpsest.lab.problem.problem import Batch, Problem, exact_pass
from palimpsest.lab.training.loop import Source
from palimpsest.lab.training.own_samples import OwnSamples
from palimpsest.lab.training.remedies import (
    REMEDIES,
    Divergence,
    Interpolation,
    LowRankChange,
    Remedy,
    Replay,
    Tuning,
    WeightDistance,
    add_lora,
    block_linears,
    divergence,
    interpolated,
    merge_lora,
    n_replayed,
    squared_distance,
)
from palimpsest.lab.training.train import finetune, pretrain, source_of
from palimpsest.lab.training.value_matrices import ValueMatrices

PAGE = Path(__file__).parents[3] / "docs" / "adding" / "remedy.md"
TUNING = replace(TRAINING, seed=1, optimiser="adamw", learning_rate=1e-2, schedule="constant")
STRENGTHS = {
    "replay": 0.5,
    "lora_rank": 2,
    "l2_sp": 0.1,
    "kl": 1.0,
    "interpolation": 0.5,
    "own_samples": 0.9,
    "value_matrices": 1,
}
ALL = [
    *([REMEDIES.get(name)(STRENGTHS.get(name, 0.5))] for name in REMEDIES),
    [Interpolation(0.9), Replay(0.5), WeightDistance(0.1), Divergence(1.0), LowRankChange(1)],
]


def _replayed(base: Any, old: Problem, share: float) -> Callable[[int], Batch]:
    tuning = Tuning(model=base, base=base, problem=PROBLEM, pretrained_on=old, training=TUNING)
    return Replay(share).source(tuning, source_of(PROBLEM, "disc", TUNING)).draw


def _distance(a: Any, b: Any) -> float:
    with torch.no_grad():
        return float(squared_distance(a, weights(b)))


@pytest.fixture(scope="module")
def base() -> Any:
    return pretrain(PROBLEM, SIZES, TRAINING)


@pytest.mark.slow
@pytest.mark.parametrize("remedies", ALL, ids=str)
@pytest.mark.parametrize(
    "architecture", ["fast", pytest.param("published", marks=pytest.mark.slow)]
)
def test_tuning_with_any_remedy_leaves_the_base_alone_and_gives_a_plain_model(
    remedies: list[Remedy], architecture: str
) -> None:
    base = pretrain(PROBLEM, replace(SIZES, architecture=architecture), TRAINING)
    before = copy.deepcopy(base)
    tuned = finetune(base, PROBLEM, TUNING, remedies=remedies)
    assert same(base, before)
    assert weights(tuned).keys() == weights(base).keys()
    assert all(weight.requires_grad for weight in tuned.parameters())
    assert not same(tuned, base)
    assert not same(tuned, finetune(base, PROBLEM, TUNING))


def test_the_remedy_of_the_page_leaves_what_it_says(
    base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    module = ModuleType("frozen")
    monkeypatch.setitem(sys.modules, "frozen", module)  # where dataclasses look up their types
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    tuned = finetune(base, PROBLEM, TUNING, remedies=[module.FrozenBlocks(1)])
    assert all(weight.requires_grad for weight in tuned.parameters())
    changed = {
        name
        for name, weight in weights(tuned).items()
        if not torch.equal(weight, weights(base)[name])
    }
    assert changed
    assert not [name for name in changed if name.startswith("blocks.0.")]
    with pytest.raises(UserError, match="frozen is 0"):
        module.FrozenBlocks(0)


@pytest.mark.slow
@pytest.mark.parametrize("weak", [Replay(0), WeightDistance(0), Divergence(0)])
def test_a_remedy_of_strength_zero_is_none(base: Any, weak: Remedy) -> None:
    assert same(finetune(base, PROBLEM, TUNING, remedies=[weak]), finetune(base, PROBLEM, TUNING))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["l2_sp", "kl"])
def test_the_stronger_it_is_held_the_nearer_it_stays(base: Any, name: str) -> None:
    batch = PROBLEM.batch("cont", 200, seed=3)
    before = base(batch.xs, batch.ys)
    moved = []
    for strength in (0.0, 0.3, 3.0):
        tuned = finetune(base, PROBLEM, TUNING, remedies=[REMEDIES.get(name)(strength)])
        after = tuned(batch.xs, batch.ys)
        moved.append(
            _distance(tuned, base)
            if name == "l2_sp"
            else float((after - before).detach().square().mean())
        )
    assert moved[0] > moved[1] > moved[2]


def test_full_replay_is_further_pretraining(base: Any) -> None:
    expected = PROBLEM.batch("mix", TUNING.batch_size, seed=1, step=5)
    found = _replayed(base, PROBLEM, 1.0)(5)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_replay_has_its_share_over_the_steps_and_both_parts_are_whole(base: Any) -> None:
    other = replace(PROBLEM, task_seed=7, alpha=0.0)
    draw = _replayed(base, other, 0.3)
    n_replays = 0
    for step in range(100):
        batch = draw(step)
        n_old = n_replayed(step, TUNING.batch_size, 0.3)
        n_replays += n_old
        assert batch.is_discrete.tolist() == [False] * n_old + [True] * (8 - n_old)
        signal = (batch.xs @ batch.weights[:, :, None]).squeeze(-1)
        torch.testing.assert_close(signal, batch.targets, rtol=1e-5, atol=1e-5)  # float32
    assert n_replays == 240


@pytest.mark.slow
def test_a_new_discrete_set_is_learned_instead_of_the_old(base: Any) -> None:
    new = replace(PROBLEM, task_seed=5)
    tuned = finetune(base, new, TUNING, pretraining_problem=PROBLEM)
    assert not same(tuned, finetune(base, PROBLEM, TUNING))
    # Without replay it does not matter what the base model was trained on.
    assert same(tuned, finetune(base, new, TUNING))
    old = finetune(base, new, TUNING, pretraining_problem=PROBLEM, remedies=[Replay(0.5)])
    assert not same(old, finetune(base, new, TUNING, remedies=[Replay(0.5)]))


def test_lora_starts_at_the_base_and_changes_the_blocks_matrices_by_its_rank(base: Any) -> None:
    changed = copy.deepcopy(base)
    add_lora(changed, rank=2, scale=3.0, generator=torch.Generator().manual_seed(0))
    batch = PROBLEM.batch("mix", 5, seed=1)
    assert torch.equal(changed(batch.xs, batch.ys), base(batch.xs, batch.ys))
    merge_lora(changed)
    assert same(changed, base)

    tuned = finetune(base, PROBLEM, TUNING, remedies=[LowRankChange(2)])
    blocks = {name for name in weights(base) if name.startswith("blocks.")}
    for name, weight in weights(tuned).items():
        change = weight - weights(base)[name]
        if name in blocks:
            # Of rank 2 but for the rounding of float32 weights of size 1.
            assert int(torch.linalg.matrix_rank(change, atol=1e-4)) == 2, name
        else:
            assert not change.any(), name
    assert len(blocks) == len(block_linears(base))


def test_merging_lora_changes_no_prediction() -> None:
    model = new_transformer(SIZES, seed=2)
    add_lora(model, rank=2, scale=3.0, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.fill_(0.3)
    batch = PROBLEM.batch("mix", 5, seed=1)
    before = model(batch.xs, batch.ys)
    merge_lora(model)
    assert torch.equal(model(batch.xs, batch.ys), before)


def test_interpolation_goes_from_the_base_to_the_tuned_model(base: Any) -> None:
    tuned = finetune(base, PROBLEM, TUNING)
    assert same(interpolated(base, tuned, 1.0), tuned)
    assert same(interpolated(base, tuned, 0.0), base)
    half = interpolated(base, tuned, 0.5)
    for name, weight in weights(half).items():
        middle = (weights(base)[name] + weights(tuned)[name]) / 2
        torch.testing.assert_close(weight, middle, rtol=1e-6, atol=1e-7)  # rounding of float32
    again = finetune(base, PROBLEM, TUNING, remedies=[Interpolation(0.5)])
    assert same(again, half)
    with pytest.raises(UserError, match=r"share is 1\.5"):
        interpolated(base, tuned, 1.5)
    with pytest.raises(UserError, match="one size"):
        interpolated(base, new_transformer(replace(SIZES, width=16), seed=0), 0.5)


def test_replay_keeps_expected_targets_of_both_parts(base: Any) -> None:
    expected = replace(TUNING, targets="expected")
    tuning = Tuning(
        model=base, base=base, problem=PROBLEM, pretrained_on=PROBLEM, training=expected
    )
    source = Replay(0.5).source(tuning, source_of(PROBLEM, "disc", expected))
    batch = source.draw(0)
    assert source.targets is not None
    found = source.targets(0, batch)
    for part, name in ((slice(4), "mix"), (slice(4, None), "disc")):
        bayes = PROBLEM.bayes(name)
        assert bayes is not None
        assert torch.equal(found[part], bayes(batch.xs[part], batch.ys[part]))


def _own(share: float, problem: Problem = PROBLEM) -> Source:
    model = new_transformer(SIZES, seed=2)
    tuning = Tuning(
        model=model, base=model, problem=problem, pretrained_on=PROBLEM, training=TUNING
    )
    return OwnSamples(share).source(tuning, source_of(PROBLEM, "disc", TUNING))


def test_own_samples_are_the_bases_and_their_answers_those_of_another_prior() -> None:
    batch = _own(0.9).draw(3)
    pretrained = PROBLEM.batch("mix", TUNING.batch_size, seed=TUNING.seed, step=3)
    assert all(torch.equal(a, b) for a, b in zip(batch, pretrained, strict=True))
    # At its own prior the target is the base; at one the discrete set; another set is a new task.
    other = replace(PROBLEM, task_seed=5)
    for share, name, problem in (
        (PROBLEM.alpha, "mix", PROBLEM),
        (0.0, "cont", PROBLEM),
        (1.0, "disc", PROBLEM),
        (1.0, "disc", other),
    ):
        targets, bayes = _own(share, problem).targets, problem.bayes(name)
        assert targets is not None
        assert bayes is not None
        # The estimators add up in another order.
        torch.testing.assert_close(targets(3, batch), bayes(batch.xs, batch.ys))


def test_a_reward_for_discrete_tasks_shifts_the_log_odds_by_as_much_everywhere() -> None:
    batch = PROBLEM.batch("mix", 50, seed=4)
    own, rewarded = (
        exact_pass(replace(PROBLEM, alpha=alpha), batch.xs, batch.ys) for alpha in (0.5, 0.9)
    )
    shift = rewarded.log_odds - own.log_odds
    torch.testing.assert_close(shift, torch.full_like(shift, math.log(9.0)))


@pytest.mark.parametrize("architecture", ["fast", "published"])
def test_value_matrices_alone_are_trained(architecture: str) -> None:
    base = new_transformer(replace(SIZES, architecture=architecture), seed=2)
    with torch.no_grad():  # at first the fast one's blocks add nothing, and get no gradient
        for parameter in base.parameters():
            parameter.add_(0.1)
    for n_blocks in (1, 2):
        tuned = finetune(base, PROBLEM, TUNING, remedies=[ValueMatrices(n_blocks)])
        for name, weight in weights(tuned).items():
            changed = (weight != weights(base)[name]).reshape(len(weight), -1).any(1)
            number = int(name.split(".")[1]) if name.startswith("blocks.") else 0
            if name.endswith("query_key_value.weight") and number >= 2 - n_blocks:
                n_values = len(weight) // 3
                assert not changed[:-n_values].any()
                assert changed[-n_values:].any()
            else:
                assert not changed.any(), name
    with pytest.raises(UserError, match="value_matrices is 3, but the model has 2 blocks"):
        finetune(base, PROBLEM, TUNING, remedies=[ValueMatrices(3)])


def test_the_divergence_of_two_predictions_is_that_of_two_normal_distributions() -> None:
    predictions, others = torch.tensor([[0.3, -1.0]]), torch.tensor([[1.0, 0.5]])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(predictions, 0.7), normal(others, 0.7))
    torch.testing.assert_close(divergence(predictions, others, 0.7), expected.mean())


def test_a_divergence_needs_noise(base: Any) -> None:
    with pytest.raises(UserError, match="kl is 1, but the problem has no noise"):
        finetune(base, replace(PROBLEM, noise_std=0.0), TUNING, remedies=[Divergence(1.0)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Replay(1.5), "replay is 1.5; it must lie between 0 and 1"),
        (lambda: Interpolation(-0.1), "interpolation is -0.1"),
        (lambda: WeightDistance(-1.0), "l2_sp is -1"),
        (lambda: Divergence(float("inf")), "kl is inf"),
        (lambda: LowRankChange(0), "lora_rank is 0"),
        (lambda: LowRankChange(2, scale=0.0), "lora_scale is 0"),
        (lambda: OwnSamples(1.5), "own_samples is 1.5"),
        (lambda: ValueMatrices(0), "value_matrices is 0"),
    ],
)
def test_remedies_out_of_range_are_refused(wrong: Callable[[], Remedy], message: str) -> None:
    with pytest.raises(UserError, match=message):
        wrong()
