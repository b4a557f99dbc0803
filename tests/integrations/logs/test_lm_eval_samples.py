from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.integrations.logs.rows import chosen, generated, write_samples

from palimpsest import files
from palimpsest.errors import UserError
from palimpsest.integrations.logs import collecting, read_run
from palimpsest.judging.compare.logged import LoggedRun, LoggedTask, LogOptions, Scale

LATER = "2026-11-21T10-00-00.123456"


def task_of(run: LoggedRun) -> LoggedTask:
    (task,) = run.tasks
    return task


def test_an_output_folder_is_read_with_what_its_results_say_of_the_run(tmp_path: Path) -> None:
    results = {
        "model_name": "org/base",
        "config": {"model_args": "pretrained=org/base,api_key=abc"},
        "n-shot": {"qa": 2},
        "lm_eval_version": "0.4.13",
    }
    folder = tmp_path / "out"
    write_samples(folder / "org__base", {"qa": [generated(0, True)]}, results=results)
    run = read_run(folder)
    assert (run.kind, run.model) == ("lm-evaluation-harness", "org/base")
    assert run.facts["model arguments"] == "pretrained=org/base,api_key=…"
    assert run.facts["worked examples"] == '{"qa": 2}'
    item = task_of(run).items["0"]
    assert (item.score, item.outcome) == (1.0, "right")
    assert (item.first.prompt, item.first.raw) == ("Question 0?", " answer 0\nmore")
    assert (item.first.answer, item.first.target) == ("answer 0", "answer 0")


def test_choices_are_shown_with_their_probabilities_and_tell_the_chance(tmp_path: Path) -> None:
    write_samples(tmp_path, {"mc": [chosen(0, True), chosen(1, False)]})
    task = task_of(read_run(tmp_path))
    assert task.metric == "acc"
    right, wrong = task.items["0"].first, task.items["1"].first
    assert (right.chance, right.finish, right.answer) == (0.25, "chosen", " choice 0")
    assert wrong.answer == " choice 2"
    assert json.loads(right.raw) == {
        " choice 0": -1.0,
        " choice 1": -2.5,
        " choice 2": -2.5,
        " choice 3": -2.5,
    }


def test_choices_asked_twice_for_mutual_information_count_once(tmp_path: Path) -> None:
    row = chosen(0, True, n_choices=4, metrics=["acc", "acc_mutual_info"], acc_mutual_info=1.0)
    write_samples(tmp_path, {"mc": [row]})
    assert task_of(read_run(tmp_path)).items["0"].first.chance == 0.5


def test_where_all_stands_in_the_choices_these_are_the_prompt(tmp_path: Path) -> None:
    row = chosen(0, True, n_choices=2)
    for arguments in row["arguments"].values():
        arguments["arg_0"] = ""
    write_samples(tmp_path, {"xnli_en": [row]})
    assert task_of(read_run(tmp_path)).items["0"].first.prompt == " choice 0\n choice 1"


def test_a_graded_score_has_no_chance_level(tmp_path: Path) -> None:
    write_samples(tmp_path, {"mc2": [chosen(0, True, acc=0.7)]})
    item = task_of(read_run(tmp_path)).items["0"]
    assert (item.score, item.first.chance) == (0.7, None)


def test_a_task_may_tell_intruded_answers_by_a_metric_of_that_name(tmp_path: Path) -> None:
    rows = [
        generated(i, right, metrics=["intruded", "exact_match"], intruded=intruded)
        for i, (right, intruded) in enumerate([(True, 0), (False, 1), (False, 0)])
    ]
    write_samples(tmp_path, {"qa": rows})
    task = task_of(read_run(tmp_path))
    assert task.metric == "exact_match"
    assert [item.outcome for item in task.items.values()] == ["right", "intruded", "broken"]
    assert task.says_abilities


