"""What every registered suite must keep to, whatever it asks."""

import re
from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from palimpsest.lm.scoring.scorers import scorer_for
from palimpsest.lm.suites import SUITES, load_suite
from palimpsest.lm.suites.suite import Suite
from palimpsest.registry import Registry

GUIDE = Path(__file__).parents[3] / "docs" / "adding" / "suite.md"


def example_of(language: str) -> str:
    """Return the first code block of the guide in a language."""
    match = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None
    return match[1]


# The suite lm-eval needs files of tasks: see tests/integrations/lm_eval_tasks.
@pytest.fixture(scope="module", params=[name for name in SUITES if name != "lm-eval"])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "rows":
        path = tmp_path_factory.mktemp("rows") / "rows.csv"
        path.write_text("question,answer\n2 + 2?,four\n3 + 3?,six\n", encoding="utf-8")
        return f"rows:{path},prompt={{question}}"
    if request.param != "jsonl":
        return str(request.param)
    path = tmp_path_factory.mktemp("jsonl") / "guide.jsonl"
    path.write_text(example_of("json"), encoding="utf-8")
    return f"jsonl:{path}"


@pytest.fixture(scope="module")
def suite(spec: str) -> Suite:
    return load_suite(spec, limit=20)


@pytest.mark.slow
def test_it_can_be_built_with_nothing_but_its_name(spec: str, suite: Suite) -> None:
    assert suite.name == spec
    assert suite.examples
    assert suite.description.endswith(".")


@pytest.mark.slow
def test_building_it_again_gives_the_same(spec: str, suite: Suite) -> None:
    again = load_suite(spec, limit=20)

    assert again == suite
    assert again.fingerprint == suite.fingerprint


@pytest.mark.slow
def test_each_example_comes_once_in_a_language(suite: Suite) -> None:
    counts = Counter((example.source_id, example.language) for example in suite.examples)

    assert set(counts.values()) == {1}


def test_each_example_has_a_version_in_the_source_language_in_the_same_cell(suite: Suite) -> None:
    cells = {
        example.source_id: example.cell for example in suite.in_language(suite.source_language)
    }

    for example in suite.examples:
        assert cells[example.source_id] == example.cell


def test_all_examples_tell_the_same_abilities_apart_with_the_tested_one_first(
    suite: Suite,
) -> None:
    assert len({next(iter(example.answers)) for example in suite.examples}) == 1
    for example in suite.examples:
        scorer = scorer_for(example.right, example.intruding, example.scorer)
        assert scorer.separable
        assert all(scorer.outcome(text) == "right" for text in example.right)
        assert all(scorer.outcome(text) == "intruded" for text in example.intruding)


def test_no_answer_is_cut_by_what_ends_it(suite: Suite) -> None:
    texts = [text for e in suite.examples for text in (*e.right, *e.intruding)]

    assert not [text for text in texts if any(stop in text for stop in suite.stop)]


def test_choices_are_distinct_and_one_of_them_is_right(suite: Suite) -> None:
    for example in suite.examples:
        assert len(set(example.choices)) == len(example.choices)
        assert not example.choices or set(example.choices) & set(example.right)


def test_the_suite_in_the_guide_works_as_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, object] = {"__name__": "backwards"}
    exec(compile(example_of("python"), str(GUIDE), "exec"), namespace)
    point = EntryPoint("backwards", "my_package.backwards:build", "palimpsest.suites")
    monkeypatch.setattr(EntryPoint, "load", lambda _: namespace["build"])
    monkeypatch.setattr(Registry, "_plugins", lambda _: {"backwards": point})

    suite = load_suite("backwards:n=5,words=live+straw")

    assert [example.right for example in suite.examples] == [("evil",), ("warts",)]
    assert dict(SUITES.describe())["backwards"] == "Spell a word backwards, against repeating it."
