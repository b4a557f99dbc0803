"""Two processes train one model: the first measures, and both do what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.integrations.trainer import read_measurements

ROOT = Path(__file__).parents[3]

PROGRAM = """
import hashlib, json, os, sys
from pathlib import Path
from palimpsest.integrations.trainer import ForgettingCallback
from tests.integrations.trainer.tuning import SUITE, new_trainer, weights

folder, watch, name, options = Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
trainer = new_trainer(folder, name=name, ddp_backend="gloo")
if watch == "yes":
    trainer.add_callback(ForgettingCallback(trainer, SUITE, **options))
trainer.train()
digest = hashlib.sha256()
for key, tensor in sorted(weights(trainer).items()):
    digest.update(tensor.numpy().tobytes())
found = {
    "weights": digest.hexdigest(),
    "step": trainer.state.global_step,
    "measured": [entry["step"] for entry in trainer.state.log_history if "forgetting" in entry],
    "logged": [
        entry["forgetting"] for entry in trainer.state.log_history if "forgetting" in entry
    ],
}
folder.mkdir(exist_ok=True)
(folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(found))
"""

pytestmark = pytest.mark.slow  # every process loads torch and transformers


def run(folder: Path, watch: str, name: str = "base", **options: object) -> list[dict[str, object]]:
    """Return what each of two processes has found."""
    program = folder.with_suffix(".py")
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         str(program), str(folder), watch, name, json.dumps(options)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_train_to_the_same_weights_as_without_the_callback(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", "no")
    watched = run(tmp_path / "watched", "yes", via=["leet"], every=2, limit=2, max_share=None)
    assert watched[0] == watched[1]
    assert watched[0]["weights"] == plain[0]["weights"]
    rows = read_measurements(tmp_path / "watched" / "forgetting")
    assert [row.step for row in rows] == watched[0]["measured"] == [0, 2, 4, 6]


def test_both_processes_stop_together(tmp_path: Path) -> None:
    found = run(
        tmp_path / "stopped",
        "yes",
        name="tuned",
        via=[],
        limit=10,
        base="rosetta:base",
        stop_at_forgetting=0.5,
    )
    assert [one["step"] for one in found] == [1, 1]
