from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import pytest
from tests.doc_pages import ROOT

from palimpsest import files
from palimpsest.errors import UserError
from palimpsest.integrations.logs import read_run
from palimpsest.judging.compare.comparison import compare
from palimpsest.judging.compare.logged import LoggedRun, LogOptions, Scale
from palimpsest.records.results import Results
from palimpsest.records.store import AnswerStore
from palimpsest.report import csv_text


def table(folder: Path, text: str, *, suffix: str = ".csv") -> Path:
    path = folder / f"table{suffix}"
    path.write_text(text, "utf-8", newline="")
    return path


def scores_of(path: Path, options: LogOptions | None = None) -> dict[str, float]:
    (task,) = read_run(path, options).tasks
    return {key: item.score for key, item in task.items.items()}


def test_csv_tsv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [{"id": "a", "score": 1}, {"id": "b", "score": 0.5}]
    paths = [
        table(tmp_path, "\ufeffid,score\r\na,1\r\nb,0.5\r\n"),
        table(tmp_path, "id\tscore\na\t1\nb\t0.5\n", suffix=".tsv"),
        table(tmp_path, "\n".join(map(json.dumps, rows)), suffix=".jsonl"),
    ]
    assert [scores_of(path) for path in paths] == [{"a": 1.0, "b": 0.5}] * 3


def test_optional_columns_are_kept(tmp_path: Path) -> None:
    text = 'id,score,task,lang,prompt,answer,target,chance\n1,true,t,fr,"a, ""b""",x,y,0.25\n'
    (task,) = read_run(table(tmp_path, text)).tasks
    sample = task.items["1"].first
    assert (task.name, task.language, task.metric) == ("t", "fr", "score")
    assert (sample.prompt, sample.raw, sample.target) == ('a, "b"', "x", "y")
    assert (sample.chance, task.items["1"].score) == (0.25, 1.0)


def test_epochs_count_by_their_mean(tmp_path: Path) -> None:
    assert scores_of(table(tmp_path, "id,epoch,score\n1,1,1\n1,2,0\n1,3,0\n1,4,1\n")) == {"1": 0.5}


def test_outcomes_alone_are_a_score(tmp_path: Path) -> None:
    (task,) = read_run(table(tmp_path, "id,outcome\n1,right\n2,intruded\n3,broken\n")).tasks
    assert [item.outcome for item in task.items.values()] == ["right", "intruded", "broken"]
    assert [item.score for item in task.items.values()] == [1, 0, 0]
    with pytest.raises(UserError, match="line 2: the outcome is 'good'; expected right"):
        read_run(table(tmp_path, "id,outcome\n1,good\n"))


