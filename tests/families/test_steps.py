from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.families import steps
from palimpsest.families.steps import Step, find_steps, has_ended, is_settled, output_folder


def checkpoint(folder: Path, *files: str, step: int | None = None, most: int = 100) -> Path:
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text("{}", "utf-8")
    weights = "adapter_model" if "adapter_config.json" in files else "model"
    (folder / f"{weights}.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    if step is not None:
        (folder / "pytorch_model.bin").touch()
        state = {"global_step": step, "max_steps": most}
        (folder / "trainer_state.json").write_text(json.dumps(state), "utf-8")
    return folder


def test_an_output_folder_gives_its_checkpoints_by_step(tmp_path: Path) -> None:
    for step in (100, 20):
        checkpoint(tmp_path / f"checkpoint-{step}", "config.json", step=step)
    (tmp_path / "runs").mkdir()
    found = find_steps("base,dtype=bfloat16", [str(tmp_path)])
    assert [each.step for each in found] == [20, 100]
    assert found[0].spec == f"hf:{tmp_path / 'checkpoint-20'},dtype=bfloat16"


def test_a_checkpoint_that_is_an_adapter_is_put_on_the_base(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint-5", "adapter_config.json", step=5)
    assert find_steps("rosetta:base,chat=false", [str(tmp_path)]) == [
        Step(5, f"rosetta:base,chat=false,adapter={folder}", folder)
    ]


def test_a_final_model_beside_the_checkpoints_is_none_of_them(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint-5", "config.json", step=5)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    assert output_folder([str(tmp_path)]) == tmp_path
    assert [each.step for each in find_steps("base", [str(tmp_path)])] == [5]


def test_one_model_alone_is_a_checkpoint(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "step-00220", "config.json")
    assert output_folder([str(folder)]) is None
    assert [each.step for each in find_steps("base", [str(folder)])] == [220]


def test_named_checkpoints_are_ordered_by_their_own_step_or_name_or_place(tmp_path: Path) -> None:
    late = checkpoint(tmp_path / "best", "config.json", step=70)
    early = checkpoint(tmp_path / "epoch-3", "config.json")
    assert [each.step for each in find_steps("base", [str(late), str(early)])] == [3, 70]
    assert [each.step for each in find_steps("base", ["rosetta:tuned"])] == [1]


def test_two_checkpoints_of_one_step_are_refused(tmp_path: Path) -> None:
    one, two = (checkpoint(tmp_path / name / "checkpoint-5", "config.json") for name in "ab")
    with pytest.raises(UserError, match="are both of step 5"):
        find_steps("base", [str(one), str(two)])


@pytest.mark.parametrize("written", [(), ("config.json", "training_args.bin")])
def test_a_checkpoint_that_is_being_written_waits(tmp_path: Path, written: tuple[str, ...]) -> None:
    checkpoint(tmp_path / "checkpoint-5", "config.json", step=5)
    checkpoint(tmp_path / "checkpoint-10", *written)
    assert [each.step for each in find_steps("base", [str(tmp_path)])] == [5]


def test_a_clock_that_is_behind_that_of_the_disk_is_a_mistake_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    ahead = time.time() + 600
    os.utime(tmp_path / "config.json", (ahead, ahead))
    with pytest.raises(UserError, match=r"dated (599|600) s in the future: the clock of the disk"):
        is_settled(tmp_path)


def test_the_first_checkpoint_that_is_being_written_waits_too(tmp_path: Path) -> None:
    files = ("config.json", "optimizer.pt", "pytorch_model.bin")
    folder = checkpoint(tmp_path / "checkpoint-5", *files)
    assert find_steps("base", [str(tmp_path)]) == []
    (folder / "trainer_state.json").write_text('{"global_step":', "utf-8")  # half of it
    assert find_steps("base", [str(tmp_path)]) == []
    (folder / "trainer_state.json").write_text('{"global_step": 5}', "utf-8")
    assert [each.step for each in find_steps("base", [str(tmp_path)])] == [5]


def test_what_is_no_trainers_is_whole_once_nothing_changes(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint-5", "config.json")
    assert not is_settled(folder)
    before = time.time() - 2 * steps.SETTLED_SECONDS
    for path in (*folder.iterdir(), folder):
        os.utime(path, (before, before))
    assert is_settled(folder)


def test_a_training_has_ended_when_its_newest_checkpoint_says_so(tmp_path: Path) -> None:
    assert not has_ended(tmp_path)
    checkpoint(tmp_path / "checkpoint-50", step=50)
    assert not has_ended(tmp_path)
    checkpoint(tmp_path / "checkpoint-100", step=100)
    assert has_ended(tmp_path)
    checkpoint(tmp_path / "checkpoint-120", "optimizer.pt")  # somebody goes on
    assert not has_ended(tmp_path)


def test_a_folder_that_is_not_there_is_no_output_folder(tmp_path: Path) -> None:
    assert output_folder([str(tmp_path / "none")]) is None
    assert output_folder([str(tmp_path), str(tmp_path)]) is None
