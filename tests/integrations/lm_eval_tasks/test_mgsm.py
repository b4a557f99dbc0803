"""MGSM in the harness's own files, on rows that were put in place: judged as the harness does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
import lm_eval.tasks
import pytest
from lm_eval.tasks import TaskManager
from tests.integrations.harness.conftest import Recorder

from palimpsest.judging.evaluation import evaluate, settings_for
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.suites import load_suite
from palimpsest.records import AnswerStore

ROWS = Path(__file__).parents[4] / "shared" / "data" / "mgsm"
OWN = Path(lm_eval.tasks.__file__).parent / "mgsm"
LANGUAGES = ("en", "fr", "es", "de")
KINDS = {"direct": ("direct_yaml", "remove_whitespace"), "native_cot": ("cot_yaml", "strict-match")}
"""The harness's folders, each with the file that its tasks share and the filter that they try
first."""

N_ASKED = 4
"""Of each language, through a real model: their answers have 256 tokens."""

SAYS = {"en": "The answer is", "fr": "La réponse est", "es": "La respuesta es",
        "de": "Die Antwort lautet"}  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not ROWS.is_dir(), reason="the rows of MGSM are not at hand"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness's files, changed in nothing but where rows come from."""
    put = tmp_path_factory.mktemp("mgsm")
    for language in LANGUAGES:
        with (ROWS / f"{language}.tsv").open(encoding="utf-8") as file:
            pairs = [line.rstrip("\n").split("\t") for line in file]
        lines = [
            {"question": question, "answer": None, "answer_number": int(number.replace(",", ""))}
            for question, number in pairs
        ]
        (put / f"{language}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    for kind, (shared, _) in KINDS.items():
        common = (OWN / kind / shared).read_text("utf-8")
        common = common.replace("training_split: train\n", "")
        (put / shared).write_text(common.replace("path: juletxara/mgsm\n", "path: json\n"), "utf-8")
        for language in LANGUAGES:
            name = f"mgsm_{kind}_{language}.yaml"
            text = (OWN / kind / name).read_text("utf-8").replace(f"dataset_name: {language}\n", "")
            files = f"{{data_files: {{test: {put}/{language}.jsonl}}, cache_dir: {put}/cache}}"
            (put / name).write_text(f"{text}dataset_kwargs: {files}\n", "utf-8")
    return put


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def samples(model: Any, folder: Path, kind: str, limit: int | None = None) -> dict[str, Any]:
    results: Any = lm_eval.simple_evaluate(
        model=model,
        tasks=[f"mgsm_{kind}_{language}" for language in LANGUAGES],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        limit=limit,
    )
    return dict(results["samples"])


def spec(folder: Path, kind: str, filter_name: str) -> str:
    tasks = "+".join(f"mgsm_{kind}_{language}" for language in LANGUAGES)
    return f"lm-eval:{tasks},include_path={folder},filter={filter_name}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_to_every_row_has_the_grade_that_the_harness_gives_it(
    folder: Path, kind: str
) -> None:
    filters = (KINDS[kind][1], "flexible-extract")
    suites = {name: load_suite(spec(folder, kind, name)) for name in filters}
    of_prompt = {each.prompt: each for each in suites[filters[0]].examples}

    def say(context: str) -> str:
        # The last digits: right for numbers below 100, and for others wrong.
        example = of_prompt[context]
        return f"3 + 4 = 7. {SAYS[example.language]} {example.right[0][-2:]}."

    logged = samples(Recorder(say=say), folder, kind)
    for name, suite in suites.items():
        assert suite.languages == LANGUAGES
        assert suite.cells == (f"mgsm_{kind}",)
        for language in LANGUAGES:
            theirs = [e for e in logged[f"mgsm_{kind}_{language}"] if e["filter"] == name]
            ours = suite.in_language(language)
            assert [each.prompt for each in ours] == [each["arguments"][0][0] for each in theirs]
            grades = [
                example.scorer_of(example.right, ()).grade(sample["resps"][0][0])
                for example, sample in zip(ours, theirs, strict=True)
            ]
            assert grades == [each["exact_match"] for each in theirs]
            assert len(grades) == 250
            if name != "remove_whitespace":
                assert 100 < sum(grade or 0 for grade in grades) < 250


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_model_answers_and_scores_as_in_the_harness(
    folder: Path, kind: str, weights: Path, tmp_path: Path
) -> None:
    from lm_eval.models.huggingface import HFLM

    suite = load_suite(spec(folder, kind, "flexible-extract"), limit=N_ASKED)
    model = load_model(f"hf:{weights},dtype=float64")
    vias = [parse_via(each, suite) for each in ("identity", *LANGUAGES[1:])]
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        settings = settings_for(suite, [model])
        rows = evaluate(model, suite, vias, store=store, role="tuned", settings=settings)
    theirs = HFLM(pretrained=str(weights), device="cpu", batch_size=4, dtype="float64")
    logged = samples(theirs, folder, kind, limit=N_ASKED)
    wanted = [
        (sample["resps"][0][0], sample["exact_match"])
        for language in LANGUAGES
        for sample in logged[f"mgsm_{kind}_{language}"]
        if sample["filter"] == "flexible-extract"
    ]
    assert [(row.raw, row.score) for row in rows] == wanted
