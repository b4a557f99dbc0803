"""The end of a training proposes an interpolation, and leaves the weights as they are."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.integrations.trainer.test_exact import deprecated, with_adapter
from tests.integrations.trainer.tuning import (
    SUITE,
    assert_same_to_the_bit,
    network,
    new_trainer,
    weights,
)
from transformers import Trainer

from palimpsest.errors import UserError
from palimpsest.integrations.trainer import ForgettingCallback
from palimpsest.integrations.trainer.proposal import (
    SHARES,
    Scores,
    propose,
    weights_at_start,
    with_share,
)

TARGET = "rosetta-instructions"


def watched(folder: Path, **changes: Any) -> tuple[Trainer, ForgettingCallback]:
    trainer = new_trainer(folder, **changes)
    callback = ForgettingCallback(
        trainer, SUITE, via=[], every=100, limit=4, max_share=None, target=TARGET
    )
    trainer.add_callback(callback)
    return trainer, callback


def test_the_share_that_keeps_most_and_the_target_is_proposed() -> None:
    scores = {
        0.0: Scores(0.9, 0.0),
        0.4: Scores(0.8, 0.30),
        0.6: Scores(0.7, 0.39),
        1.0: Scores(0.2, 0.4),
    }
    found = propose(scores)
    assert found.share == 0.6
    assert found.sentence().startswith("With 60% of the change the model keeps 70%, not 20%, ")
    assert "changes by -1.0 points" in found.sentence()


def test_where_no_share_keeps_more_the_tuned_model_is_proposed() -> None:
    found = propose({0.0: Scores(0.9, 0.0), 0.5: Scores(0.1, 0.4), 1.0: Scores(0.2, 0.4)})
    assert found.share == 1
    assert "No interpolation keeps more" in found.sentence()


def test_where_the_target_gained_nothing_there_is_nothing_to_keep() -> None:
    with pytest.raises(UserError, match="nothing to keep"):
        propose({0.0: Scores(0.9, 0.0), 1.0: Scores(0.2, 0.0)})


@pytest.mark.slow
def test_the_weights_are_the_same_to_the_bit_with_and_without_a_proposal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    longer: dict[str, Any] = {"max_steps": 60, "logging_steps": 60, "n_documents": 240}
    plain = new_trainer(tmp_path / "plain", **longer)
    plain.train()
    trainer, callback = watched(tmp_path / "watched", **longer)
    with caplog.at_level(logging.WARNING, "palimpsest.trainer"):
        trainer.train()
    assert_same_to_the_bit(weights(plain), weights(trainer))
    found = callback.proposal
    assert found is not None
    assert list(found.scores) == [0.0, *SHARES, 1.0]
    [said] = [record.getMessage() for record in caplog.records if "restore" in record.getMessage()]
    words = shlex.split(said.partition("write the best: ")[2])
    assert words[:2] == ["palimpsest", "restore"]
    assert words[4:8] == ["--suite", SUITE, "--target", TARGET]
    assert words[3] == str(tmp_path / "watched")
    assert words[2].startswith("hf:")
    assert words[2].endswith("base")


@pytest.mark.slow
def test_the_ends_of_what_is_tried_are_the_models_before_and_after(tmp_path: Path) -> None:
    trainer = new_trainer(tmp_path / "run")
    start = weights(trainer)
    trainer.train()
    after = weights(trainer)
    snapshot = weights_at_start(network())
    model = trainer.model
    assert model is not None
    with with_share(model, snapshot, 0.0):
        assert_same_to_the_bit(weights(trainer), start)
    with with_share(model, snapshot, 0.5):
        half = weights(trainer)
        name = "model.layers.0.mlp.up_proj.weight"
        assert torch.allclose(half[name], (start[name] + after[name]) / 2)
    assert_same_to_the_bit(weights(trainer), after)


@pytest.mark.slow
@deprecated
def test_half_an_adapter_adds_half_of_its_change(tmp_path: Path) -> None:
    adapted = with_adapter(network())
    start = weights_at_start(adapted)
    base = network().eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.01)
    adapted.eval()
    layer = adapted.base_model.model.model.layers[0].self_attn.q_proj
    whole = layer.get_delta_weight("default").clone()
    with with_share(adapted, start, 0.5):
        assert torch.allclose(layer.get_delta_weight("default"), whole / 2)
    assert torch.equal(layer.get_delta_weight("default"), whole)
    with with_share(adapted, start, 0.0), torch.no_grad():
        assert torch.allclose(adapted(ids).logits, base(ids).logits, atol=1e-5)


@deprecated
def test_an_adapter_that_does_not_begin_at_zero_is_refused() -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    with pytest.raises(UserError, match="Shares of the change of this adapter cannot be tried"):
        weights_at_start(get_peft_model(network(), config))


@pytest.mark.slow
def test_a_target_that_gains_nothing_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, callback = watched(tmp_path / "run", max_steps=2, learning_rate=0.0)
    with caplog.at_level(logging.WARNING, "palimpsest.trainer"):
        trainer.train()
    assert callback.proposal is None
    assert "No interpolation is proposed: The target has gained nothing" in caplog.text
    assert "palimpsest restore" in caplog.text


@pytest.mark.slow
@deprecated
@pytest.mark.parametrize(
    ("change", "rate"), [(lambda n: n, 1e-3), (with_adapter, 1e-2)], ids=["whole model", "adapter"]
)
def test_a_resumed_training_proposes_what_an_uninterrupted_one_does(
    tmp_path: Path, change: Any, rate: float
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 30, "max_steps": 60, "n_documents": 240}
    settings = {**saving, "change": change, "learning_rate": rate}
    trainer, whole = watched(tmp_path / "run", **settings)
    trainer.train()
    assert whole.proposal is not None
    again, resumed = watched(tmp_path / "run", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-30"))
    assert_same_to_the_bit(weights(again), weights(trainer))
    assert resumed.proposal == whole.proposal


@pytest.mark.slow
def test_a_training_resumed_with_another_model_has_lost_its_start_and_says_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trainer, _ = watched(tmp_path / "run", **saving)
    trainer.train()
    again, callback = watched(tmp_path / "run", name="tuned", **saving)
    with caplog.at_level(logging.WARNING, "palimpsest.trainer"):
        again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert callback.proposal is None
    assert "its first weights are gone" in caplog.text
    assert f"{tmp_path / 'run' / 'checkpoint-4'}" in caplog.text


@pytest.mark.slow
def test_a_target_that_cannot_be_used_is_refused_before_the_training(tmp_path: Path) -> None:
    trainer = new_trainer(tmp_path)
    with pytest.raises(UserError, match="Did you mean 'rosetta-instructions'"):
        ForgettingCallback(trainer, SUITE, target="rosetta-instruction")


@pytest.mark.slow
def test_a_failure_to_try_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("palimpsest.integrations.trainer.callback.ask_shares", failing)
    trainer, callback = watched(tmp_path / "run", max_steps=2)
    trainer.train()
    assert callback.proposal is None
    assert "No interpolation could be tried" in caplog.text
