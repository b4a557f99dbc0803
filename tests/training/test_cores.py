import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lab.tiny import PROBLEM, SIZES, TRAINING, same

from palimpsest.lab.predictors.predictor import Prompt, predict
from palimpsest.lab.predictors.transformer import new_transformer
from palimpsest.lab.training.gradients import Gradients
from palimpsest.lab.training.loop import Running
from palimpsest.lab.training.remedies import (
    Divergence,
    LowRankChange,
    Remedy,
    Replay,
    WeightDistance,
)
from palimpsest.lab.training.train import finetune, pretrain
from palimpsest.training.devices import divided_cores, map_on_cores
from palimpsest.training.progress import Progress


def _squares(prompt: Prompt, targets: torch.Tensor, predictions: torch.Tensor) -> torch.Tensor:
    return (predictions - targets).square().mean()


@pytest.fixture
def two_cores() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("architecture", ["fast", "published"])
def test_the_parts_of_a_batch_have_the_gradient_of_the_whole(architecture: str, n: int) -> None:
    model = new_transformer(replace(SIZES, architecture=architecture), seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1)
    batch = PROBLEM.batch("mix", 7, seed=0)
    prompt = Prompt(batch.xs, batch.ys)
    whole = model(*prompt)
    expected = torch.autograd.grad(_squares(prompt, prompt.ys, whole), list(model.parameters()))
    with divided_cores(n) as cores:
        gradients = Gradients(model, model, cores)
        for _ in range(2):  # nothing is left over from the first time
            model.zero_grad()
            predictions = gradients.add(prompt, prompt.ys, _squares)
            # float32 sums of 35 terms in another order.
            torch.testing.assert_close(predictions, whole.detach(), rtol=1e-5, atol=1e-5)
            for weight, gradient in zip(model.parameters(), expected, strict=True):
                assert weight.grad is not None
                torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-5)


def test_fewer_prompts_than_cores_are_divided_among_as_many_as_there_are() -> None:
    model = new_transformer(SIZES, seed=0)
    batch = PROBLEM.batch("mix", 2, seed=0)
    with divided_cores(4) as cores:
        predictions = Gradients(model, model, cores).add(
            Prompt(batch.xs, batch.ys), batch.ys, _squares
        )
    assert predictions.shape == (2, 5)


def test_afterwards_the_caller_has_all_cores_again(two_cores: None) -> None:
    with divided_cores() as cores:
        assert cores.n == 2
        assert torch.get_num_threads() == 1
        assert cores.map(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
        with cores.undivided():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_items_are_mapped_in_order_by_threads_with_a_core_each(two_cores: None) -> None:
    def told(item: int) -> tuple[int, int, bool, str]:
        name = threading.current_thread().name
        return item, torch.get_num_threads(), torch.is_grad_enabled(), name

    with torch.no_grad():
        found = map_on_cores(told, range(6))
    assert [one[:3] for one in found] == [(item, 1, False) for item in range(6)]
    assert all(name.startswith("palimpsest") for *_, name in found)
    assert torch.get_num_threads() == 2
    assert map_on_cores(told, [1])[0][1:3] == (2, True)  # one item has all cores


def test_blocks_on_several_cores_give_what_one_call_gives(two_cores: None) -> None:
    model = new_transformer(SIZES, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1)
    batch = PROBLEM.batch("mix", 11, seed=0)
    found = predict(model, batch.xs, batch.ys, prompts_per_call=2)
    # float32 products of batches of other sizes.
    torch.testing.assert_close(found, model(batch.xs, batch.ys).double(), rtol=1e-5, atol=1e-5)
    assert not found.requires_grad


def test_what_goes_wrong_in_a_part_is_raised() -> None:
    def wrong(prompt: Prompt, targets: torch.Tensor, predictions: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    model = new_transformer(SIZES, seed=0)
    batch = PROBLEM.batch("mix", 4, seed=0)
    with divided_cores(2) as cores, pytest.raises(ZeroDivisionError):
        Gradients(model, model, cores).add(Prompt(batch.xs, batch.ys), batch.ys, wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    "remedies",
    [
        pytest.param((), marks=pytest.mark.slow),
        (Replay(0.5), WeightDistance(0.1), Divergence(0.5)),
        pytest.param((LowRankChange(2),), marks=pytest.mark.slow),
    ],
)
def test_on_two_cores_a_training_resumes_to_the_bit_and_is_near_that_on_one(
    tmp_path: Path, two_cores: None, remedies: tuple[Remedy, ...]
) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 5:
            raise StoppedError

    tuning = replace(TRAINING, seed=1, optimiser="adamw")
    base = pretrain(PROBLEM, SIZES, TRAINING, running=Running(device="cpu"))

    def tuned(**options: Any) -> Any:
        running = Running(device="cpu", **options)
        return finetune(base, PROBLEM, tuning, remedies=remedies, running=running)

    whole, path = tuned(), tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        tuned(checkpoint=path, on_progress=stop)
    assert same(tuned(checkpoint=path), whole)
    torch.set_num_threads(1)
    batch = PROBLEM.batch("mix", 50, seed=3)
    alone = tuned()(batch.xs, batch.ys)
    # Eight updates of Adam, whose first ones are of the size of the rate whatever the gradient.
    torch.testing.assert_close(whole(batch.xs, batch.ys), alone, rtol=1e-2, atol=1e-2)
