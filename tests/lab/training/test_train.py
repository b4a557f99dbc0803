import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lab.tiny import PROBLEM, SIZES, TRAINING, same

from palimpsest.errors import UserError
from palimpsest.lab.predictors.predictor import predict, predict_zero
from palimpsest.lab.predictors.transformer import (
    Transformer,
    TransformerConfig,
    load_transformer,
    new_transformer,
    save_transformer,
)
from palimpsest.lab.problem.problem import Problem, exact_predictors
from palimpsest.lab.training.loop import Running, Training
from palimpsest.lab.training.remedies import (
    Divergence,
    Interpolation,
    LowRankChange,
    Remedy,
    Replay,
    WeightDistance,
)
from palimpsest.lab.training.train import finetune, pretrain
from palimpsest.training.checkpoints import fingerprint, saved_step
from palimpsest.training.progress import Progress


class StoppedError(Exception):
    """Stands for anything that ends a training between two steps."""


def _stop_at(step: int) -> Running:
    def stop(progress: Progress) -> None:
        if progress.step == step:
            raise StoppedError

    return Running(on_progress=stop, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["fast", "published"])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize(
    "stopped_at",
    [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)],
)
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, architecture: str, optimiser: str, stopped_at: int
) -> None:
    sizes = replace(SIZES, architecture=architecture)
    training = replace(TRAINING, optimiser=optimiser)
    whole = pretrain(PROBLEM, sizes, training)
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        pretrain(PROBLEM, sizes, training, running=replace(_stop_at(stopped_at), checkpoint=path))
    steps: list[int] = []
    running = Running(checkpoint=path, on_progress=lambda progress: steps.append(progress.step))
    assert same(pretrain(PROBLEM, sizes, training, running=running), whole)
    # Saved after 3 and 6 updates, each after it is told of.
    assert steps[0] == (stopped_at - 1) // 3 * 3 + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "remedies",
    [
        pytest.param([], marks=pytest.mark.slow),
        [Replay(0.3), WeightDistance(0.1)],
        pytest.param([Divergence(0.5), Interpolation(0.5)], marks=pytest.mark.slow),
        [LowRankChange(2)],
    ],
)
def test_a_resumed_fine_tuning_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, remedies: list[Remedy]
) -> None:
    base = pretrain(PROBLEM, SIZES, TRAINING)
    training = replace(TRAINING, seed=1, optimiser="adamw")
    whole = finetune(base, PROBLEM, training, remedies=remedies)
    running = replace(_stop_at(5), checkpoint=tmp_path / "state.safetensors")
    with pytest.raises(StoppedError):
        finetune(base, PROBLEM, training, remedies=remedies, running=running)
    again = Running(checkpoint=running.checkpoint)
    assert same(finetune(base, PROBLEM, training, remedies=remedies, running=again), whole)


def test_a_finished_training_is_read_and_not_repeated(tmp_path: Path) -> None:
    running = Running(checkpoint=tmp_path / "state.safetensors")
    whole = pretrain(PROBLEM, SIZES, TRAINING, running=running)
    steps: list[Progress] = []
    running = replace(running, on_progress=steps.append)
    assert same(pretrain(PROBLEM, SIZES, TRAINING, running=running), whole)
    assert not steps


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    one, two = (pretrain(PROBLEM, SIZES, TRAINING) for _ in range(2))
    assert same(one, two)
    assert not same(one, pretrain(PROBLEM, SIZES, replace(TRAINING, seed=1)))


@pytest.mark.slow
def test_how_often_is_saved_and_who_watches_changes_nothing(tmp_path: Path) -> None:
    plain = pretrain(PROBLEM, SIZES, TRAINING)
    running = Running(
        checkpoint=tmp_path / "state.safetensors",
        on_progress=lambda progress: None,
        measure=lambda step, model: model(torch.zeros(1, 2, 2), torch.zeros(1, 2)),
        measure_at=range(9),
    )
    watched = pretrain(PROBLEM, SIZES, replace(TRAINING, save_every=1), running=running)
    assert same(plain, watched)


