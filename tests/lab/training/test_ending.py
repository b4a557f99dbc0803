"""Trainings that end when they have converged, and weights that are averaged."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.lab.tiny import PROBLEM, SIZES, TRAINING, same, weights

from palimpsest.errors import UserError
from palimpsest.lab.predictors import Transformer
from palimpsest.lab.training import Running, Training, pretrain
from palimpsest.training import Progress, saved_step

OPEN = replace(
    TRAINING, until="converged", schedule="constant", check_every=2, average=0.25, n_steps=12
)


def after(n_looks: int) -> tuple[list[Transformer], object]:
    """A criterion that holds at the n-th look, and the models that it was shown."""
    shown: list[Transformer] = []

    def is_converged(step: int, model: Transformer) -> bool:
        assert not model.training
        shown.append(model)
        return len(shown) >= n_looks

    return shown, is_converged


def never(step: int, model: Transformer) -> bool:
    return False


def test_a_training_ends_at_the_first_look_at_which_it_has_converged(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    shown, is_converged = after(3)
    model = pretrain(
        PROBLEM,
        SIZES,
        OPEN,
        is_converged=is_converged,  # type: ignore[arg-type]
        running=Running(checkpoint=path),
    )
    assert len(shown) == 3
    assert saved_step(path) == 6
    assert same(model, pretrain(PROBLEM, SIZES, replace(OPEN, until="steps", n_steps=6)))


def test_a_training_that_has_met_its_limit_goes_on_under_a_higher_one(tmp_path: Path) -> None:
    running = Running(checkpoint=tmp_path / "state.safetensors")
    pretrain(PROBLEM, SIZES, replace(OPEN, n_steps=5), is_converged=never, running=running)
    steps: list[int] = []
    told = replace(running, on_progress=lambda progress: steps.append(progress.step))
    continued = pretrain(PROBLEM, SIZES, OPEN, is_converged=never, running=told)
    assert steps == list(range(6, 13))
    assert same(continued, pretrain(PROBLEM, SIZES, OPEN, is_converged=never))


def test_a_schedule_that_falls_to_its_end_is_not_continued_past_it(tmp_path: Path) -> None:
    falling = replace(OPEN, schedule="linear")
    running = Running(checkpoint=tmp_path / "state.safetensors")
    pretrain(PROBLEM, SIZES, replace(falling, n_steps=5), is_converged=never, running=running)
    with pytest.raises(UserError, match=r"training\.n_steps is 5 there and 12 here"):
        pretrain(PROBLEM, SIZES, falling, is_converged=never, running=running)


@pytest.mark.parametrize("last", ["step", "look"])
def test_an_interrupt_in_the_last_step_or_look_ends_the_program_once_all_is_saved(
    last: str, tmp_path: Path
) -> None:
    def interrupt(progress: Progress) -> None:
        if last == "step" and progress.step == OPEN.n_steps:
            signal.raise_signal(signal.SIGINT)

    def is_converged(step: int, model: Transformer) -> bool:
        if last == "look":
            signal.raise_signal(signal.SIGINT)
        return last == "look"

    running = Running(checkpoint=tmp_path / "state.safetensors")
    with pytest.raises(KeyboardInterrupt):
        pretrain(
            PROBLEM,
            SIZES,
            OPEN,
            is_converged=is_converged,
            running=replace(running, on_progress=interrupt),
        )
    n_made = OPEN.n_steps if last == "step" else OPEN.check_every
    assert saved_step(tmp_path / "state.safetensors") == n_made
    steps: list[Progress] = []
    running = replace(running, on_progress=steps.append)
    pretrain(PROBLEM, SIZES, OPEN, is_converged=lambda step, model: step == n_made, running=running)
    assert not steps


def test_until_converged_needs_something_that_tells_when() -> None:
    with pytest.raises(UserError, match="is_converged"):
        pretrain(PROBLEM, SIZES, OPEN)


def test_the_weights_that_come_out_are_the_running_mean_of_those_trained() -> None:
    training = replace(TRAINING, schedule="constant", n_steps=12)
    expected: dict[str, torch.Tensor] = {}

    def add(step: int, model: Transformer) -> None:
        for name, weight in weights(model).items():
            old = expected.get(name, weight)
            expected[name] = old + min(1.0, 1 / (0.25 * max(step, 1))) * (weight - old)

    pretrain(PROBLEM, SIZES, training, running=Running(measure=add, measure_at=range(13)))
    averaged = weights(pretrain(PROBLEM, SIZES, replace(training, average=0.25)))
    for name, weight in averaged.items():
        # Float32 sums in another order.
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)


def test_an_average_is_resumed_to_the_bit(tmp_path: Path) -> None:
    training = Training(**{**vars(TRAINING), "average": 0.5})
    whole = pretrain(PROBLEM, SIZES, training)

    def stop(progress: object) -> None:
        if progress.step == 5:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    running = Running(checkpoint=tmp_path / "state.safetensors", on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(PROBLEM, SIZES, training, running=running)
    again = Running(checkpoint=running.checkpoint)
    assert same(pretrain(PROBLEM, SIZES, training, running=again), whole)
