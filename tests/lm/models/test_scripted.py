from __future__ import annotations

import json
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message, Prompt


def only(model: ScriptedModel, prompt: Prompt, **options: object) -> tuple[str, str, int]:
    ((_, result),) = model.generate([prompt], **{"max_new_tokens": 10, **options})  # type: ignore[arg-type]
    return result.text, result.finish, result.n_tokens


MODEL = ScriptedModel(lambda prompt: " one two\nthree")


def test_the_answer_ends_before_a_stop_string() -> None:
    assert only(MODEL, "?", stop=["\n"]) == (" one two", "stop", 3)


def test_the_answer_ends_at_the_limit_of_tokens() -> None:
    assert only(MODEL, "?", max_new_tokens=1) == (" one", "length", 1)


def test_the_answer_ends_when_it_is_decided() -> None:
    assert only(MODEL, "?", decided=lambda _, text: "one" in text) == (" one", "decided", 1)


def test_an_answer_that_was_not_cut_ends_by_itself() -> None:
    assert only(MODEL, "?") == (" one two\nthree", "stop", 4)


def test_an_empty_answer_is_one_end_token() -> None:
    assert only(ScriptedModel(lambda prompt: ""), "?") == ("", "stop", 1)


def test_candidates_that_start_the_answer_score_highest() -> None:
    assert MODEL.score(["?"], [[" one", "one two", "two"]]) == [[0.0, 0.0, -100.0]]


def test_a_file_maps_prompts_to_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"What is 5 plus 7?": " 12"}))
    model = load_model(f"scripted:{path}")
    answers = dict(model.generate(["What is 5 plus 7?", "other"], max_new_tokens=5))
    assert [answers[0].text, answers[1].text] == [" 12", ""]


def test_a_file_of_rules_answers_by_the_first_part_that_the_prompt_contains(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([{"contains": "7", "answer": "a"}, {"contains": "", "answer": "b"}]))
    model = load_model(f"scripted:{path}")
    prompts: list[Prompt] = ["5 plus 7", "5", (Message("system", "7"), Message("user", "hi"))]
    assert [g.text for _, g in model.generate(prompts, max_new_tokens=5)] == ["a", "b", "a"]


def test_the_fingerprint_of_a_file_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text('{"a": "b"}')
    before = load_model(f"scripted:{path}").fingerprint
    path.write_text('{"a": "c"}')
    assert load_model(f"scripted:{path}").fingerprint != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("3", "neither prompts with answers nor a list of rules"),
        ('{"a": 1}', "neither prompts with answers nor a list of rules"),
        ('[{"contains": "a"}]', "invalid rule, number 1"),
        ('[{"contains": "a", "answer": "b", "x": 1}]', "invalid rule, number 1"),
    ],
)
def test_a_malformed_file_is_refused_with_its_fault(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "answers.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_model(f"scripted:{path}")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"No scripted model at 'nowhere\.json'"):
        load_model("scripted:nowhere.json")


def test_a_scripted_model_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no option 'chat'"):
        load_model("scripted:x.json,chat=true")