@pytest.mark.slow
def test_training_brings_a_model_near_the_bayes_predictor() -> None:
    training = Training(n_steps=120, batch_size=64, n_warmup_steps=10)
    sizes = replace(SIZES, width=32)
    model = pretrain(PROBLEM, sizes, training)
    batch = PROBLEM.batch("mix", 1000, seed=0, purpose="evaluation")

    def loss(predictor: Any) -> float:
        return float((predict(predictor, batch.xs, batch.ys) - batch.targets).square().mean())

    bayes, zero = loss(exact_predictors(PROBLEM)["mixture"]), loss(predict_zero)
    # Seen: 0.41 so early. A model that learned nothing has 1.
    assert (loss(model) - bayes) / (zero - bayes) < 0.5


def test_progress_tells_step_and_rate() -> None:
    seen: list[Progress] = []
    pretrain(PROBLEM, SIZES, TRAINING, running=Running(on_progress=seen.append))
    assert [progress.step for progress in seen] == list(range(1, 9))
    assert all(progress.n_steps == 8 for progress in seen)
    last = seen[-1]
    assert last.steps_per_second > 0


def test_the_excess_is_that_of_the_same_prompts() -> None:
    seen: list[Progress] = []
    pretrain(PROBLEM, SIZES, TRAINING, running=Running(on_progress=seen.append))
    batch = PROBLEM.batch("mix", 8, seed=0, step=0)
    untrained = new_transformer(SIZES, seed=0)
    exact = exact_predictors(PROBLEM)["mixture"]
    expected = [
        float((predict(one, batch.xs, batch.ys) - batch.ys.double()).square().mean())
        for one in (untrained, exact)
    ]
    assert seen[0].loss == pytest.approx(expected[0], rel=1e-5)
    assert seen[0].excess == pytest.approx(expected[0] - expected[1], rel=1e-5)


def test_measurements_see_the_model_at_their_steps() -> None:
    seen: dict[int, str] = {}

    def measure(step: int, model: Transformer) -> None:
        assert not model.training
        seen[step] = fingerprint(model)

    running = Running(measure=measure, measure_at=(0, 4, 8))
    model = pretrain(PROBLEM, SIZES, TRAINING, running=running)
    assert sorted(seen) == [0, 4, 8]
    assert seen[0] == fingerprint(new_transformer(SIZES, seed=0))
    assert seen[8] == fingerprint(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-2},
        {"n_steps": 9},
        {"seed": 4},
        {"schedule": "cosine"},
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_kept(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    running = Running(checkpoint=tmp_path / "state.safetensors")
    pretrain(PROBLEM, SIZES, TRAINING, running=running)
    assert running.checkpoint is not None
    before = running.checkpoint.read_bytes()
    (name,) = changes
    with pytest.raises(UserError, match=rf"another one: .*training\.{name} is") as caught:
        pretrain(PROBLEM, SIZES, replace(TRAINING, **changes), running=running)
    assert "here" in caught.value.message
    assert running.checkpoint.read_bytes() == before


def test_a_checkpoint_of_another_shape_or_task_set_is_refused(tmp_path: Path) -> None:
    running = Running(checkpoint=tmp_path / "state.safetensors")
    pretrain(PROBLEM, SIZES, TRAINING, running=running)
    with pytest.raises(UserError, match=r"config\.width is 8 there and 16 here"):
        pretrain(PROBLEM, replace(SIZES, width=16), TRAINING, running=running)
    with pytest.raises(UserError, match=r"problem\.task_seed is 0 there and 1 here"):
        pretrain(replace(PROBLEM, task_seed=1), SIZES, TRAINING, running=running)


@pytest.mark.slow
def test_a_checkpoint_of_another_base_model_or_remedy_is_refused(tmp_path: Path) -> None:
    running = Running(checkpoint=tmp_path / "state.safetensors")
    base = pretrain(PROBLEM, SIZES, TRAINING)
    finetune(base, PROBLEM, TRAINING, running=running)
    with pytest.raises(UserError, match="base is"):
        finetune(new_transformer(SIZES, seed=9), PROBLEM, TRAINING, running=running)
    with pytest.raises(UserError, match=r"WeightDistance\.strength is 'absent' there and 0\.5"):
        finetune(base, PROBLEM, TRAINING, remedies=[WeightDistance(0.5)], running=running)
    with pytest.raises(UserError, match="kind is 'fine-tuning' there and 'pretraining' here"):
        pretrain(PROBLEM, SIZES, TRAINING, running=running)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path))
    whole = path.read_bytes()
    for content in (whole[:-7], whole[:100], b"", b"\0" * 500, b"{}"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no checkpoint of palimpsest, or is damaged"):
            pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path))


