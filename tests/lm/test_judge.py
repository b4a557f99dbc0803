import json
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.rescoring import rescore
from palimpsest.lm.judge import UNDECIDED, judge_of, verdict_in
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


YES = [
    *("yes", "Yes", "YES", " yes", "\nyes", "Yes.", "Yes!", "Yes,", "Yes…", "**Yes**", "Yes✅"),
    *("*yes*", "_Yes_", "`yes`", '"Yes"', "'yes'", "“Yes”", "(yes)", "[Yes]", "- Yes", "> Yes"),
    *("Yes: the same city", "Yes; both", "Yes - the same", "Yes\n\nBoth name Paris.", "✅ Yes"),
    *("Reply: yes", "Answer: Yes.", "**Reply:** yes", "Verdict – yes", "\\boxed{yes}", "Yes</s>"),
    *("<think>Hm. No, wait.</think>\n\nYes", "Yes<|im_end|>", "yes or, rather, certainly"),
    "Yes, it does.",
]
NO = [
    *("no", "No", "NO", "No.", " no.", "**No**", "No, it does not.", "No; another city", "No!"),
    *("No\nyes", "`No`", '"no"', "Reply: No", "<think>yes?</think>no", "(No)", "❌ No"),
]
NEITHER = [
    *("", " ", "Yes and no", "Yes/No", "yes or no", "No or yes", "Yes-no", "Maybe", "It depends."),
    *("Yesterday", "Nope-ish", "Not sure", "Nothing", "I cannot say yes or no.", "1", "true", "?"),
    *("<think>yes", "The same meaning", "y", "n", "Sí", "Oui", "Ja"),
]
REPLIES = [
    (reply, said)
    for replies, said in ((YES, True), (NO, False), (NEITHER, None))
    for reply in replies
]


@pytest.mark.parametrize(("reply", "said"), REPLIES)
def test_a_judge_is_understood_however_it_dresses_its_word(reply: str, said: bool | None) -> None:
    assert verdict_in(reply) is said


def labelled(folder: Path, n: int, judge_agrees: int) -> tuple[Path, str]:
    """Write answers that people call right, of which a judge takes some for it, and one none."""
    rows = [
        {
            "id": str(at),
            "prompt": f"Question {at}?",
            "answers": {"facts": [f"fact {at}"]},
            "human": [{"answer": f"thing {at}", "label": "right"},
                      {"answer": f"other {at}", "label": "wrong"}],
        }
        for at in range(n)
    ]  # fmt: skip
    suite = folder / "suite.jsonl"
    suite.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    rules = [{"contains": f"thing {at}\n", "answer": "yes"} for at in range(judge_agrees)]
    return suite, judge(folder, [*rules, {"contains": f"other {n - 1}\n", "answer": "Well."}])


@pytest.mark.usefixtures("empty_figures")
def test_a_judge_is_held_against_people_where_the_file_has_labels(tmp_path: Path) -> None:
    suite, spec = labelled(tmp_path, n=10, judge_agrees=8)
    model = ScriptedModel(lambda prompt: "no idea", name="m")
    results = diagnose(
        model, model, suite=f"jsonl:{suite}", via=[], scorer=spec, out=tmp_path / "run",
        n_resamples=100,
    )  # fmt: skip
    [found] = results.agreements
    assert (found.scorer, found.n, found.n_undecided) == (spec, 20, 1)
    assert found.agreement == 17 / 20
    # Of people 10 right and 10 wrong; of the judge 8 right, 11 wrong, 1 neither.
    expected = (10 * 8 + 10 * 11) / 400
    assert found.kappa is not None
    assert found.kappa == pytest.approx((17 / 20 - expected) / (1 - expected))
    assert found.kappa_ci95 is not None
    assert found.kappa_ci95[0] < found.kappa < found.kappa_ci95[1]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "The scorer against people" in page
    assert "85.0 %" in page
    assert not any("agrees with people" in warning for warning in results.warnings)


@pytest.mark.usefixtures("empty_figures")
def test_a_judge_that_people_would_not_trust_is_warned_of(tmp_path: Path) -> None:
    suite, spec = labelled(tmp_path, n=10, judge_agrees=2)
    model = ScriptedModel(lambda prompt: "no idea", name="m")
    results = diagnose(model, model, suite=f"jsonl:{suite}", via=[], scorer=spec, n_resamples=100)
    assert any("agrees with people on 55 % of 20" in warning for warning in results.warnings)


@pytest.mark.usefixtures("empty_figures")
def test_the_share_of_answers_without_a_judgement_is_counted_by_model(tmp_path: Path) -> None:
    rows = [{"id": str(n), "prompt": f"Ask {n}?", "answers": {"a": ["x"]}} for n in range(4)]
    suite = tmp_path / "suite.jsonl"
    suite.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    spec = judge(tmp_path, [{"contains": "Hm", "answer": "It depends."}])
    models = [ScriptedModel(lambda p, word=word: word, name=word) for word in ("x", "Hm")]  # type: ignore[misc]
    results = diagnose(*models, suite=f"jsonl:{suite}", via=[], scorer=spec, n_resamples=100)
    assert results.plain.tuned.flags["no judgement"] == 4
    assert "no judgement" not in results.plain.base.flags
    assert any("4 of 8 questions under 'identity'" in warning for warning in results.warnings)


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
def test_a_judge_of_its_own_stored_answers_is_warned_of(tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text('{"id": "1", "prompt": "a", "answers": {"x": ["b"]}}', "utf-8")
    spec = judge(tmp_path, [])
    model = spec.removeprefix("judge:")
    diagnose(model, model, suite=f"jsonl:{suite}", via=[], out=tmp_path / "run", whole="all")
    found = rescore(tmp_path / "run", spec, out=tmp_path / "again")
    assert any("judges its own answers" in warning for warning in found.warnings)


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
