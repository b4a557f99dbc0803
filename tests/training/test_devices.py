"""Several processes make the updates of one.

This file is also the program:
``torchrun --nproc-per-node 2 -m tests.training.test_devices FOLDER``.
"""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.lab.tiny import PROBLEM, SIZES, TRAINING

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lab.predictors.transformer import load_transformer, save_transformer
from palimpsest.lab.training.loop import Running
from palimpsest.lab.training.remedies import Divergence, Replay, WeightDistance
from palimpsest.lab.training.train import finetune, pretrain
from palimpsest.training.checkpoints import saved_step
from palimpsest.training.devices import find_processes

TUNING = replace(TRAINING, seed=1, optimiser="adamw")
REMEDIES = (Replay(0.25), WeightDistance(0.01), Divergence(0.1))


def run(folder: Path) -> None:
    """The program: a training and a fine-tuning, in as many processes as there are."""
    running = Running(checkpoint=folder / "state.safetensors", device="cpu")
    base = pretrain(PROBLEM, SIZES, TRAINING, running=running)
    tuned = finetune(base, PROBLEM, TUNING, remedies=REMEDIES, running=Running(device="cpu"))
    # Every process has the whole model.
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    save_transformer(base, folder / f"base-{rank}.safetensors")
    save_transformer(tuned, folder / f"tuned-{rank}.safetensors")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_end_with_the_model_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--nproc-per-node", "2", "--master-port", str(port)]
    program = ["-m", "tests.training.test_devices", str(tmp_path / "two")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, *program],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run(tmp_path / "one")
    batch = PROBLEM.batch("mix", 50, seed=3)
    for name in ("base", "tuned"):
        one, first, second = (
            load_transformer(tmp_path / file)(batch.xs, batch.ys)
            for file in (
                f"one/{name}-0.safetensors",
                f"two/{name}-0.safetensors",
                f"two/{name}-1.safetensors",
            )
        )
        assert torch.equal(first, second)
        # Gradients are sums in another order, which Muon makes more of.
        torch.testing.assert_close(first, one, rtol=0.05, atol=0.02)
    assert saved_step(tmp_path / "two/state.safetensors") == TRAINING.n_steps


def test_a_batch_that_does_not_divide_among_the_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="3 processes cannot share batches of 8"):
        find_processes("cpu", batch_size=8)


def test_without_accelerate_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'accelerate"):
        find_processes("cpu", batch_size=8)


def test_the_shares_of_all_processes_make_the_batch() -> None:
    rows = torch.arange(8)
    processes = find_processes("cpu", batch_size=8)
    assert torch.equal(processes.share(rows), rows)
    processes.n = 2
    shares = []
    for rank in range(2):
        processes.rank = rank
        shares.append(processes.share(rows))
    assert torch.equal(torch.cat(shares).sort().values, rows)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