def test_a_model_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    model = pretrain(PROBLEM, SIZES, TRAINING)
    path = tmp_path / "deep" / "model.safetensors"
    save_transformer(model, path, task_fingerprint=PROBLEM.task_fingerprint)
    back = load_transformer(path, config=SIZES, task_fingerprint=PROBLEM.task_fingerprint)
    assert same(model, back)
    assert back.config == SIZES
    with pytest.raises(UserError, match=r"config\.n_layers is 2 there and 3 here"):
        load_transformer(path, config=replace(SIZES, n_layers=3))
    with pytest.raises(UserError, match="task_fingerprint is"):
        load_transformer(path, task_fingerprint=replace(PROBLEM, task_seed=1).task_fingerprint)
    with pytest.raises(UserError, match="No such file"):
        load_transformer(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="it holds a model and no training"):
        pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_diverging_training_stops_and_keeps_its_last_good_state(
    tmp_path: Path, optimiser: str
) -> None:
    path = tmp_path / "state.safetensors"
    wild = replace(
        TRAINING,
        optimiser=optimiser,
        n_steps=50,
        learning_rate=1e30,
        muon_learning_rate=1e30,
        schedule="linear",
        n_warmup_steps=40,
        save_every=1,
    )
    with pytest.raises(UserError, match=r"diverged at step \d+: the loss is") as caught:
        pretrain(PROBLEM, SIZES, wild, running=Running(checkpoint=path))
    assert caught.value.hint is not None
    assert "learning_rate" in caught.value.hint
    if path.exists():
        assert f"of step {saved_step(path)}, is kept" in caught.value.message
    else:
        assert "Nothing was saved before." in caught.value.message


def test_weights_that_are_not_finite_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"

    def spoil(progress: Progress) -> None:
        if progress.step == 4:
            spoiled = torch.nn.init.constant_
            spoiled(next(model.parameters()).data, float("inf"))

    model = new_transformer(SIZES, seed=0)
    monkeypatch.setattr("palimpsest.lab.training.train.new_transformer", lambda *_, **__: model)
    training = replace(TRAINING, save_every=2)
    with pytest.raises(UserError, match=r"diverged at step 4.* of step 2, is kept"):
        pretrain(PROBLEM, SIZES, training, running=Running(checkpoint=path, on_progress=spoil))
    assert saved_step(path) == 2


@pytest.mark.slow
def test_a_full_disk_is_explained_and_the_earlier_state_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    n_saved = 0

    def fsync(file: int) -> None:
        nonlocal n_saved
        n_saved += 1
        if n_saved == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=r"The disk that holds '.*' is full"):
        pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path))
    assert saved_step(path) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    again = pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path))
    assert same(again, pretrain(PROBLEM, SIZES, TRAINING))