def test_of_several_filters_the_first_counts_and_another_may_be_chosen(tmp_path: Path) -> None:
    rows = [
        generated(i, name == "flexible-extract", filter_=name)
        for name in ("strict-match", "flexible-extract")
        for i in range(2)
    ]
    write_samples(tmp_path, {"gsm8k": rows})
    run = read_run(tmp_path)
    assert [item.score for item in task_of(run).items.values()] == [0, 0]
    assert run.notes == (
        "Answers filtered by 'strict-match' count, not by 'flexible-extract' (--filter): gsm8k.",
    )
    other = read_run(tmp_path, LogOptions(filter="flexible-extract"))
    assert [item.score for item in task_of(other).items.values()] == [1, 1]
    assert other.notes == ()
    with pytest.raises(UserError, match="Did you mean 'strict-match'") as error:
        read_run(tmp_path, LogOptions(filter="strict_match"))
    assert error.value.hint == "It has: strict-match, flexible-extract."


def test_of_several_metrics_the_first_counts_and_another_may_be_chosen(tmp_path: Path) -> None:
    write_samples(tmp_path, {"mc": [chosen(0, True)]})
    run = read_run(tmp_path)
    assert run.notes == ("Scored by 'acc', not by 'acc_norm' (--metric chooses): mc.",)
    other = read_run(tmp_path, LogOptions(metrics=("exact_match", "acc_norm")))
    assert (task_of(other).metric, task_of(other).items["0"].score) == ("acc_norm", 0.0)
    with pytest.raises(UserError, match=r"no metric 'acc_nrom' with .*\. Did you mean 'acc_norm'"):
        read_run(tmp_path, LogOptions(metrics=("acc_nrom",)))


def test_metrics_over_a_whole_corpus_are_refused(tmp_path: Path) -> None:
    write_samples(tmp_path, {"wmt": [generated(0, True, metrics=["bleu"], bleu=["a", "b"])]})
    with pytest.raises(UserError, match=r"no metric of wmt has a number for a single item \(bleu"):
        read_run(tmp_path)
    rows = [generated(0, True, metrics=["bleu", "ter"], bleu=["a", "b"], ter=0.5)]
    write_samples(tmp_path, {"wmt": rows})
    with pytest.raises(UserError, match="no metric 'bleu' with a number for a single item"):
        read_run(tmp_path, LogOptions(metrics=("bleu",)))


def test_scores_on_another_scale_need_its_ends(tmp_path: Path) -> None:
    write_samples(tmp_path, {"sum": [generated(0, True, metrics=["rouge"], rouge=25.0)]})
    with pytest.raises(UserError, match="'rouge' is 25; expected a number from 0 to 1") as error:
        read_run(tmp_path)
    assert "--range 0,100" in (error.value.hint or "")
    run = read_run(tmp_path, LogOptions(scale=Scale(0, 100)))
    assert task_of(run).items["0"].score == 0.25


def test_a_metric_where_less_is_better_is_not_taken_for_the_opposite(tmp_path: Path) -> None:
    rows = [generated(0, True, metrics=["wer"], wer=0.2)]
    results = {"higher_is_better": {"asr": {"wer": False}}}
    write_samples(tmp_path, {"asr": rows}, results=results)
    with pytest.raises(UserError, match="asr: less is better by 'wer'"):
        read_run(tmp_path)
    run = read_run(tmp_path, LogOptions(scale=Scale(1, 0)))
    assert task_of(run).items["0"].score == pytest.approx(0.8)


@pytest.mark.parametrize("value", ['"good"', "[0, 1]"])
def test_a_score_that_is_no_number_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    write_samples(tmp_path, {"qa": [generated(0, True), generated(1, True)]})
    (path,) = tmp_path.glob("samples_*.jsonl")
    head, tail = path.read_text().splitlines()
    tail = tail.replace('"exact_match": 1.0', f'"exact_match": {value}')
    path.write_text(f"{head}\n{tail}\n")
    with pytest.raises(UserError, match=r"jsonl, line 2: 'exact_match' is .*; expected a number"):
        read_run(tmp_path)


