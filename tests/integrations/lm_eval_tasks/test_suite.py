"""Tasks as a suite: cells, languages, and what is refused by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
from lm_eval.tasks import TaskManager
from tests.integrations.harness.conftest import Recorder

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.scoring import scorer_for
from palimpsest.lm.suites import load_suite

MGSM = Path(__file__).parents[4] / "shared" / "data" / "mgsm"
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

CHOOSING = """output_type: multiple_choice
doc_to_text: q
doc_to_choice: ["2", "4"]
doc_to_target: a
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: acc, aggregation: mean, higher_is_better: true}
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
        (CHOOSING, ",metric=exact_match", "no metric 'exact_match'"),
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


@pytest.mark.skipif(not MGSM.is_dir(), reason="the rows of MGSM are not at hand")
@pytest.mark.slow
def test_the_harness_own_mgsm_on_rows_put_in_place_is_judged_as_the_harness_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(lm_eval.tasks.__file__).parent / "mgsm" / "direct"
    common = (own / "direct_yaml").read_text("utf-8").replace("training_split: train\n", "")
    common = common.replace("dataset_path: juletxara/mgsm\n", "dataset_path: json\n")
    (tmp_path / "direct_yaml").write_text(common, "utf-8")
    for language in ("en", "fr"):
        rows = tmp_path / f"{language}.jsonl"
        with (MGSM / f"{language}.tsv").open(encoding="utf-8") as file:
            pairs = [line.rstrip("\n").split("\t") for line in file]
        lines = [
            {"question": question, "answer": None, "answer_number": int(number.replace(",", ""))}
            for question, number in pairs
        ]
        rows.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
        text = (own / f"mgsm_direct_{language}.yaml").read_text("utf-8")
        text = text.replace(f"dataset_name: {language}\n", "")
        text += f"dataset_kwargs: {{data_files: {{test: {rows}}}, cache_dir: {tmp_path}/cache}}\n"
        (tmp_path / f"mgsm_direct_{language}.yaml").write_text(text, "utf-8")
    suite = load_suite(f"lm-eval:mgsm_direct_en+mgsm_direct_fr,include_path={tmp_path}")
    assert suite.languages == ("en", "fr")
    assert suite.cells == ("mgsm_direct",)
    assert len(suite.in_language("fr")) == len(suite.in_language("en")) == 250
    right = {each.prompt: each.right[0] for each in suite.examples}
    model = Recorder(say=lambda context: f" The answer is {right[context][-2:]}.")
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    results: Any = lm_eval.simple_evaluate(
        model=model,
        tasks=["mgsm_direct_en", "mgsm_direct_fr"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )
    for filter_name in ("remove_whitespace", "flexible-extract"):
        spec = f"lm-eval:mgsm_direct_en+mgsm_direct_fr,include_path={tmp_path},filter={filter_name}"
        suite = load_suite(spec)
        for language in ("en", "fr"):
            logged = results["samples"][f"mgsm_direct_{language}"]
            theirs = [each for each in logged if each["filter"] == filter_name]
            ours = suite.in_language(language)
            assert [each.prompt for each in ours] == [each["arguments"][0][0] for each in theirs]
            said = [each["resps"][0][0] for each in theirs]
            grades = [
                each.scorer_of(each.right, ()).grade(text)
                for each, text in zip(ours, said, strict=True)
            ]
            assert grades == [each["exact_match"] for each in theirs]
            assert (filter_name == "flexible-extract") is (
                sum(grade or 0 for grade in grades) > 100
            )