@pytest.mark.slow
def test_ctrl_c_saves_the_step_and_the_same_call_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"

    def press(progress: Progress) -> None:
        if progress.step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path, on_progress=press))
    # Noticed at the end of the step after; none is half done.
    assert saved_step(path) == 5
    again = pretrain(PROBLEM, SIZES, TRAINING, running=Running(checkpoint=path))
    assert same(again, pretrain(PROBLEM, SIZES, TRAINING))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    steps: list[int] = []

    def press(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain(PROBLEM, SIZES, TRAINING, running=Running(on_progress=press))
    assert steps[-1] == 4


def test_a_training_runs_outside_the_main_thread_too() -> None:
    found: list[Transformer] = []
    worker = threading.Thread(target=lambda: found.append(pretrain(PROBLEM, SIZES, TRAINING)))
    worker.start()
    worker.join()
    assert same(found[0], pretrain(PROBLEM, SIZES, TRAINING))


@pytest.mark.parametrize(
    ("problem", "sizes", "message"),
    [
        (replace(PROBLEM, n_exemplars=5), SIZES, "5 exemplars; the model has positions for 4"),
        (PROBLEM, replace(SIZES, n_dims=3), "2 dimensions; the model reads 3"),
    ],
)
def test_a_model_that_cannot_read_the_problem_is_refused_before_any_step(
    problem: Problem, sizes: TransformerConfig, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pretrain(problem, sizes, TRAINING)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_steps": 0}, "n_steps is 0"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"learning_rate": 0.0}, "learning_rate is 0; it must be more than zero"),
        ({"muon_learning_rate": float("nan")}, "muon_learning_rate is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"n_warmup_steps": -1}, "n_warmup_steps is -1"),
        ({"optimiser": "moun"}, "optimiser is 'moun'. Did you mean 'muon'"),
        ({"precision": "fp16"}, "precision is 'fp16'"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(TRAINING, **wrong)


@pytest.mark.parametrize(
    ("device", "message"), [("gpu7", "No device named 'gpu7'"), ("cuda", "finds no GPU")]
)
def test_a_device_that_is_not_there_is_explained(
    device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        pretrain(PROBLEM, SIZES, TRAINING, running=Running(device=device))


@pytest.mark.slow
def test_bf16_products_change_little_and_leave_the_weights_in_float32() -> None:
    exact = pretrain(PROBLEM, SIZES, TRAINING)
    rounded = pretrain(PROBLEM, SIZES, replace(TRAINING, precision="bf16"))
    assert {weight.dtype for weight in rounded.parameters()} == {torch.float32}
    assert not same(exact, rounded)
    batch = PROBLEM.batch("mix", 100, seed=5)
    one, two = exact(batch.xs, batch.ys), rounded(batch.xs, batch.ys)
    # bfloat16 keeps 8 bits; eight updates add up to a few hundredths of the answers' size.
    assert float((one - two).detach().std()) < 0.2 * float(one.detach().std())


@pytest.mark.slow
def test_tensorboard_gets_loss_excess_and_rate(tmp_path: Path) -> None:
    pretrain(PROBLEM, SIZES, TRAINING, running=Running(tensorboard=tmp_path))
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert set(tags) == {"loss", "excess over Bayes", "steps per second"}
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 9))


def test_without_tensorboard_the_message_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'tensorboard"):
        pretrain(PROBLEM, SIZES, TRAINING, running=Running(tensorboard=tmp_path))


_COMPILED = """
import torch
from dataclasses import replace
from palimpsest.lab.training.train import pretrain
from tests.lab.tiny import PROBLEM, SIZES, TRAINING

batch = PROBLEM.batch("mix", 100, seed=5)
plain, compiled = (
    pretrain(PROBLEM, SIZES, replace(TRAINING, compile=compile))(batch.xs, batch.ys)
    for compile in (False, True)
)
# Fused kernels round differently, and Muon makes more of it.
torch.testing.assert_close(plain, compiled, rtol=0.05, atol=0.02)
"""


@pytest.mark.slow
def test_a_compiled_model_learns_the_same() -> None:
    # In a process of its own: the checks of shapes in these tests cannot be compiled.
    done = subprocess.run(
        [sys.executable, "-c", _COMPILED], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_without_a_compiler_the_message_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COMPILED],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "CXX": "/absent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode != 0
    assert "UserError: The model could not be compiled" in done.stderr
    assert "Install a C++ compiler" in done.stderr
