from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from tests.report.diagnosis.factory import VIAS, fake_results, fake_rows, from_logs
from tests.report.diagnosis.hostile import IMAGE, NAMES, SCRIPT, hostile_rows

from palimpsest.errors import UserError
from palimpsest.records.results import Guessing, Results, Scoring, Verdict
from palimpsest.records.thresholds import Thresholds
from palimpsest.report.diagnosis.page import MAX_CELL_TABLES, MAX_CELLS, render_page
from palimpsest.report.diagnosis.prompts import prompt_data
from palimpsest.report.figure import Drawing, Sheet
from palimpsest.report.writing import write_report

pytestmark = pytest.mark.slow


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


def page_of(results: Results) -> str:
    """Return the page without figures and answers, which take most of the time."""
    return render_page(results, [], prompt_data([]))


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


def test_the_same_diagnosis_gives_the_same_bytes(tmp_path: Path) -> None:
    results = fake_results(vias=VIAS[:2], warnings=("The vocabularies differ.",))
    for name in "ab":
        write_report(tmp_path / name, results, fake_rows(64))
    for path in (tmp_path / "a").rglob("*.*"):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()


def test_the_page_says_verdict_reason_numbers_warning_and_how_to_repeat(page: str) -> None:
    results = fake_results()
    assert "Suppressed</h2>" in page
    assert "Hidden, not gone: the tuned model no longer infers what is asked" in page
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


def test_the_page_says_how_often_a_guess_is_right() -> None:
    results = fake_results()
    suite = results.suite.model_copy(update={"chance": 1 / 3})
    page = page_of(results.model_copy(update={"suite": suite}))
    assert "Guessing is right on 33.3 % of these prompts" in page


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


def test_extra_figures_come_after_the_others_also_of_logs(tmp_path: Path) -> None:
    def draw(sheet: Sheet) -> None:
        sheet.axes(2.0).plot([0, 1], [1, 0])

    extra = Drawing("curve", "Accuracy over tuning steps", "How it went.", "It fell.", draw)
    results = from_logs(fake_results(vias=(), cells=()), "binary")
    rows = fake_rows(2, vias=())
    page = write_report(tmp_path, results, rows, extra_figures=[extra]).read_text("utf-8")
    assert page.index('id="figure-accuracy"') < page.index('id="figure-curve"')
    assert '"abilities":false,"logged":true' in page
    assert 'aria-label="It fell."' in page
    assert (tmp_path / "figures" / "curve.svg").exists()


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_has_words(verdict: Verdict) -> None:
    page = page_of(fake_results(verdict=verdict))
    assert f"{verdict.capitalize()}</h2>" in page
    assert f"<dt>{verdict.capitalize()}</dt>" in page


def test_a_diagnosis_with_next_to_nothing_in_it_still_has_a_page() -> None:
    page = page_of(fake_results(vias=(), cells=()))
    assert "Cell by cell" not in page
    assert "under 0 conjugations" in page


def test_what_is_left_out_of_the_page_is_said() -> None:
    cells = [f"cell {place}" for place in range(MAX_CELLS + 3)]
    results = fake_results(cells=cells, vias=())
    rows = fake_rows(400)
    page = render_page(results, [], prompt_data(rows, max_bytes=10_000, max_characters=50))
    assert "3 more cells are in cells.csv and results.json" in page
    assert page.count("<summary>Every conjugation in") == MAX_CELL_TABLES
    assert f"of {len(rows):,} answers</strong>, to keep this file small" in page
    assert "very long texts have lost their middle" in page


def rules_of(results: Results) -> dict[str, str]:
    """Return when each verdict is given, as the page says it."""
    page = page_of(results).partition("<h3>Verdicts</h3>")[2]
    return dict(re.findall(r"<dt>(\w+)</dt><dd>(.*?)</dd>", page))


def test_the_rules_on_the_page_state_the_thresholds_that_are_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = rules_of(fake_results())
    assert "A fall of 5 points or more" in rules["Kept"]
    assert rules["Suppressed"].count("below 0.05") == 2
    assert "lies above 0.5," in rules["Suppressed"]
    assert "lies below 0.25." in rules["Lost"]
    assert "no more than 50 % of the tuned model’s errors" in rules["Lost"]
    assert "fewer than 30 examples" in rules["Inconclusive"]
    assert "not clearly above 10 %" in rules["Inconclusive"]
    other = Thresholds(
        min_examples=31,
        ability_floor=0.11,
        kept_margin=0.06,
        alpha=0.01,
        suppressed_above=0.7,
        lost_below=0.2,
        intruded_at_most=0.4,
    )
    monkeypatch.setattr("palimpsest.report.diagnosis.page.THRESHOLDS", other)
    rules = rules_of(fake_results())
    assert "A fall of 6 points or more" in rules["Kept"]
    assert rules["Suppressed"].count("below 0.01") == 2
    assert "lies above 0.7," in rules["Suppressed"]
    assert "lies below 0.2." in rules["Lost"]
    assert "no more than 40 % of the tuned model’s errors" in rules["Lost"]
    assert "fewer than 31 examples" in rules["Inconclusive"]
    assert "not clearly above 11 %" in rules["Inconclusive"]


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(UserError, match="cannot be read or written"):
        write_report(tmp_path, fake_results(vias=()), [])


def test_importing_the_report_loads_nothing_heavy() -> None:
    program = (
        "import sys, palimpsest.report.writing, palimpsest.report.diagnosis.tables; "
        "print([m for m in ('matplotlib', 'numpy', 'pydantic', 'jinja2', 'rich') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_page_from_logs_claims_no_more_than_the_logs_say() -> None:
    scorings: tuple[Scoring, ...] = ("abilities", "binary", "graded")
    told, binary, graded = (page_of(from_logs(fake_results(), one)) for one in scorings)
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


def test_the_page_says_what_is_left_without_guesses() -> None:
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
    page = page_of(results)
    said = "base 60.0 %, tuned 40.0 %; forgetting 20.0 points [10.0, 30.0]; 1→0 25.0 %, 0→1 5.0 %"
    assert said in page
