import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.lab.micro import NO_REMEDIES, micro_file
from tests.lab.tiny import same

from palimpsest.engines.engine import Done, Work, make_engine
from palimpsest.engines.local import HereEngine, LocalEngine
from palimpsest.errors import UserError
from palimpsest.lab.predictors import Transformer, load_transformer
from palimpsest.lab.runs.measures import MEASURES
from palimpsest.lab.runs.running import Stages
from palimpsest.lab.runs.sweep import plot_again, pretrain_job, run_sweep
from palimpsest.lab.runs.sweep_plan import Plan, Plot, load_sweep
from palimpsest.lab.runs.tables import (
    csv_table,
    parquet_table,
    read_csv,
    summary,
    sweep_lines,
)
from palimpsest.lab.training import pretrain
from palimpsest.records import RunFolder
from palimpsest.training import read_tensors, saved_step

pytestmark = pytest.mark.usefixtures("empty_figures")

SWEEP = """
name = "micro"
config = "micro.toml"

[over]
"finetune.n_steps" = [4, 8]
new_tasks = [false, true]

[[plots]]
measure = "tuned_cont"
over = "finetune.n_steps"
by = "new_tasks"
"""


class Here(HereEngine):
    """This process, which may be stopped after some pieces."""

    def __init__(self, *, stop_after: int = 10**6) -> None:
        super().__init__()
        self.done: list[str] = []
        self._left = stop_after

    def map(self, work: Work, pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        n = self._left
        for done in super().map(work, pieces[:n]):
            self._left -= 1
            self.done.append(work.__name__)
            yield done
        if len(pieces) > n:
            raise KeyboardInterrupt


def sweep_plan(folder: Path, content: str = SWEEP, settings: Sequence[str] = NO_REMEDIES) -> Plan:
    micro_file(folder)
    path = folder / "sweep.toml"
    path.write_text(content, "utf-8")
    return load_sweep(path, settings)


def comparable(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], Here]:
    folder = tmp_path_factory.mktemp("sweep")
    engine = Here()
    table = run_sweep(sweep_plan(folder), folder / "out", engine=engine)
    return folder / "out", table, engine


@pytest.mark.slow
def test_every_combination_is_run_and_bases_are_shared(
    finished: tuple[Path, list[dict[str, Any]], Here],
) -> None:
    _, table, engine = finished
    assert [(row["finetune.n_steps"], row["new_tasks"]) for row in table] == [
        (4, False),
        (4, True),
        (8, False),
        (8, True),
    ]
    assert engine.done == ["pretrain_job"] + ["run_job"] * 4
    assert {row["base_cont"] for row in table if not row["new_tasks"]} == {table[0]["base_cont"]}


@pytest.mark.slow
def test_the_table_has_every_measure_and_no_error(
    finished: tuple[Path, list[dict[str, Any]], Here],
) -> None:
    folder, table, _ = finished
    assert all(set(MEASURES) <= row.keys() and row["error"] == "" for row in table)
    with (folder / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["tuned_cont"]) for row in rows] == [row["tuned_cont"] for row in table]


