"""A training with the callback ends with the weights of one without it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.integrations.trainer.tuning import (
    SUITE,
    Change,
    assert_same_to_the_bit,
    new_trainer,
    weights,
)

from palimpsest.integrations.trainer import ForgettingCallback, read_measurements
from palimpsest.judging.evaluation import evaluate

pytestmark = pytest.mark.slow  # quicker: test_in_short.py


def with_adapter(network: Any) -> Any:
    config = LoraConfig(
        r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    return get_peft_model(network, config)


def unchanged(network: Any) -> Any:
    return network


# peft 0.21 still asks for it.
deprecated = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

TRAININGS: dict[str, tuple[Change, dict[str, Any]]] = {
    "plain": (unchanged, {}),
    "adapter": (with_adapter, {"learning_rate": 1e-2}),
    "mixed precision": (unchanged, {"bf16": True}),
    "accumulation, checkpointing and cache": (
        unchanged,
        {"gradient_accumulation_steps": 2, "activation_checkpointing": True, "use_cache": True},
    ),
}


@pytest.fixture(autouse=True)
def _draws_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the package draws while it asks; a plugin's suite or conjugation may."""

    def drawing(*arguments: Any, **options: Any) -> Any:
        random.random()
        np.random.random()  # noqa: NPY002
        torch.rand(3)
        return evaluate(*arguments, **options)

    monkeypatch.setattr("palimpsest.integrations.trainer.record.evaluate", drawing)


@deprecated
@pytest.mark.parametrize(
    "kind",
    [kind if kind == "plain" else pytest.param(kind, marks=pytest.mark.slow) for kind in TRAININGS],
)
def test_the_weights_are_the_same_to_the_bit_with_and_without_the_callback(
    kind: str, tmp_path: Path
) -> None:
    change, options = TRAININGS[kind]
    plain = new_trainer(tmp_path / "plain", change=change, **options)
    plain.train()
    watched = new_trainer(tmp_path / "watched", change=change, **options)
    start = weights(watched)
    watched.add_callback(
        ForgettingCallback(watched, SUITE, via=["leet"], every=2, limit=2, max_share=None)
    )
    watched.train()
    rows = read_measurements(tmp_path / "watched" / "forgetting")
    assert [row.step for row in rows] == [0, 2, 4, 6]
    assert_same_to_the_bit(weights(plain), weights(watched))
    # And the training has done something at all.
    assert not all(torch.equal(start[name], tensor) for name, tensor in weights(watched).items())
    assert plain.optimizer is not None
    assert watched.optimizer is not None
    for one, other in zip(
        plain.optimizer.state.values(), watched.optimizer.state.values(), strict=True
    ):
        assert_same_to_the_bit(one, other)


def test_random_numbers_that_are_not_put_back_would_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: dropout makes the weights depend on every number drawn."""
    plain = new_trainer(tmp_path / "plain")
    plain.train()
    watched = new_trainer(tmp_path / "watched")
    watched.add_callback(
        ForgettingCallback(watched, SUITE, via=[], every=2, limit=1, max_share=None)
    )
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    watched.train()
    with pytest.raises(AssertionError):
        assert_same_to_the_bit(weights(plain), weights(watched))
