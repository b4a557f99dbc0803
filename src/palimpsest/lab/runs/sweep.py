"""Sweeps: runs that differ in some keys, done side by side, resumable, put into one table."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from palimpsest.engines import Done, Engine, Work
from palimpsest.errors import UserError
from palimpsest.files import digest_json, read_bytes
from palimpsest.lab.runs.claims import Judged, judge_claims
from palimpsest.lab.runs.config import Config, resolve
from palimpsest.lab.runs.measures import measures_of
from palimpsest.lab.runs.observer import Observed, observe
from palimpsest.lab.runs.running import Stages, config_differences, run, use_threads
from palimpsest.lab.runs.sweep_plan import Job, Plan, Plot, check_plot, combinations, run_name
from palimpsest.lab.runs.tables import Table, write_plot, write_table
from palimpsest.lab.runs.tuning_claims import judge_ways
from palimpsest.records import (
    LabResults,
    RunFolder,
    WriterLock,
    commit_of,
    platform_facts,
    versions,
)
from palimpsest.training import flattened, read_tensors, sigterm_raises

OnJob = Callable[[str, int, int, str], None]
"""Told what is being done, how many are done, of how many, and which was the last."""


def run_sweep(
    plan: Plan,
    out: Path | str,
    *,
    engine: Engine,
    bases: Path | None = None,
    on_job: OnJob = lambda kind, n_done, n_total, name: None,
) -> Table:
    """Do all runs of a sweep that are not done yet, and write the table and the figures.

    Runs that pretrain alike share the pretrained model. A run that fails leaves its message in the
    table, and is tried again the next time.

    Args:
        plan: What is varied.
        out: The sweep's folder; an earlier sweep there is continued.
        engine: Where the runs are done.
        bases: Folder of the pretrained models, which several sweeps may share one after the
            other; in the sweep's folder if left out.
        on_job: Told of every finished run.

    Raises:
        UserError: The folder belongs to something else, is in use, or cannot be written.
        KeyboardInterrupt: Ctrl-C, once everything is saved.
        Terminated: SIGTERM to one of the workers, likewise.
    """
    folder = RunFolder.create(out)
    lock = WriterLock(folder.path / "sweep.lock")
    try:
        _check_same(folder, plan)
        folder.record(
            {
                "sweep": plan.sweep.model_dump(mode="json"),
                "versions": versions(),
                "commit": commit_of(Path.cwd()),
                "platform": platform_facts(),
            }
        )
        store = RunFolder.create(bases) if bases else folder
        failed = _pretrain_all(plan, folder, store, engine, on_job)
        failed |= _run_all(plan, folder, store, failed, engine, on_job)
        table = _collected(plan, folder, store, failed)
        write_table(folder, plan, table)
    finally:
        lock.release()
    return table


def plot_again(folder: Path | str, *, measure: str, over: str, by: str | None = None) -> Path:
    """Draw one more figure of a sweep that has run, and return the path of its PNG.

    Raises:
        UserError: No sweep there, no such measure, or a key that it does not vary.
    """
    target = RunFolder.find(folder)
    asked = Plot(measure=measure, over=over, by=by)
    table = table_of(target)
    check_plot(asked, varied_keys(target))
    return target.path / "figures" / f"{write_plot(target, table, asked)}.png"


def table_of(target: RunFolder) -> Table:
    """Return all keys and measures of the runs of a sweep that are done, in the plan's order.

    Runs of an earlier plan that this one leaves out are no part of it.

    Raises:
        UserError: There is no sweep in the folder, or results of another version.
    """
    if "sweep" not in target.config:
        raise UserError(
            f"The folder '{target.path}' holds no sweep.",
            hint="Name a folder that 'palimpsest lab sweep … --out DIR' has written.",
        )
    runs = map(_read, filter(Path.exists, _planned(target).values()))
    return [flattened(one.provenance.config) | measures_of(one) for one in runs]


def judge_sweep(folder: Path | str) -> list[Judged]:
    """Return what a sweep over seeds says of C1 to C5, or one over ways of tuning of C10 and C11.

    Raises:
        UserError: As :func:`table_of`; it varies something else; or runs are missing.
    """
    target = RunFolder.find(folder)
    table = table_of(target)
    keys = {*varied_keys(target)}
    if others := sorted(keys - {"seed", "tuned_with"}):
        raise UserError(
            f"The sweep in '{target.path}' varies {', '.join(others)}.",
            hint="Claims are judged by runs that differ in 'seed' alone; C10 and C11 by runs that "
            "differ in 'seed' and 'tuned_with'.",
        )
    _check_finished(target)
    return list(judge_ways(table) if "tuned_with" in keys else judge_claims(table))


def observe_sweep(folder: Path | str) -> Observed:
    """Return the models of a sweep over tasks and steps beside a rational observer.

    Raises:
        UserError: As :func:`table_of` and :func:`~palimpsest.lab.runs.observer.observe`.
    """
    return observe(table_of(RunFolder.find(folder)))


def _planned(target: RunFolder) -> dict[str, Path]:
    """Return where each run of a sweep has its results, or will have them, by its name."""
    names = map(run_name, combinations(target.config["sweep"]["over"]))
    return {name: target.path / "runs" / name / "results.json" for name in names}


def _check_finished(target: RunFolder) -> None:
    planned = _planned(target)
    missing = [f"'{name}'" for name, path in planned.items() if not path.exists()]
    if missing:
        raise UserError(
            f"The sweep in '{target.path}' is not finished: {len(missing)} of {len(planned)} runs "
            f"are missing, {', '.join(missing)}.",
            hint="Run the same 'palimpsest lab sweep' command again; why a run failed stands under "
            "'error' in table.csv. To judge fewer runs, take them out of the sweep's file first.",
        )


def varied_keys(target: RunFolder) -> list[str]:
    """Return the keys that a sweep varies."""
    return list(flattened(target.config["sweep"]["over"]))


def pretrain_job(config: dict[str, Any], folder: str | None) -> bytes:
    """Pretrain, and return the file of the model.

    Args:
        config: The configuration's plain values.
        folder: Where unfinished states are kept; nowhere if left out. A state that is there is
            taken up, unless what is asked for may have ended before it: that begins anew, in a
            folder beside it.
    """
    resolved = resolve(config)
    use_threads(resolved)
    with sigterm_raises(), _workplace(folder) as place:
        if not _stages(resolved, place).can_continue:
            place = place.with_name(digest_json(resolved.base_facts))
        _stages(resolved, place).base(goes_on=folder is not None)
        return (place / "base.safetensors").read_bytes()


def run_job(config: dict[str, Any], base: bytes, folder: str | None) -> bytes:
    """Do one run from its pretrained model, and return its results as JSON."""
    with sigterm_raises(), _workplace(folder) as place:
        target = RunFolder.create(place)
        target.write_bytes("base.safetensors", base)
        results = run(resolve(config), place, base=place / "base.safetensors", report=False)
        return results.to_json().encode()


def _pretrain_all(
    plan: Plan, folder: RunFolder, store: RunFolder, engine: Engine, on_job: OnJob
) -> dict[str, str]:
    """Pretrain what is missing, each model once; return the errors by job.

    Where one pretraining continues another, the shorter comes first and leaves its state.
    """
    first = {job.base_key: job for job in reversed(plan.jobs)}
    missing = [job for key, job in first.items() if not _base_file(store, key).exists()]
    for key, job in first.items():
        _check_length(job, _n_pretrained(_base_file(store, key)), folder, store)
    states = store.path / "pretraining"
    errors: dict[str, str] = {}
    told = partial(on_job, "pretraining")
    n_left = len(missing)
    for jobs in _rounds(missing):
        pieces = [
            (_values(job), str(states / job.training_key) if engine.shares_disk else None)
            for job in jobs
        ]
        n_before = len(first) - n_left
        for job, done in _do(pretrain_job, jobs, pieces, engine, told, n_before, len(first)):
            if done.error:
                errors[job.base_key] = done.error
            else:
                store.write_bytes(f"bases/{job.base_key}.safetensors", done.result)
        n_left -= len(jobs)
    _remove_states(states, [job for key, job in first.items() if key not in errors], store)
    return {job.name: errors[job.base_key] for job in plan.jobs if job.base_key in errors}


def _remove_states(states: Path, finished: Sequence[Job], store: RunFolder) -> None:
    """Remove what finished pretrainings have left, but not what has gone further for others."""
    for job in finished:
        shutil.rmtree(states / job.base_key, ignore_errors=True)
        shared = states / job.training_key
        n_made = _n_pretrained(_base_file(store, job.base_key))
        if n_made is not None and shared.exists() and _stages(job.config, shared).n_saved <= n_made:
            shutil.rmtree(shared)


def _rounds(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield jobs that can be pretrained side by side: of each training, the next in length."""
    left: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=lambda job: job.config.pretrain.n_steps):
        left.setdefault(job.training_key, []).append(job)
    while left:
        yield [waiting.pop(0) for waiting in left.values()]
        left = {key: waiting for key, waiting in left.items() if waiting}


