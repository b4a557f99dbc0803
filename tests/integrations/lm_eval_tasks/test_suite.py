"""Tasks as a suite: cells, languages, and what is refused by name."""

from __future__ import annotations

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
    with pytest.raises(UserError, match=r"sums\.yaml.*data_files"):
        load_suite(f"lm-eval:sums,include_path={tmp_path}")


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