def test_malformed_lines_are_named(tmp_path: Path) -> None:
    write_samples(tmp_path, {"qa": [generated(i, True) for i in range(3)]})
    (path,) = tmp_path.glob("samples_*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"line 3: not JSON: .*the file may be cut off"):
        read_run(tmp_path)
    path.write_bytes(whole + b"[1]\n")
    with pytest.raises(UserError, match="line 4: not an object"):
        read_run(tmp_path)
    path.write_bytes(whole + b'\n{"doc": {}}\n')
    with pytest.raises(UserError, match="line 5: no field 'doc_id'"):
        read_run(tmp_path)


def test_the_same_item_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    write_samples(tmp_path, {"qa": [generated(0, True), generated(1, True), generated(0, True)]})
    with pytest.raises(UserError, match=r"line 3: '0' of qa was answered before, at .* line 1\."):
        read_run(tmp_path)


def test_fields_of_the_document_may_identify_items(tmp_path: Path) -> None:
    write_samples(tmp_path, {"qa": [generated(0, True), generated(1, True)]})
    run = read_run(tmp_path, LogOptions(key=("id", "doc.question")))
    assert list(task_of(run).items) == ["q0 / Question 0?", "q1 / Question 1?"]
    with pytest.raises(UserError, match="line 1: no field 'link', which --key asks for") as error:
        read_run(tmp_path, LogOptions(key=("link",)))
    assert error.value.hint == "There are: id, question, doc_id, doc."


def test_a_field_may_say_the_language(tmp_path: Path) -> None:
    rows = [generated(i, True) for i in range(2)]
    for row, language in zip(rows, ("en", "fr"), strict=True):
        row["doc"]["lang"] = language
    write_samples(tmp_path, {"qa": rows})
    run = read_run(tmp_path, LogOptions(language="lang"))
    assert [(task.name, task.language) for task in run.tasks] == [("qa", "en"), ("qa", "fr")]


def test_of_several_runs_in_a_folder_the_newest_counts_and_is_named(tmp_path: Path) -> None:
    write_samples(tmp_path, {"qa": [generated(0, False)], "other": [generated(0, True)]})
    write_samples(tmp_path, {"qa": [generated(0, True)]}, date=LATER)
    run = read_run(tmp_path)
    scores = {task.name: task.items["0"].score for task in run.tasks}
    assert scores == {"qa": 1.0, "other": 1.0}
    assert "the newest counts; not used: samples_qa_2026-11-20" in run.notes[0]


def test_the_samples_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    for model in ("base", "tuned"):
        write_samples(tmp_path / model, {"qa": [generated(0, True)]})
    with pytest.raises(UserError, match="has samples of 2 models"):
        read_run(tmp_path)


def test_results_without_samples_say_how_to_log_them(tmp_path: Path) -> None:
    write_samples(tmp_path / "model", {}, results={"results": {}})
    for path in (tmp_path, next(tmp_path.glob("*/results_*.json"))):
        with pytest.raises(UserError, match="not its answers to single items") as error:
            read_run(path)
        assert "--log_samples" in (error.value.hint or "")


def test_a_results_file_stands_for_the_samples_written_with_it(tmp_path: Path) -> None:
    write_samples(tmp_path, {"qa": [generated(0, False)]}, results={})
    write_samples(tmp_path, {"qa": [generated(0, True)]}, date=LATER, results={})
    run = read_run(tmp_path / f"results_{LATER}.json")
    assert task_of(run).items["0"].score == 1.0


def test_rows_of_older_releases_can_be_read(tmp_path: Path) -> None:
    row = generated(0, True)
    for field in ("metrics", "filter", "doc_hash", "prompt_hash", "target_hash"):
        del row[field]
    row["arguments"] = [["Question 0?", {"until": ["\n"]}]]
    write_samples(tmp_path, {"qa": [row]})
    task = task_of(read_run(tmp_path))
    assert (task.metric, task.items["0"].first.prompt) == ("exact_match", "Question 0?")


def test_an_empty_file_says_how_to_log(tmp_path: Path) -> None:
    path = tmp_path / "samples_qa.jsonl"
    path.write_text("")
    for named in (path, tmp_path):
        with pytest.raises(UserError, match="is empty") as error:
            read_run(named)
        assert "--log_samples" in (error.value.hint or "")


def test_texts_beyond_what_a_report_holds_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MOST_CHARACTERS", 100)
    monkeypatch.setattr(collecting, "MOST_CHARACTERS_TOGETHER", 200)
    rows = [generated(i, True, question="long " * 1000) for i in range(3)]
    write_samples(tmp_path, {"qa": rows})
    run = read_run(tmp_path)
    first, *_, last = (item.first.prompt for item in task_of(run).items.values())
    assert "[… 4,900 characters …]" in first
    assert last == ""
    assert "the texts of their last answers are compared, but not shown" in run.notes[0]


def test_lines_and_files_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(tmp_path, {"qa": [generated(i, True) for i in range(3)]})
    monkeypatch.setattr(collecting, "MOST_ITEMS", 2)
    with pytest.raises(UserError, match="line 3: more than 2 answers"):
        read_run(tmp_path)
    monkeypatch.setattr(files, "MOST_LINE_BYTES", 100)
    with pytest.raises(UserError, match="line 1: longer than"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "odd",
    [
        {"metrics": 3},
        {"arguments": 7},
        {"arguments": {"gen_args_0": 3, "gen_args_1": ["a", "b"], "gen_args_2": ["a", "c"]}},
        {"resps": None, "filtered_resps": 4},
        {"doc": "text", "target": None},
        {"filter": ["a"], "exact_match": True},
    ],
)
def test_odd_fields_that_do_not_matter_are_borne(tmp_path: Path, odd: dict[str, Any]) -> None:
    write_samples(tmp_path, {"qa": [generated(0, True, **odd)]})
    assert task_of(read_run(tmp_path)).items["0"].score == 1.0


MISSING = [{"exact_match": None}, {"exact_match": math.nan}, {"exact_match": "NaN"}]


@pytest.mark.slow
@pytest.mark.parametrize("without", [*MISSING, {"exact_match": math.inf}])
@pytest.mark.parametrize("first", [0, 2])
def test_items_without_a_score_are_counted_and_named_or_left_out(
    tmp_path: Path, without: dict[str, Any], first: int
) -> None:
    rows = [generated(i, True, **(without if i >= first else {})) for i in range(4)]
    write_samples(tmp_path, {"qa": [*rows, generated(4, True)]})
    said = rf"{4 - first} of 5 answers to qa have no .*, line {first + 1}: 'exact_match' is missing"
    with pytest.raises(UserError, match=said) as error:
        read_run(tmp_path)
    assert "--allow-partial" in (error.value.hint or "")
    task = task_of(read_run(tmp_path, LogOptions(complete=False)))
    assert len(task.unscored) == 4 - first
    assert list(task.items) == [str(i) for i in (*range(first), 4)]


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["nan", "NaN", math.nan, None, "inf", math.inf])
def test_an_accuracy_that_rests_on_no_likelihood_is_no_score(tmp_path: Path, odd: Any) -> None:
    rows = [chosen(i, True) for i in range(3)]
    rows[1]["filtered_resps"][2] = [odd, "False"]
    write_samples(tmp_path, {"mc": rows})
    with pytest.raises(UserError, match=r"1 of 3 answers to mc .*line 2: a log probability of"):
        read_run(tmp_path)
    task = task_of(read_run(tmp_path, LogOptions(complete=False)))
    assert list(task.items) == ["0", "2"]


