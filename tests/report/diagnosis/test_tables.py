from __future__ import annotations

import csv
import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.report.diagnosis.factory import CELLS, VIAS, fake_results
from tests.report.diagnosis.hostile import NAMES

from palimpsest.judging.verdicts import fall_interval
from palimpsest.records.results import Results
from palimpsest.report.diagnosis.tables import (
    COLUMNS,
    TerminalTable,
    csv_cells,
    csv_table,
    latex_table,
    markdown_table,
    table_rows,
)


@pytest.fixture(scope="module")
def results() -> Results:
    return fake_results()


@pytest.fixture(scope="module")
def nasty() -> Results:
    return fake_results(vias=NAMES)


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def printed(results: Results, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    console.print(TerminalTable(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_plain_row_comes_first_and_then_what_brings_most_back(results: Results) -> None:
    rows = table_rows(results)
    names = ["fr", "pig-latin", "es", "leet", "nl", "upper", "base64"]
    assert [row.name for row in rows] == ["identity", *names]
    assert rows[0].is_plain
    assert not any(row.is_plain for row in rows[1:])


def test_where_no_recovery_is_defined_the_rows_stay_in_the_order_asked(results: Results) -> None:
    rows = table_rows(results.cells[1])
    assert {row.recovery for row in rows} == {None}
    assert [row.name for row in rows[1:]] == [via.name for via in VIAS]


def test_no_column_means_one_thing_in_the_plain_row_and_another_in_the_others(
    results: Results,
) -> None:
    plain, *others = records(csv_table(results))
    assert int(plain["forgetting_n_lost"]) == results.plain.n_lost
    assert float(plain["forgetting_p_value"]) == results.plain.p_value
    for name in ("p_value", "p_holm", "n_lost", "n_gained"):
        assert plain[name] == ""
        assert all(row[name] for row in others)
        assert not any(row.get(f"forgetting_{name}") for row in others)
    by_key = {column.key: column for column in COLUMNS}
    row = table_rows(results)[0]
    assert [by_key[key].value(row) for key in ("recovery", "did", "p", "flips")] == ["–"] * 4


def test_one_interval_of_the_forgetting_is_shown_everywhere_the_one_of_the_verdict() -> None:
    found = fake_results()
    plain = found.plain.model_copy(
        update={"forgetting_ci95": (0.70, 0.78), "forgetting_newcombe95": (0.69, 0.77)}
    )
    found = found.model_copy(update={"plain": plain})
    assert plain.forgetting_hull95 == fall_interval(plain) == (0.69, 0.78)
    assert records(csv_table(found))[0]["change_low"] == "-0.78"
    assert "−74.5 [−78.0, −69.0]" in markdown_table(found)


def test_csv_holds_the_unrounded_numbers_of_the_results(results: Results) -> None:
    plain, first, *_ = records(csv_table(results))
    assert plain["conjugation"] == plain["kind"] == "plain"
    assert float(plain["base_accuracy"]) == results.plain.base.accuracy
    assert float(plain["change_low"]) == -results.plain.forgetting_hull95[1]
    assert first["conjugation"] == "fr"
    assert first["kind"] == "native"
    assert float(first["recovery"]) == results.conjugations[0].recovery
    assert float(first["did_high"]) == results.conjugations[0].did_ci95[1]
    assert float(first["p_holm"]) == results.conjugations[0].p_holm
    assert int(first["n_gained"]) == results.conjugations[0].n_gained


def test_csv_leaves_undefined_numbers_empty(results: Results) -> None:
    assert records(csv_table(results))[0]["recovery"] == ""
    kept = [row for row in records(csv_cells(results)) if row["cell"] == CELLS[1]]
    assert {row["recovery"] for row in kept} == {""}


def test_the_csv_of_cells_has_every_row_of_every_cell(results: Results) -> None:
    rows = records(csv_cells(results))
    assert len(rows) == len(CELLS) * (1 + len(VIAS))
    assert {row["verdict"] for row in rows if row["cell"] == CELLS[2]} == {"lost"}


def test_markdown_has_a_header_a_rule_and_a_line_per_row(results: Results) -> None:
    lines = markdown_table(results).splitlines()
    assert lines[0] == "| " + " | ".join(column.header for column in COLUMNS) + " |"
    assert len(lines) == 2 + 1 + len(VIAS)
    assert lines[2].startswith(
        "| plain | 98.5 [96.8, 99.3] | 24.0 [20.1, 28.4] | −74.5 [−79.5, −69.5] |"
    )


def test_markdown_names_cannot_add_cells_or_markup(nasty: Results) -> None:
    for line in markdown_table(nasty).splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        assert len(cells) == len(COLUMNS) + 2
        assert not re.search(r"(?<!\\)[`<]", cells[1])


def test_latex_is_a_booktabs_table_with_a_line_per_row(results: Results) -> None:
    text = latex_table(results)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}", r"\end{tabular}"):
        assert text.count(part) == 1
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 1 + len(VIAS)
    assert r"98.5 {\scriptsize {[}96.8, 99.3{]}}" in text
    assert r"$-$74.5" in text


def test_latex_names_are_escaped(nasty: Results) -> None:
    text = latex_table(nasty)
    for line in (line for line in text.splitlines() if line.endswith(r"\\")):
        assert len(re.split(r"(?<!\\)&", line)) == len(COLUMNS)
    assert r"50 \%\_\$x\textasciicircum{}2\$\textasciitilde{}\{\#\}\textbackslash{}end &" in text
    assert r"\textasciigrave{}-{}-{}\textasciigrave{}" in text
    assert r"a\&b\textless{}i\textgreater{}\textbar{}\texttt{\char34}\textquotesingle{}" in text


def test_no_table_holds_a_control_character_from_a_name(nasty: Results) -> None:
    for text in (csv_table(nasty), csv_cells(nasty), markdown_table(nasty), latex_table(nasty)):
        assert not set(text) & {"\x00", "\u202e"}


@pytest.mark.slow
@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40, 20])
def test_the_terminal_table_never_exceeds_the_terminal(
    results: Results, nasty: Results, width: int
) -> None:
    for diagnosis in (results, nasty):
        lines = printed(diagnosis, width).splitlines()
        assert max(map(cell_len, lines)) <= width
        assert any(line.startswith("pl") for line in lines)


def test_a_wide_terminal_gets_every_column_and_a_narrow_one_the_essential_ones(
    results: Results,
) -> None:
    assert "Flips 1→0 / 0→1" in printed(results, 200)
    table, _, left_out = printed(results, 40).partition("Not shown")
    assert "Recovery" in table
    assert "0.93" in table
    assert "Flips" not in table
    assert "Flips" in left_out


def test_the_terminal_table_takes_names_literally() -> None:
    via = VIAS[0]._replace(name="[bold]x[/bold]")
    assert "[bold]x[/bold]" in printed(fake_results(vias=[via]), 200)


def test_a_diagnosis_without_conjugations_still_has_a_plain_row() -> None:
    results = fake_results(vias=(), cells=())
    assert len(records(csv_table(results))) == 1
    assert csv_cells(results).startswith("cell,verdict,conjugation,kind,base_n,")
    assert len(markdown_table(results).splitlines()) == 3
