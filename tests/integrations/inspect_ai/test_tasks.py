from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import read_eval_log
from tests.integrations.inspect_ai.mock import Recorder, mock, run, samples_of

from palimpsest import load_suite
from palimpsest.integrations.inspect_ai import host
from palimpsest.integrations.inspect_registry import icl_vs_if, jsonl, nli, rosetta, suite
from palimpsest.lm.conjugations import parse_conjugation

pytestmark = pytest.mark.slow  # quicker: test_in_short.py

ROWS = """\
{"id": "1", "prompt": "Repeat: Where is Rome?", "answers": {"repeat": ["Where"], "answer": ["It"]}}
{"id": "1", "lang": "no", "prompt": "Gjenta: Hvor?", "answers": {"repeat": ["Hvor"]}}
"""


def ids(task: Task) -> list[Any]:
    return [sample.id for sample in task.dataset]


@pytest.mark.parametrize(
    ("task", "spec", "language"),
    [
        (lambda: icl_vs_if(n=2), "icl-vs-if:n=2", "en"),
        (lambda: icl_vs_if(lang="fr", n=2), "icl-vs-if:n=2", "fr"),
        (lambda: rosetta(n=3, lang="leet", split="select"), "rosetta:n=3,split=select", "leet"),
        (lambda: nli(n=2, lang="de"), "nli:n=2", "de"),
        (lambda: suite("icl-vs-if:n=2", lang="es"), "icl-vs-if:n=2", "es"),
    ],
)
def test_a_task_has_the_samples_of_its_suite(task: Any, spec: str, language: str) -> None:
    built: Task = task()
    examples = {each.source_id: each for each in load_suite(spec).in_language(language)}
    assert sorted(ids(built)) == sorted(examples)
    for sample in built.dataset:
        example = examples[str(sample.id)]
        assert (sample.input, sample.target) == (example.prompt, list(example.right))
        assert sample.metadata is not None
        assert sample.metadata["answers"] == {k: list(v) for k, v in example.answers.items()}
        assert sample.metadata["language"] == language


def test_the_first_samples_are_of_all_cells() -> None:
    samples = rosetta(n=3).dataset[:4]
    cells = [(sample.metadata or {})["cell"] for sample in samples]
    assert sorted(cells) == ["capitalise/blank", "capitalise/math", "repeat/blank", "repeat/math"]


def test_a_limit_is_of_each_cell() -> None:
    assert len(ids(rosetta(limit=2))) == 8


def test_a_file_of_ones_own_is_asked_in_any_of_its_languages(tmp_path: Path) -> None:
    path = tmp_path / "mine,too.jsonl"
    path.write_text(ROWS, "utf-8")
    [plain] = jsonl(str(path)).dataset
    assert plain.input == "Repeat: Where is Rome?"
    as_inspect_reads_it: Any = {"file": str(path).split(","), "lang": False}
    [sample] = jsonl(**as_inspect_reads_it).dataset
    assert sample.input == "Gjenta: Hvor?"


def test_messages_stay_messages(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(
        '{"id": "1", "messages": [{"role": "system", "content": "Be kind."}, '
        '{"role": "user", "content": "Hi"}], "answers": {"greet": ["Hello"]}}\n',
        "utf-8",
    )
    [sample] = jsonl(str(path)).dataset
    assert not isinstance(sample.input, str)
    assert [(each.role, each.text) for each in sample.input] == [
        ("system", "Be kind."),
        ("user", "Hi"),
    ]


@pytest.mark.parametrize(
    ("via", "language", "conjugation"),
    [("leet", "en", "leet"), ("fr", "fr", "identity"), ("fr|leet", "fr", "leet")],
)
def test_via_is_read_as_by_diagnose(
    tmp_path: Path, via: str, language: str, conjugation: str
) -> None:
    recorder = Recorder()
    log = run(rosetta(via=via, n=1), mock(recorder), tmp_path)
    examples = load_suite("rosetta:n=1").in_language(language)
    apply = parse_conjugation(conjugation).apply
    sent = sorted(texts[0] for texts in recorder.texts)
    assert sent == sorted(apply(str(example.prompt)) for example in examples)
    assert len(samples_of(log)) == 4


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: icl_vs_if(lang="fx"), "No language of the suite named 'fx'"),
        (lambda: icl_vs_if(via="lete"), "Did you mean 'leet'?"),
        (lambda: icl_vs_if(n=0), "greater than 0"),
        (lambda: jsonl("missing.jsonl"), "missing.jsonl"),
        (lambda: suite("icl-vs-fi"), "Did you mean 'icl-vs-if'?"),
    ],
)
def test_mistakes_are_told_without_a_traceback(build: Any, expected: str) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        build()
    assert expected in str(caught.value.message)


@pytest.mark.parametrize("name", ["palimpsest/icl_vs_if", "palimpsest/suite"])
def test_inspect_finds_the_tasks_by_the_name_of_the_package(tmp_path: Path, name: str) -> None:
    arguments = {"limit": 1} | ({"spec": "rosetta:n=1"} if name.endswith("suite") else {})
    log = run(name, mock(Recorder()), tmp_path, task_args=arguments)
    assert log.eval.task == name
    assert log.eval.task_registry_name == name


def test_the_name_of_the_package_is_there_once_however_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "registry_name", lambda _, name: name)  # editable
    assert host.in_package("rosetta") == "palimpsest/rosetta"
    monkeypatch.setattr(host, "registry_name", lambda _, name: f"palimpsest/{name}")  # a wheel
    assert host.in_package("rosetta") == "rosetta"


def test_the_metrics_are_the_shares_of_the_outcomes(tmp_path: Path) -> None:
    examples = load_suite("rosetta:n=1").in_language("en")
    answers = {
        str(example.prompt): answer
        for example, answer in zip(
            examples,
            [examples[0].right[0], examples[1].intruding[0], "nothing of the kind", ""],
            strict=True,
        )
    }
    log = run(rosetta(n=1), mock(Recorder(lambda text: answers[text])), tmp_path)
    assert log.results is not None
    shares = {
        score.name: {name: metric.value for name, metric in score.metrics.items()}
        for score in log.results.scores
    }
    assert shares["right"]["accuracy"] == 0.25
    assert {name: next(iter(metrics.values())) for name, metrics in shares.items()} == {
        "right": 0.25,
        "intruded": 0.25,
        "broken": 0.25,
        "unparsed": 0.25,
    }
    # sqrt(p (1 - p) / (n - 1))
    assert shares["intruded"]["stderr"] == pytest.approx(0.25)
    assert read_eval_log(log.location).results == log.results
