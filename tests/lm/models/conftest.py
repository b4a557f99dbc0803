"""Checkpoints that several test files share; they are made once and must not be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.lm.models.checkpoints import save_checkpoint


@pytest.fixture(autouse=True, scope="session")
def _one_core() -> Iterator[None]:
    """Compute on one core: operations this small only wait for one another on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a tiny checkpoint by its architecture."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = save_checkpoint(
                tmp_path_factory.mktemp(architecture) / "model", architecture
            )
        return made[architecture]

    return folder


@pytest.fixture
def llama(checkpoint: Callable[[str], Path]) -> Path:
    """A tiny Llama with a byte-level tokenizer."""
    return checkpoint("llama")
