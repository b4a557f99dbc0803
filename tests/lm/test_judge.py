import json
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.rescoring import rescore
from palimpsest.lm.judge import UNDECIDED, judge_of
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.scoring import Asked, scorer_class, scorer_for
from palimpsest.records.store import AnswerStore

ASKED = Asked(prompt="What is the capital of France?")


def judge(folder: Path, rules: list[dict[str, str]]) -> str:
    """Return the spec of a judge that replies by the first rule that fits its question."""
    path = folder / "judge.json"
    path.write_text(json.dumps([*rules, {"contains": "", "answer": "no"}]), "utf-8")
    return f"judge:scripted:{path}"


@pytest.fixture(autouse=True)
def _no_kept_replies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path / "cache"))
    judge_of.cache_clear()


def test_an_answer_is_what_the_judge_says_in_both_orders(tmp_path: Path) -> None:
    spec = judge(
        tmp_path,
        [
            {"contains": "- Paris\n\nGiven answer:\nThe city of light", "answer": "Yes."},
            {"contains": "The city of light\n\nExpected answers:\n- Paris", "answer": "**yes**"},
            {"contains": "- Paris\n\nGiven answer:\nLutetia", "answer": "yes"},
            {"contains": "Big Ben's town", "answer": "no"},
            {"contains": "Hm", "answer": "It depends."},
        ],
    )
    scorer = scorer_for(["Paris"], [], spec, ASKED)
    assert scorer.outcome("The city of light") == "right"
    assert scorer.flags("The city of light") == ()
    assert scorer.outcome("Big Ben's town") == "broken"
    assert scorer.flags("Big Ben's town") == ()
    assert scorer.outcome("Lutetia") == "broken"  # yes in one order alone
    assert scorer.flags("Lutetia") == (UNDECIDED,)
    assert scorer.outcome("Hm") == "broken"
    assert scorer.flags("Hm") == (UNDECIDED,)
    assert scorer.outcome("  ") == "broken"
    assert scorer.flags("  ") == ()


def test_the_other_side_is_judged_too_and_nothing_is_guessed(tmp_path: Path) -> None:
    spec = judge(
        tmp_path,
        [{"contains": "both", "answer": "yes"}, {"contains": "- twelve", "answer": "yes"}],
    )
    scorer = scorer_for(["What"], ["twelve"], spec, ASKED)
    assert scorer.outcome("a dozen") == "intruded"
    assert scorer.outcome("both") == "broken"


def test_replies_are_kept_for_other_runs(tmp_path: Path) -> None:
    spec = judge(tmp_path, [{"contains": "Paris", "answer": "yes"}])
    assert scorer_for(["Paris"], [], spec, ASKED).outcome("Paree") == "right"
    judge_of.cache_clear()
    fresh = scorer_for(["Paris"], [], spec, ASKED)
    asked: list[int] = []
    generate = ScriptedModel.generate

    def counted(self: ScriptedModel, prompts, **options):  # type: ignore[no-untyped-def]
        asked.append(len(prompts))
        return generate(self, prompts, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptedModel, "generate", counted)
        assert fresh.outcome("Paree") == "right"
        assert fresh.outcome("Lutetia") == "right"
    assert asked == [2]  # both orders of the second answer


@pytest.mark.usefixtures("empty_figures")
def test_a_run_is_judged_in_batches_and_can_be_judged_anew(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "prompt": f"Question {n}?", "answers": {"facts": [f"fact {n}"]}}
        for n in range(40)
    ]
    suite = tmp_path / "suite.jsonl"
    suite.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    spec = judge(tmp_path, [{"contains": "indeed", "answer": "yes"}])
    models = [
        ScriptedModel(lambda prompt, word=word: f"{word} so", name=word)  # type: ignore[misc]
        for word in ("indeed", "never")
    ]
    run = tmp_path / "run"
    results = diagnose(
        *models, suite=f"jsonl:{suite}", via=["upper"], scorer=spec, out=run, n_resamples=100
    )
    assert (results.plain.base.accuracy, results.plain.tuned.accuracy) == (1.0, 0.0)
    again = rescore(run, spec, out=tmp_path / "again")
    assert again.plain.forgetting == results.plain.forgetting
    with AnswerStore(run / "answers.sqlite", read_only=True) as store:
        assert {json.loads(row.scoring)["scorer"] for row in store.run_rows()} == {spec}


@pytest.mark.usefixtures("empty_figures")
def test_a_model_that_judges_itself_is_warned_of(tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text('{"id": "1", "prompt": "a", "answers": {"x": ["b"]}}', "utf-8")
    spec = judge(tmp_path, [])
    model = spec.removeprefix("judge:")
    results = diagnose(model, model, suite=f"jsonl:{suite}", via=[], scorer=spec, n_resamples=100)
    assert any("judges its own answers" in warning for warning in results.warnings)


def test_a_judge_must_be_named_and_not_by_a_file() -> None:
    with pytest.raises(UserError, match="does not say which model judges"):
        scorer_for(["a"], [], "judge")
    with pytest.raises(UserError, match="no file may name it"):
        scorer_class("judge:rosetta:base", in_file=True)


@pytest.mark.usefixtures("empty_figures")
def test_a_judge_of_stored_answers_reads_the_plain_question(tmp_path: Path) -> None:
    rows = [{"id": str(n), "prompt": f"Ask {n}?", "answers": {"a": ["x"]}} for n in range(4)]
    suite = tmp_path / "suite.jsonl"
    suite.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    run = tmp_path / "run"
    model = ScriptedModel(lambda prompt: "thing", name="m")
    diagnose(model, model, suite=f"jsonl:{suite}", via=["upper"], out=run, whole="all")
    spec = judge(tmp_path, [{"contains": "Question:\nAsk 2?\n", "answer": "yes"}])
    found = rescore(run, spec, out=tmp_path / "again")
    assert found.plain.base.accuracy == 0.25
    assert found.conjugations[0].base.accuracy == 0.25