def _run_all(
    plan: Plan,
    folder: RunFolder,
    store: RunFolder,
    failed: dict[str, str],
    engine: Engine,
    on_job: OnJob,
) -> dict[str, str]:
    """Do the runs that are missing; return the errors by job."""
    missing = [job for job in plan.jobs if job.name not in failed and _results(folder, job) is None]
    pieces = [
        (
            _values(job),
            _base_file(store, job.base_key).read_bytes(),
            str(_place(folder, job)) if engine.shares_disk else None,
        )
        for job in missing
    ]
    errors: dict[str, str] = {}
    told = partial(on_job, "runs")
    n_before = len(plan.jobs) - len(missing)
    for job, done in _do(run_job, missing, pieces, engine, told, n_before, len(plan.jobs)):
        if done.error:
            errors[job.name] = done.error
        else:
            folder.write_bytes(f"runs/{job.name}/results.json", done.result + b"\n")
    return errors


def _do(
    work: Work,
    jobs: Sequence[Job],
    pieces: Sequence[tuple[Any, ...]],
    engine: Engine,
    told: Callable[[int, int, str], None],
    n_done: int,
    n_total: int,
) -> Iterator[tuple[Job, Done]]:
    """Yield what comes of each job, and tell of it once it has been seen to."""
    told(n_done, n_total, "")
    for done in engine.map(work, pieces):
        job = jobs[done.number]
        yield job, done
        n_done += 1
        told(n_done, n_total, job.name)


