from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from tests.report.diagnosis.hostile import SCRIPT
from tests.report.lab.factory import fake_lab_results
from tests.report.lab.test_figures import NAMES

from palimpsest.cli.main import run
from palimpsest.records.run_folder import RunFolder
from palimpsest.report.lab.figures import FIGURES
from palimpsest.report.lab.findings import with_findings
from palimpsest.report.lab.page import csv_tables, render_lab_page
from palimpsest.report.page import write_figure
from palimpsest.report.writing import write_lab_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = RunFolder.create(tmp_path_factory.mktemp("lab")).path
    return folder, write_lab_report(folder, fake_lab_results()).read_text("utf-8")


def test_the_page_asks_nothing_of_the_network(page: tuple[Path, str]) -> None:
    _, text = page
    addresses = set(re.findall(r"https?://[\w./]+", text))
    assert addresses == {"https://arxiv.org/abs/2309.10105", "http://www.w3.org/2000/svg"}
    assert "script-src 'none'" in text
    assert "<script" not in text


def test_the_page_holds_findings_figures_tables_and_configuration(page: tuple[Path, str]) -> None:
    _, text = page
    for wanted in ("Tuning hid much.", "rotations:32", "problem.n_tasks", "0123456789abcdef"):
        assert wanted in text
    assert all(f'id="figure-{name}"' in text for name in NAMES)
    assert re.findall(r'href="#([\w-]+)"', text)[0] == "findings"
    for target in re.findall(r'<a href="#([\w-]+)"', text):
        assert f'id="{target}"' in text


def test_every_figure_and_table_is_a_file_beside_the_page(page: tuple[Path, str]) -> None:
    folder, _ = page
    for name in NAMES:
        assert (folder / "figures" / f"{name}.png").stat().st_size
        assert (folder / "figures" / f"{name}.svg").stat().st_size
    results = fake_lab_results()
    rows = {
        "conjugations": len(results.conjugations),
        "tuning": len(results.curve),
        "by_exemplars": 9 * (len(results.by_exemplars) + len(results.inference)),
        "closeness": 20,
        "remedies": len(results.remedies),
    }
    for name, n_rows in rows.items():
        with (folder / f"{name}.csv").open(encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == n_rows > 0


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    results = fake_lab_results(with_remedies=False)
    drawing = FIGURES.drawings(results)[0]
    first, again = (write_figure(RunFolder(tmp_path), drawing) for _ in range(2))
    assert render_lab_page(results, [first]) == render_lab_page(results, [again])


def test_names_of_any_kind_are_shown_and_do_not_run() -> None:
    assert SCRIPT not in render_lab_page(fake_lab_results(name=SCRIPT), [])


def test_the_symbols_are_explained_before_the_findings_use_them() -> None:
    text = render_lab_page(fake_lab_results(), [])
    first = text.index("Tuning hid much.")
    for symbol in ("D_cont", "D_disc", "Loss", "ĝ", "[a, b]"):
        assert text.index(f"<dt>{symbol}</dt>") < first


def test_what_is_a_warning_is_not_said_again_among_the_findings() -> None:
    results = fake_lab_results()
    said = "The discrete solution was NOT learnt."
    check = results.check.model_copy(update={"is_learnt": False, "sentence": said})
    found = with_findings(results.model_copy(update={"check": check}))
    assert said in found.warnings
    assert said not in found.findings
    assert with_findings(results).findings[:2] == [
        results.check.convergence,
        "C1: the discrete solution was learnt.",
    ]
    old = found.model_copy(update={"findings": [said, *found.findings]})  # as runs had it before
    assert render_lab_page(old, []).count(said) == 1


def test_a_growth_that_is_not_clear_is_said_and_not_split() -> None:
    def split(forgets: bool) -> list[str]:
        found = with_findings(fake_lab_results(forgets=forgets)).findings
        return [one for one in found if "excess over ridge" in one]

    [clear], [unclear] = split(True), split(False)
    assert "that the excess over ridge has grown by" in clear
    assert "%" in clear
    assert unclear == "C4: the excess over ridge has not clearly grown, so its growth is not split."


def test_a_run_is_judged_by_an_ensemble_though_it_be_of_one_member() -> None:
    results = fake_lab_results()
    few = [one for one in results.conjugations if one.n_members == 1]
    best = results.model_copy(update={"conjugations": few}).best
    assert best is not None
    assert best.name == "rotations:1"


def test_an_undefined_number_breaks_no_tile() -> None:
    text = render_lab_page(fake_lab_results(forgets=False), [])
    tiles = text.partition('<dl class="keys">')[2].partition("</dl>")[0]
    assert tiles.count('<dd class="value">–</dd>') == 2
    assert tiles.count("undefined: no clear forgetting") == 2


def test_the_report_of_a_finished_run_is_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.record({"lab": {"name": "tiny"}})
    assert run(["report", str(folder.path)]) == 2
    assert "has no results.json yet" in capsys.readouterr().err
    folder.write_text("results.json", '{"schema": "palimpsest.lab/0"}')
    assert run(["report", str(folder.path)]) == 2
    assert "does not follow the schema" in capsys.readouterr().err


def test_undefined_numbers_are_said_on_the_page_and_empty_in_the_files() -> None:
    results = fake_lab_results(forgets=False, with_remedies=False)
    assert "undefined" in render_lab_page(results, [])
    tables = csv_tables(results)
    [row, *_] = csv.DictReader(io.StringIO(tables["conjugations"]))
    assert (row["recovery"], row["recovery_low"]) == ("", "")
    assert tables["remedies"] == ""