def test_other_columns_may_be_id_and_score(tmp_path: Path) -> None:
    path = table(tmp_path, "link,number,stars\nx,1,5\nx,2,1\n")
    options = LogOptions(key=("link", "number"), metrics=("stars",), scale=Scale(1, 5))
    assert scores_of(path, options) == {"x / 1": 1.0, "x / 2": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,score\na,1\n,1\n", "line 3: no id"),
        ("name,score\na,1\n", "line 2: no id"),
        ("id,sore\na,1\n", "no column 'score' with a score. Did you mean 'sore'"),
        ("id,score\na,1\na,0\n", r"line 3: 'a' of items was answered before, at .*line 2"),
        ("id,score\na,good\n", "line 2: 'score' is 'good'; expected a number"),
        ("id,score\na,\n", "1 of 1 answers .*, line 2: 'score' is missing or no number"),
        ("id,score\na,1\nb,nan\n", "1 of 2 answers .*, line 3: 'score' is missing or no number"),
        ("id,score\na,Inf\n", "line 2: 'score' is missing or no number"),
        ("id,outcome\na,\n", "line 2: 'outcome' is missing"),
        ("id,score\na,3\n", "line 2: 'score' is 3; expected a number from 0 to 1"),
        ("id,score,chance\na,1,1\n", "line 2: the chance of guessing is 1; not a fraction"),
        ("id,score\na\n", "line 2: not as many fields as the 2 columns"),
        ("id,score\na,1,2\n", "line 2: not as many fields as the 2 columns"),
        ("id,id\na,1\n", "line 1: a column comes twice"),
        ('id,score\n"a"b,1\n', "not CSV"),
        ("id,score\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_run(table(tmp_path, text))


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("id,score\né,1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"is not UTF-8 \(byte 0xe9\)"):
        read_run(path)


@pytest.mark.slow
def test_the_answers_of_a_diagnosis_as_tables_give_its_figures(tmp_path: Path) -> None:
    folder = ROOT / "tests" / "data" / "run-0.1.0"
    diagnosis = Results.model_validate_json((folder / "results.json").read_bytes())
    with AnswerStore(folder / "answers.sqlite", read_only=True) as store:
        rows = store.run_rows()

    def logged(role: str, *vias: str) -> LoggedRun:
        path = tmp_path / f"{role}-{vias[0]}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "task", "lang", "outcome"])
            table.writerows(
                (row.key.source_id.rpartition("/")[2], row.cell, row.language, row.outcome)
                for row in rows
                if row.role == role and row.via in vias
            )
        return read_run(path)

    leet, upper = ((logged("base", via), logged("tuned", via)) for via in ("leet", "upper"))
    found = compare(
        logged("base", "identity", "fr"),
        logged("tuned", "identity", "fr"),
        conjugated={"leet": leet, "upper": upper},
        n_resamples=diagnosis.provenance.n_resamples,
    )
    assert (found.plain.base, found.plain.tuned) == (diagnosis.plain.base, diagnosis.plain.tuned)
    assert found.plain.p_value == diagnosis.plain.p_value
    assert [cell.verdict for cell in found.cells] == [cell.verdict for cell in diagnosis.cells]
    theirs = {one.name: one for one in diagnosis.conjugations}
    assert {one.name for one in found.conjugations} == set(theirs)
    for one in found.conjugations:
        assert (one.base, one.tuned) == (theirs[one.name].base, theirs[one.name].tuned)
        assert (one.p_value, one.did) == (theirs[one.name].p_value, theirs[one.name].did)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "ID;Score\r\na;1\r\nb;0,5\r\n",
        "\ufeffid;score;;\r\na;1,0;;\r\nb;0,50;;\r\n;;;\r\n",
        "\n\nsep=;\nId;Correct\na;yes\nb;50 %\n",
        "Id,Score\na,100%\nb,50%\n",
        'id,score\na,"1,0"\nb,"0,5"\n',
        "id\tscore\na\tWAHR\nb\t0,5\n",
        "id|Accuracy|\na|Right|\nb|.5|\n",
        "id,score,,\na,1\nb,0.5\n",
        ',"ID ","SCORE"\r\n0,a,1\r\n1,b,5e-1\r\n',
    ],
)
def test_tables_as_spreadsheets_save_them_are_read(tmp_path: Path, text: str) -> None:
    assert scores_of(table(tmp_path, text)) == {"a": 1.0, "b": 0.5}


def test_unicode_text_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("id;score\r\né;1\r\n".encode("utf-16"))
    assert scores_of(path) == {"é": 1.0}


def test_percent_on_a_scale_to_100_are_taken_as_they_are(tmp_path: Path) -> None:
    path = table(tmp_path, "id;score\na;85,5 %\n")
    assert scores_of(path, LogOptions(scale=Scale(0, 100))) == {"a": 0.855}


def test_a_comma_that_may_mean_two_things_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, 'id,score\na,"1,250"\n')
    with pytest.raises(UserError, match="comma may stand before decimals or thousands"):
        read_run(path, LogOptions(scale=Scale(0, 5000)))


def test_columns_that_are_asked_for_are_found_in_any_case(tmp_path: Path) -> None:
    path = table(tmp_path, "Link;Stars\nx;1\n")
    assert scores_of(path, LogOptions(key=("link",), metrics=("stars",))) == {"x": 1.0}


def test_fields_may_be_as_long_as_a_line(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = table(tmp_path, f"id,score,answer\na,1,{'long ' * 40_000}\n")
    assert scores_of(path) == {"a": 1.0}
    assert csv.field_size_limit() == limit


def test_an_open_quotation_mark_does_not_swallow_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_LINE_BYTES", 1000)
    path = table(tmp_path, 'id,score\n"a,1\n' + "b,1\n" * 1000)
    with pytest.raises(UserError, match="a row of more than"):
        read_run(path)


def test_a_list_of_rows_in_json_is_a_table(tmp_path: Path) -> None:
    rows = [{"id": "a", "score": 1}, {"id": "b", "score": 0.5}]
    for suffix in (".json", ".jsonl"):
        path = table(tmp_path, json.dumps(rows, indent=1), suffix=suffix)
        assert scores_of(path) == {"a": 1.0, "b": 0.5}


def test_texts_of_our_own_tables_are_read_back(tmp_path: Path) -> None:
    texts = ["".join(some) for some in itertools.product("'=+-@\t\r\n＝1;,\" ", repeat=3)]
    rows = [{"id": i, "score": 1, "answer": text} for i, text in enumerate(texts)]
    (task,) = read_run(table(tmp_path, csv_text(rows))).tasks
    assert [item.first.answer for item in task.items.values()] == texts