def test_likelihoods_that_are_all_zero_choose_nothing_but_one_may_be(tmp_path: Path) -> None:
    rows = [chosen(i, True, n_choices=2) for i in range(2)]
    rows[0]["filtered_resps"] = [["-inf", "False"], ["-2.0", "False"]]
    rows[1]["filtered_resps"] = [["-inf", "False"]] * 2
    write_samples(tmp_path, {"mc": rows})
    task = task_of(read_run(tmp_path, LogOptions(complete=False)))
    assert (list(task.items), list(task.unscored)) == (["0"], ["1"])


def test_nan_as_an_answer_in_words_is_an_answer(tmp_path: Path) -> None:
    write_samples(tmp_path, {"qa": [generated(0, True, target="nan")]})
    assert task_of(read_run(tmp_path)).items["0"].score == 1.0


@pytest.mark.parametrize(
    ("metrics", "counts"),
    [
        ({"perplexity": -3.2, "acc": 1.0}, "acc"),
        ({"perplexity": 0.5, "acc": 1.0}, "acc"),
        ({"bleu_max": 21.0, "bleu_diff": -3.0, "rouge1": 0.4, "bleu_acc": 1}, "bleu_acc"),
        ({"bleu_max": 0.0, "bleu_acc": 0}, "bleu_acc"),
        ({"f1": 0.4, "exact_match": 0.0}, "f1"),
        ({"word_perplexity": 9.0, "f1": 0.5, "em": 1}, "em"),
        ({"acc": None, "acc_norm": 1.0}, "acc_norm"),
    ],
)
def test_a_first_metric_that_is_no_fraction_gives_way_to_one_that_is(
    tmp_path: Path, metrics: dict[str, Any], counts: str
) -> None:
    row = generated(0, True, metrics=list(metrics), **metrics)
    write_samples(tmp_path, {"t": [row]})
    run = read_run(tmp_path)
    assert task_of(run).metric == counts
    assert f"'{counts}'" in run.notes[0]


