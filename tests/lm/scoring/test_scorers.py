from __future__ import annotations

import doctest
import json
import sys
import types
from functools import partial
from pathlib import Path

import pytest
from tests.doc_pages import ROOT, bodies
from tests.laws import test_scorer_laws as laws

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.scoring.scorers import SCORERS, Scorer, scorer_for
from palimpsest.lm.suites.suite import Example, load_suite
from palimpsest.records.answers import Outcome
from palimpsest.records.store import AnswerStore

LAWS = [
    laws.test_every_accepted_text_is_scored_as_what_it_is_when_separable,
    laws.test_a_decided_answer_keeps_its_outcome_whatever_follows,
    laws.test_what_is_accepted_on_both_sides_is_ambiguous_and_never_guessed,
    laws.test_an_empty_answer_is_broken_and_blank_texts_match_nothing,
]


def _always(answer: str, prompt: object) -> str:
    return answer


class Ending(Scorer):
    """The text with which an answer ends."""

    def outcome(self, answer: str) -> Outcome:
        right = answer.endswith(self.right)
        if right == answer.endswith(self.intruding):
            return "broken"
        return "right" if right else "intruded"


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer from outside: one class, one registration."""
    monkeypatch.setitem(SCORERS._builtin, "ending", f"{__name__}:Ending")


@pytest.mark.usefixtures("ending")
def test_a_row_may_name_a_scorer_from_outside_and_is_scored_by_it(tmp_path: Path) -> None:
    row = {"prompt": "What is 5 plus 7?", "answers": {"sum": ["12"], "repeat": ["plus 7?"]}}
    rows = [{**row, "id": "end", "scorer": "ending"}, {**row, "id": "beginning"}]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    suite = load_suite(f"jsonl:{path},max_new_tokens=20")
    said = {"right": " It is 12", "intruded": " What is 5 plus 7?"}
    for outcome, answer in said.items():
        model = ScriptedModel(partial(_always, answer), name=outcome)
        with AnswerStore(tmp_path / "answers.sqlite") as store:
            found = evaluate(model, suite, [parse_via("identity")], store=store, role="base")
        assert [answered.outcome for answered in found] == [outcome, "broken"]


@pytest.mark.usefixtures("ending")
def test_what_is_not_overridden_follows_from_the_outcome() -> None:
    scorer = scorer_for(["12"], ["What"], "ending")
    assert scorer.separable
    assert not scorer.ambiguous
    assert not scorer.decided("It is 12. ")
    assert scorer_for(["12"], ["2"], "ending").ambiguous
    assert not scorer_for([" "], ["2"], "ending").separable


def test_an_unknown_scorer_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "1", "prompt": "a", "answers": {"b": ["c"]}, "scorer": "prefx"}')
    with pytest.raises(UserError) as error:
        load_suite(f"jsonl:{path}")
    assert "line 1, field scorer: No scorer named 'prefx'. Did you mean 'prefix'?" in str(
        error.value
    )


def test_answers_that_another_scorer_judged_are_kept_apart() -> None:
    def fingerprint(**scorer: str) -> str:
        return Example("1", "all", "en", "a", {"b": ("c",)}, **scorer).fingerprint  # type: ignore[arg-type]

    assert fingerprint() == fingerprint(scorer="prefix") != fingerprint(scorer="ending")


def test_the_scorer_of_the_page_on_adding_one_keeps_the_laws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, _registration = bodies(ROOT / "docs" / "adding" / "scorer.md", "python")
    module = types.ModuleType("first_line")
    monkeypatch.setitem(sys.modules, "first_line", module)
    exec(compile(code, "docs/adding/scorer.md", "exec"), module.__dict__)
    assert doctest.testmod(module) == doctest.TestResults(failed=0, attempted=2)
    monkeypatch.setitem(SCORERS._builtin, "first-line", "first_line:FirstLine")
    for law in LAWS:
        law("first-line")
