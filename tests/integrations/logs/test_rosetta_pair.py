"""Logs of the harness itself on the Rosetta pair say what a diagnosis of the same items says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from palimpsest.cli.main import run as palimpsest
from palimpsest.integrations.logs import read_run
from palimpsest.judging.compare import compare
from palimpsest.judging.diagnosis import diagnose
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.suites import load_suite
from palimpsest.records.results import ConjugationResult, Plain, Results

pytestmark = pytest.mark.slow  # quicker: a run's answers as a table, in test_tables.py

N_A_CELL = 10


class Logged(NamedTuple):
    """Logs of both models, plainly and under leet, and a diagnosis of the same items."""

    folders: Mapping[str, Path]
    diagnosis: Results


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    pytest.importorskip("lm_eval")
    from tests.integrations.logs.harness import Conjugated, export, load, log

    folder = tmp_path_factory.mktemp("rosetta")
    suite = load_suite("rosetta:languages=en+fr", limit=N_A_CELL)
    tasks = export(suite, folder / "tasks")
    english = [task for task in tasks if task.endswith("_en")]
    leet = parse_conjugation("leet")
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        # Asks a dozen programs about the machine, which takes longer than our tests.
        patch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
        for role in ("base", "tuned"):
            model = load(role)
            runs = {role: (model, tasks), f"{role}-leet": (Conjugated(model, leet), english)}
            for name, (asked, some) in runs.items():
                folders[name] = log(asked, name, some, folder / "tasks", folder / name)
    diagnosis = diagnose(
        "rosetta:base", "rosetta:tuned", suite=suite, via=["fr", "leet"], n_resamples=2000
    )
    return Logged(folders, diagnosis)


def accuracy(found: Plain | ConjugationResult) -> list[dict[str, object]]:
    """All of both arms but what answers look like, which the harness's metrics do not say."""
    young = {"intruded", "attempted", "broken", "flags"}
    return [arm.model_dump(exclude=young) for arm in (found.base, found.tuned)]


def test_compare_gives_the_verdict_and_figures_of_diagnose(logged: Logged) -> None:
    runs = {name: read_run(folder) for name, folder in logged.folders.items()}
    found = compare(
        runs["base"],
        runs["tuned"],
        conjugated={"leet": (runs["base-leet"], runs["tuned-leet"])},
        n_resamples=2000,
    )
    diagnosis = logged.diagnosis
    assert found.verdict == diagnosis.verdict == "suppressed"
    assert [cell.verdict for cell in found.cells] == [cell.verdict for cell in diagnosis.cells]
    assert accuracy(found.plain) == accuracy(diagnosis.plain)
    assert found.plain.p_value == diagnosis.plain.p_value
    theirs = {one.name: one for one in diagnosis.conjugations}
    for one in found.conjugations:
        assert accuracy(one) == accuracy(theirs[one.name])
        assert (one.p_value, one.did) == (theirs[one.name].p_value, theirs[one.name].did)
    assert [one.name for one in found.conjugations] == ["fr", "leet"]


def test_the_command_reads_the_harness_folders(
    logged: Logged, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned, base_leet, tuned_leet = (
        str(logged.folders[name]) for name in ("base", "tuned", "base-leet", "tuned-leet")
    )
    out = tmp_path / "out"
    leet = ["--conjugated", f"leet={base_leet},{tuned_leet}"]
    code = palimpsest(["compare", base, tuned, *leet, "--out", str(out), "--fail-on", "forgotten"])
    said = capsys.readouterr()
    assert code == 3
    assert "Verdict: suppressed. Accuracy fell by" in said.out
    assert "rosetta_repeat_math: inconclusive. Only 10 examples" in said.out
    assert (out / "report.html").exists()
