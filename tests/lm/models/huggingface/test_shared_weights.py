"""Weights in common are those that each process would have had, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network

from palimpsest.judging.workers import SharedMemory
from palimpsest.lm.models.huggingface import HuggingFaceModel
from palimpsest.lm.models.huggingface.shared_weights import SharedWeights
from palimpsest.lm.models.specs import load_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs files in memory")

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(5, dtype=torch.bfloat16)}


@pytest.fixture
def path() -> Iterator[str]:
    memory = SharedMemory()
    yield memory.paths[0]
    memory.close()


def is_shared(tensor: torch.Tensor) -> bool:
    """Whether a tensor lies in a file in memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(each, 16) for each in line.split()[0].split("-"))
        if begin <= tensor.data_ptr() < end:
            return "memfd:" in line
    return False


def test_tensors_come_back_as_they_are_and_the_first_writer_s_are_kept(path: str) -> None:
    for _ in range(2):
        found = SharedWeights(path, "x").in_common(TENSORS)
        assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
        assert all(map(is_shared, found.values()))
    kept = SharedWeights(path, "x").in_common({**TENSORS, "a": torch.zeros(2, 3)})
    assert torch.equal(kept["a"], TENSORS["a"])


def test_what_a_killed_writer_left_is_written_anew(path: str) -> None:
    Path(path).write_bytes(b"\x40\0\0\0\0\0\0\0{")
    found = SharedWeights(path, "x").in_common(TENSORS)
    assert torch.equal(found["a"], TENSORS["a"])
    assert is_shared(found["a"])


def test_weights_of_another_model_are_not_taken(path: str) -> None:
    SharedWeights(path, "x").in_common(TENSORS)
    own = {"a": torch.zeros(2, 3), "b": TENSORS["b"]}
    assert SharedWeights(path, "y").in_common(own) is own


def test_a_file_of_another_kind_stays_as_it_is_and_one_that_has_gone_is_done_without(
    tmp_path: Path,
) -> None:
    answers = tmp_path / "answers.sqlite"
    answers.write_bytes(b"of a run")
    for path in (answers, tmp_path / "gone"):
        shared = SharedWeights(str(path), "x")
        with shared.alone():
            assert shared.in_common(TENSORS) is TENSORS
    assert answers.read_bytes() == b"of a run"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_a_model_with_weights_in_common_answers_as_before(
    architecture: str, dtype: str, tmp_path: Path
) -> None:
    byte_level_tokenizer().save_pretrained(tmp_path)
    random_network(architecture).to(getattr(torch, dtype)).save_pretrained(tmp_path)
    folder = tmp_path
    alone, shared = load_model(f"hf:{folder}"), load_model(f"hf:{folder}")
    assert isinstance(shared, HuggingFaceModel)
    memory = SharedMemory()
    shared.share_weights(memory.paths)
    prompts = ["Repeat the input.", "What is 5?"]
    answers = [dict(each.generate(prompts, max_new_tokens=8)) for each in (alone, shared)]
    assert [each.text for each in answers[0].values()] == [
        each.text for each in answers[1].values()
    ]
    candidates = [[" one", " two"]] * 2
    assert shared.score(prompts, candidates) == alone.score(prompts, candidates)
    if dtype == "bfloat16":  # computed in float32, so that no file has it
        assert all(map(is_shared, shared.network.parameters()))
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    memory.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == n_open - 2


_FORKED = """
import importlib, os, sys
from palimpsest.judging.workers import _PRELOAD
for name in _PRELOAD:
    importlib.import_module(name)
n_threads, before = len(os.listdir("/proc/self/task")), set(sys.modules)
from palimpsest.lm.models import load_model
dict(load_model(f"hf:{sys.argv[1]}").generate(["It rains"], max_new_tokens=2))
print(n_threads, *sorted(set(sys.modules) - before))
"""


@pytest.mark.slow
def test_what_a_model_needs_is_imported_before_workers_are_forked(llama: Path) -> None:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _FORKED, str(llama)],
        check=True,
        capture_output=True,
        text=True,
        env=one_thread,
    )
    n_threads, *late = done.stdout.split()
    assert n_threads == "1"  # else forking is not safe
    # Only what one kind of model needs: some twenty modules, where there once were 1,690.
    packages = {name.partition(".")[0] for name in late}
    assert packages.isdisjoint({"torch", "scipy", "sympy", "accelerate"})
    assert len(late) < 100