def as_list(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows as releases before 0.4.3 do."""
    folder.mkdir(exist_ok=True)
    old = [{k: v for k, v in row.items() if k not in OF_LATER_RELEASES} for row in rows]
    path = folder / name
    path.write_text(json.dumps(old, indent=2), "utf-8")
    return path


OF_LATER_RELEASES = ("metrics", "filter", "doc_hash", "prompt_hash", "target_hash")


def test_old_files_hold_a_list_and_are_named_after_the_model(tmp_path: Path) -> None:
    for task, right in (("arc_easy", True), ("gsm8k", False)):
        as_list(tmp_path, f"pretrained__org__m,dtype__float16_{task}.jsonl", [generated(0, right)])
    tasks = {task.name: task for task in read_run(tmp_path).tasks}
    assert {name: task.items["0"].score for name, task in tasks.items()} == {
        "arc_easy": 1.0,
        "gsm8k": 0.0,
    }
    (tmp_path / "results.json").write_text('{"results": {"easy": {}, "arc_easy": {}, "gsm8k": {}}}')
    for path in tmp_path.glob("*gsm8k.jsonl"):
        path.unlink()
    for named in (tmp_path, tmp_path / "results.json"):
        assert task_of(read_run(named)).name == "arc_easy"


def test_a_list_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = as_list(tmp_path, "samples_qa.jsonl", [generated(i, True) for i in range(3)])
    whole = path.read_text()
    for cut in (whole[:-2], whole[:-300], whole[: whole.rindex("{")]):
        path.write_text(cut)
        with pytest.raises(UserError, match=r"item \d: .*may be cut off"):
            read_run(path)


def test_filters_that_are_not_named_are_told_by_their_order(tmp_path: Path) -> None:
    rows = [generated(i, strict) for i in range(2) for strict in (False, True)]
    for row in rows:
        row["resps"] = [["the same"]]
    path = as_list(tmp_path, "samples_gsm8k.jsonl", rows)
    run = read_run(path)
    assert [item.score for item in task_of(run).items.values()] == [0, 0]
    assert run.notes == ("Answers filtered by 'none' count, not by '2' (--filter): gsm8k.",)
    second = read_run(path, LogOptions(filter="2"))
    assert [item.score for item in task_of(second).items.values()] == [1, 1]
    names = {"exact_match,strict": 0, "exact_match_stderr,strict": 0, "exact_match,flexible": 1}
    (tmp_path / "results.json").write_text(json.dumps({"results": {"gsm8k": names}}))
    named = read_run(path, LogOptions(filter="flexible"))
    assert [item.score for item in task_of(named).items.values()] == [1, 1]


def test_items_that_come_twice_for_another_reason_are_refused(tmp_path: Path) -> None:
    rows = [generated(0, True), generated(1, True), generated(1, False)]
    path = as_list(tmp_path, "samples_qa.jsonl", rows)
    with pytest.raises(UserError, match="'1' of qa was answered before"):
        read_run(path)
    rows[2]["resps"] = rows[1]["resps"]
    path = as_list(tmp_path, "samples_qa.jsonl", rows)
    with pytest.raises(UserError, match="item '1' comes 2 times, '0' 1 times"):
        read_run(path)
