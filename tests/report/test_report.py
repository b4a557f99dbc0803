from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from palimpsest.report.diagnosis.charts import new_figure
from palimpsest.report.diagnosis.html import MAX_CELL_TABLES, MAX_CELLS, render_page
from palimpsest.report.diagnosis.prompt_data import prompt_data
from palimpsest.report.diagnosis.wording import RULES, VERDICTS
from tests.report.factory import VIAS, fake_results, fake_rows, from_logs
from tests.report.hostile import IMAGE, NAMES, SCRIPT, hostile_rows

from palimpsest.errors import UserError
from palimpsest.judging import verdicts
from palimpsest.records.results import Guessing, Scoring
from palimpsest.report import write_report
from palimpsest.report.figure import Drawing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    warnings = ("The vocabularies differ.",)
    assert write_report(folder, fake_results(warnings=warnings), fake_rows(64)) == (
        folder / "report.html"
    )
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_everything_is_written_beside_the_page(folder: Path) -> None:
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "report.html",
        "table.csv",
        "table.md",
        "table.tex",
        "cells.csv",
        *(
            f"figures/{name}.{kind}"
            for name in ("accuracy", "recovery", "outcomes", "cells")
            for kind in ("png", "svg")
        ),
    }


@pytest.mark.slow
def test_the_same_diagnosis_gives_the_same_bytes(tmp_path: Path) -> None:
    results = fake_results(vias=VIAS[:2], warnings=("The vocabularies differ.",))
    for name in "ab":
        write_report(tmp_path / name, results, fake_rows(64))
    for path in (tmp_path / "a").rglob("*.*"):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()


def test_the_page_says_verdict_reason_numbers_warning_and_how_to_repeat(page: str) -> None:
    results = fake_results()
    assert VERDICTS["suppressed"].meaning in page
    assert results.verdict_reason in page
    assert "The vocabularies differ." in page
    assert results.provenance.command in page
    assert results.base.fingerprint in page
    assert "2309.10105" in page
    for cell in results.cells:
        assert cell.verdict_reason in page


def test_the_page_says_what_lossy_conjugations_cost_and_what_was_left_out(page: str) -> None:
    assert "chrF 83.0 %; 100.0 % of labels" in page
    assert "3 prompts below 0.0 % left out, of both models alike" in page
    assert "Guessing is right" not in page


@pytest.mark.slow
def test_the_page_shows_the_chance_level_in_words_and_in_the_figure(tmp_path: Path) -> None:
    results = fake_results()
    suite = results.suite.model_copy(update={"chance": 1 / 3})
    path = write_report(tmp_path, results.model_copy(update={"suite": suite}), fake_rows(4))
    page = path.read_text("utf-8")
    assert "Guessing is right on 33.3 % of these prompts" in page
    assert "Dashed line: guessing, 33.3 %." in page


def test_the_page_names_nothing_outside_itself(page: str) -> None:
    loaded = re.findall(r"""(?:src|srcset|poster|data)=["']?([^"'> ]+)""", page)
    assert loaded == []
    links = set(re.findall(r'href="([^"#][^"]*)"', page))
    assert links == {"data:,", "https://arxiv.org/abs/2309.10105"}
    assert "@import" not in page
    assert "url(http" not in page


