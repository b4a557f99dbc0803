"""Checkpoints of a training as members, some of them still being written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.pairs import asked, save_adapted, save_pair
from tests.lm.models.checkpoints import byte_level_tokenizer, random_network

from palimpsest.errors import UserError
from palimpsest.families import Family, parse_members, saved_steps
from palimpsest.lm.models import load_model


def save_steps(folder: Path, *steps: int) -> Path:
    """Write checkpoints as a Trainer names them."""
    for step in steps:
        each = folder / f"checkpoint-{step}"
        byte_level_tokenizer().save_pretrained(each)
        random_network(seed=step).save_pretrained(each)
        (each / "trainer_state.json").write_text("{}", "utf-8")
    return folder


def test_checkpoints_are_members_in_the_order_of_their_steps(tmp_path: Path) -> None:
    save_steps(tmp_path, 100, 20, 3)
    (tmp_path / "runs").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    members = parse_members([f"checkpoints:{tmp_path}"])
    assert [member.title for member in members] == ["step 3", "step 20", "step 100"]
    assert parse_members([members[1].spec]) == members[1:2]


@pytest.mark.slow
def test_a_checkpoint_answers_as_the_plain_model_in_the_shared_network(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path)
    save_steps(tmp_path / "run", 1, 2)
    family = Family(str(base), str(tuned))
    members = family.members([f"checkpoints:{tmp_path / 'run'}", "interpolate:0.5"])
    for member in (*members, members[0]):
        asked(family.model(member))
    for member, step in zip(members, (1, 2), strict=False):
        plain = load_model(f"{tmp_path}/run/checkpoint-{step}")
        assert asked(family.model(member)) == asked(plain)
        assert family.fingerprint(member) == plain.fingerprint
    assert family.n_loaded == 1


@pytest.mark.slow
def test_checkpoints_are_asked_with_the_options_of_the_tuned_model(tmp_path: Path) -> None:
    base, tuned = save_pair(tmp_path)
    save_steps(tmp_path / "run", 1)
    family = Family(f"{base},dtype=bfloat16", f"{tuned},dtype=bfloat16")
    [member] = family.members([f"checkpoints:{tmp_path / 'run'}"])
    plain = load_model(f"{tmp_path}/run/checkpoint-1,dtype=bfloat16")
    assert family.fingerprint(member) == plain.fingerprint


@pytest.mark.slow
def test_checkpoints_of_adapters_lie_on_the_base(tmp_path: Path) -> None:
    base, adapter = save_adapted(tmp_path)
    for step, scale in ((5, "interpolate:0.3"), (10, "interpolate:0.6")):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        family = Family(str(base), f"{base},adapter={adapter}")
        family.write(family.members([scale])[0], folder)
    family = Family(str(base), f"{base},adapter={adapter}")
    members = family.members([f"checkpoints:{tmp_path / 'run'}", "ties:0.5"])
    for member in (*members, members[0]):
        found = asked(family.model(member))
    plain = load_model(f"{base},adapter={tmp_path}/run/checkpoint-5")
    assert found == asked(plain)
    assert family.fingerprint(members[0]) == plain.fingerprint
    assert family.n_loaded == 1


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_is_asked_in_a_network_of_its_own(
    tmp_path: Path,
) -> None:
    base, tuned = save_pair(tmp_path)
    other, _ = save_pair(tmp_path / "other", "gpt2")
    shutil.copytree(other, tmp_path / "run" / "checkpoint-1")
    family = Family(str(base), str(tuned))
    [member] = family.members([f"checkpoints:{tmp_path / 'run'}"])
    assert asked(family.model(member)) == asked(load_model(f"{tmp_path}/run/checkpoint-1"))


def test_a_checkpoint_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    (tmp_path / "checkpoint-2" / "trainer_state.json").unlink()
    assert [each.is_whole for each in saved_steps(tmp_path)] == [True, False]
    assert [member.title for member in parse_members([f"checkpoints:{tmp_path}"])] == ["step 1"]
    shutil.rmtree(tmp_path / "checkpoint-1")
    # Nobody says that there is to be such a file: other tools write none.
    assert [each.is_whole for each in saved_steps(tmp_path)] == [True]


def test_weights_that_end_early_are_seen_where_nothing_else_tells(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    weights = tmp_path / "checkpoint-2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert [each.is_whole for each in saved_steps(tmp_path)] == [True, False]
    shutil.rmtree(tmp_path / "checkpoint-1")
    with pytest.raises(UserError, match="has no checkpoint that is wholly written"):
        parse_members([f"checkpoints:{tmp_path}"])


def test_a_folder_without_checkpoints_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no checkpoint\."):
        parse_members([f"checkpoints:{tmp_path}"])


def test_a_checkpoint_is_no_link_of_a_chain(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    with pytest.raises(UserError, match="a model of its own, and no link of a chain"):
        parse_members([f"checkpoints:{tmp_path}|interpolate:0.5"])


@pytest.mark.slow
def test_the_output_of_a_training_is_read_as_it_is_written(tmp_path: Path) -> None:
    from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

    seen = []

    class Look(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append([(each.step, each.is_whole) for each in saved_steps(tmp_path / "run")])

    rows = [{"input_ids": torch.arange(5, 13), "labels": torch.arange(5, 13)}] * 8
    trainer = Trainer(
        model=random_network(),
        args=TrainingArguments(
            output_dir=str(tmp_path / "run"), max_steps=3, save_steps=1, report_to="none",
            use_cpu=True, disable_tqdm=True, per_device_train_batch_size=2, logging_strategy="no",
            dataloader_pin_memory=False,
        ),
        train_dataset=rows,
        processing_class=byte_level_tokenizer(),
        data_collator=default_data_collator,
        callbacks=[Look()],
    )  # fmt: skip
    trainer.train()
    assert seen == [[(step, True) for step in range(1, n + 1)] for n in (1, 2, 3)]
    base, _ = save_pair(tmp_path)
    family = Family(str(base), str(tmp_path / "run" / "checkpoint-3"))
    members = family.members([f"checkpoints:{tmp_path / 'run'}", "interpolate:0.5"])
    assert [member.title for member in members[:3]] == ["step 1", "step 2", "step 3"]
    assert len({str(asked(family.model(member))[1]) for member in members}) == 4
    assert family.model(members[2]).fingerprint == family.tuned.fingerprint
