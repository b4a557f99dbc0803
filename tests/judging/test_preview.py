from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging import preview_suite
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