def test_the_parquet_table_is_the_same(
    finished: tuple[Path, list[dict[str, Any]], Here],
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")
    folder, table, _ = finished
    found = parquet.read_table(folder / "table.parquet").to_pylist()
    assert [row["tuned_cont"] for row in found] == [row["tuned_cont"] for row in table]
    assert [row["new_tasks"] for row in found] == [False, True, False, True]


def test_the_plots_are_drawn_and_any_other_can_be_drawn_later(
    finished: tuple[Path, list[dict[str, Any]], Here],
) -> None:
    folder, _, _ = finished
    name = "tuned-cont-over-finetune-n-steps-by-new-tasks"
    assert (folder / "figures" / f"{name}.png").exists()
    assert (folder / "figures" / f"{name}.svg").exists()
    assert plot_again(folder, measure="g_hat_tuned", over="new_tasks").exists()
    with pytest.raises(UserError, match="Did you mean 'g_hat_tuned'"):
        plot_again(folder, measure="g_hat_tune", over="new_tasks")
    with pytest.raises(UserError, match="does not vary"):
        plot_again(folder, measure="g_hat_tuned", over="problem.n_tasks")


@pytest.mark.slow
def test_a_finished_sweep_does_nothing_again(
    finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    folder, table, _ = finished
    engine = Here()
    assert run_sweep(sweep_plan(tmp_path), folder, engine=engine) == table
    assert engine.done == []


@pytest.mark.slow
def test_an_interrupted_sweep_continues_to_the_same_table(
    finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    plan = sweep_plan(tmp_path)
    for n in (0, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            run_sweep(plan, tmp_path / "out", engine=Here(stop_after=n))
    engine = Here()
    table = run_sweep(plan, tmp_path / "out", engine=engine)
    assert comparable(table) == comparable(finished[1])
    assert engine.done == ["run_job"] * 2


@pytest.mark.slow
def test_pretrained_models_can_be_shared_between_sweeps(tmp_path: Path) -> None:
    first, second = Here(), Here()
    content = SWEEP.replace("[false, true]", "[false]")
    run_sweep(sweep_plan(tmp_path, content), tmp_path / "a", engine=first, bases=tmp_path / "bases")
    content = content.replace("[4, 8]", "[6]")
    run_sweep(
        sweep_plan(tmp_path, content), tmp_path / "b", engine=second, bases=tmp_path / "bases"
    )
    assert first.done[0] == "pretrain_job"
    assert second.done == ["run_job"]


@pytest.mark.slow
def test_a_longer_pretraining_continues_the_shorter_to_the_same_model(tmp_path: Path) -> None:
    content = SWEEP.replace(
        '"finetune.n_steps" = [4, 8]\nnew_tasks = [false, true]', '"pretrain.n_steps" = [12, 5]'
    )
    content = content.replace('over = "finetune.n_steps"\nby = "new_tasks"', 'over = "seed"')
    content = content.replace("[[plots]]", "seed = [0]\n[[plots]]")
    settings = [*NO_REMEDIES, "pretrain.schedule=constant", "pretrain.average=0.2"]
    plan = sweep_plan(tmp_path, content, settings)
    steps: list[int] = []
    told = lambda kind, n_done, n_total, name: steps.append(n_done)  # noqa: E731
    table = run_sweep(plan, tmp_path / "out", engine=Here(), on_job=told)
    assert [row["n_pretrained"] for row in table] == [12, 5]
    assert steps[:4] == [0, 1, 1, 2]  # in two rounds
    assert not list((tmp_path / "out" / "pretraining").glob("*"))
    for job, row in zip(plan.jobs, table, strict=True):
        alone = pretrain(job.config.problem, job.config.transformer, job.config.pretrain)
        stored = tmp_path / "out" / "bases" / f"{job.base_key}.safetensors"
        assert same(alone, load_transformer(stored)), row["n_pretrained"]


OPEN = (*NO_REMEDIES, "pretrain.schedule=constant", "pretrain.save_every=1")
"""A training that can be continued past its end."""


def lengths(folder: Path, n_steps: list[int], *settings: str) -> Plan:
    over = f'"pretrain.n_steps" = {n_steps}\nseed = [0]'
    content = f'name = "lengths"\nconfig = "micro.toml"\n[over]\n{over}\n'
    return sweep_plan(folder, content, [*OPEN, *settings])


def left_behind(plan: Plan, bases: Path) -> Path:
    """Return the folder with the state of a pretraining, as an interruption leaves it."""
    [job] = plan.jobs
    folder = RunFolder.create(bases).path / "pretraining" / job.training_key
    pretrain_job(job.config.to_dict(), str(folder))
    (folder / "base.safetensors").unlink()
    return folder


@pytest.mark.slow
def test_a_state_that_has_gone_past_what_is_asked_for_is_left_to_the_longer_training(
    tmp_path: Path,
) -> None:
    states = left_behind(lengths(tmp_path, [12]), tmp_path / "bases")
    plan = lengths(tmp_path, [5])
    [row] = run_sweep(plan, tmp_path / "out", engine=Here(), bases=tmp_path / "bases")
    assert row["n_pretrained"] == 5
    [job] = plan.jobs
    alone = pretrain(job.config.problem, job.config.transformer, job.config.pretrain)
    stored = tmp_path / "bases" / "bases" / f"{job.base_key}.safetensors"
    assert same(alone, load_transformer(stored))
    assert [path.name for path in states.parent.iterdir()] == [states.name]
    assert saved_step(states / "training" / "pretraining.safetensors") == 12


@pytest.mark.parametrize(
    ("before", "n_made"),
    [
        (["pretrain.until=steps"], [2, 4]),
        (["pretrain.until=converged", "pretrain.check_every=3"], [2, 4]),
        (["pretrain.until=converged", "pretrain.check_every=2"], [4]),
    ],
    ids=["nobody looked", "somebody looked elsewhere", "all was looked at"],
)
def test_until_converged_goes_on_only_where_every_step_was_looked_at(
    before: list[str], n_made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = left_behind(lengths(tmp_path, [3], *before), tmp_path / "bases")
    looked: list[int] = []

    def look(stages: Stages, step: int, model: Transformer) -> bool:
        looked.append(step)
        return step == 4

    monkeypatch.setattr(Stages, "is_converged", look)
    [job] = lengths(tmp_path, [9], "pretrain.until=converged", "pretrain.check_every=2").jobs
    (tmp_path / "base.safetensors").write_bytes(pretrain_job(job.config.to_dict(), str(folder)))
    assert looked == n_made
    assert read_tensors(tmp_path / "base.safetensors").facts["n_steps"] == 4


def test_a_look_that_saw_a_model_converge_is_not_passed_by(tmp_path: Path) -> None:
    folder = left_behind(lengths(tmp_path, [5]), tmp_path / "bases")
    settings = ("pretrain.until=converged", "pretrain.check_every=2")
    [job] = lengths(tmp_path, [9], *settings).jobs
    stages = Stages(job.config, RunFolder.create(folder), lambda name, progress: None)
    for seen, expected in ((False, True), (True, False)):
        looks = [{"step": 2, "has_converged": False}, {"step": 4, "has_converged": seen}]
        stages.folder.write_json("convergence.json", looks)
        assert stages.can_continue is expected


@pytest.mark.slow
def test_states_that_an_interruption_left_of_finished_pretrainings_are_removed(
    tmp_path: Path,
) -> None:
    plan = lengths(tmp_path, [5])
    run_sweep(plan, tmp_path / "out", engine=Here())
    left_behind(plan, tmp_path / "out")
    run_sweep(plan, tmp_path / "out", engine=Here())
    assert not list((tmp_path / "out" / "pretraining").iterdir())


@pytest.mark.slow
def test_a_base_of_another_length_than_its_run_says_is_refused(tmp_path: Path) -> None:
    long, short = lengths(tmp_path, [12]), lengths(tmp_path, [5])
    run_sweep(long, tmp_path / "long", engine=Here())
    [[made], [asked]] = long.jobs, short.jobs
    path = tmp_path / "long" / "runs" / made.name / "results.json"
    results = json.loads(path.read_text("utf-8"))
    results["provenance"]["config"]["pretrain"]["n_steps"] = 5
    folder = RunFolder.create(tmp_path / "short")
    folder.write_text(f"runs/{asked.name}/results.json", json.dumps(results))
    said = r"made by 12 steps; pretrain\.n_steps is 5"
    with pytest.raises(UserError, match=said):
        run_sweep(short, folder.path, engine=Here())
    shutil.rmtree(folder.path / "runs")
    stored = (tmp_path / "long" / "bases" / f"{made.base_key}.safetensors").read_bytes()
    folder.write_bytes(f"bases/{asked.base_key}.safetensors", stored)
    with pytest.raises(UserError, match=said):
        run_sweep(short, folder.path, engine=Here())


@pytest.mark.slow
def test_a_run_that_fails_is_in_the_table_with_its_message_and_is_tried_again(
    tmp_path: Path,
) -> None:
    content = SWEEP.replace("[false, true]", "[false]").replace(
        '"finetune.n_steps" = [4, 8]', '"finetune.learning_rate" = [1e-3, 1e30]'
    )
    content = content.replace('over = "finetune.n_steps"', 'over = "finetune.learning_rate"')
    plan = sweep_plan(tmp_path, content)
    good, bad = run_sweep(plan, tmp_path / "out", engine=Here())
    assert good["error"] == ""
    assert "diverged at step" in bad["error"]
    engine = Here()
    run_sweep(plan, tmp_path / "out", engine=engine)
    assert engine.done == ["run_job"]


@pytest.mark.slow
def test_a_folder_of_another_sweep_is_refused(
    finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    folder, _, _ = finished
    other = sweep_plan(tmp_path, settings=[*NO_REMEDIES, "finetune.batch_size=4"])
    with pytest.raises(UserError, match=r"finetune\.batch_size is 8 there and 4 here"):
        run_sweep(other, folder, engine=Here())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"finetune.n_steps" = [4', '"finetune.steps" = [4', "Did you mean 'finetune.n_steps'?"),
        ("new_tasks = [false, true]", "new_tasks = []", "no values for 'new_tasks'"),
        ("new_tasks = [false, true]", "new_tasks = true", "no values for 'new_tasks'"),
        ("new_tasks = [false, true]", "new_tasks = [1, 1]", "a value twice"),
        ('"tuned_cont"', '"tuned_count"', "Did you mean 'tuned_cont'?"),
        ('by = "new_tasks"', 'by = "seed"', "which the sweep does not vary"),
        ('name = "micro"', 'nme = "micro"', "Did you mean 'name'?"),
        ('config = "micro.toml"', 'config = "mikro.toml"', "There is no file"),
        ('config = "micro.toml"', 'config = "mikro"', "No preset named 'mikro'"),
        ("[4, 8]", "[4, 0]", "n_steps is 0"),
    ],
)
def test_a_mistake_in_a_sweep_is_named_before_anything_runs(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert old in SWEEP
    with pytest.raises(UserError) as caught:
        sweep_plan(tmp_path, SWEEP.replace(old, new))
    assert said in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(Path("experiments/lab").glob("*.toml")), ids=str)
def test_the_published_sweeps_can_be_read_and_have_three_seeds(path: Path) -> None:
    plan = load_sweep(path)
    assert len({job.config.seed for job in plan.jobs}) >= 3
    assert plan.sweep.plots


def test_lines_show_means_intervals_and_leave_out_what_is_undefined() -> None:
    table = [
        {"seed": seed, "x": x, "recovery": value}
        for seed, x, value in ((0, 1, 0.5), (1, 1, 0.7), (0, 2, None), (1, 2, 0.4), (0, 3, None))
    ]
    [line] = sweep_lines(table, Plot(measure="recovery", over="x"))
    one, two = line.points
    # Student's t with one degree of freedom: 12.7062, times a standard error of 0.1.
    assert one.mean == pytest.approx(0.6)
    assert one.high == pytest.approx(0.6 + 1.27062, abs=1e-5)
    assert (two.x, two.mean, two.low, two.values) == (2, 0.4, 0.4, [0.4])


@pytest.mark.slow
def test_results_of_another_version_are_named(
    finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished[0], folder)
    path = next(folder.glob("runs/*/results.json"))
    path.write_text('{"schema": "palimpsest.lab/0"}', "utf-8")
    with pytest.raises(UserError, match="holds no results of this version"):
        plot_again(folder, measure="recovery", over="new_tasks")
    with pytest.raises(UserError, match="holds no results of this version"):
        run_sweep(sweep_plan(tmp_path), folder, engine=Here())


def test_tables_hold_lists_and_missing_values() -> None:
    table = [{"a": [1, 2], "b": None, "seconds": 1.0, "error": ""}]
    assert csv_table(table) == 'a,b,seconds,error\n"[1, 2]",,1.0,\n'
    assert parquet_table(table)


def test_a_table_is_read_back_and_summed_up_by_the_values_of_its_keys() -> None:
    table: list[dict[str, Any]] = [
        {"new": new, "steps": steps, "recovery": steps / 10 + seed, "error": ""}
        for new in (False, True)
        for steps in (1, 2)
        for seed in (0, 1)
    ]
    table[0]["recovery"] = None  # undefined where nothing was forgotten
    read = read_csv(csv_table(table))
    assert read[1] == {"new": "False", "steps": 1, "recovery": 1.1, "seconds": None, "error": None}
    text = summary(read, over="steps", measures=["recovery"], by="new")
    # One run has no width; two have 12.706 (t with one degree of freedom) times 0.5.
    assert text.splitlines() == [
        "| new | steps | recovery |",
        "|---|---|---|",
        "| False | 1 | 1.10 |",
        "| False | 2 | 0.70 [−5.65, 7.05] |",
        "| True | 1 | 0.60 [−5.75, 6.95] |",
        "| True | 2 | 0.70 [−5.65, 7.05] |",
    ]


@pytest.mark.slow
def test_processes_give_the_same_table(
    finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    table = run_sweep(sweep_plan(tmp_path), tmp_path / "out", engine=LocalEngine(workers=2))
    assert comparable(table) == comparable(finished[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
def test_a_ray_cluster_gives_the_same_table(
    finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs the package ray")
    from palimpsest.engines.ray_cluster import RayEngine

    engine = make_engine("ray", workers=2)
    assert isinstance(engine, RayEngine)
    try:
        table = run_sweep(sweep_plan(tmp_path), tmp_path / "out", engine=engine)
    finally:
        engine.close()
    assert comparable(table) == comparable(finished[1])


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_killed_sweep_leaves_no_process_behind_and_continues(
    kill: signal.Signals, finished: tuple[Path, list[dict[str, Any]], Here], tmp_path: Path
) -> None:
    sweep_plan(tmp_path)
    palimpsest = Path(sys.executable).with_name("palimpsest")
    command = [str(palimpsest), "lab", "sweep", "sweep.toml", "-q"]
    command += ["--out", "out", "--workers", "2"]
    command += [word for setting in NO_REMEDIES for word in ("--set", setting)]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "out" / "pretraining").exists():
        time.sleep(0.05)
    if kill is signal.SIGINT:
        os.killpg(process.pid, kill)  # as a terminal does
        assert process.wait(60) == 130
    else:
        process.kill()
        process.wait(60)
    for _ in range(600):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker goes on after the sweep was killed")
    table = run_sweep(sweep_plan(tmp_path), tmp_path / "out", engine=Here())
    assert comparable(table) == comparable(finished[1])


@pytest.mark.slow
@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["the sweep", "its group"])
def test_sigterm_stops_a_sweep_with_a_word_once_its_trainings_are_saved(
    whom: Callable[[int, int], None], tmp_path: Path
) -> None:
    settings = ["n_steps=1000000", "until=converged", "check_every=20", "save_every=1000000"]
    sweep_plan(tmp_path)
    palimpsest = Path(sys.executable).with_name("palimpsest")
    command = [str(palimpsest), "lab", "sweep", "sweep.toml", "-q"]
    command += ["--out", "out", "--workers", "2"]
    command += [word for setting in settings for word in ("--set", f"pretrain.{setting}")]
    process = subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    looks, said = tmp_path / "out" / "pretraining", ""
    while not list(looks.glob("*/convergence.json")):
        assert process.poll() is None
        time.sleep(0.05)
    whom(process.pid, signal.SIGTERM)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert "Run the same command again to continue." in said
    [state] = looks.glob("*/training/pretraining.safetensors")
    assert saved_step(state) >= 20