def _collected(plan: Plan, folder: RunFolder, store: RunFolder, failed: dict[str, str]) -> Table:
    rows: Table = []
    for job in plan.jobs:
        results = _results(folder, job)
        found = {} if results is None else measures_of(results)
        seconds = None if results is None else sum(results.provenance.seconds.values())
        error = failed.get(job.name, "")
        if found and found["n_pretrained"] is None:  # as runs had it before
            found["n_pretrained"] = _n_pretrained(_base_file(store, job.base_key))
        _check_length(job, found.get("n_pretrained"), folder, store)
        rows.append({**job.varied, **found, "seconds": seconds, "error": error})
    return rows


def _n_pretrained(base: Path) -> int | None:
    """Return the updates that made a base model, if it is still there."""
    found: int | None = read_tensors(base).facts.get("n_steps") if base.exists() else None
    return found


def _check_length(job: Job, n_made: float | None, folder: RunFolder, store: RunFolder) -> None:
    """Refuse a base of another length than its run says.

    Raises:
        UserError: It was made by more or fewer steps, as sweeps that shared states once made them.
    """
    asked = job.config.pretrain
    if n_made is None or asked.until != "steps" or n_made == asked.n_steps:
        return
    base, run = _base_file(store, job.base_key), _place(folder, job)
    raise UserError(
        f"The base of '{job.name}' was made by {n_made:.0f} steps; pretrain.n_steps is "
        f"{asked.n_steps}.",
        hint=f"Remove '{base}' and '{run}', if they are there, and run the same command again.",
    )


def _results(folder: RunFolder, job: Job) -> LabResults | None:
    """Return the results of a run if it is done."""
    path = _place(folder, job) / "results.json"
    return _read(path) if path.exists() else None


def _read(path: Path) -> LabResults:
    try:
        return LabResults.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise UserError(
            f"'{path}' holds no results of this version.",
            hint="Move its folder away and run the same command again.",
        ) from error


def _values(job: Job) -> dict[str, Any]:
    """Return a job's configuration for a worker, which has one thread."""
    values = job.config.to_dict()
    return values | {"n_threads": values["n_threads"] or 1}


def _place(folder: RunFolder, job: Job) -> Path:
    return folder.path / "runs" / job.name


def _base_file(store: RunFolder, key: str) -> Path:
    return store.path / "bases" / f"{key}.safetensors"


@contextmanager
def _workplace(folder: str | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="palimpsest-") as place:
        yield Path(place)


def _stages(config: Config, place: Path) -> Stages:
    return Stages(config, RunFolder.create(place), lambda name, progress: None)


def _check_same(folder: RunFolder, plan: Plan) -> None:
    """Refuse a folder of another sweep; more values and other plots are the same sweep."""
    before = folder.config
    if not before:
        return
    if "sweep" not in before:
        raise UserError(
            f"The folder '{folder.path}' holds something else than a sweep.",
            hint="Choose another folder with --out.",
        )
    for job in plan.jobs:
        results = _results(folder, job)
        if results is None:
            continue
        if differing := config_differences(results.provenance.config, job.config):
            raise UserError(
                f"The folder '{folder.path}' holds a sweep with another configuration: "
                f"{differing}.",
                hint="Choose another folder with --out.",
            )
