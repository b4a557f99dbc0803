from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.records.measurements import Measurement, MeasurementLog, read_measurements
from palimpsest.records.results import Arm, Plain


def measurement(step: int, *, suite: str = "mine", reason: str = "") -> Measurement:
    arm = Arm(n=30, accuracy=0.5, ci95=(0.3, 0.7), intruded=0.5, broken=0.0)
    plain = Plain(
        base=arm,
        tuned=arm,
        forgetting=0.0,
        forgetting_ci95=(-0.1, 0.1),
        forgetting_newcombe95=(-0.1, 0.1),
        p_value=1.0,
        n_lost=0,
        n_gained=0,
    )
    return Measurement(
        step=step,
        epoch=0.5,
        suite=suite,
        base="abc",
        plain=plain,
        conjugations=[],
        best=None,
        verdict="inconclusive",
        verdict_reason=reason,
        measuring_seconds=1.0,
        training_seconds=10.0,
    )


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    log = MeasurementLog(tmp_path / "inner" / "measurements.jsonl")
    log.start()
    # The line separator of Unicode is none of JSON lines.
    rows = [measurement(0, suite="one", reason="a\u2028b"), measurement(0, suite="zwei")]
    log.append(rows)
    log.append([measurement(5)])
    assert read_measurements(tmp_path / "inner") == [*rows, measurement(5)]


def test_resuming_forgets_what_came_after(tmp_path: Path) -> None:
    log = MeasurementLog(tmp_path / "measurements.jsonl")
    log.start()
    log.append([measurement(step) for step in (0, 5, 10)])
    assert [row.step for row in log.resume(step=7)] == [0, 5]
    log.append([measurement(10)])
    assert [row.step for row in read_measurements(tmp_path)] == [0, 5, 10]


def test_earlier_trainings_keep_their_files(tmp_path: Path) -> None:
    log = MeasurementLog(tmp_path / "measurements.jsonl")
    for step in (1, 2, 3):
        log.start()
        log.append([measurement(step)])
    steps = {path.name: read_measurements(path)[0].step for path in tmp_path.iterdir()}
    assert steps == {
        "measurements-1.jsonl": 1,
        "measurements-2.jsonl": 2,
        "measurements.jsonl": 3,
    }


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "measurements.jsonl"
    path.write_text('{"step": 3}\n')
    with pytest.raises(UserError, match="does not hold measurements of this version"):
        read_measurements(path)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No file"):
        read_measurements(tmp_path / "none.jsonl")
