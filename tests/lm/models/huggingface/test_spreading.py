"""A model that is spread over devices answers as it does on one."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.models.checkpoints import save_checkpoint

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.models.huggingface import HuggingFaceModel, model
from palimpsest.lm.models.huggingface.loading import load_network, without_weights
from palimpsest.lm.models.huggingface.spreading import fits, place
from palimpsest.lm.models.specs import load_model

PROMPTS = ["Repeat the input.", "What is 5?", "Wat is vijf plus zeven? Twaalf."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "model", num_hidden_layers=4)


def placed(folder: Path, free: dict[int | str, int]) -> Any:
    with without_weights(load_hf(folder).checkpoint) as network:
        return place(network, torch.float32, free, "x")


def size(folder: Path) -> int:
    return 4 * load_hf(folder).n_parameters


def load_hf(folder: Path) -> HuggingFaceModel:
    opened = load_model(f"hf:{folder}")
    assert isinstance(opened, HuggingFaceModel)
    return opened


def test_layers_go_whole_to_the_devices_in_order(folder: Path) -> None:
    third = 2 * size(folder) // 3
    found = placed(folder, {0: third, 1: third, 2: third})
    assert set(found.values()) == {0, 1, 2}
    assert list(found.values()) == sorted(found.values())
    assert not [name for name in found if name.startswith("model.layers.") and name.count(".") > 2]


def test_devices_that_are_too_small_are_a_mistake_with_figures(folder: Path) -> None:
    with pytest.raises(UserError, match=r"weights of 'x' take .* MiB; 2 GPUs have room for .* MiB"):
        placed(folder, {0: size(folder) // 4, 1: size(folder) // 4})


def test_a_lack_of_accelerate_names_its_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "accelerate":
            raise ModuleNotFoundError("No module named 'accelerate'", name="accelerate")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(MissingExtraError, match=r"Models over several GPUs need.*\n.*accelerate"):
        placed(folder, {0: 2**30})


@pytest.mark.parametrize("n_threads", [1, 3])
def test_answers_and_likelihoods_are_those_of_one_device(
    n_threads: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    whole = load_hf(folder)
    parts = placed(folder, {"cpu": size(folder), "disk": 2**40})
    assert set(parts.values()) == {"cpu", "disk"}
    spread = load_hf(folder)
    network = load_network(
        spread.checkpoint,
        device=torch.device("cpu"),
        dtype=torch.float32,
        placed=parts,
        offload=tmp_path / "offloaded",
    )
    spread._network = spread._fast = network
    asked: Any = {"max_new_tokens": 8}
    assert texts(spread.generate(PROMPTS, **asked)) == texts(whole.generate(PROMPTS, **asked))
    candidates = [[" one", " two hundred"]] * 3
    for mine, theirs in zip(
        spread.score(PROMPTS, candidates), whole.score(PROMPTS, candidates), strict=True
    ):
        assert mine == pytest.approx(theirs, abs=1e-4)  # sums in another order
    # Hooks that fetch a part's weights and put them away again know of no other thread.
    assert spread._threads is None


def test_a_model_is_spread_only_where_one_gpu_is_too_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = load_hf(folder)
    opened._device = torch.device("cuda")
    n_bytes = size(folder)
    for free, expected in (([2 * n_bytes // 3] * 3, {0, 1, 2}), ([2 * n_bytes] * 2, None)):
        monkeypatch.setattr(model, "free_memory_of_gpus", lambda free=free: dict(enumerate(free)))
        found = opened._placed()
        assert (None if found is None else set(found.values())) == expected
    assert fits(80, 100)
    assert not fits(81, 100)


def texts(answers: Any) -> dict[int, str]:
    return {index: answer.text for index, answer in answers}
