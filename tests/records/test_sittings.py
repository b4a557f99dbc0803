"""How long a run took in all of its sittings, whichever of them was killed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.conclude import open_run
from palimpsest.records import RunFolder, last_written, sit_down


def told(folder: RunFolder) -> list[float]:
    return [float(each) for each in json.loads(folder.read_text("sittings.json"))["seconds"]]


def test_sittings_add_up_and_one_that_asks_nothing_is_none(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    with sit_down(folder, last_written(folder)) as first:
        first.began -= 100
        first.n_new = 10
    with sit_down(folder, last_written(folder)) as second:
        second.began -= 40
        second.n_new = 1
        assert sum(second.all) == pytest.approx(140, abs=5)
    with sit_down(folder, last_written(folder)) as third:
        third.began -= 1000
        assert sum(third.all) == pytest.approx(140, abs=5)
    assert told(folder) == pytest.approx([100, 40], abs=5)


@pytest.mark.parametrize("ahead", [-86_400.0, 0.0, 86_400.0])
def test_a_killed_sitting_lasts_until_its_last_answer_by_the_clock_of_the_disk(
    tmp_path: Path, ahead: float
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json("sittings.json", {"seconds": [5.0], "goes_on": True})
    folder.answers.write_bytes(b"")
    began = time.time() + ahead
    os.utime(folder.path / "sittings.json", (began, began))
    os.utime(folder.answers, (began + 30, began + 30))
    with sit_down(folder, last_written(folder)) as sittings:
        assert sittings.earlier == pytest.approx([5.0, 30.0])


def test_one_that_was_killed_before_its_first_answer_took_no_time(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.answers.write_bytes(b"")
    os.utime(folder.answers, (1000, 1000))
    folder.write_json("sittings.json", {"seconds": [], "goes_on": True})
    with sit_down(folder, last_written(folder)) as sittings:
        assert sittings.earlier == []


@pytest.mark.parametrize("content", ["", "[]", '{"seconds": "many", "goes_on": false}'])
def test_a_damaged_file_is_none(tmp_path: Path, content: str) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_text("sittings.json", content)
    with sit_down(folder, last_written(folder)) as sittings:
        assert sittings.earlier == []


def test_a_call_that_is_refused_leaves_the_times_of_the_one_that_works(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with open_run(path, "test", seed=0, n_resamples=1, started=time.monotonic()):
        before = (path / "sittings.json").read_bytes()
        with (
            pytest.raises(UserError, match="another"),
            open_run(path, "test", seed=0, n_resamples=1, started=time.monotonic()),
        ):
            raise AssertionError
        assert (path / "sittings.json").read_bytes() == before