def test_the_policy_allows_the_pages_own_style_and_script_only(page: str) -> None:
    match = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert match is not None
    policy = match.group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert content is not None
        digest = base64.b64encode(hashlib.sha256(content.group(1).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page)


def test_identifiers_are_unique_on_the_page(page: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_names_and_sentences_from_outside_are_inert(tmp_path: Path) -> None:
    results = fake_results(
        vias=NAMES, cells=(f"cell {IMAGE}", "nul \x00"), warnings=(SCRIPT, "rtl \u202e")
    )
    hostile = results.model_copy(update={"verdict_reason": SCRIPT})
    page = write_report(tmp_path, hostile, hostile_rows()).read_text(encoding="utf-8")
    assert page.count("<script") == 2  # the data and the program
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert "<i>" not in page
    assert not set(page) & {"\x00", "\u202e", "\u2028"}


def test_extra_figures_come_after_the_others(tmp_path: Path) -> None:
    def draw(width: float) -> object:
        figure = new_figure("Accuracy over tuning steps", width, 2.0)
        figure.add_subplot().plot([0, 1], [1, 0])
        return figure

    extra = Drawing("curve", "Accuracy over tuning steps", "How it went.", "It fell.", draw)  # type: ignore[arg-type]
    results = fake_results(vias=(), cells=())
    page = write_report(tmp_path, results, [], extra_figures=[extra]).read_text("utf-8")
    assert page.index('id="figure-outcomes"') < page.index('id="figure-curve"')
    assert 'aria-label="It fell."' in page
    assert (tmp_path / "figures" / "curve.svg").exists()


@pytest.mark.parametrize("verdict", list(VERDICTS))
def test_every_verdict_has_words(verdict: str) -> None:
    page = render_page(fake_results(verdict=verdict), [], prompt_data([]))  # type: ignore[arg-type]
    assert f"{VERDICTS[verdict].title}</h2>" in page


def test_a_diagnosis_with_next_to_nothing_in_it_still_has_a_page() -> None:
    page = render_page(fake_results(vias=(), cells=()), [], prompt_data([]))
    assert "Cell by cell" not in page
    assert "under 0 conjugations" in page


def test_what_is_left_out_of_the_page_is_said() -> None:
    cells = [f"cell {place}" for place in range(MAX_CELLS + 3)]
    results = fake_results(cells=cells, vias=())
    rows = fake_rows(400)
    page = render_page(results, [], prompt_data(rows, max_bytes=10_000, max_characters=50))
    assert "3 more cells are in cells.csv and results.json" in page
    assert page.count("<summary>Every conjugation in") == MAX_CELL_TABLES
    assert "answers are left out</strong>" in page
    assert "very long texts have lost their middle" in page


def test_the_rules_on_the_page_are_those_that_are_applied() -> None:
    rules = dict(RULES)
    assert f"{100 * verdicts.KEPT_MARGIN:.0f} points" in rules["Kept"]
    assert f"lies above {verdicts.MOST}" in rules["Suppressed"]
    assert f"below {verdicts.ALPHA}" in rules["Suppressed"]
    assert f"below {verdicts.LITTLE}" in rules["Lost"]
    assert f"{verdicts.MIN_EXAMPLES} examples" in rules["Inconclusive"]
    assert f"{100 * verdicts.ABILITY_FLOOR:.0f} %" in rules["Inconclusive"]


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(UserError, match="cannot be read or written"):
        write_report(tmp_path, fake_results(vias=()), [])


def test_importing_the_report_loads_nothing_heavy() -> None:
    program = (
        "import sys, palimpsest.report, palimpsest.report.diagnosis.tables; "
        "print([m for m in ('matplotlib', 'numpy', 'pydantic', 'jinja2', 'rich') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def prose(page: str) -> str:
    """Return the page up to its data."""
    return page.partition('<script type="application/json"')[0].partition("<main>")[2]


def test_a_page_from_logs_claims_no_more_than_the_logs_say(tmp_path: Path) -> None:
    def page_of(scoring: Scoring) -> str:
        results = from_logs(fake_results(), scoring)
        path = write_report(tmp_path / scoring, results, fake_rows(64))
        return prose(path.read_text(encoding="utf-8"))

    told, binary, graded = (page_of(one) for one in ("abilities", "binary", "graded"))
    for page in (told, binary, graded):
        assert "Nothing was asked: the answers and their scores are those of the logs" in page
        assert "Logs of a test." in page
    assert "<option>intruded</option>" in told
    for page in (binary, graded):
        assert "<option>intruded</option>" not in page
        assert "Right, intruded, broken" not in page
    assert "McNemar’s exact test" in binary
    assert "paired randomisation test" in graded
    assert "Newcombe <span" not in graded


def test_the_page_says_what_is_left_without_guesses(tmp_path: Path) -> None:
    results = fake_results()
    guessing = Guessing(
        chance=0.25,
        base=0.6,
        tuned=0.4,
        forgetting=0.2,
        forgetting_ci95=(0.1, 0.3),
        lost=0.25,
        gained=0.05,
    )
    suite = results.suite.model_copy(update={"chance": 0.25})
    plain = results.plain.model_copy(update={"adjusted": guessing})
    results = results.model_copy(update={"suite": suite, "plain": plain})
    page = write_report(tmp_path / "run", results, fake_rows(64)).read_text(encoding="utf-8")
    said = "base 60.0 %, tuned 40.0 %; forgetting 20.0 points [10.0, 30.0]; 1→0 25.0 %, 0→1 5.0 %"
    assert said in page
