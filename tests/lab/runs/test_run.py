import errno
import json
from pathlib import Path

import pytest
from tests.lab.micro import NO_REMEDIES, micro_config

from palimpsest.errors import UserError
from palimpsest.lab.measuring.bench import curve_steps
from palimpsest.lab.runs.running import run
from palimpsest.records.lab_results import LabResults
from palimpsest.records.run_folder import RunFolder, WriterLock
from palimpsest.training.progress import Progress

pytestmark = pytest.mark.usefixtures("empty_figures")

TRAININGS = ["pretraining", "fine-tuning", "replay 0.25"]


def trained(stages: list[str]) -> list[str]:
    return [name for name in stages if name in TRAININGS]


def without_provenance(results: LabResults) -> dict[str, object]:
    return results.model_dump(exclude={"provenance"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LabResults]:
    folder = tmp_path_factory.mktemp("run")
    return folder / "out", run(micro_config(folder), folder / "out", command="as typed")


def test_a_run_writes_results_tables_figures_models_and_the_report(
    finished: tuple[Path, LabResults],
) -> None:
    folder, results = finished
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = ("tuning", "by-exemplars", "inference", "split", "closeness", "trade-off")
    wanted = {f"figures/{name}.{kind}" for name in figures for kind in ("png", "svg")}
    tables = ("conjugations", "tuning", "by_exemplars", "closeness", "remedies")
    wanted |= {f"{name}.csv" for name in tables}
    wanted |= {"report.html", "results.json", "base.safetensors", "tuned.safetensors", "run.json"}
    assert wanted <= names
    assert "figures/recovery.png" not in names  # nothing was forgotten, so it would be empty
    assert LabResults.model_validate_json((folder / "results.json").read_bytes()) == results


def test_the_folder_records_how_to_repeat_the_run(finished: tuple[Path, LabResults]) -> None:
    folder, results = finished
    recorded = RunFolder.find(folder).config
    assert recorded["command"] == "as typed"
    assert recorded["lab"] == results.provenance.config
    assert recorded["lab"]["finetune"]["seed"] == 1000
    assert {"versions", "commit", "platform"} <= recorded.keys()


def test_every_measurement_is_there(finished: tuple[Path, LabResults]) -> None:
    _, results = finished
    assert [one.step for one in results.curve] == curve_steps(8, 3)
    assert [one.name for one in results.conjugations] == [
        "scale:2",
        "negate",
        "rotation",
        "signs",
        "permutation",
        "rotations:1",
        "rotations:2",
        "rotations:4",
    ]
    assert [one.is_symmetry for one in results.conjugations] == [False, *[True] * 7]
    assert [one.name for one in results.remedies] == ["replay 0.25", "interpolation 0.5"]
    assert {len(one.values) for one in results.by_exemplars} == {5}
    assert [len(one.deciles) for one in results.closeness] == [10, 10]
    assert [one.name for one in results.oracles] == ["ridge", "discrete", "mixture", "zero"]


def test_parts_of_the_excess_add_up(finished: tuple[Path, LabResults]) -> None:
    for part in finished[1].split:
        parts = [part.inference.value, part.overlap.value, part.bias.value, part.variance.value]
        assert sum(value or 0.0 for value in parts) == pytest.approx(part.excess.value)


def test_a_model_that_did_not_learn_the_discrete_solution_is_said_to(
    finished: tuple[Path, LabResults],
) -> None:
    _, results = finished
    assert not results.check.is_learnt
    assert any("was NOT learnt" in warning for warning in results.warnings)


def test_without_forgetting_recovery_is_undefined_and_said_to_be(
    finished: tuple[Path, LabResults],
) -> None:
    _, results = finished
    assert results.forgetting.ci95 is not None
    assert results.forgetting.ci95[0] <= 0
    assert all(one.recovery.value is None for one in results.conjugations)
    assert any("nothing to recover" in warning for warning in results.warnings)


@pytest.mark.slow
def test_a_finished_run_trains_nothing_again(
    finished: tuple[Path, LabResults], tmp_path: Path
) -> None:
    folder, results = finished
    stages: list[str] = []
    again = run(
        micro_config(tmp_path), folder, report=False, on_stage=lambda name, _: stages.append(name)
    )
    assert trained(stages) == []
    assert without_provenance(again) == without_provenance(results)


@pytest.mark.slow
def test_more_remedies_continue_the_run(finished: tuple[Path, LabResults], tmp_path: Path) -> None:
    folder, _ = finished
    config = micro_config(tmp_path, "remedies.interpolation=[0.5, 0.25]")
    again = run(config, folder, report=False)
    assert [one.name for one in again.remedies][-1] == "interpolation 0.25"


def test_a_folder_of_another_configuration_is_refused(
    finished: tuple[Path, LabResults], tmp_path: Path
) -> None:
    folder, _ = finished
    before = (folder / "run.json").read_bytes()
    with pytest.raises(UserError, match=r"finetune\.n_steps is 8 there and 9 here"):
        run(micro_config(tmp_path, "finetune.n_steps=9"), folder)
    assert (folder / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    config = micro_config(tmp_path)
    RunFolder.create(tmp_path / "out")
    lock = WriterLock(tmp_path / "out" / "run.lock")
    with pytest.raises(UserError, match="in use by another palimpsest process"):
        run(config, tmp_path / "out")
    lock.release()


def test_a_folder_that_palimpsest_did_not_make_is_left_alone(tmp_path: Path) -> None:
    config = micro_config(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(UserError, match="palimpsest did not make it"):
        run(config, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [*(pytest.param(stage, marks=pytest.mark.slow) for stage in TRAININGS[:-1]), TRAININGS[-1]],
)
def test_interrupted_in_any_training_it_continues_to_the_same_results(
    stage: str, finished: tuple[Path, LabResults], tmp_path: Path
) -> None:
    def interrupt(name: str, progress: Progress | None) -> None:
        if name == stage and progress is not None and progress.step == 4:
            raise KeyboardInterrupt

    config = micro_config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "out", on_stage=interrupt)
    again = run(config, tmp_path / "out", report=False)
    assert without_provenance(again) == without_provenance(finished[1])
    assert again.provenance.models == finished[1].provenance.models
    assert list((tmp_path / "out" / "training").iterdir()) == []


@pytest.mark.slow
def test_a_diverging_training_says_at_which_step_and_keeps_the_last_good_state(
    tmp_path: Path,
) -> None:
    config = micro_config(tmp_path, "finetune.learning_rate=1e30", "finetune.save_every=1")
    with pytest.raises(UserError, match=r"diverged at step \d+"):
        run(config, tmp_path / "out")
    assert (tmp_path / "out" / "base.safetensors").exists()


@pytest.mark.slow
def test_a_new_discrete_set_and_other_functions_run_through(tmp_path: Path) -> None:
    for number, setting in enumerate(("new_tasks=true", "problem.function_class=fourier")):
        config = micro_config(tmp_path, setting, *NO_REMEDIES)
        results = run(config, tmp_path / str(number), report=False)
        assert results.best is not None
        json.loads(results.to_json())


def test_a_base_of_other_sizes_or_of_another_discrete_set_is_refused(
    finished: tuple[Path, LabResults], tmp_path: Path
) -> None:
    base = finished[0] / "base.safetensors"
    for setting, said in (("model.width=16", "width"), ("problem.task_seed=9", "task_fingerprint")):
        with pytest.raises(UserError, match=said):
            run(micro_config(tmp_path, setting), tmp_path / setting, base=base)


@pytest.mark.slow
def test_on_a_full_disk_nothing_is_lost(
    finished: tuple[Path, LabResults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = micro_config(tmp_path)
    free = 8  # writes

    def fsync(file: int) -> None:
        nonlocal free
        free -= 1
        if free < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("palimpsest.records.run_folder.os.fsync", fsync)
        with pytest.raises(UserError, match=r"The disk that holds .* is full"):
            run(config, tmp_path / "out")
    again = run(config, tmp_path / "out", report=False)
    assert without_provenance(again) == without_provenance(finished[1])


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="is one process; this is one of 2"):
        run(micro_config(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
