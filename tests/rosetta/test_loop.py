from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from palimpsest.errors import UserError
from palimpsest.rosetta.corpus import Document
from palimpsest.rosetta.loop import (
    DocumentBatch,
    Stage,
    Trainer,
    batch_loss,
    by_length,
    make_batch,
)
from palimpsest.rosetta.recipe import (
    Recipe,
    choose_checkpoint,
    make_tokenizer,
    new_model,
    prepare_folder,
)

STAGE = Stage(
    n_steps=6,
    batch_size=4,
    learning_rate=1e-3,
    muon_learning_rate=0.01,
    warmup_steps=2,
    decay_share=0.5,
    loss_on="all",
    seed=1,
)
RECIPE = Recipe(n_tokens=400, n_tokenizer_documents=500, width=16, n_layers=2, n_heads=2)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return make_tokenizer(RECIPE, tmp_path_factory.mktemp("tokenizer"))


def _trainer(path: Path, tokenizer: PreTrainedTokenizerFast, stage: Stage = STAGE) -> Trainer:
    def draw(step: int) -> DocumentBatch:
        rng = np.random.default_rng(step)
        texts = ["ab" * int(rng.integers(1, 9)) for _ in range(STAGE.batch_size)]
        return make_batch([Document("", text) for text in texts], tokenizer, loss_on="all")

    return Trainer(new_model(RECIPE, tokenizer), draw, stage, checkpoint=path, save_every=2)


def _weights(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage_end",
    [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)],
)
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, stage_end: int
) -> None:
    whole = _trainer(tmp_path / "whole", tokenizer)
    whole.run(until=6, on_step=lambda *_: None)

    class KilledError(Exception):
        pass

    def kill(step: int, _: float) -> None:
        if step == stage_end:
            raise KilledError

    with pytest.raises(KilledError):
        _trainer(tmp_path / "parts", tokenizer).run(until=6, on_step=kill)
    rest = _trainer(tmp_path / "parts", tokenizer)
    assert rest.step == (stage_end - 1) // 2 * 2
    rest.run(until=6, on_step=lambda *_: None)
    for name, tensor in _weights(whole.model).items():
        assert torch.equal(tensor, _weights(rest.model)[name]), name


@pytest.mark.slow
def test_the_state_of_another_stage_is_refused(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    _trainer(tmp_path / "state", tokenizer).run(until=4, on_step=lambda *_: None)
    other = replace(STAGE, learning_rate=1e-4)
    with pytest.raises(UserError, match=r"stage\.learning_rate is 0\.001 there and 0\.0001 here"):
        _trainer(tmp_path / "state", tokenizer, other)


def test_splitting_a_batch_by_length_changes_no_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    model = new_model(RECIPE, tokenizer)
    texts = [Document("What is", " this" * n) for n in (1, 7, 2, 5, 3)]
    batch = make_batch(texts, tokenizer, loss_on="completion")
    whole = batch_loss(model, batch)
    parts = by_length(batch, n_parts=3)
    split = sum((batch_loss(model, part) for part in parts), start=torch.zeros(()))
    assert sum(int(part.targets.sum()) for part in parts) == int(batch.targets.sum())
    # Float32 sums of some tens of terms in another order.
    torch.testing.assert_close(split, whole, rtol=1e-5, atol=1e-5)


def test_the_completion_loss_looks_at_the_completion_and_the_end_alone(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    document = Document("What is 2 plus 3?", " 5")
    batch = make_batch([document], tokenizer, loss_on="completion")
    assert tokenizer.decode(batch.ids[:, 1:][batch.targets]) == " 5</s>"


def test_the_rule_takes_the_last_checkpoint_when_the_loss_never_levels_off() -> None:
    falling = [(step, 200.0 - step) for step in range(0, 200, 20)]
    assert choose_checkpoint(Recipe(), falling) == 180


def test_the_rule_takes_the_base_when_tuning_only_makes_it_worse() -> None:
    assert choose_checkpoint(Recipe(), [(0, 1.0), (20, 1.5), (40, 2.0)]) == 0


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    prepare_folder(RECIPE, tmp_path / "work")
    prepare_folder(RECIPE, tmp_path / "work")
    with pytest.raises(UserError, match="another recipe"):
        prepare_folder(Recipe(seed=1), tmp_path / "work")


def test_a_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine", "utf-8")
    with pytest.raises(UserError, match="did not write"):
        prepare_folder(RECIPE, tmp_path)
