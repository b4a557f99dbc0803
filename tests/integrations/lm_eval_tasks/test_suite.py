"""Tasks as a suite: cells, languages, and what is refused by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.scoring import scorer_for
from palimpsest.lm.suites import load_suite

HEAD = """dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
"""
GENERATING = """output_type: generate_until
doc_to_text: q
doc_to_target: a
generation_kwargs: {until: ["\\n"]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def write(folder: Path, name: str, body: str = GENERATING) -> Path:
    data = folder / "rows.jsonl"
    data.write_text('{"q": "1 + 1 =", "a": "2"}\n{"q": "2 + 2 =", "a": "4"}\n', "utf-8")
    head = HEAD.format(data=data, cache=folder / "cache")
    (folder / f"{name}.yaml").write_text(f"task: {name}\n{head}{body}", "utf-8")
    return folder


def test_tasks_in_several_languages_are_versions_of_one_cell(tmp_path: Path) -> None:
    write(tmp_path, "sums_en")
    write(tmp_path, "sums_fr", GENERATING.replace("\\n", "Question :"))
    suite = load_suite(f"lm-eval:sums_en+sums_fr,include_path={tmp_path}")
    assert suite.languages == ("en", "fr")
    assert suite.cells == ("sums",)
    english, french = suite.in_language("en")[0], suite.in_language("fr")[0]
    assert english.source_id == french.source_id == "sums/0"
    assert (english.stop, french.stop) == (("\n",), ("Question :",))


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        (GENERATING, ",metric=exact_mach", "Did you mean 'exact_match'"),
        (GENERATING, ",filter=strict", "no filter 'strict'"),
        (GENERATING, ",num_fewshot=-1", "cannot use num_fewshot=-1"),
        (
            GENERATING.replace("generate_until", "loglikelihood_rolling"),
            "",
            "loglikelihood_rolling",
        ),
        (
            GENERATING.replace('"]}', '"], do_sample: true, temperature: 0.7}'),
            "",
            "draws its answers at random",
        ),
        (GENERATING.replace('"]}', '"], num_beams: 4}'), "", "num_beams: 4"),
        (GENERATING.replace('"]}', '", ""]}'), "", "is empty"),
        (GENERATING + "gen_prefix: So\n", ",apply_chat_template=true", "gen_prefix"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_by_name(
    tmp_path: Path, body: str, options: str, words: str
) -> None:
    write(tmp_path, "sums", body)
    with pytest.raises(UserError) as raised:
        load_suite(f"lm-eval:sums,include_path={tmp_path}{options}")
    assert words in str(raised.value)
    assert raised.value.hint


def test_a_task_whose_rows_are_missing_says_its_file_and_how_to_put_them_in_place(
    tmp_path: Path,
) -> None:
    write(tmp_path, "sums")
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(UserError, match=r"(?s)sums\.yaml.*data_files"):
        load_suite(f"lm-eval:sums,include_path={tmp_path}")


JUDGED = """
def ask(answer):
    from openai import OpenAI
    return OpenAI().chat.completions.create(model="judge", messages=[]) == answer


def graded(doc, results):
    return {"acc": float(ask(results[0]))}


def counted(doc, results):
    return {"acc": float(results[0] == doc["a"])}
"""


@pytest.mark.parametrize("function", ["graded", "counted"])
def test_a_task_that_asks_a_language_model_to_judge_is_refused_by_name(
    tmp_path: Path, function: str
) -> None:
    body = f"""output_type: generate_until
doc_to_text: q
doc_to_target: a
process_results: !function own.{function}
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
    (tmp_path / "own.py").write_text(JUDGED, "utf-8")
    write(tmp_path, "sums", body)
    if function == "counted":
        assert len(load_suite(f"lm-eval:sums,include_path={tmp_path}").examples) == 2
        return
    with pytest.raises(UserError, match=r"'sums' cannot be carried over.*language model \(OpenAI"):
        load_suite(f"lm-eval:sums,include_path={tmp_path}")


@pytest.mark.slow
def test_rows_of_a_task_of_the_harness_are_put_in_place_by_the_lines_that_the_message_gives(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="'arc_easy' cannot be loaded") as raised:
        load_suite("lm-eval:arc_easy")
    hint = str(raised.value.hint)
    assert "arc/arc_easy.yaml. It reads allenai/ai2_arc ARC-Easy." in hint
    lines = [line.strip() for line in hint.splitlines()[1:]]
    for split in ("TRAIN", "VALIDATION", "TEST"):
        choices = {"text": ["blue", "red"], "label": ["A", "B"]}
        row = {"question": f"Sky of {split}?", "choices": choices, "answerKey": "A"}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row), "utf-8")
    text = "\n".join(lines)
    for split in ("TRAIN", "VALIDATION", "TEST"):
        text = text.replace(f"{split}.jsonl", str(tmp_path / f"{split}.jsonl"))
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    [example] = load_suite(f"lm-eval:arc_easy,include_path={tmp_path}").examples
    assert example.prompt == "Question: Sky of TEST?\nAnswer:"
    assert example.right == ("blue",)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        load_suite(f"lm-eval:sums,include_path={tmp_path / 'nothing'}")


def test_the_scorer_alone_has_no_task_to_judge_by() -> None:
    with pytest.raises(UserError, match="suite lm-eval alone"):
        scorer_for(["2"], [], "lm-eval:acc@none")


def test_without_the_harness_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lm.eval"):
        load_suite(f"lm-eval:sums,include_path={tmp_path}")
