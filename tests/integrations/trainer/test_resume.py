"""A training that was interrupted goes on, and so does its table."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.integrations.trainer.tuning import SUITE, assert_same_to_the_bit, new_trainer, weights
from transformers import Trainer

from palimpsest.errors import UserError
from palimpsest.integrations.trainer import ForgettingCallback, Measurement, read_measurements

pytestmark = pytest.mark.slow  # quicker: test_in_short.py

SAVING: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}


def watched(folder: Path, **options: Any) -> Trainer:
    trainer = new_trainer(folder, **SAVING)
    options = {"via": ["leet"], "every": 2, "limit": 2, "max_share": None, **options}
    trainer.add_callback(ForgettingCallback(trainer, SUITE, **options))
    return trainer


def table(folder: Path) -> list[Measurement]:
    return read_measurements(folder / "forgetting")


def timeless(rows: list[Measurement]) -> list[Measurement]:
    return [row.model_copy(update={"measuring_seconds": 0, "training_seconds": 0}) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A training that nothing has interrupted."""
    trainer = watched(tmp_path_factory.mktemp("whole"))
    trainer.train()
    return trainer


@pytest.fixture
def finished(whole: Trainer, tmp_path: Path) -> Path:
    """A copy of its folder."""
    return Path(shutil.copytree(str(whole.args.output_dir), tmp_path / "finished"))


def test_a_resumed_training_has_the_table_of_an_uninterrupted_one(
    finished: Path, whole: Trainer
) -> None:
    before = table(finished)
    assert [row.step for row in before] == [0, 2, 4, 6]
    trainer = watched(finished)
    trainer.train(resume_from_checkpoint=str(finished / "checkpoint-2"))
    after = table(finished)
    assert timeless(after) == timeless(before)
    assert_same_to_the_bit(weights(trainer), weights(whole))
    logged = [entry["step"] for entry in trainer.state.log_history if "forgetting" in entry]
    assert logged == [0, 2, 4, 6]
    times = [(row.measuring_seconds, row.training_seconds) for row in after]
    assert times == sorted(times)
    # The base is not asked again, now that its weights have changed.
    assert {row.base for row in after} == {before[0].base}


def test_a_line_that_was_being_written_is_dropped(finished: Path) -> None:
    path = finished / "forgetting" / "measurements.jsonl"
    with path.open("a") as file:
        file.write('{"schema": "palimpsest.mea')
    assert len(table(finished)) == 4
    watched(finished).train(resume_from_checkpoint=str(finished / "checkpoint-4"))
    assert [row.step for row in table(finished)] == [0, 2, 4, 6]


def test_what_was_not_asked_at_the_start_cannot_be_compared_later(finished: Path) -> None:
    with pytest.raises(UserError, match="8 prompts were not asked when the training started"):
        watched(finished, via=["leet", "upper"]).train(
            resume_from_checkpoint=str(finished / "checkpoint-4")
        )


def test_without_a_measurement_of_the_start_the_base_must_be_named(finished: Path) -> None:
    shutil.rmtree(finished / "forgetting")
    checkpoint = str(finished / "checkpoint-4")
    with pytest.raises(UserError, match="Name the base model"):
        watched(finished).train(resume_from_checkpoint=checkpoint)
    watched(finished, base="rosetta:base").train(resume_from_checkpoint=checkpoint)
    assert [row.step for row in table(finished)] == [4, 6]


def test_a_new_training_in_the_same_folder_begins_a_new_table(finished: Path) -> None:
    before = table(finished)
    watched(finished).train()
    kept = read_measurements(finished / "forgetting" / "measurements-1.jsonl")
    assert kept == before
    assert [row.step for row in table(finished)] == [0, 2, 4, 6]
    assert table(finished)[0].base != before[0].base
