from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging import endings, preview_suite
from palimpsest.lm.models import ShowsTokens, load_model
from palimpsest.lm.suites import Suite, load_suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    path = tmp_path / "a.csv"
    path.write_text("question,answer,kind\n5 + 7?,12,a\n6 + 7?,13,a\n9 - 4?,5,b\n", "utf-8")
    return load_suite(f"rows:{path},prompt={{question}},group={{kind}},scorer=number")


def test_without_a_model_each_cell_comes_first_with_what_scorers_say(suite: Suite) -> None:
    first, second, third = preview_suite(suite, n=9)
    assert [each.example.cell for each in (first, second, third)] == ["a", "b", "a"]
    (prompt,) = first.prompts
    assert (prompt.model, prompt.text, prompt.joint) == ("", "5 + 7?", None)
    expected, sentence, wrong = first.samples
    assert expected.text == "12"
    assert next(iter(sentence.outcomes)) == "number"
    assert sentence.outcomes["number"] == sentence.outcomes["contains"] == "right"
    assert sentence.outcomes["prefix"] == wrong.outcomes["number"] == "broken"


def test_the_tokens_where_an_answer_begins_are_shown() -> None:
    model = load_model("rosetta:base")
    assert isinstance(model, ShowsTokens)
    joint = model.joint("What is 5 plus 7?", "12")
    assert "".join(joint.prompt).endswith("7?")
    assert "".join(joint.answer).lstrip().startswith("12")
    assert joint.n_replaced == 0


def test_a_language_that_the_suite_does_not_have_is_named(suite: Suite) -> None:
    with pytest.raises(UserError, match="no prompts in 'fr'"):
        list(preview_suite(suite, language="fr"))


def test_answers_end_where_each_cell_has_it() -> None:
    found = endings(load_suite("abilities:n=1"), "fr")
    assert found["sums"] == "before '\\n', or after 16 tokens"
    assert found["steps"] == "before '\\nQuestion :', or after 160 tokens"


def test_what_is_chosen_by_likelihood_has_no_outcome_of_its_scorer(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"q": "2 + 2 =", "a": 1}]', "utf-8")
    (tmp_path / "pick.yaml").write_text(
        f"""task: pick
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path}/rows.json}}, cache_dir: {tmp_path}/cache}}
test_split: test
output_type: multiple_choice
doc_to_text: q
doc_to_choice: ["3", "4"]
doc_to_target: a
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
""",
        "utf-8",
    )
    suite = load_suite(f"lm-eval:pick,include_path={tmp_path}")
    [found] = preview_suite(suite)
    assert {sample.outcomes["lm-eval:acc@none"] for sample in found.samples} == {None}
